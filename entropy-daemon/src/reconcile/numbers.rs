//! What the rules, peer groups and tables of a plan are called in the kernel.

use std::collections::{BTreeMap, HashMap};

use entropy_common::{
    fault::delay::MAX_TABLES,
    rule::{HookKey, Label, Rule},
};

use crate::{
    datapath::{NamedRule, Recovered},
    handover,
    plan::{Injection, NAMED_TABLES, Plan},
    policy::Percentiles,
};

/// Numbers of rules and peer groups. A number is never given to another rule, so a reader of the
/// counters cannot take one for the other.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    pub(super) rules: HashMap<(HookKey, Injection), u32>,
    pub(super) groups: HashMap<String, u32>,
    pub(super) tables: HashMap<Percentiles, u32>,
    pub(super) last_rule: u32,
    pub(super) last_group: u32,
    /// What an earlier version has put there, and no plan has asked for yet.
    pub(super) found: Found,
}

/// What was found in the kernel.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) rules: BTreeMap<HookKey, Vec<NamedRule>>,
    /// The entries of tables that rules follow.
    pub(super) tables: BTreeMap<u32, Vec<i32>>,
}

impl Found {
    /// The number of a rule that is there already.
    fn rule(&self, hook: HookKey, wanted: &NamedRule, moves: bool) -> Option<u32> {
        let rules = self.rules.get(&hook)?;
        rules.iter().find(|there| is_same(there, wanted, moves)).map(|there| there.rule.id)
    }

    /// The number of a table that is there already.
    fn table(&self, percentiles: &Percentiles) -> Option<u32> {
        if self.tables.is_empty() {
            return None;
        }
        let (wanted, _) = percentiles.table().ok()?;
        let mut all = self.tables.iter();
        all.find(|(_, entries)| **entries == wanted.entries()).map(|(number, _)| *number)
    }
}

/// Whether two are one rule under the same number: when it is in force may change, and if it `moves` its
/// faults have. Names stand in the
/// kernel as far as its labels hold them.
fn is_same(one: &NamedRule, other: &NamedRule, moves: bool) -> bool {
    let lasting = |rule: Rule| {
        let faults = if moves {
            Rule { seed: rule.seed, matcher: rule.matcher, ..Rule::NONE }
        } else {
            rule
        };
        Rule { id: 0, active_from_ns: 0, active_until_ns: 0, ..faults }
    };
    let label = |named: &NamedRule| Label::new(&named.policy, &named.container);
    lasting(one.rule) == lasting(other.rule) && label(one) == label(other)
}

impl Numbers {
    /// Goes on with the numbers that were given by an earlier version.
    pub(super) fn recovered(found: &Recovered, handed: handover::Numbers) -> Self {
        let handover::Numbers { last_rule, last_group, groups } = handed;
        let rules = found.hooks.values().flat_map(|(rules, _)| rules);
        Self {
            last_rule: rules.map(|named| named.rule.id).chain([last_rule]).max().unwrap_or(0),
            last_group: found.peers.keys().copied().chain([last_group]).max().unwrap_or(0),
            // Also of one that could not be written: rules may name it all the same.
            groups: groups.into_iter().map(|(number, peer)| (peer, number)).collect(),
            found: Found {
                rules: found
                    .hooks
                    .iter()
                    .map(|(hook, (rules, _))| (*hook, rules.clone()))
                    .collect(),
                tables: found.tables.clone(),
            },
            ..Self::default()
        }
    }

    /// What the next version has to know of them.
    pub(super) fn hand_over(&self) -> handover::Numbers {
        handover::Numbers {
            last_rule: self.last_rule,
            last_group: self.last_group,
            groups: self.groups.iter().map(|(peer, number)| (*number, peer.clone())).collect(),
        }
    }

    /// The number of an injection on a hook, whose rule this is but for its number.
    pub(super) fn rule(
        &mut self,
        hook: HookKey,
        injection: &Injection,
        named: &NamedRule,
        plan: &Plan,
    ) -> u32 {
        let Self { rules, last_rule, found, .. } = self;
        let moves = plan.moving.contains_key(&injection.policy);
        *rules.entry((hook, injection.clone())).or_insert_with(|| {
            found.rule(hook, named, moves).unwrap_or_else(|| {
                *last_rule += 1;
                *last_rule
            })
        })
    }

    pub(super) fn group(&mut self, peer: &str) -> u32 {
        *self.groups.entry(peer.to_owned()).or_insert_with(|| {
            self.last_group += 1;
            self.last_group
        })
    }

    /// The number of a table. Of these there are few, so they are given again: but never one that is
    /// `taken` by another table in the kernel, for which rules may still be in force.
    pub(super) fn table(
        &mut self,
        percentiles: &Percentiles,
        taken: &mut BTreeMap<u32, Percentiles>,
    ) -> Option<u32> {
        if let Some(number) = self.tables.get(percentiles) {
            return Some(*number);
        }
        if let Some(number) = self.found.table(percentiles) {
            self.found.tables.remove(&number);
            self.tables.insert(percentiles.clone(), number);
            taken.insert(number, percentiles.clone());
            return Some(number);
        }
        let mut free = (NAMED_TABLES..MAX_TABLES).filter(|number| {
            taken.get(number).is_none_or(|there| there == percentiles)
                && !self.found.tables.contains_key(number)
                && self.tables.values().all(|used| used != number)
        });
        let number = free.next()?;
        self.tables.insert(percentiles.clone(), number);
        Some(number)
    }

    /// Forgets what is in no plan any more, so that the memory does not grow with the churn.
    pub(super) fn forget(&mut self, plan: &Plan) {
        self.rules.retain(|(hook, injection), _| {
            plan.hooks.get(hook).is_some_and(|injections| injections.contains(injection))
        });
        self.groups.retain(|peer, _| plan.peers.contains_key(peer));
        let injections = || plan.hooks.values().flatten();
        self.tables.retain(|percentiles, _| {
            injections().any(|injection| injection.faults.percentiles.as_ref() == Some(percentiles))
        });
    }
}
