//! Counters.

use crate::{memory::RuleMemory, record};

/// Buckets of the histogram of delays.
pub const BUCKETS: usize = 32;

record! {
    /// What a rule has counted since it was made, and what it remembers. Updated with atomic
    /// operations by all CPUs.
    pub struct RuleState {
        /// Packets that passed the hook while the rule was in force.
        pub seen: u64,
        /// Packets that the rule matched. The value before a packet is added is that packet's ordinal,
        /// from which all chance is drawn.
        pub matched: u64,
        /// Bytes of the matched packets, Ethernet header included.
        pub matched_bytes: u64,
        /// Packets that the rule lost, by loss or partition; of a loss by segment
        /// ([`Loss::with_segments`](crate::fault::loss::Loss::with_segments)) the frames.
        pub lost: u64,
        /// Bytes of these.
        pub lost_bytes: u64,
        /// Packets that the rule gave a delay.
        pub delayed: u64,
        /// Packets that the rule sent early, or held back for others to overtake.
        pub reordered: u64,
        /// Packets that the rule had sent twice.
        pub duplicated: u64,
        /// Frames that the rule damaged.
        pub corrupted: u64,
        /// Packets that had to wait for the rule's rate.
        pub shaped: u64,
        /// Packets that the rule marked with congestion experienced.
        pub marked: u64,
        /// Packets that the rule dropped because they would have waited too long for its rate or slots.
        pub queue_dropped: u64,
        /// Frames of matched packets that crossed the wire on the rule's account. The value before a
        /// frame is added is that frame's ordinal, from which chance is drawn at the wire.
        pub framed: u64,
        /// Delays given by the rule, by delay, rate and slot together; see [`bucket`].
        pub delays: [u64; BUCKETS],
        /// What the rule remembers.
        pub memory: RuleMemory,
    }
}

impl RuleState {
    /// The state of a new rule.
    pub const ZERO: Self = Self {
        seen: 0,
        matched: 0,
        matched_bytes: 0,
        lost: 0,
        lost_bytes: 0,
        delayed: 0,
        reordered: 0,
        duplicated: 0,
        corrupted: 0,
        shaped: 0,
        marked: 0,
        queue_dropped: 0,
        framed: 0,
        delays: [0; BUCKETS],
        memory: RuleMemory::ZERO,
    };
}

/// A counter of a [`RuleState`], by its place in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Counter {
    /// [`RuleState::seen`].
    Seen = 0,
    /// [`RuleState::matched`].
    Matched = 1,
    /// [`RuleState::matched_bytes`].
    MatchedBytes = 2,
    /// [`RuleState::lost`].
    Lost = 3,
    /// [`RuleState::lost_bytes`].
    LostBytes = 4,
    /// [`RuleState::delayed`].
    Delayed = 5,
    /// [`RuleState::reordered`].
    Reordered = 6,
    /// [`RuleState::duplicated`].
    Duplicated = 7,
    /// [`RuleState::corrupted`].
    Corrupted = 8,
    /// [`RuleState::shaped`].
    Shaped = 9,
    /// [`RuleState::marked`].
    Marked = 10,
    /// [`RuleState::queue_dropped`].
    QueueDropped = 11,
    /// [`RuleState::framed`].
    Framed = 12,
}

// The counters stand where their numbers say.
const _: () = {
    assert!(core::mem::offset_of!(RuleState, matched) == 8 * Counter::Matched as usize);
    assert!(core::mem::offset_of!(RuleState, lost_bytes) == 8 * Counter::LostBytes as usize);
    assert!(core::mem::offset_of!(RuleState, queue_dropped) == 8 * Counter::QueueDropped as usize);
    assert!(core::mem::offset_of!(RuleState, framed) == 8 * Counter::Framed as usize);
    assert!(core::mem::offset_of!(RuleState, delays) == 8 * (Counter::Framed as usize + 1));
};

