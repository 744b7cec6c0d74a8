//! The schedules of the policies that are there: when each of them began, and its window now.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

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

/// Since when a policy has been there, for the next version of the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Since {
    policy: String,
    /// What tells it from another one of that name; `None` where another version had other words for it.
    fingerprint: Option<u64>,
    began_ns: u64,
}

/// Remembers since when each policy has been there.
#[derive(Debug, Default)]
pub(crate) struct Timetable {
    /// By policy, wherever it stands in its file.
    since: HashMap<Policy, u64>,
    /// What the version before remembered, until the policies are seen for the first time.
    before: Vec<Since>,
    planned: Option<Now>,
}

impl Since {
    /// Whether a policy is this one. Without a fingerprint one of the same name is taken for the same: that
    /// it was edited during the upgrade is the less likely mistake.
    fn is_of(&self, key: &Policy) -> bool {
        let is_same = |print| print == fingerprint(key);
        self.policy == key.name && self.fingerprint.is_none_or(is_same)
    }
}

/// A number for a policy, wherever it stands in its file.
fn fingerprint(key: &Policy) -> u64 {
    plan::fingerprint(&format!("{key:?}"))
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
    /// Goes on with what the version before remembered. `is_same_version`: it was the same program.
    pub(crate) fn resumed(since: Vec<Since>, is_same_version: bool) -> Self {
        let known = |since: Since| Since {
            fingerprint: since.fingerprint.filter(|_| is_same_version),
            ..since
        };
        let before = since.into_iter().map(known).collect();
        Self { before, ..Self::default() }
    }

    /// What the next version has to remember.
    pub(crate) fn hand_over(&self) -> Vec<Since> {
        // Before the first look at the policies nothing has changed.
        let seen = self.since.iter().map(|(key, began_ns)| Since {
            policy: key.name.clone(),
            fingerprint: Some(fingerprint(key)),
            began_ns: *began_ns,
        });
        self.before.iter().cloned().chain(seen).collect()
    }

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
        let before = std::mem::take(&mut self.before);
        let mut windows = Windows::default();
        for policy in policies {
            let key = Policy { origin: Origin::default(), ..policy.clone() };
            let earlier = || before.iter().find(|since| since.is_of(&key));
            // What was noted before the machine started anew, by a clock that is past, means nothing.
            let noted = policy.origin.since_ns.filter(|since_ns| *since_ns <= now.monotonic_ns);
            let began_ns = since.get(&key).copied().or(noted);
            let began_ns = began_ns.or_else(|| Some(earlier()?.began_ns));
            let began_ns = began_ns.unwrap_or(now.monotonic_ns);
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
