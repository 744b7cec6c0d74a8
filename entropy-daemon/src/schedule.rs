//! When a policy is in force. Pure: seed and times in, windows out.
//!
//! Windows are nanoseconds of the clock that the kernel's programs read, which stands still during
//! suspend. So a roll or a pulse is late by as long as the machine slept. What is about the time of day
//! (a start, cron) is not, as it is converted anew whenever the two clocks have moved against each other
//! ([`timetable`]).

mod cron;
mod rolls;
mod timetable;
mod upcoming;

use std::fmt;

use entropy_common::chance;

pub(crate) use self::timetable::{Since, Timetable, Windows};
pub use self::{
    cron::{Cron, LONGEST, Times, zone},
    rolls::Rolls,
    upcoming::{Upcoming, upcoming},
};
use crate::policy::{Rate, Span};

/// What tells the dice from all that is drawn for packets.
const DICE: u64 = 0x6469_6365;

/// When a policy is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Schedule {
    /// What repeats; `None` for being in force without a break.
    pub repeat: Option<Repeat>,
    /// Not before this, in nanoseconds since 1970; `None` for at once.
    pub start: Option<u64>,
    /// For how long from the start on, breaks included; `None` for as long as the policy is there.
    pub length: Option<Span>,
}

/// What opens a window again and again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Repeat {
    /// A time that has passed.
    Rolls(Rolls),
    /// A time of day.
    Cron(Box<Cron>),
}

/// Shortest time between two rolls, and shortest pulse: the next window is written while none is in
/// force, which takes a busy host some milliseconds.
pub const SHORTEST: Span = Span::new(100_000_000);

/// Now, by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub monotonic_ns: u64,
    /// Nanoseconds since 1970.
    pub wall_ns: u64,
}

impl Now {
    /// A point in time, by the monotonic clock; one before the machine began is 0.
    #[must_use]
    pub fn monotonic(self, wall_ns: u64) -> u64 {
        moved(wall_ns, self.wall_ns, self.monotonic_ns)
    }

    /// The other way round.
    #[must_use]
    pub fn wall(self, monotonic_ns: u64) -> u64 {
        moved(monotonic_ns, self.monotonic_ns, self.wall_ns)
    }

    /// What has to be added to the one clock to get the other.
    fn offset(self) -> i128 {
        i128::from(self.wall_ns) - i128::from(self.monotonic_ns)
    }
}

/// What is as far from `to` as the time is from `from`, within what there is.
const fn moved(time_ns: u64, from: u64, to: u64) -> u64 {
    match time_ns.checked_sub(from) {
        Some(ahead) => to.saturating_add(ahead),
        None => to.saturating_sub(from - time_ns),
    }
}

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
    /// The same, but it may go on beyond this end: ask again before it comes.
    AtLeast(Window),
    /// None that begins before this: ask again then.
    NotBefore(u64),
    /// None ever.
    Never,
}

impl Next {
    /// The same for a schedule that has ended by then.
    fn ending_at(self, end_ns: u64) -> Self {
        let cut = |window: Window| Window { until_ns: window.until_ns.min(end_ns), ..window };
        match self {
            Self::Window(window) | Self::AtLeast(window) if window.from_ns >= end_ns => Self::Never,
            Self::NotBefore(time_ns) if time_ns >= end_ns => Self::Never,
            Self::AtLeast(window) if window.until_ns < end_ns => Self::AtLeast(window),
            Self::Window(window) | Self::AtLeast(window) => Self::Window(cut(window)),
            other => other,
        }
    }
}

impl Schedule {
    /// The window that is open at `after_ns`, or else the next one, of a policy that could be in force
    /// from `origin_ns` on. `now` says how the time of day and the monotonic clock, which all else here
    /// is by, belong together.
    ///
    /// The first roll is at `origin_ns`. What a roll comes to is a function of seed and number, so the
    /// windows are the same whoever computes them, and when.
    #[must_use]
    pub fn next(&self, origin_ns: u64, after_ns: u64, now: Now, seed: u64) -> Next {
        let end_ns = match (self.length.map(Span::nanoseconds), self.start) {
            (None, _) => u64::MAX,
            (Some(length), None) => origin_ns.saturating_add(length),
            // What is to be over by a time of day is not begun anew by who comes later.
            (Some(length), Some(start)) => now.monotonic(start.saturating_add(length)),
        };
        if after_ns >= end_ns {
            return Next::Never;
        }
        let found = match &self.repeat {
            None => Next::Window(Window { from_ns: origin_ns, until_ns: u64::MAX }),
            Some(Repeat::Rolls(rolls)) => rolls.next(origin_ns, after_ns, end_ns, seed),
            Some(Repeat::Cron(cron)) => self.of_cron(cron, origin_ns, after_ns, now, seed),
        };
        found.ending_at(end_ns)
    }

    /// How long a window of it can be, in nanoseconds; `u64::MAX` for without end. Those of cron that touch
    /// are longer.
    #[must_use]
    pub fn longest_ns(&self) -> u64 {
        let window = match &self.repeat {
            Some(Repeat::Rolls(rolls)) if rolls.duration < rolls.every => {
                rolls.duration.nanoseconds()
            }
            Some(Repeat::Cron(cron)) => cron.duration.nanoseconds(),
            _ => u64::MAX,
        };
        window.min(self.length.map_or(u64::MAX, Span::nanoseconds))
    }

    /// A window of cron's is where the clock says, also if it opened before the policy was there; only a
    /// start cuts it.
    fn of_cron(&self, cron: &Cron, origin_ns: u64, after_ns: u64, now: Now, seed: u64) -> Next {
        let least_wall_ns = self.start.unwrap_or(0);
        let after_wall_ns = now.wall(after_ns).max(least_wall_ns);
        let monotonic = |window: Window| Window {
            from_ns: now.monotonic(window.from_ns.max(least_wall_ns)),
            until_ns: now.monotonic(window.until_ns),
        };
        match cron.next(now.wall(origin_ns), after_wall_ns, seed) {
            Next::Window(window) => Next::Window(monotonic(window)),
            Next::AtLeast(window) => Next::AtLeast(monotonic(window)),
            Next::NotBefore(time_ns) => Next::NotBefore(now.monotonic(time_ns)),
            Next::Never => Next::Never,
        }
    }
}

/// What the dice come to.
fn hits(probability: Rate, seed: u64, roll: u64) -> bool {
    chance::derive(chance::derive(seed, DICE), roll) >> 32 < probability.parts()
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        let mut probability = Rate::ALWAYS;
        match &self.repeat {
            None => {}
            Some(Repeat::Rolls(rolls)) => {
                let Rolls { every, duration, .. } = rolls;
                if duration < every {
                    parts.push(format!("{duration} every {every}"));
                } else {
                    parts.push(format!("every {every}"));
                }
                probability = rolls.probability;
            }
            Some(Repeat::Cron(cron)) => {
                parts.push(format!("{} at {}", cron.duration, cron.times));
                probability = cron.probability;
            }
        }
        if probability != Rate::ALWAYS {
            parts.push(format!("with {probability}"));
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
