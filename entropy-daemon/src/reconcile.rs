//! What should be against what is -> actions. The same code serves start-up, a Docker event, an
//! edited policy and recovery.
//!
//! Pure but for [`Reconciler::apply`], which hands the actions to a [`Datapath`] and remembers which
//! of them succeeded. What failed still differs, so it is an action of the next time as well.

mod numbers;

use std::collections::{BTreeMap, BTreeSet};

use entropy_common::{
    fault::delay::TABLE,
    rule::{Direction, HookKey, Match, Rule},
};
use tracing::{debug, info, warn};

use self::numbers::Numbers;
use crate::{
    datapath::{Datapath, Error, Interface, NamedRule, Recovered},
    handover,
    network::Network,
    plan::{Injection, NAMED_TABLES, Plan, Unsupported},
    policy::Percentiles,
    schedule::Window,
};

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Add networks to a peer group.
    AddPeers {
        /// Number of the group.
        group: u32,
        /// What the policy calls it.
        description: String,
        /// What to add.
        networks: BTreeSet<Network>,
    },
    /// Write the table of a delay.
    PutTable {
        /// Number of the table.
        number: u32,
        /// What it is made from.
        percentiles: Percentiles,
    },
    /// Replace the rules of a hook.
    PutRules {
        /// The hook.
        hook: HookKey,
        /// Its rules from now on.
        rules: Vec<NamedRule>,
        /// What meets none of them.
        shields: Vec<Match>,
    },
    /// Put the program of a direction on an interface.
    Attach {
        /// The interface.
        interface: Interface,
        /// The direction.
        direction: Direction,
    },
    /// Take all rules off a hook.
    ClearRules(HookKey),
    /// Take the program off a hook.
    Detach(HookKey),
    /// Remove networks from a peer group.
    RemovePeers {
        /// Number of the group.
        group: u32,
        /// What to remove.
        networks: BTreeSet<Network>,
        /// Whether the group itself ends.
        ends: bool,
    },
}

/// What is in the kernel, as far as the daemon put it there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    peers: BTreeMap<u32, BTreeSet<Network>>,
    tables: BTreeMap<u32, Percentiles>,
    /// Rules and shields.
    hooks: BTreeMap<HookKey, (Vec<NamedRule>, Vec<Match>)>,
    attached: BTreeSet<HookKey>,
}

impl State {
    /// Whether the tables that rules follow are in the kernel.
    fn has_tables(&self, rules: &[NamedRule]) -> bool {
        rules.iter().map(|named| &named.rule.delay).all(|delay| {
            delay.shape != TABLE
                || delay.table < NAMED_TABLES
                || self.tables.contains_key(&delay.table)
        })
    }

    /// Whether the addresses of what is never hit are in the kernel, all of them.
    fn has_shields(&self, shields: &[Match], should: &BTreeMap<u32, BTreeSet<Network>>) -> bool {
        shields.iter().map(|shield| shield.peer_group).all(|group| {
            let (is, should) = (self.peers.get(&group), should.get(&group));
            should.is_none_or(|should| is.is_some_and(|is| should.is_subset(is)))
        })
    }

    /// Forgets the tables that no rule follows any more: their numbers can be given again.
    fn forget_tables(&mut self, found: &mut BTreeMap<u32, Vec<i32>>) {
        let hooks = &self.hooks;
        let is_used = |number: &u32| {
            let mut rules = hooks.values().flat_map(|(rules, _)| rules);
            rules.any(|named| named.rule.delay.table == *number)
        };
        self.tables.retain(|number, _| is_used(number));
        found.retain(|number, _| is_used(number));
    }
}

/// What a round has to do.
struct Round {
    actions: Vec<Action>,
    /// Whether there is more to do after it.
    more: bool,
    /// The networks of each peer group in the end.
    peers: BTreeMap<u32, BTreeSet<Network>>,
}

/// What came of a round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// How many actions succeeded.
    pub done: usize,
    /// Actions that failed and are worth another try.
    pub failed: usize,
    /// Whether there is more to do that can wait for what has happened meanwhile: another round should
    /// follow at once.
    pub more: bool,
    /// Injections that will not work until something else changes.
    pub unsupported: BTreeSet<Unsupported>,
}

/// Keeps the kernel as the plan says.
#[derive(Debug, Default)]
pub struct Reconciler {
    is: State,
    numbers: Numbers,
}

