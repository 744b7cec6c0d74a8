use std::path::Path;

use super::*;
use crate::policy::parse;

const S: u64 = 1_000_000_000;
/// 2026-12-01T09:00:00Z.
const NINE: u64 = 1_796_115_600 * S;

fn policies(schedules: &[(&str, &str)]) -> Vec<Policy> {
    let text: String = schedules
        .iter()
        .map(|(name, schedule)| {
            format!(
                "[[policy]]\nname = \"{name}\"\ntarget = \"app\"\nseed = 1\nloss = \"1%\"\n{schedule}\n"
            )
        })
        .collect();
    parse(Path::new("test.toml"), text.as_bytes()).unwrap_or_else(|problems| panic!("{problems}"))
}

/// So many seconds after the machine began, at a time of its own.
fn at(seconds: u64) -> Now {
    Now { monotonic_ns: seconds * S, wall_ns: NINE - 1000 * S + seconds * S }
}

fn window(from: u64, until: u64) -> Window {
    Window { from_ns: from * S, until_ns: until.saturating_mul(S) }
}

#[test]
fn policies_without_a_schedule_have_no_window_of_their_own() {
    let windows = Timetable::default().windows(&policies(&[("p", "")]), at(10), 1, None);
    assert_eq!(windows, Windows::default());
}

#[test]
fn a_policy_begins_when_it_is_first_seen_and_goes_on_wherever_it_stands() {
    let mut timetable = Timetable::default();
    let pulsed = ("pulsed", "schedule = { on = \"1s\", off = \"9s\" }");
    let mut of = |list: &[(&str, &str)], seconds| {
        let windows = timetable.windows(&policies(list), at(seconds), 1, None);
        (windows.of["pulsed"], windows.until_ns)
    };
    assert_eq!(of(&[pulsed], 100), (window(100, 101), Some(101 * S)));
    assert_eq!(of(&[pulsed], 101), (window(110, 111), Some(111 * S)));
    // Another policy before it in the file changes its line and nothing else.
    assert_eq!(of(&[("first", ""), pulsed], 112), (window(120, 121), Some(121 * S)));
    let changed = ("pulsed", "schedule = { on = \"2s\", off = \"9s\" }");
    assert_eq!(of(&[changed], 113), (window(113, 115), Some(115 * S)));
    // Gone, and back again: it begins anew.
    timetable.windows(&[], at(114), 1, None);
    let again = timetable.windows(&policies(&[changed]), at(200), 1, None);
    assert_eq!(again.of["pulsed"], window(200, 202));
}

/// What the next version makes of a list that this one saw at 100 s, at 112 s.
fn window_after_an_upgrade(before: &str, after: &str, is_same_version: bool) -> Window {
    let mut old = Timetable::default();
    old.windows(&policies(&[("p", before)]), at(100), 1, None);
    let text = serde_json::to_string(&old.hand_over()).unwrap();
    let new = Timetable::resumed(serde_json::from_str(&text).unwrap(), is_same_version);
    // An upgrade before the policies were looked at changes nothing.
    let mut new = Timetable::resumed(new.hand_over(), true);
    let windows = new.windows(&policies(&[("first", ""), ("p", after)]), at(112), 1, None);
    windows.of["p"]
}

#[test]
fn an_upgrade_changes_no_window_but_that_of_a_policy_that_was_edited_meanwhile() {
    let (pulse, edited) =
        ("schedule = { on = \"1s\", off = \"9s\" }", "schedule = { on = \"2s\", off = \"9s\" }");
    assert_eq!(window_after_an_upgrade(pulse, pulse, true), window(120, 121));
    assert_eq!(window_after_an_upgrade(pulse, pulse, false), window(120, 121));
    assert_eq!(window_after_an_upgrade(pulse, edited, true), window(112, 114));
    // Another version cannot tell whether it was edited, and goes on: from 100 s in steps of 11 s.
    assert_eq!(window_after_an_upgrade(pulse, edited, false), window(111, 113));
}

#[test]
fn a_policy_that_was_there_before_the_daemon_goes_on() {
    let since = |seconds: u64| {
        let mut list = policies(&[("p", "schedule = { for = \"30s\" }")]);
        list[0].origin.since_ns = Some(seconds * S);
        Timetable::default().windows(&list, at(100), 1, None).of["p"]
    };
    assert_eq!(since(80), window(80, 110));
    assert_eq!(since(60), Window::NEVER, "it is over");
    assert_eq!(since(101), window(100, 130), "by the clock of another life of the machine");
}

#[test]
fn a_start_follows_the_wall_clock_and_a_set_clock_moves_it() {
    let mut timetable = Timetable::default();
    let list = policies(&[("p", "schedule = { start = 2026-12-01T09:00:00Z, for = \"30s\" }")]);
    let before = timetable.windows(&list, at(10), 1, None);
    assert_eq!(before.of["p"], window(1000, 1030));
    assert!(!timetable.has_jumped(at(20)));
    let set = Now { wall_ns: at(20).wall_ns + 100 * S, ..at(20) };
    assert!(timetable.has_jumped(set));
    assert_eq!(timetable.windows(&list, set, 1, None).of["p"], window(900, 930));
    assert!(!timetable.has_jumped(set));
}

#[test]
fn a_start_that_has_passed_is_now() {
    let list = policies(&[("p", "schedule = { start = 2026-12-01T08:00:00Z, for = \"30s\" }")]);
    let windows = Timetable::default().windows(&list, at(10), 1, None);
    assert_eq!(windows.of["p"], window(10, 40));
}

#[test]
fn what_is_over_is_never_in_force_and_needs_no_look() {
    let mut timetable = Timetable::default();
    let list = policies(&[("p", "schedule = { for = \"30s\" }")]);
    assert_eq!(timetable.windows(&list, at(10), 1, None).of["p"], window(10, 40));
    let over = timetable.windows(&list, at(41), 1, None);
    assert_eq!((over.of["p"], over.until_ns), (Window::NEVER, None));
}

#[test]
fn the_guard_cuts_every_window() {
    let longest = Some(Span::new(2 * S));
    let mut timetable = Timetable::default();
    let list = policies(&[("always", ""), ("pulsed", "schedule = { on = \"5s\", off = \"5s\" }")]);
    let first = timetable.windows(&list, at(100), 1, longest);
    assert_eq!((first.of["always"], first.of["pulsed"]), (window(100, 102), window(100, 102)));
    // The next pulse is looked for when this one would have been over.
    assert_eq!(first.until_ns, Some(105 * S));
    let second = timetable.windows(&list, at(105), 1, longest);
    assert_eq!((second.of["always"], second.of["pulsed"]), (window(100, 102), window(110, 112)));
}
