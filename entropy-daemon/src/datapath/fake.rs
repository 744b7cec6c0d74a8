//! A datapath in memory that checks how it is used, refuses what it is told to refuse, and panics
//! where an order of changes would not be harmless.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use anyhow::anyhow;
use entropy_common::{
    fault::delay::{CONSTANT, TABLE, UNIFORM, table::Table},
    rule::{Direction, HookKey, MAX_RULES, Match, Rule},
};

use super::{Datapath, Error, Interface, NamedRule, Recovered};
use crate::{guard, network::Network, plan::NAMED_TABLES};

/// How an operation can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Gone,
    Unsupported,
    Other,
}

/// What an operation is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Object {
    Group(u32),
    Hook(HookKey),
    Program(HookKey),
    Table(u32),
}

/// A peer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) description: String,
    pub(crate) networks: BTreeSet<Network>,
}

/// What a kernel would hold.
#[derive(Debug, Default)]
pub(crate) struct Fake {
    pub(crate) groups: BTreeMap<u32, Group>,
    pub(crate) hooks: BTreeMap<HookKey, Vec<NamedRule>>,
    pub(crate) shields: BTreeMap<HookKey, Vec<Match>>,
    pub(crate) attached: BTreeMap<HookKey, Interface>,
    pub(crate) tables: BTreeMap<u32, Table>,
    calls: Vec<String>,
    failures: Vec<(Object, Failure)>,
    answers: VecDeque<Option<Failure>>,
    /// Hooks that may have a program before they have rules.
    pub(crate) prepared: BTreeSet<HookKey>,
    /// What the last operation on was refused, so that it may lag behind.
    lagging: BTreeSet<Object>,
    /// Every rule there ever was, by id.
    rules: BTreeMap<u32, (HookKey, NamedRule)>,
    /// Every peer group there ever was.
    descriptions: BTreeMap<u32, String>,
    /// The groups that ended.
    ended: BTreeSet<u32>,
}

impl Fake {
    /// What to answer to the next operations; after them, all succeed.
    pub(crate) fn answer(&mut self, answers: impl IntoIterator<Item = Option<Failure>>) {
        self.answers = answers.into_iter().collect();
    }

    /// Fails the next `count` operations.
    pub(crate) fn fail_next(&mut self, count: usize, failure: Failure) {
        self.answer(vec![Some(failure); count]);
    }

    /// The operations since the last call, one line each; failed ones end in how they failed.
    pub(crate) fn take_calls(&mut self) -> Vec<String> {
        std::mem::take(&mut self.calls)
    }

    /// What failed since the last call.
    pub(crate) fn take_failures(&mut self) -> Vec<(Object, Failure)> {
        std::mem::take(&mut self.failures)
    }

    /// What a peer group is, or was, called.
    pub(crate) fn description(&self, group: u32) -> Option<&str> {
        self.descriptions.get(&group).map(String::as_str)
    }

    /// What another version finds.
    pub(crate) fn recovered(&self) -> Recovered {
        let shields = |hook| self.shields.get(hook).cloned().unwrap_or_default();
        let hooks = self.hooks.iter().map(|(hook, rules)| (*hook, (rules.clone(), shields(hook))));
        let groups = self.groups.iter().map(|(number, group)| (*number, group.networks.clone()));
        let mut recovered = Recovered {
            hooks: hooks.collect(),
            peers: groups.collect(),
            attached: self.attached.keys().copied().collect(),
            ..Recovered::default()
        };
        for number in recovered.tables_in_use() {
            recovered.tables.insert(number, self.tables[&number].entries().to_vec());
        }
        recovered
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.hooks.is_empty() && self.attached.is_empty()
    }

    fn reply(&mut self, call: String, object: Object) -> Result<(), Error> {
        let Some(failure) = self.answers.pop_front().flatten() else {
            self.calls.push(call);
            self.lagging.remove(&object);
            return Ok(());
        };
        self.calls.push(format!("{call}: {failure:?}"));
        self.failures.push((object, failure));
        self.lagging.insert(object);
        Err(match failure {
            Failure::Gone => Error::Gone(format!("{object:?}")),
            Failure::Unsupported => Error::Unsupported("not on this interface".into()),
            Failure::Other => Error::Other(anyhow!("as the test wants it")),
        })
    }