/// The bucket of a delay: bucket 0 is for delays below 1024 ns, bucket `n` for those from
/// `2^(9 + n)` up to `2^(10 + n)` ns, and the last one for all above.
#[inline(always)]
#[must_use]
pub const fn bucket(delay_ns: u64) -> u32 {
    let bits = 64 - (delay_ns >> 10).leading_zeros();
    if bits < BUCKETS as u32 { bits } else { BUCKETS as u32 - 1 }
}

/// The least delay of a bucket, in nanoseconds.
#[must_use]
pub const fn bucket_start_ns(bucket: u32) -> u64 {
    if bucket == 0 { 0 } else { 1 << (9 + bucket) }
}

/// Things that happen to packets regardless of a rule, counted per CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Event {
    /// A packet came to a hook that has rules.
    Packet = 0,
    /// It passed because the lease had run out.
    LeaseExpired = 1,
    /// It passed because it is not IP (ARP, for one).
    NotIp = 2,
    /// It passed because it is IPv6 neighbour discovery, the ARP of IPv6.
    NeighbourDiscovery = 3,
    /// It passed because its IP header is no such.
    Malformed = 4,
    /// It passed a hook whose rules were being replaced.
    Stale = 5,
    /// A rule had no state: an internal error, the rule was skipped.
    NoState = 6,
    /// A packet lost on purpose went into the line, to be freed at its exit, because its sender is
    /// this host and must not be told.
    Sunk = 7,
    /// A packet came out of the line and was freed.
    Freed = 8,
    /// A packet, or its copy, went into the line to wait there.
    Waited = 9,
    /// A packet came out of the line and went on.
    Released = 10,
    /// A packet came out of the line or the wire that belongs to no hook, and was freed.
    Stray = 11,
    /// A packet was to wait and could not, because the line is full or not there: it passed at once.
    NotHeld = 12,
    /// A packet, or its copy, went into the wire.
    Wired = 13,
    /// A frame came out of the wire. A packet that went into it comes out as one frame, a super-packet
    /// as many.
    Frame = 14,
    /// A packet was to cross the wire and could not, because there is none: it stayed as it was.
    NotWired = 15,
    /// A packet met no rule because the operator's guard lets it pass whatever the policies say.
    Shielded = 16,
}

impl Event {
    /// All events, in the order of their index.
    pub const ALL: [Self; 17] = [
        Self::Packet,
        Self::LeaseExpired,
        Self::NotIp,
        Self::NeighbourDiscovery,
        Self::Malformed,
        Self::Stale,
        Self::NoState,
        Self::Sunk,
        Self::Freed,
        Self::Waited,
        Self::Released,
        Self::Stray,
        Self::NotHeld,
        Self::Wired,
        Self::Frame,
        Self::NotWired,
        Self::Shielded,
    ];

    /// Index in the map.
    #[inline(always)]
    #[must_use]
    pub const fn index(self) -> u32 {
        self as u32
    }

    /// The name that tables and metrics show.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Packet => "packets",
            Self::LeaseExpired => "lease_expired",
            Self::NotIp => "not_ip",
            Self::NeighbourDiscovery => "neighbour_discovery",
            Self::Malformed => "malformed",
            Self::Stale => "stale",
            Self::NoState => "no_state",
            Self::Sunk => "sunk",
            Self::Freed => "freed",
            Self::Waited => "waited",
            Self::Released => "released",
            Self::Stray => "stray",
            Self::NotHeld => "not_held",
            Self::Wired => "wired",
            Self::Frame => "frames",
            Self::NotWired => "not_wired",
            Self::Shielded => "shielded",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_lies_in_the_bucket_that_begins_at_or_before_it() {
        for (delay_ns, expected) in [(0, 0), (1023, 0), (1024, 1), (2047, 1), (2048, 2)] {
            assert_eq!(bucket(delay_ns), expected, "{delay_ns} ns");
        }
        assert_eq!(bucket(u64::MAX), 31);
        for index in 1..32 {
            assert_eq!(bucket(bucket_start_ns(index)), index);
            assert_eq!(bucket(bucket_start_ns(index) - 1), index - 1);
        }
    }

    #[test]
    fn events_stand_at_their_index() {
        for (index, event) in Event::ALL.iter().enumerate() {
            assert_eq!(event.index() as usize, index);
        }
    }
}
