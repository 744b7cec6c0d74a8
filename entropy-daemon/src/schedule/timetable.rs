//! The schedules of the policies that are there: when each of them began, and its window now.

use std::collections::{BTreeMap, HashMap};

use super::{Next, Schedule, Window};
use crate::{
    plan,
    policy::{Origin, Policy, Span},
};

/// By how much the two clocks may drift apart before it counts as a jump, in nanoseconds: what a clock
/// that is slewed gains in minutes.
const JUMP_NS: u64 = 100_000_000;

/// Now, by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub(crate) monotonic_ns: u64,
    /// Nanoseconds since 1970.
    pub(crate) wall_ns: u64,
}

impl Now {
    /// A point in time, by the monotonic clock; one that has passed long ago is 0.
    fn monotonic(self, wall_ns: u64) -> u64 {
        match wall_ns.checked_sub(self.wall_ns) {
            Some(ahead) => self.monotonic_ns.saturating_add(ahead),
            None => self.monotonic_ns.saturating_sub(self.wall_ns - wall_ns),
        }
    }

    /// What has to be added to the one clock to get the other.
    fn offset(self) -> i128 {
        i128::from(self.wall_ns) - i128::from(self.monotonic_ns)
    }
}

/// Remembers since when each policy has been there.
#[derive(Debug, Default)]
pub(crate) struct Timetable {
    /// By policy, wherever it stands in its file.
    since: HashMap<Policy, u64>,
    planned: Option<Now>,
}

/// The windows of all policies.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Windows {
    /// By name of the policy; those in force without a break are not in it.
    pub(crate) of: BTreeMap<String, Window>,
    /// When one of them ends, or has to be looked for again, by the monotonic clock.
    pub(crate) until_ns: Option<u64>,
}

impl Timetable {
    /// The window of each policy that is open, or the next one. A policy that is new begins now; one
    /// that was changed is new. `longest` is what the guard allows at a stretch.
    pub(crate) fn windows(
        &mut self,
        policies: &[Policy],
        now: Now,
        seed: u64,
        longest: Option<Span>,
    ) -> Windows {
        let since = std::mem::take(&mut self.since);
        let mut windows = Windows::default();
        for policy in policies {
            let key = Policy { origin: Origin::default(), ..policy.clone() };
            let began_ns = since.get(&key).copied().unwrap_or(now.monotonic_ns);
            self.since.insert(key, began_ns);
            let schedule = policy.schedule.clone().unwrap_or_default();
            if schedule == Schedule::default() && longest.is_none() {
                continue;
            }
            let origin_ns =
                schedule.start.map_or(began_ns, |start| now.monotonic(start).max(began_ns));
            let seed = plan::policy_seed(policy, seed);
            let (window, until_ns) = match schedule.next(origin_ns, now.monotonic_ns, seed) {
                Next::Window(window) => (limited(window, longest), Some(window.until_ns)),
                Next::NotBefore(time_ns) => (Window::NEVER, Some(time_ns)),
                Next::Never => (Window::NEVER, None),
            };
            let until_ns = until_ns.filter(|until_ns| *until_ns != u64::MAX);
            windows.until_ns = windows.until_ns.into_iter().chain(until_ns).min();
            windows.of.insert(policy.name.clone(), window);
        }
        self.planned = Some(now);
        windows
    }

    /// Whether a clock was set, or the machine slept, since the windows were computed.
    pub(crate) fn has_jumped(&self, now: Now) -> bool {
        self.planned
            .is_some_and(|planned| planned.offset().abs_diff(now.offset()) > u128::from(JUMP_NS))
    }
}

/// A window that is no longer than the guard allows.
fn limited(window: Window, longest: Option<Span>) -> Window {
    let Some(longest) = longest else { return window };
    let end_ns = window.from_ns.saturating_add(longest.nanoseconds());
    Window { until_ns: window.until_ns.min(end_ns), ..window }
}

#[cfg(test)]
mod tests;
