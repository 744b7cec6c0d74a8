//! What comes of a schedule, for people who want to know it beforehand.

use std::iter;

use jiff::{Zoned, tz::TimeZone};

use super::{Next, Now, Repeat, Schedule, Window, timestamp};
use crate::policy::{Policy, Rate};

/// How often a schedule is asked before it counts as one of which nothing comes soon.
const ASKED: usize = 100;

/// The next windows of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upcoming {
    /// From and until, in the schedule's zone; until is `None` where there is no end.
    Windows(Vec<(Zoned, Option<Zoned>)>),
    /// The daemon's dice decide, as the policy has no seed.
    Dice,
}

/// The next `count` windows of a policy that is loaded now, at most.
#[must_use]
pub fn upcoming(policy: &Policy, now: Now, count: usize) -> Upcoming {
    let schedule = policy.schedule.clone().unwrap_or_default();
    let Some(seed) = policy.seed.or(schedule.is_certain().then_some(0)) else {
        return Upcoming::Dice;
    };
    let began_ns = now.monotonic_ns;
    let origin_ns = schedule.start.map_or(began_ns, |start| now.monotonic(start).max(began_ns));
    let mut after_ns = began_ns;
    let ask = || match schedule.next(origin_ns, after_ns, now, seed) {
        Next::Window(window) | Next::AtLeast(window) => {
            after_ns = window.until_ns;
            Some(Some(window))
        }
        Next::NotBefore(time_ns) => {
            after_ns = time_ns;
            Some(None)
        }
        Next::Never => None,
    };
    let found = iter::from_fn(ask).take(ASKED).flatten();
    let zone = schedule.zone();
    let windows = found.take(count).filter_map(|window| zoned(window, now, &zone));
    Upcoming::Windows(windows.collect())
}

fn zoned(window: Window, now: Now, zone: &TimeZone) -> Option<(Zoned, Option<Zoned>)> {
    let at = |time_ns: u64| timestamp(now.wall(time_ns)).ok().map(|at| at.to_zoned(zone.clone()));
    let until = if window.until_ns == u64::MAX { None } else { at(window.until_ns) };
    Some((at(window.from_ns)?, until))
}

impl Schedule {
    /// Whether no dice are rolled.
    fn is_certain(&self) -> bool {
        match &self.repeat {
            None => true,
            Some(Repeat::Rolls(rolls)) => rolls.probability == Rate::ALWAYS,
            Some(Repeat::Cron(cron)) => cron.probability == Rate::ALWAYS,
        }
    }

    /// The zone in which its times are shown.
    #[must_use]
    pub fn zone(&self) -> TimeZone {
        match &self.repeat {
            Some(Repeat::Cron(cron)) => cron.times.zone().clone(),
            _ => TimeZone::UTC,
        }
    }
}
