//! Dice that are rolled again and again, by the monotonic clock.

use super::{Next, Window, hits};
use crate::policy::{Rate, Span};

/// How many rolls are looked at in one go. What comes of more is looked at later.
pub(super) const ROLLS: u64 = 10_000;

/// Dice that are rolled again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rolls {
    /// From one roll to the next; at least [`SHORTEST`](super::SHORTEST).
    pub every: Span,
    /// How long the policy is in force after a roll that hits; at most `every`.
    pub duration: Span,
    /// How probable that is.
    pub probability: Rate,
}

impl Rolls {
    pub(super) fn next(&self, origin_ns: u64, after_ns: u64, end_ns: u64, seed: u64) -> Next {
        let every_ns = self.every.nanoseconds().max(1);
        // What lasts until the next roll goes on if that hits as well.
        let lasts = self.duration >= self.every;
        if lasts && self.probability == Rate::ALWAYS {
            return Next::Window(Window { from_ns: origin_ns, until_ns: u64::MAX });
        }
        let begin = |roll: u64| origin_ns.saturating_add(roll.saturating_mul(every_ns));
        let first = after_ns.saturating_sub(origin_ns) / every_ns;
        let last = first + ROLLS;
        let is_open = |roll: &u64| {
            self.hits(seed, *roll)
                && begin(*roll).saturating_add(self.duration.nanoseconds()) > after_ns
        };
        let Some(roll) = (first..last).take_while(|roll| begin(*roll) < end_ns).find(is_open)
        else {
            return if begin(last) < end_ns { Next::NotBefore(begin(last)) } else { Next::Never };
        };
        let earlier = |roll: &u64| lasts && *roll > 0 && self.hits(seed, *roll - 1);
        let (mut from, mut until) = (roll, roll);
        while earlier(&from) && roll - from < ROLLS {
            from -= 1;
        }
        while lasts && until < last && self.hits(seed, until + 1) {
            until += 1;
        }
        let until_ns = begin(until).saturating_add(self.duration.nanoseconds());
        let window = Window { from_ns: begin(from), until_ns };
        if until < last { Next::Window(window) } else { Next::AtLeast(window) }
    }

    fn hits(&self, seed: u64, roll: u64) -> bool {
        hits(self.probability, seed, roll)
    }
}
