//! What deciding needs from around it.

use crate::{fault::delay::Tables, memory::Memory, peer::PeerKey, stats::Counter};

/// The peer map, the distributions and the rules' counters.
pub trait Environment: Tables {
    /// The counters and the memory of one rule.
    type Tally: Tally;

    /// Whether an address belongs to a peer group.
    fn is_peer(&self, key: &PeerKey) -> bool;

    /// The counters of the rule with this number. `None` is an internal error: the rule is skipped
    /// and the implementation counts it.
    fn tally(&self, rule: u32) -> Option<Self::Tally>;
}

/// The counters of one rule ([`RuleState`](crate::stats::RuleState)).
pub trait Tally: Memory {
    /// Adds to a counter and returns what it was before. Atomic: of [`Counter::Matched`] every call
    /// must return another number, on whatever CPU, since it is the packet's ordinal.
    fn add(&self, counter: Counter, amount: u64) -> u64;

    /// Counts a delay in a bucket of the histogram, below [`BUCKETS`](crate::stats::BUCKETS).
    fn add_delay(&self, bucket: u32);
}
