//! What no packet can find any more but one may still be looking at.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use entropy_common::fault::delay::MAX_DELAY_NS;

/// How long a program may hold on to what it found. The kernel recycles the memory of a removed
/// element at once, for another key of the same map (`bpf_mem_alloc`, Linux 6.1), so a program in the
/// middle of a packet would read another hook's rules. Programs run for microseconds; a second also
/// covers a virtual CPU that is not scheduled.
const GRACE: Duration = Duration::from_secs(1);

/// How long a packet may carry the number of a hook: it waits in the line, and comes out.
const LONGEST_WAIT: Duration = Duration::from_nanos(MAX_DELAY_NS).saturating_add(GRACE);

/// Something to remove later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retired {
    /// A rule set.
    Set(u32),
    /// The counters and the label of a rule.
    Rule(u32),
    /// The number of a hook.
    Slot(u32),
}

impl Retired {
    const fn stay(self) -> Duration {
        match self {
            Self::Set(_) | Self::Rule(_) => GRACE,
            Self::Slot(_) => LONGEST_WAIT,
        }
    }
}

/// The waiting room.
#[derive(Debug, Default)]
pub(super) struct Retirement(VecDeque<(Instant, Retired)>);

impl Retirement {
    /// Puts something in, at `now`.
    pub(super) fn add(&mut self, now: Instant, retired: Retired) {
        self.0.push_back((now, retired));
    }

    /// Takes back a rule that is used again.
    pub(super) fn recall_rule(&mut self, rule: u32) {
        self.0.retain(|(_, retired)| *retired != Retired::Rule(rule));
    }

    /// Takes out the next that has waited long enough at `now`.
    pub(super) fn next(&mut self, now: Instant) -> Option<Retired> {
        let over = |(since, retired): &(Instant, Retired)| {
            now.saturating_duration_since(*since) >= retired.stay()
        };
        let index = self.0.iter().position(over)?;
        self.0.remove(index).map(|(_, retired)| retired)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_before_its_time_and_all_leave_in_order() {
        let mut retirement = Retirement::default();
        let start = Instant::now();
        retirement.add(start, Retired::Set(1));
        retirement.add(start + GRACE / 2, Retired::Rule(2));
        assert_eq!(retirement.next(start + GRACE / 2), None);
        assert_eq!(retirement.next(start + GRACE), Some(Retired::Set(1)));
        assert_eq!(retirement.next(start + GRACE), None);
        assert_eq!(retirement.next(start + 2 * GRACE), Some(Retired::Rule(2)));
        assert_eq!(retirement.next(start + 2 * GRACE), None);
    }

    #[test]
    fn the_number_of_a_hook_stays_as_long_as_a_packet_may_wait() {
        let mut retirement = Retirement::default();
        let start = Instant::now();
        retirement.add(start, Retired::Slot(1));
        retirement.add(start, Retired::Set(2));
        assert_eq!(retirement.next(start + GRACE), Some(Retired::Set(2)));
        assert_eq!(retirement.next(start + LONGEST_WAIT - GRACE), None);
        assert_eq!(retirement.next(start + LONGEST_WAIT), Some(Retired::Slot(1)));
    }

    #[test]
    fn a_recalled_rule_stays() {
        let mut retirement = Retirement::default();
        let start = Instant::now();
        retirement.add(start, Retired::Rule(2));
        retirement.recall_rule(2);
        assert_eq!(retirement.next(start + GRACE), None);
    }
}
