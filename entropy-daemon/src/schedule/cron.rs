//! Windows that open at times of day.

mod field;
mod times;

use std::iter;

pub use self::times::{Times, zone};
use super::{Next, Window, hits};
use crate::policy::{Rate, Span};

/// Longest time that a window lasts after a match.
pub const LONGEST: Span = Span::new(24 * 3600 * SECOND_NS);

const SECOND_NS: u64 = 1_000_000_000;
const MINUTE: i64 = 60;
/// How many matches are looked at in one go: more than there can be within [`LONGEST`].
const MATCHES: usize = 1500;

/// Each match of a cron expression opens a window; those that touch are one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cron {
    /// When it matches.
    pub times: Times,
    /// How long the policy is in force after a match; at most [`LONGEST`].
    pub duration: Span,
    /// How probable that is, for each match.
    pub probability: Rate,
}

impl Cron {
    /// The window that is open at `after_ns`, or else the next one, in nanoseconds since 1970.
    /// `origin_ns` stands in for the beginning of one that is open for longer than anybody looks.
    pub(super) fn next(&self, origin_ns: u64, after_ns: u64, seed: u64) -> Next {
        let after = seconds(after_ns);
        let hits = |time: &i64| self.hits(seed, *time);
        let reaches = |time: &i64| self.end_ns(*time) > after_ns;
        let open = self.before(after).take_while(reaches).find(hits);
        let (first, cut) = match open {
            Some(time) => self.beginning(time, seed),
            None => {
                let mut coming = self.after(after + 1).take(MATCHES);
                let mut looked_at = None;
                let found = coming.by_ref().inspect(|time| looked_at = Some(*time)).find(hits);
                match (found, looked_at) {
                    (Some(time), _) => (time, false),
                    (None, Some(time)) => return Next::NotBefore(nanoseconds(time)),
                    (None, None) => return Next::Never,
                }
            }
        };
        let (last, goes_on) = self.end(open.unwrap_or(first), seed);
        let from_ns = if cut { origin_ns.min(after_ns) } else { nanoseconds(first) };
        let window = Window { from_ns, until_ns: self.end_ns(last) };
        if goes_on { Next::AtLeast(window) } else { Next::Window(window) }
    }

    /// The first match of the window that a match belongs to, and whether there may be earlier ones.
    fn beginning(&self, time: i64, seed: u64) -> (i64, bool) {
        let mut first = time;
        for (number, earlier) in self.before(time - 1).enumerate() {
            if self.end_ns(earlier) < nanoseconds(first) {
                return (first, false);
            }
            if number == MATCHES {
                return (first, true);
            }
            if self.hits(seed, earlier) {
                first = earlier;
            }
        }
        (first, false)
    }

    /// The last match of the window that a match belongs to, and whether there may be later ones.
    fn end(&self, time: i64, seed: u64) -> (i64, bool) {
        let mut last = time;
        for (number, later) in self.after(time + 1).enumerate() {
            if nanoseconds(later) > self.end_ns(last) {
                return (last, false);
            }
            if number == MATCHES {
                return (last, true);
            }
            if self.hits(seed, later) {
                last = later;
            }
        }
        (last, false)
    }

    /// Matches from a time on, in seconds since 1970.
    fn after(&self, time: i64) -> impl Iterator<Item = i64> {
        iter::successors(self.times.next(time), |time| self.times.next(time + 1))
    }

    /// Matches up to a time, the latest first, as far back as windows of theirs reach.
    fn before(&self, time: i64) -> impl Iterator<Item = i64> {
        let reach = i64::try_from(self.duration.nanoseconds() / SECOND_NS).unwrap_or(i64::MAX) + 1;
        let previous = move |time: i64| self.times.previous(time, time.saturating_sub(reach));
        iter::successors(previous(time), move |time| previous(time - 1))
    }

    fn end_ns(&self, time: i64) -> u64 {
        nanoseconds(time).saturating_add(self.duration.nanoseconds())
    }

    /// A match has the number of its minute since 1970, so that it is the same on every host.
    fn hits(&self, seed: u64, time: i64) -> bool {
        hits(self.probability, seed, (time / MINUTE).unsigned_abs())
    }
}

fn seconds(ns: u64) -> i64 {
    i64::try_from(ns / SECOND_NS).unwrap_or(i64::MAX)
}

fn nanoseconds(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or(0).saturating_mul(SECOND_NS)
}

#[cfg(test)]
mod tests;