impl Reconciler {
    /// Goes on with what an earlier version of the daemon has put into the kernel. The first plan decides
    /// what of it stays: the rules that it has as well keep their numbers, and with them their counters.
    pub(crate) fn resumed(there: Recovered, handed: handover::Numbers) -> Self {
        let numbers = Numbers::recovered(&there, handed);
        let Recovered { hooks, peers, tables: _, attached } = there;
        Self { is: State { peers, tables: BTreeMap::new(), hooks, attached }, numbers }
    }

    /// What the next version has to know, besides what it finds in the kernel.
    pub(crate) fn hand_over(&self) -> handover::Numbers {
        self.numbers.hand_over()
    }

    /// The changes that lead from what is to the plan, in an order in which every moment between
    /// two of them is harmless: no rule before its peers, no program before its rules, and the
    /// other way round at the end.
    fn actions(&mut self, plan: &Plan) -> Round {
        let should = self.should(plan);
        let mut actions = Vec::new();
        // What is never hit comes first: there may not be room for all.
        let is_shield = |peer: &str| plan.shields.iter().any(|shield| shield.peer == peer);
        let mut peers: Vec<_> = plan.peers.iter().collect();
        peers.sort_by_key(|(peer, _)| !is_shield(peer));
        for (peer, networks) in peers {
            let group = self.numbers.group(peer);
            let missing = without(networks, self.is.peers.get(&group));
            if !missing.is_empty() || !self.is.peers.contains_key(&group) {
                let description = peer.clone();
                actions.push(Action::AddPeers { group, description, networks: missing });
            }
        }
        for (number, percentiles) in &should.tables {
            if self.is.tables.get(number) != Some(percentiles) {
                let (number, percentiles) = (*number, percentiles.clone());
                actions.push(Action::PutTable { number, percentiles });
            }
        }
        for (hook, contents) in &should.hooks {
            if self.is.hooks.get(hook) != Some(contents) {
                let (rules, shields) = contents.clone();
                actions.push(Action::PutRules { hook: *hook, rules, shields });
            }
        }
        let missing: Vec<HookKey> =
            should.attached.difference(&self.is.attached).copied().collect();
        let (needed, prepared): (Vec<HookKey>, Vec<HookKey>) =
            missing.into_iter().partition(|hook| should.hooks.contains_key(hook));
        // An attach takes tens of milliseconds. Those that are for later must not hold up a container
        // that comes to be behind another hook meanwhile, so there is one in a round.
        let more = prepared.len() > 1;
        for hook in needed.into_iter().chain(prepared.into_iter().take(1)) {
            let interface = plan.interfaces.get(&hook.ifindex).cloned();
            let direction = Direction::from_number(hook.direction);
            if let (Some(interface), Some(direction)) = (interface, direction) {
                actions.push(Action::Attach { interface, direction });
            }
        }
        let gone = self.is.hooks.keys().filter(|hook| !should.hooks.contains_key(hook));
        actions.extend(gone.copied().map(Action::ClearRules));
        let gone = self.is.attached.difference(&should.attached);
        actions.extend(gone.copied().map(Action::Detach));
        for (group, networks) in &self.is.peers {
            let superfluous = without(networks, should.peers.get(group));
            let ends = !should.peers.contains_key(group);
            if !superfluous.is_empty() || ends {
                actions.push(Action::RemovePeers { group: *group, networks: superfluous, ends });
            }
        }
        Round { actions, more, peers: should.peers }
    }

    fn should(&mut self, plan: &Plan) -> State {
        self.numbers.forget(plan);
        let Self { is, numbers } = self;
        let peers = plan
            .peers
            .iter()
            .map(|(peer, networks)| (numbers.group(peer), networks.clone()))
            .collect();
        let shields: Vec<Match> = plan
            .shields
            .iter()
            .map(|shield| Match { peer_group: numbers.group(&shield.peer), ..shield.matcher })
            .collect();
        let mut tables = BTreeMap::new();
        let mut hooks = BTreeMap::new();
        for (hook, injections) in &plan.hooks {
            let mut rules = Vec::new();
            for injection in injections {
                let mut named = rule(numbers, injection, plan);
                if let Some(percentiles) = &injection.faults.percentiles {
                    // Where all numbers are taken by tables that end in this round, the rule has to
                    // wait for the next one.
                    let Some(number) = numbers.table(percentiles, &mut is.tables) else {
                        continue;
                    };
                    named.rule.delay.table = number;
                    tables.insert(number, percentiles.clone());
                }
                named.rule.id = numbers.rule(*hook, injection, &named, plan);
                rules.push(named);
            }
            hooks.insert(*hook, (rules, shields.clone()));
        }
        hooks.retain(|_, (rules, _)| !rules.is_empty());
        // What this plan has not asked for, no later one can mean.
        numbers.found.rules.clear();
        let attached = plan.hooks.keys().chain(&plan.prepared).copied().collect();
        State { peers, tables, hooks, attached }
    }

