//! When a policy is in force. Pure: seed and times in, windows out.
//!
//! All times are nanoseconds of one clock, that of the kernel's programs, which stands still during
//! suspend. So a roll or a pulse is late by as long as the machine slept; a start at a point in time is
//! not, as it is converted anew ([`timetable`]).

mod timetable;

use std::fmt;

use entropy_common::chance;

pub(crate) use self::timetable::{Now, Since, Timetable};
use crate::policy::{Rate, Span};

/// How many rolls are looked at in one go. What comes of more is looked at later.
const ROLLS: u64 = 10_000;
/// What tells the dice from all that is drawn for packets.
const DICE: u64 = 0x6469_6365;

/// When a policy is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Schedule {
    /// What repeats; `None` for being in force without a break.
    pub rolls: Option<Rolls>,
    /// Not before this, in nanoseconds since 1970; `None` for at once.
    pub start: Option<u64>,
    /// For how long from the start on, breaks included; `None` for as long as the policy is there.
    pub length: Option<Span>,
}

/// Dice that are rolled again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rolls {
    /// From one roll to the next; at least [`SHORTEST`].
    pub every: Span,
    /// How long the policy is in force after a roll that hits; at most `every`.
    pub duration: Span,
    /// How probable that is.
    pub probability: Rate,
}

/// Shortest time between two rolls, and shortest pulse: the next window is written while none is in
/// force, which takes a busy host some milliseconds.
pub const SHORTEST: Span = Span::new(100_000_000);

/// A time in force: from, and up to but without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Window {
    /// Its first nanosecond.
    pub from_ns: u64,
    /// Its end; `u64::MAX` for none.
    pub until_ns: u64,
}

impl Window {
    /// In force without an end.
    pub const ALWAYS: Self = Self { from_ns: 0, until_ns: u64::MAX };
    /// Never in force.
    pub const NEVER: Self = Self { from_ns: 0, until_ns: 0 };
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The window that is open, or else the next one.
    Window(Window),
    /// None that begins before this: ask again then.
    NotBefore(u64),
    /// None ever.
    Never,
}

impl Schedule {
    /// The window that is open at `after_ns`, or else the next one, of a policy that could be in force
    /// from `origin_ns` on.
    ///
    /// The first roll is at `origin_ns`. What a roll comes to is a function of seed and number, so the
    /// windows are the same whoever computes them, and when.
    #[must_use]
    pub fn next(&self, origin_ns: u64, after_ns: u64, seed: u64) -> Next {
        let end_ns =
            self.length.map_or(u64::MAX, |length| origin_ns.saturating_add(length.nanoseconds()));
        if after_ns >= end_ns {
            return Next::Never;
        }
        let found = match &self.rolls {
            None => Next::Window(Window { from_ns: origin_ns, until_ns: u64::MAX }),
            Some(rolls) => rolls.next(origin_ns, after_ns, end_ns, seed),
        };
        match found {
            Next::Window(window) if window.from_ns >= end_ns => Next::Never,
            Next::Window(window) => {
                Next::Window(Window { until_ns: window.until_ns.min(end_ns), ..window })
            }
            Next::NotBefore(time) if time >= end_ns => Next::Never,
            other => other,
        }
    }
}

impl Rolls {
    fn next(&self, origin_ns: u64, after_ns: u64, end_ns: u64, seed: u64) -> Next {
        let every_ns = self.every.nanoseconds().max(1);
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
        // What lasts until the next roll goes on if that hits as well.
        let lasts = self.duration >= self.every;
        let earlier = |roll: &u64| lasts && *roll > 0 && self.hits(seed, *roll - 1);
        let (mut from, mut until) = (roll, roll);
        while earlier(&from) && roll - from < ROLLS {
            from -= 1;
        }
        while lasts && until < last && self.hits(seed, until + 1) {
            until += 1;
        }
        let until_ns = begin(until).saturating_add(self.duration.nanoseconds());
        Next::Window(Window { from_ns: begin(from), until_ns })
    }

    fn hits(&self, seed: u64, roll: u64) -> bool {
        chance::derive(chance::derive(seed, DICE), roll) >> 32 < self.probability.parts()
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if let Some(Rolls { every, duration, probability }) = self.rolls {
            if duration < every {
                parts.push(format!("{duration} every {every}"));
            } else {
                parts.push(format!("every {every}"));
            }
            if probability != Rate::ALWAYS {
                parts.push(format!("with {probability}"));
            }
        }
        if let Some(time) = self.start.and_then(|start| timestamp(start).ok()) {
            parts.push(format!("from {time}"));
        }
        parts.extend(self.length.map(|length| format!("for {length}")));
        f.write_str(&parts.join(", "))
    }
}

/// A point in time, in nanoseconds since 1970.
fn timestamp(ns: u64) -> Result<jiff::Timestamp, jiff::Error> {
    jiff::Timestamp::from_nanosecond(i128::from(ns))
}

#[cfg(test)]
mod tests;
