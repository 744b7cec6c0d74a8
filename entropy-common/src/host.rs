//! The host's side of deciding: the maps' meaning, in ordinary memory.
//!
//! With it the host predicts what the kernel does: tests hold the kernel against it, packet by
//! packet.

extern crate std;

use std::{cell::Cell, collections::HashMap, rc::Rc, vec::Vec};

use crate::{
    decide::{Environment, Tally},
    fault::delay::{
        Tables,
        table::{Distribution, Table},
    },
    memory::{Memory, RuleMemory, Word},
    peer::{PeerEntry, PeerKey},
    rule::Rule,
    stats::{Counter, RuleState},
};

/// Counters, peers and distributions in memory.
#[derive(Debug, Default)]
pub struct Host {
    states: HashMap<u32, Rc<Cell<RuleState>>>,
    peers: Vec<(PeerKey, u32, PeerEntry)>,
    tables: Vec<Table>,
}

impl Host {
    /// Fresh counters for `rules`, and the networks of all peer groups with the lengths of their
    /// prefixes in bits as in the trie ([`PeerKey::network`]).
    #[must_use]
    pub fn new(rules: &[Rule], peers: &[(PeerKey, u32)]) -> Self {
        let states =
            rules.iter().map(|rule| (rule.id, Rc::new(Cell::new(RuleState::ZERO)))).collect();
        let peers = peers.iter().map(|(key, bits)| (*key, *bits, PeerEntry::MEMBER)).collect();
        Self { states, peers, tables: Vec::new() }
    }

    /// The same with networks that do not belong to their group, though a wider one does: of all
    /// networks that hold an address, the one with the longest prefix counts.
    #[must_use]
    pub fn excluding(mut self, peers: &[(PeerKey, u32)]) -> Self {
        let excluded = PeerEntry { member: 0 };
        self.peers.extend(peers.iter().map(|(key, bits)| (*key, *bits, excluded)));
        self
    }

    /// The same with tables, numbered from 0.
    #[must_use]
    pub fn with_tables(self, tables: Vec<Table>) -> Self {
        Self { tables, ..self }
    }

    /// The same with the tables of the distributions that have a name, in the order of
    /// [`Distribution::ALL`].
    #[must_use]
    pub fn with_distributions(self) -> Self {
        self.with_tables(Distribution::ALL.into_iter().map(Distribution::table).collect())
    }

    /// What a rule has counted; zeros for a rule that is not there.
    #[must_use]
    pub fn state(&self, rule: u32) -> RuleState {
        self.states.get(&rule).map_or(RuleState::ZERO, |state| state.get())
    }
}

/// Whether the first `bits` of two keys are equal, in the order in which the kernel's trie compares.
fn same_prefix(a: &PeerKey, b: &PeerKey, bits: u32) -> bool {
    let address = bits.saturating_sub(PeerKey::SCOPE_BITS).min(128);
    let mask = u128::MAX.checked_shl(128 - address).unwrap_or(0);
    let number = |key: &PeerKey| u128::from_be_bytes(key.address.octets());
    a.scope == b.scope && number(a) & mask == number(b) & mask
}

impl Tables for Host {
    fn table_entry(&self, table: u32, index: u32) -> i32 {
        self.tables.table_entry(table, index)
    }
}

impl Environment for Host {
    type Tally = HostTally;

    fn is_peer(&self, key: &PeerKey) -> bool {
        self.peers
            .iter()
            .filter(|(network, bits, _)| same_prefix(network, key, *bits))
            .max_by_key(|(_, bits, _)| *bits)
            .is_some_and(|(_, _, entry)| *entry == PeerEntry::MEMBER)
    }

    fn tally(&self, rule: u32) -> Option<HostTally> {
        self.states.get(&rule).map(|state| HostTally(Rc::clone(state)))
    }
}

/// The counters of one rule.
#[derive(Debug)]
pub struct HostTally(Rc<Cell<RuleState>>);

impl HostTally {
    fn update<T>(&self, change: impl FnOnce(&mut RuleState) -> T) -> T {
        let mut state = self.0.get();
        let result = change(&mut state);
        self.0.set(state);
        result
    }
}

impl Tally for HostTally {
    fn add(&self, counter: Counter, amount: u64) -> u64 {
        self.update(|state| {
            let value = match counter {
                Counter::Seen => &mut state.seen,
                Counter::Matched => &mut state.matched,
                Counter::MatchedBytes => &mut state.matched_bytes,
                Counter::Lost => &mut state.lost,
                Counter::LostBytes => &mut state.lost_bytes,
                Counter::Delayed => &mut state.delayed,
                Counter::Reordered => &mut state.reordered,
                Counter::Duplicated => &mut state.duplicated,
                Counter::Corrupted => &mut state.corrupted,
                Counter::Shaped => &mut state.shaped,
                Counter::Marked => &mut state.marked,
                Counter::QueueDropped => &mut state.queue_dropped,
                Counter::Framed => &mut state.framed,
            };
            let before = *value;
            *value = before.wrapping_add(amount);
            before
        })
    }

    fn add_delay(&self, bucket: u32) {
        self.update(|state| {
            if let Some(count) = state.delays.get_mut(bucket as usize) {
                *count += 1;
            }
        });
    }
}

impl Memory for HostTally {
    fn update(&self, word: Word, step: impl Fn(u64) -> u64) -> u64 {
        self.update(|state| update(&mut state.memory, word, step))
    }
}

/// The memory of a rule that nobody counts for, for a fault that is looked at alone.
#[derive(Debug)]
pub struct HostMemory(Cell<RuleMemory>);

impl Default for HostMemory {
    fn default() -> Self {
        Self(Cell::new(RuleMemory::ZERO))
    }
}

impl Memory for HostMemory {
    fn update(&self, word: Word, step: impl Fn(u64) -> u64) -> u64 {
        let mut memory = self.0.get();
        let before = update(&mut memory, word, step);
        self.0.set(memory);
        before
    }
}

fn update(memory: &mut RuleMemory, word: Word, step: impl Fn(u64) -> u64) -> u64 {
    let place = &mut memory.words[word as usize];
    let before = *place;
    *place = step(before);
    before
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::Family;

    #[test]
    fn prefixes_reach_as_far_as_they_say() {
        let host = |network: &str, length| {
            Host::new(&[], &[PeerKey::network(1, network.parse().unwrap(), length)])
        };
        let v4 = |octets: [u8; 4]| PeerKey::new(1, Family::V4, octets.into());
        assert!(host("10.1.0.0", 16).is_peer(&v4([10, 1, 255, 255])));
        assert!(!host("10.1.0.0", 16).is_peer(&v4([10, 2, 0, 0])));
        assert!(host("0.0.0.0", 0).is_peer(&v4([255, 1, 1, 1])));
        assert!(!host("::", 0).is_peer(&v4([10, 1, 1, 1])), "IPv6 holds no IPv4");
        let other = PeerKey::new(2, Family::V4, [10, 1, 0, 0].into());
        assert!(!host("10.1.0.0", 16).is_peer(&other), "another group");
    }
}
