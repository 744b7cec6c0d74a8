//! What the time says of a policy.

use crate::{api::types::State, policy::Policy, schedule::Window};

/// How a policy is that nothing but its schedule keeps from being in force.
pub(super) fn policy_state(policy: &Policy, window: Window, now_ns: u64) -> State {
    let repeats = policy.schedule.as_ref().is_some_and(|schedule| schedule.repeat.is_some());
    let has_end = policy.schedule.as_ref().is_some_and(|schedule| schedule.length.is_some());
    if window == Window::NEVER {
        return if has_end || !repeats { State::Over } else { State::Waiting };
    }
    if now_ns < window.from_ns {
        State::Waiting
    } else if now_ns < window.until_ns {
        State::InForce
    } else if repeats {
        // The next window is about to be written.
        State::Waiting
    } else {
        State::Over
    }
}

/// Time until a window begins and until it ends: none that does not begin, or not end.
pub(super) fn timed(window: Window, now_ns: u64) -> (Option<u64>, Option<u64>) {
    if window.until_ns <= now_ns {
        return (None, None);
    }
    let ends = (window.until_ns != u64::MAX).then(|| window.until_ns - now_ns);
    (Some(window.from_ns.saturating_sub(now_ns)), ends)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::policy::parse;

    fn state(schedule: &str, window: Window, now_ns: u64) -> State {
        let text = format!("[[policy]]\ntarget = \"app\"\nloss = \"1%\"\n{schedule}\n");
        let policy = parse(Path::new("x"), text.as_bytes()).unwrap().remove(0);
        policy_state(&policy, window, now_ns)
    }

    #[test]
    fn the_schedule_says_whether_a_policy_waits_or_is_over() {
        let (fixed, dice) = ("schedule = { for = \"10s\" }", "schedule = { every = \"1s\" }");
        let window = Window { from_ns: 10, until_ns: 20 };
        for (schedule, window, now_ns, expected) in [
            ("", Window::ALWAYS, 5, State::InForce),
            (fixed, window, 5, State::Waiting),
            (fixed, window, 10, State::InForce),
            (fixed, window, 20, State::Over),
            (fixed, Window::NEVER, 30, State::Over),
            (dice, window, 20, State::Waiting),
            (dice, Window::NEVER, 30, State::Waiting),
        ] {
            assert_eq!(state(schedule, window, now_ns), expected, "{schedule} {now_ns}");
        }
    }

    #[test]
    fn a_window_is_told_by_what_is_left_of_it() {
        assert_eq!(timed(Window::ALWAYS, 5), (Some(0), None));
        assert_eq!(timed(Window::NEVER, 5), (None, None));
        let window = Window { from_ns: 10, until_ns: 20 };
        assert_eq!(timed(window, 5), (Some(5), Some(15)));
        assert_eq!(timed(window, 15), (Some(0), Some(5)));
        assert_eq!(timed(window, 20), (None, None));
    }
}
