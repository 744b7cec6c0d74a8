//! Counters.

use crate::record;

record! {
    /// What a rule has counted since it was made. Updated with atomic adds by all CPUs.
    pub struct RuleState {
        /// Packets that passed the hook while the rule was in force.
        pub seen: u64,
        /// Packets that the rule matched. The value before a packet is added is that packet's ordinal,
        /// from which all chance is drawn.
        pub matched: u64,
        /// Bytes of the matched packets, Ethernet header included.
        pub matched_bytes: u64,
        /// Packets that the rule lost, by loss or partition.
        pub lost: u64,
        /// Bytes of the lost packets.
        pub lost_bytes: u64,
    }
}

impl RuleState {
    /// The state of a new rule.
    pub const ZERO: Self = Self { seen: 0, matched: 0, matched_bytes: 0, lost: 0, lost_bytes: 0 };
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
}

impl Event {
    /// All events, in the order of their index.
    pub const ALL: [Self; 9] = [
        Self::Packet,
        Self::LeaseExpired,
        Self::NotIp,
        Self::NeighbourDiscovery,
        Self::Malformed,
        Self::Stale,
        Self::NoState,
        Self::Sunk,
        Self::Freed,
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
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_stand_at_their_index() {
        for (index, event) in Event::ALL.iter().enumerate() {
            assert_eq!(event.index() as usize, index);
        }
    }
}