    /// Makes the kernel what the plan says, as far as it goes. `between` is called between two
    /// actions: an attach takes tens of milliseconds, many of them longer than a lease.
    pub async fn apply<D: Datapath>(
        &mut self,
        plan: &Plan,
        datapath: &mut D,
        mut between: impl FnMut(&mut D),
    ) -> Outcome {
        let Round { actions, more, peers } = self.actions(plan);
        let mut outcome = Outcome {
            more,
            unsupported: plan.unsupported.iter().cloned().collect(),
            ..Outcome::default()
        };
        for action in actions {
            if let Action::PutRules { rules, shields, .. } = &action
                && !(self.is.has_tables(rules) && self.is.has_shields(shields, &peers))
            {
                // Writing the table, or what is never hit, failed just now, and is tried again.
                continue;
            }
            debug!(?action, "reconcile");
            match execute(&action, datapath).await {
                Ok(()) => {
                    self.note(action);
                    outcome.done += 1;
                }
                // The link's removal leads to another round, whose plan does not have it any more.
                Err(Error::Gone(interface)) => {
                    info!("{interface} vanished, nothing to do there");
                    if matches!(action, Action::Detach(_)) {
                        self.note(action);
                    }
                }
                Err(Error::Unsupported(reason)) => {
                    outcome.unsupported.extend(affected(plan, &action, &reason));
                }
                Err(Error::Other(error)) => {
                    warn!("will be tried again: {error:#}");
                    outcome.failed += 1;
                }
            }
            between(datapath);
        }
        // What cannot be done is not done sooner by asking for it again and again.
        outcome.more &= outcome.done > 0;
        self.is.forget_tables(&mut self.numbers.found.tables);
        outcome
    }

    /// Takes policies out of force, whatever else is there: their rules keep their numbers and counters,
    /// and have no window any more.
    pub(crate) async fn withdraw<D: Datapath>(
        &mut self,
        is_unwanted: impl Fn(&str) -> bool,
        datapath: &mut D,
    ) -> Outcome {
        let never = |named: &NamedRule| {
            let Window { from_ns, until_ns } = Window::NEVER;
            let mut named = named.clone();
            (named.rule.active_from_ns, named.rule.active_until_ns) = (from_ns, until_ns);
            named
        };
        let mut actions = Vec::new();
        for (hook, (rules, shields)) in &self.is.hooks {
            let one = |named: &NamedRule| {
                if is_unwanted(&named.policy) { never(named) } else { named.clone() }
            };
            let after: Vec<NamedRule> = rules.iter().map(one).collect();
            if after != *rules {
                actions.push(Action::PutRules {
                    hook: *hook,
                    rules: after,
                    shields: shields.clone(),
                });
            }
        }
        let mut outcome = Outcome::default();
        for action in actions {
            match execute(&action, datapath).await {
                Ok(()) => {
                    self.note(action);
                    outcome.done += 1;
                }
                Err(error) => {
                    warn!("will be tried again: {error}");
                    outcome.failed += 1;
                }
            }
        }
        outcome
    }

    /// Takes everything off interfaces that have vanished: others may have their numbers by now. What
    /// fails is left to the next round.
    pub(crate) async fn leave<D: Datapath>(&mut self, gone: &BTreeSet<u32>, datapath: &mut D) {
        let is_gone = |hook: &&HookKey| gone.contains(&hook.ifindex);
        let rules = self.is.hooks.keys().filter(is_gone).copied().map(Action::ClearRules);
        let programs = self.is.attached.iter().filter(is_gone).copied().map(Action::Detach);
        for action in rules.chain(programs).collect::<Vec<_>>() {
            match execute(&action, datapath).await {
                Ok(()) | Err(Error::Gone(_)) => self.note(action),
                Err(error) => warn!("an interface that has vanished: {error}"),
            }
        }
    }

