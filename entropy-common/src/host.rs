//! The host's side of deciding: the maps' meaning, in ordinary memory.
//!
//! With it the host predicts what the kernel does: tests hold the kernel against it, packet by
//! packet.

extern crate std;

use std::{cell::Cell, collections::HashMap, rc::Rc, vec::Vec};

use crate::{
    decide::{Environment, Tally},
    peer::PeerKey,
    rule::Rule,
    stats::RuleState,
};

/// Counters and peers in memory.
#[derive(Debug, Default)]
pub struct Host {
    states: HashMap<u32, Rc<Cell<RuleState>>>,
    peers: Vec<(PeerKey, u32)>,
}

impl Host {
    /// Fresh counters for `rules`, and the networks of all peer groups with the lengths of their
    /// prefixes in bits as in the trie ([`PeerKey::network`]).
    #[must_use]
    pub fn new(rules: &[Rule], peers: &[(PeerKey, u32)]) -> Self {
        let states =
            rules.iter().map(|rule| (rule.id, Rc::new(Cell::new(RuleState::ZERO)))).collect();
        Self { states, peers: peers.into() }
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

impl Environment for Host {
    type Tally = HostTally;

    fn is_peer(&self, key: &PeerKey) -> bool {
        self.peers.iter().any(|(network, bits)| same_prefix(network, key, *bits))
    }

    fn tally(&self, rule: u32) -> Option<HostTally> {
        self.states.get(&rule).map(|state| HostTally(Rc::clone(state)))
    }
}

/// The counters of one rule.
#[derive(Debug)]
pub struct HostTally(Rc<Cell<RuleState>>);

impl HostTally {
    fn update(&self, change: impl FnOnce(&mut RuleState)) {
        let mut state = self.0.get();
        change(&mut state);
        self.0.set(state);
    }
}

impl Tally for HostTally {
    fn seen(&self) {
        self.update(|state| state.seen += 1);
    }

    fn matched(&self, bytes: u32) -> u64 {
        let ordinal = self.0.get().matched;
        self.update(|state| {
            state.matched += 1;
            state.matched_bytes += u64::from(bytes);
        });
        ordinal
    }

    fn lost(&self, bytes: u32) {
        self.update(|state| {
            state.lost += 1;
            state.lost_bytes += u64::from(bytes);
        });
    }
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
