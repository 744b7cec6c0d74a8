//! What the maps say that an earlier version of this daemon has put into the kernel. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use entropy_common::{
    fault::delay::TABLE,
    rule::{Hook, HookKey, Labelled, Match, Rule, RuleSet},
};

use super::{NamedRule, retired::Retired};
use crate::{network::Network, plan::NAMED_TABLES};

/// What is in force, in the words of those who put it there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Rules and shields of each hook. A hook that points to nothing has none.
    pub hooks: BTreeMap<HookKey, (Vec<NamedRule>, Vec<Match>)>,
    /// The networks of each peer group.
    pub peers: BTreeMap<u32, BTreeSet<Network>>,
    /// The entries of the tables of percentiles that these rules follow.
    pub tables: BTreeMap<u32, Vec<i32>>,
    /// The hooks that have their program.
    pub attached: BTreeSet<HookKey>,
}

/// What stands in the maps.
#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    pub(super) hooks: BTreeMap<HookKey, Hook>,
    pub(super) sets: BTreeMap<u32, RuleSet>,
    /// The rules that have counters.
    pub(super) states: BTreeSet<u32>,
    /// By kind and number.
    pub(super) labels: BTreeMap<(u32, u32), (String, String)>,
    pub(super) slots: BTreeMap<u32, HookKey>,
    pub(super) peers: Vec<(u32, Network)>,
}

/// The datapath's own part of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Books {
    /// Rule set and rules in force on each hook.
    pub(super) hooks: HashMap<HookKey, (u32, BTreeSet<u32>)>,
    /// The number of each hook.
    pub(super) slots: HashMap<HookKey, u32>,
    /// A number that no rule set has.
    pub(super) next_set: u32,
    /// What no packet can find any more: the daemon before had not come to free it.
    pub(super) retired: Vec<Retired>,
}

impl Contents {
    /// What is in force; without what is attached, which is in no map, and tables, which are asked for by
    /// [`Recovered::tables_in_use`].
    pub(super) fn recover(&self) -> (Recovered, Books) {
        let mut recovered = Recovered { peers: self.groups(), ..Recovered::default() };
        let mut books = Books { next_set: self.next_set(), ..Books::default() };
        for (key, hook) in &self.hooks {
            let set = self.sets.get(&hook.set).filter(|set| set.hook == *key);
            let rules: Vec<_> = set.into_iter().flat_map(RuleSet::used).copied().collect();
            let ids = rules.iter().map(|rule| rule.id).collect();
            let shields = set.map_or_else(Vec::new, |set| set.used_shields().to_vec());
            let rules = rules.into_iter().map(|rule| self.named(rule)).collect();
            recovered.hooks.insert(*key, (rules, shields));
            books.hooks.insert(*key, (hook.set, ids));
            books.slots.insert(*key, hook.slot);
        }
        books.retired = self.retired(&books);
        (recovered, books)
    }

    fn named(&self, rule: Rule) -> NamedRule {
        let label = self.labels.get(&(Labelled::Rule as u32, rule.id));
        let (policy, container) = label.cloned().unwrap_or_default();
        NamedRule { rule, policy, container }
    }

    fn groups(&self) -> BTreeMap<u32, BTreeSet<Network>> {
        let mut groups: BTreeMap<u32, BTreeSet<Network>> = BTreeMap::new();
        // One without a network has a label all the same.
        for (kind, number) in self.labels.keys() {
            if *kind == Labelled::PeerGroup as u32 {
                groups.entry(*number).or_default();
            }
        }
        for (group, network) in &self.peers {
            groups.entry(*group).or_default().insert(*network);
        }
        groups
    }

    fn next_set(&self) -> u32 {
        let pointed_to = self.hooks.values().map(|hook| hook.set);
        let last = self.sets.keys().copied().chain(pointed_to).max().unwrap_or_default();
        last.wrapping_add(1)
    }

    fn retired(&self, books: &Books) -> Vec<Retired> {
        let sets: BTreeSet<u32> = books.hooks.values().map(|(set, _)| *set).collect();
        let rules: BTreeSet<u32> =
            books.hooks.values().flat_map(|(_, rules)| rules).copied().collect();
        let slots: BTreeSet<u32> = books.slots.values().copied().collect();
        let labelled = self.labels.keys();
        let labelled = labelled.filter(|(kind, _)| *kind == Labelled::Rule as u32);
        let all_rules = self.states.iter().copied().chain(labelled.map(|(_, number)| *number));
        let all_rules: BTreeSet<u32> = all_rules.collect();
        let old_sets = self.sets.keys().filter(|set| !sets.contains(set)).copied();
        let old_slots = self.slots.keys().filter(|slot| !slots.contains(slot)).copied();
        old_sets
            .map(Retired::Set)
            .chain(all_rules.difference(&rules).copied().map(Retired::Rule))
            .chain(old_slots.map(Retired::Slot))
            .collect()
    }
}

impl Recovered {
    /// The numbers of the tables of percentiles that rules follow.
    pub(super) fn tables_in_use(&self) -> BTreeSet<u32> {
        let rules = self.hooks.values().flat_map(|(rules, _)| rules);
        let delays = rules.map(|named| named.rule.delay);
        delays
            .filter(|delay| delay.shape == TABLE && delay.table >= NAMED_TABLES)
            .map(|delay| delay.table)
            .collect()
    }

    /// How many rules are in force.
    #[must_use]
    pub fn rules(&self) -> usize {
        self.hooks.values().map(|(rules, _)| rules.len()).sum()
    }
}

#[cfg(test)]
mod tests;
