//! What the rules, peer groups and tables of a plan are called in the kernel.

use std::collections::{BTreeMap, HashMap};

use entropy_common::{fault::delay::MAX_TABLES, rule::HookKey};

use crate::{
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
}

impl Numbers {
    pub(super) fn rule(&mut self, hook: HookKey, injection: &Injection) -> u32 {
        *self.rules.entry((hook, injection.clone())).or_insert_with(|| {
            self.last_rule += 1;
            self.last_rule
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
        taken: &BTreeMap<u32, Percentiles>,
    ) -> Option<u32> {
        if let Some(number) = self.tables.get(percentiles) {
            return Some(*number);
        }
        let mut free = (NAMED_TABLES..MAX_TABLES).filter(|number| {
            taken.get(number).is_none_or(|there| there == percentiles)
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