    fn lags(&self, object: Object) -> bool {
        self.lagging.contains(&object)
    }

    /// Whether a table could not be written, or what is never hit, so that rules are not written either.
    fn waits(&self) -> bool {
        self.lagging.iter().any(|object| match object {
            Object::Table(_) => true,
            Object::Group(number) => self.is_of_shield(*number),
            _ => false,
        })
    }

    /// Whether a group is of what is never hit.
    pub(crate) fn is_of_shield(&self, group: u32) -> bool {
        let description = self.description(group);
        description.is_some_and(|name| [guard::HOST, guard::PROTECTED].contains(&name))
    }

    fn check_put(&mut self, hook: HookKey, rules: &[NamedRule]) {
        assert!((1..=MAX_RULES).contains(&rules.len()), "{} rules on {hook:?}", rules.len());
        let policies: BTreeSet<_> = rules.iter().map(|named| &named.policy).collect();
        assert_eq!(policies.len(), rules.len(), "a policy twice on {hook:?}: {rules:?}");
        let ids: BTreeSet<_> = rules.iter().map(|named| named.rule.id).collect();
        assert_eq!(ids.len(), rules.len(), "a rule id twice on {hook:?}: {rules:?}");
        for named in rules {
            let (id, group) = (named.rule.id, named.rule.matcher.peer_group);
            assert_ne!(id, 0, "rule without an id: {named:?}");
            // The hook belongs to it: so an id is unique over all hooks too.
            // When it is in force may change, and what a ramp moves.
            let Rule { seed, matcher, reorder, slot, partition, .. } = named.rule;
            let lasting = Rule { id, seed, matcher, reorder, slot, partition, ..Rule::NONE };
            let lasting = NamedRule { rule: lasting, ..named.clone() };
            let first = self.rules.entry(id).or_insert_with(|| (hook, lasting.clone()));
            assert_eq!(*first, (hook, lasting), "rule id {id} was another rule");
            let delay = &named.rule.delay;
            assert!(matches!(delay.shape, CONSTANT | UNIFORM | TABLE));
            let has_table = delay.shape != TABLE
                || delay.table < NAMED_TABLES
                || self.tables.contains_key(&delay.table);
            assert!(has_table, "rule before its table: {named:?}");
            let has_peers = group == 0 || self.groups.contains_key(&group);
            assert!(
                has_peers || self.lags(Object::Group(group)),
                "rule before its peers: {named:?}"
            );
        }
    }

    fn check_end_of_group(&self, group: u32) {
        for (hook, rules) in &self.hooks {
            let shields = self.shields.get(hook).into_iter().flatten();
            let matchers = rules.iter().map(|named| &named.rule.matcher).chain(shields);
            let uses = matchers.into_iter().any(|matcher| matcher.peer_group == group);
            let may_stay = self.waits() || self.lags(Object::Hook(*hook));
            assert!(!uses || may_stay, "group {group} ends before its rules");
        }
    }
}

impl Datapath for Fake {
    async fn attach(&mut self, interface: &Interface, direction: Direction) -> Result<(), Error> {
        let hook = HookKey::new(interface.index, direction);
        assert!(!self.attached.contains_key(&hook), "{hook:?} attached twice");
        let is_ready = self.hooks.contains_key(&hook)
            || self.prepared.contains(&hook)
            || self.lags(Object::Hook(hook));
        assert!(self.waits() || is_ready, "program before its rules on {hook:?}");
        self.reply(format!("attach {}", hook_name(hook)), Object::Program(hook))?;
        self.attached.insert(hook, interface.clone());
        Ok(())
    }

    async fn detach(&mut self, hook: HookKey) -> Result<(), Error> {
        assert!(self.attached.contains_key(&hook), "{hook:?} is not attached");
        let is_cleared = !self.hooks.contains_key(&hook) || self.lags(Object::Hook(hook));
        assert!(is_cleared, "detached before the rules of {hook:?} were cleared");
        let result = self.reply(format!("detach {}", hook_name(hook)), Object::Program(hook));
        if matches!(result, Ok(()) | Err(Error::Gone(_))) {
            self.attached.remove(&hook);
        }
        result
    }