    /// Somebody else has taken the programs off these hooks.
    pub(crate) fn lost(&mut self, hooks: &BTreeSet<HookKey>) {
        self.is.attached.retain(|hook| !hooks.contains(hook));
    }

    /// Whether there is a rule that hits packets now, or will.
    pub(crate) fn acts(&self, now_ns: u64) -> bool {
        let mut rules = self.is.hooks.values().flat_map(|(rules, _)| rules);
        rules.any(|named| named.rule.active_until_ns > now_ns)
    }

    /// Whether the rules of a hook are in the kernel, and its program.
    #[must_use]
    pub fn is_in_force(&self, hook: HookKey) -> bool {
        self.is.hooks.contains_key(&hook) && self.is.attached.contains(&hook)
    }

    fn note(&mut self, action: Action) {
        match action {
            Action::AddPeers { group, networks, .. } => {
                self.is.peers.entry(group).or_default().extend(networks);
            }
            Action::PutTable { number, percentiles } => {
                self.is.tables.insert(number, percentiles);
            }
            Action::PutRules { hook, rules, shields } => {
                self.is.hooks.insert(hook, (rules, shields));
            }
            Action::Attach { interface, direction } => {
                self.is.attached.insert(HookKey::new(interface.index, direction));
            }
            Action::ClearRules(hook) => {
                self.is.hooks.remove(&hook);
            }
            Action::Detach(hook) => {
                self.is.attached.remove(&hook);
            }
            Action::RemovePeers { group, ends: true, .. } => {
                self.is.peers.remove(&group);
            }
            Action::RemovePeers { group, networks, ends: false } => {
                if let Some(peers) = self.is.peers.get_mut(&group) {
                    peers.retain(|network| !networks.contains(network));
                }
            }
        }
    }
}

fn without(networks: &BTreeSet<Network>, those: Option<&BTreeSet<Network>>) -> BTreeSet<Network> {
    those.map_or_else(|| networks.clone(), |those| networks - those)
}

/// The rule of an injection, which has no number yet.
fn rule(numbers: &mut Numbers, injection: &Injection, plan: &Plan) -> NamedRule {
    let window = plan.windows.get(&injection.policy).copied().unwrap_or(Window::ALWAYS);
    // A policy that moves keeps its rule, and so its counters and where it is in its random numbers.
    let faults = plan.moving.get(&injection.policy).unwrap_or(&injection.faults);
    let mut matcher = injection.matcher;
    matcher.peer_group = injection.peer.as_ref().map_or(0, |peer| numbers.group(peer));
    NamedRule {
        rule: Rule {
            seed: injection.seed,
            active_from_ns: window.from_ns,
            active_until_ns: window.until_ns,
            matcher,
            ..faults.rule()
        },
        policy: injection.policy.clone(),
        container: injection.container.clone(),
    }
}

async fn execute<D: Datapath>(action: &Action, datapath: &mut D) -> Result<(), Error> {
    match action {
        Action::AddPeers { group, description, networks } => {
            datapath.add_peers(*group, description, networks)
        }
        Action::PutTable { number, percentiles } => {
            let (table, _) = percentiles.table().map_err(|mistake| anyhow::anyhow!("{mistake}"))?;
            datapath.put_table(*number, &table)
        }
        Action::PutRules { hook, rules, shields } => datapath.put_rules(*hook, rules, shields),
        Action::Attach { interface, direction } => datapath.attach(interface, *direction).await,
        Action::ClearRules(hook) => datapath.clear_rules(*hook),
        Action::Detach(hook) => datapath.detach(*hook).await,
        Action::RemovePeers { group, networks, ends } => {
            datapath.remove_peers(*group, networks, *ends)
        }
    }
}

/// The injections that an action was for.
fn affected(plan: &Plan, action: &Action, reason: &str) -> Vec<Unsupported> {
    let is_affected = |hook: &HookKey| match action {
        Action::Attach { interface, direction } => {
            *hook == HookKey::new(interface.index, *direction)
        }
        Action::PutRules { hook: put, .. } => hook == put,
        _ => false,
    };
    plan.hooks
        .iter()
        .filter(|(hook, _)| is_affected(hook))
        .flat_map(|(_, injections)| injections)
        .map(|injection| Unsupported {
            policy: injection.policy.clone(),
            container: injection.container.clone(),
            reason: reason.to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests;
