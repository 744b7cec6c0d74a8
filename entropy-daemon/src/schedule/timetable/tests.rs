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
fn a_start_that_has_passed_is_now_and_its_end_stays_where_it_was() {
    let window_at = |start: &str, second| {
        let schedule = format!("schedule = {{ start = {start}, for = \"30s\" }}");
        let list = policies(&[("p", &schedule)]);
        Timetable::default().windows(&list, at(second), 1, None).of["p"]
    };
    // Nine o'clock is second 1000.
    assert_eq!(window_at("2026-12-01T09:00:00Z", 1010), window(1010, 1030));
    assert_eq!(window_at("2026-12-01T09:00:00Z", 1030), Window::NEVER, "not again");
    assert_eq!(window_at("2026-12-01T08:00:00Z", 10), Window::NEVER, "before the machine began");
    let open = policies(&[("p", "schedule = { start = 2026-12-01T08:00:00Z }")]);
    let windows = Timetable::default().windows(&open, at(10), 1, None);
    assert_eq!(windows.of["p"].from_ns, 10 * S);
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

/// So many hours after ten seconds, and so many nanoseconds later by the wall clock alone.
fn later(hours: u64, set: u64) -> Now {
    let passed = hours * 3600 * S;
    Now { monotonic_ns: at(10).monotonic_ns + passed, wall_ns: at(10).wall_ns + passed + set }
}

#[test]
fn cron_follows_the_wall_clock_through_jumps_both_ways_and_through_sleep() {
    let mut timetable = Timetable::default();
    let cron = "schedule = { cron = '0 9 * * *', zone = 'Europe/London', duration = '10m' }";
    let list = policies(&[("p", cron)]);
    assert_eq!(timetable.windows(&list, at(10), 1, None).of["p"], window(1000, 1600));
    // An hour forward: into the window's day after. What was written would be an hour late.
    let forward = Now { wall_ns: at(20).wall_ns + 3600 * S, ..at(20) };
    assert!(timetable.has_jumped(forward));
    let day = 24 * 3600;
    assert_eq!(timetable.windows(&list, forward, 1, None).of["p"], window(day - 2600, day - 2000));
    // And back again, before it: the window comes once more.
    assert!(timetable.has_jumped(at(30)));
    assert_eq!(timetable.windows(&list, at(30), 1, None).of["p"], window(1000, 1600));
    // Asleep for as long as makes it nine and five minutes: the monotonic clock stood still.
    let awake = Now { wall_ns: NINE + 300 * S, ..at(40) };
    assert!(timetable.has_jumped(awake));
    let windows = timetable.windows(&list, awake, 1, None);
    let began_ns = (40_u64 * S).saturating_sub(300 * S);
    assert_eq!(windows.of["p"], Window { from_ns: began_ns, until_ns: 340 * S });
    assert_eq!(windows.until_ns, Some(340 * S));
}

#[test]
fn a_clock_that_is_read_a_little_late_changes_no_window() {
    let mut timetable = Timetable::default();
    let cron = "schedule = { cron = '0 9 * * *', duration = '10m' }";
    let list = policies(&[("p", cron)]);
    let first = timetable.windows(&list, at(10), 1, None);
    for hour in 0..12 {
        let now = later(hour, 9_000_000);
        assert!(!timetable.has_jumped(now));
        let windows = timetable.windows(&list, now, 1, None);
        // The first one is over after twenty minutes.
        let day = if hour == 0 { 0 } else { 24 * 3600 };
        assert_eq!(windows.of["p"], window(1000 + day, 1600 + day));
    }
    assert_eq!(first.of["p"], window(1000, 1600));
}

#[test]
fn a_window_of_cron_is_open_though_the_policy_came_later_and_a_start_cuts_it() {
    let of = |schedule: &str| {
        let list = policies(&[("p", schedule)]);
        Timetable::default().windows(&list, at(1300), 1, None).of["p"]
    };
    assert_eq!(of("schedule = { cron = '0 9 * * *', duration = '10m' }"), window(1000, 1600));
    assert_eq!(
        of("schedule = { cron = '0 9 * * *', duration = '10m', start = 2026-12-01T09:02:00Z }"),
        window(1120, 1600)
    );
    assert_eq!(
        of("schedule = { cron = '0 9 * * *', duration = '10m', start = 2026-12-01T09:08:00Z }"),
        window(1480, 1600)
    );
    assert_eq!(
        of("schedule = { cron = '0 9 * * *', duration = '10m', for = '1m' }"),
        window(1000, 1360)
    );
}

#[test]
fn a_ramp_begins_with_each_window_and_is_computed_anew_for_each_step() {
    let mut timetable = Timetable::default();
    let moving = "schedule = { on = '20s', off = '10s' }\n\
                  ramp = { over = '10s', step = '3s', from = { loss = '0%' } }";
    let list = policies(&[("p", moving)]);
    let mut of = |ms: u64| {
        let now = Now {
            monotonic_ns: 100 * S + ms * 1_000_000,
            wall_ns: at(100).wall_ns + ms * 1_000_000,
        };
        let windows = timetable.windows(&list, now, 1, None);
        let rate = windows.moving["p"].loss;
        (windows.of["p"].from_ns / S, rate, windows.until_ns.unwrap() / 1_000_000 - 100_000)
    };
    let loss = |percent: &str| {
        let text = format!("[[policy]]\ntarget = 'app'\nloss = '{percent}'\n");
        let policies = parse(Path::new("x.toml"), text.as_bytes()).unwrap();
        policies[0].faults.records().unwrap().loss
    };
    assert_eq!(of(0), (100, loss("0%"), 3_000));
    assert_eq!(of(2_999), (100, loss("0%"), 3_000));
    assert_eq!(of(3_001), (100, loss("0.3%"), 6_000));
    assert_eq!(of(9_001), (100, loss("0.9%"), 10_000));
    assert_eq!(of(10_001), (100, loss("1%"), 20_000));
    // In the break the next window is written, and it begins at the beginning.
    assert_eq!(of(20_001), (130, loss("0%"), 33_000));
    assert_eq!(of(33_001), (130, loss("0.3%"), 36_000));
}

#[test]
fn a_ramp_without_a_schedule_begins_when_the_policy_is_loaded_and_then_rests() {
    let mut timetable = Timetable::default();
    let list = policies(&[("p", "ramp = { over = '10s', from = { loss = '0%' } }")]);
    let first = timetable.windows(&list, at(100), 1, None);
    assert_eq!(first.of["p"], Window { from_ns: 100 * S, until_ns: u64::MAX });
    assert_eq!(first.until_ns, Some(101 * S));
    assert_eq!(timetable.windows(&list, at(110), 1, None).until_ns, None);
}

#[test]
fn a_window_whose_end_is_not_known_is_looked_at_again_when_half_of_it_is_over() {
    let list = policies(&[("p", "schedule = { cron = '* * * * *', duration = '1m' }")]);
    let mut timetable = Timetable::default();
    let first = timetable.windows(&list, at(1000), 1, None);
    // 1501 minutes from nine on.
    assert_eq!(first.of["p"], window(1000, 1000 + 1501 * 60));
    assert_eq!(first.until_ns, Some(1000 * S + 1501 * 30 * S));
    let second = timetable.windows(&list, at(1000 + 1501 * 30), 1, None);
    assert_eq!(second.of["p"].from_ns, 1000 * S);
    assert!(second.of["p"].until_ns > first.of["p"].until_ns);
}