    fn put_rules(
        &mut self,
        hook: HookKey,
        rules: &[NamedRule],
        shields: &[Match],
    ) -> Result<(), Error> {
        self.check_put(hook, rules);
        for group in shields.iter().map(|shield| shield.peer_group).filter(|group| *group != 0) {
            let is_there = self.groups.contains_key(&group) || self.lags(Object::Group(group));
            assert!(is_there, "shield before its peers: {group}");
        }
        let names: Vec<_> =
            rules.iter().map(|named| format!("{}#{}", named.policy, named.rule.id)).collect();
        let call = format!("put {} {}", hook_name(hook), names.join(" "));
        self.reply(call, Object::Hook(hook))?;
        self.hooks.insert(hook, rules.to_vec());
        self.shields.insert(hook, shields.to_vec());
        Ok(())
    }

    fn clear_rules(&mut self, hook: HookKey) -> Result<(), Error> {
        assert!(self.hooks.contains_key(&hook), "{hook:?} has no rules");
        self.reply(format!("clear {}", hook_name(hook)), Object::Hook(hook))?;
        self.hooks.remove(&hook);
        self.shields.remove(&hook);
        Ok(())
    }

    fn put_table(&mut self, number: u32, table: &Table) -> Result<(), Error> {
        assert!(number >= NAMED_TABLES, "table {number} has a name");
        for (hook, rules) in &self.hooks {
            let uses = rules.iter().any(|named| named.rule.delay.table == number);
            let same = self.tables.get(&number) == Some(table);
            assert!(!uses || same, "table {number} is changed under {hook:?}");
        }
        self.reply(format!("table {number}"), Object::Table(number))?;
        self.tables.insert(number, table.clone());
        Ok(())
    }

    fn add_peers(
        &mut self,
        group: u32,
        description: &str,
        networks: &BTreeSet<Network>,
    ) -> Result<(), Error> {
        assert!(!self.ended.contains(&group), "group {group} is used again");
        let first = self.descriptions.entry(group).or_insert_with(|| description.to_owned());
        assert_eq!(*first, description, "group {group} was another group");
        if let Some(there) = self.groups.get(&group) {
            assert!(!networks.is_empty(), "nothing to add to group {group}");
            assert!(there.networks.is_disjoint(networks), "{networks:?} are there already");
        }
        self.reply(format!("add {} to {group}", listed(networks)), Object::Group(group))?;
        let new = || Group { description: description.to_owned(), networks: BTreeSet::new() };
        self.groups.entry(group).or_insert_with(new).networks.extend(networks);
        Ok(())
    }

    fn remove_peers(
        &mut self,
        group: u32,
        networks: &BTreeSet<Network>,
        ends: bool,
    ) -> Result<(), Error> {
        let there = self.groups.get(&group).expect("a group that exists");
        assert!(there.networks.is_superset(networks), "{networks:?} are not in group {group}");
        assert!(ends || !networks.is_empty(), "nothing to remove from group {group}");
        assert!(!ends || there.networks == *networks, "group {group} ends but is not emptied");
        if ends {
            self.check_end_of_group(group);
        }
        let end = if ends { ", which ends" } else { "" };
        let call = format!("remove {} from {group}{end}", listed(networks));
        self.reply(call, Object::Group(group))?;
        if ends {
            self.groups.remove(&group);
            self.ended.insert(group);
        } else if let Some(there) = self.groups.get_mut(&group) {
            there.networks.retain(|network| !networks.contains(network));
        }
        Ok(())
    }

    fn renew_lease(&mut self, _length: Duration) -> Result<(), Error> {
        Ok(())
    }

    fn halt(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn purge(&mut self) {}
}

fn hook_name(hook: HookKey) -> String {
    let direction = Direction::from_number(hook.direction).map_or("?", Direction::name);
    format!("{} {direction}", hook.ifindex)
}

fn listed(networks: &BTreeSet<Network>) -> String {
    if networks.is_empty() {
        return "nothing".into();
    }
    networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
