//! The schedules of the policies that are there: when each of them began, and its window now.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::{Next, Now, Schedule, Window};
use crate::{
    plan,
    policy::{Origin, Policy, Records, Span},
};

/// By how much the two clocks may move against each other before it counts as a jump, in nanoseconds.
/// One that is slewed takes the other with it; what is left is the time between reading the two.
const JUMP_NS: u64 = 10_000_000;

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
    /// What happens to packets now, or will when the window opens, by name of a policy that moves.
    pub(crate) moving: BTreeMap<String, Records>,
    /// When one of them ends or moves, or has to be looked for again, by the monotonic clock.
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
        let now = self.steady(now);
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
            let is_plain = schedule == Schedule::default() && policy.ramp.is_none();
            if is_plain && longest.is_none() {
                continue;
            }
            let origin_ns =
                schedule.start.map_or(began_ns, |start| now.monotonic(start).max(began_ns));
            let seed = plan::policy_seed(policy, seed);
            let after_ns = now.monotonic_ns;
            let (window, until_ns) = match schedule.next(origin_ns, after_ns, now, seed) {
                Next::Window(window) => (window, Some(window.until_ns)),
                // Half of the time is left then.
                Next::AtLeast(window) => (window, Some(after_ns.midpoint(window.until_ns))),
                Next::NotBefore(time_ns) => (Window::NEVER, Some(time_ns)),
                Next::Never => (Window::NEVER, None),
            };
            windows.ramp(policy, window, after_ns);
            let window = limited(window, longest);
            windows.end(until_ns.filter(|until_ns| *until_ns != u64::MAX));
            windows.of.insert(policy.name.clone(), window);
        }
        self.planned = Some(now);
        windows
    }

    /// Now, as far as the clock was not set. Reading two clocks takes a different time each time: with it,
    /// the windows would be others each time they are computed, and written anew.
    fn steady(&self, now: Now) -> Now {
        match self.planned {
            Some(planned) if !self.has_jumped(now) => {
                Now { wall_ns: planned.wall(now.monotonic_ns), ..now }
            }
            _ => now,
        }
    }

    /// Whether a clock was set, or the machine slept, since the windows were computed.
    pub(crate) fn has_jumped(&self, now: Now) -> bool {
        self.planned
            .is_some_and(|planned| planned.offset().abs_diff(now.offset()) > u128::from(JUMP_NS))
    }
}

impl Windows {
    /// What a policy that moves has come to.
    fn ramp(&mut self, policy: &Policy, window: Window, now_ns: u64) {
        let Some(ramp) = &policy.ramp else { return };
        let is_never = window == Window::NEVER;
        let passed_ns = if is_never { 0 } else { now_ns.saturating_sub(window.from_ns) };
        // Both ends have records, or the policy would have been refused; and so has what is in between.
        if let Ok(records) = ramp.at(&policy.faults, passed_ns).records() {
            self.moving.insert(policy.name.clone(), records);
        }
        if !is_never {
            self.end(ramp.next(passed_ns).map(|next_ns| window.from_ns.saturating_add(next_ns)));
        }
    }

    /// Something is otherwise from then on.
    fn end(&mut self, until_ns: Option<u64>) {
        self.until_ns = self.until_ns.into_iter().chain(until_ns).min();
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
