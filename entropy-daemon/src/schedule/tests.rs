use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;
/// When the policy began.
const ORIGIN: u64 = 5_000 * MS;
/// The two clocks, so far apart that one cannot be taken for the other.
const NOW: Now = Now { monotonic_ns: ORIGIN, wall_ns: 1_796_115_600_000 * MS };

fn span(ms: u64) -> Span {
    Span::new(ms * MS)
}

fn rolls(every_ms: u64, duration_ms: u64, percent: &str) -> Schedule {
    let probability = percent.parse().unwrap();
    let rolls = Rolls { every: span(every_ms), duration: span(duration_ms), probability };
    Schedule { repeat: Some(Repeat::Rolls(rolls)), ..Schedule::default() }
}

/// The windows from the origin on, in milliseconds after it, up to a time.
fn windows(schedule: &Schedule, seed: u64, until_ms: u64) -> Vec<(u64, u64)> {
    let (mut found, mut after) = (Vec::new(), ORIGIN);
    while after < ORIGIN + until_ms * MS {
        match schedule.next(ORIGIN, after, NOW, seed) {
            Next::Window(window) | Next::AtLeast(window) => {
                found.push(((window.from_ns - ORIGIN) / MS, (window.until_ns - ORIGIN) / MS));
                after = window.until_ns;
            }
            Next::NotBefore(time) => after = time,
            Next::Never => break,
        }
    }
    found.retain(|(from, _)| *from < until_ms);
    found
}

#[test]
fn without_anything_a_policy_is_in_force_from_the_start_on() {
    let always = Schedule::default();
    let window = Window { from_ns: ORIGIN, until_ns: u64::MAX };
    assert_eq!(always.next(ORIGIN, ORIGIN + 7, NOW, 1), Next::Window(window));
    let short = Schedule { length: Some(span(100)), ..always };
    let window = Window { from_ns: ORIGIN, until_ns: ORIGIN + 100 * MS };
    assert_eq!(short.next(ORIGIN, ORIGIN, NOW, 1), Next::Window(window));
    assert_eq!(short.next(ORIGIN, ORIGIN + 100 * MS, NOW, 1), Next::Never);
}

#[test]
fn the_first_roll_is_at_once_and_a_hit_lasts_its_duration() {
    let schedule = rolls(1000, 300, "100%");
    assert_eq!(windows(&schedule, 1, 3000), [(0, 300), (1000, 1300), (2000, 2300)]);
    // In the middle of a window and of a break.
    let at = |ms: u64| schedule.next(ORIGIN, ORIGIN + ms * MS, NOW, 1);
    let window = |from: u64| {
        Next::Window(Window { from_ns: ORIGIN + from * MS, until_ns: ORIGIN + (from + 300) * MS })
    };
    assert_eq!((at(299), at(300), at(1299)), (window(0), window(1000), window(1000)));
}

#[test]
fn consecutive_hits_that_last_until_the_next_roll_are_one_window() {
    let hit_or_miss = rolls(1000, 1000, "50%");
    let found = windows(&hit_or_miss, 3, 60_000);
    assert!(found.iter().any(|(from, until)| until - from > 1000), "{found:?}");
    assert!(found.windows(2).all(|pair| pair[0].1 < pair[1].0), "{found:?}");
    // Seen from any moment in it, the window is the same.
    for (from, until) in found {
        for after in [from, from + 1, until - 1] {
            let window = Window { from_ns: ORIGIN + from * MS, until_ns: ORIGIN + until * MS };
            let next = hit_or_miss.next(ORIGIN, ORIGIN + after * MS, NOW, 3);
            assert_eq!(next, Next::Window(window));
        }
    }
}

#[test]
fn probability_is_the_share_of_the_rolls() {
    let hits = windows(&rolls(1000, 100, "30%"), 11, 20_000_000).len();
    // 99.9 % of a binomial distribution with n = 20 000, p = 0.3; the seed is fixed.
    assert!((5787..=6214).contains(&hits), "{hits}");
    assert_eq!(windows(&rolls(1000, 100, "0%"), 11, 20_000_000).len(), 0);
}

#[test]
fn other_seeds_roll_otherwise_and_the_same_one_alike() {
    let schedule = rolls(1000, 100, "30%");
    assert_eq!(windows(&schedule, 1, 100_000), windows(&schedule, 1, 100_000));
    assert_ne!(windows(&schedule, 1, 100_000), windows(&schedule, 2, 100_000));
}

#[test]
fn what_is_improbable_is_looked_for_piece_by_piece() {
    let schedule = rolls(100, 100, "0.0001%");
    let Next::NotBefore(time) = schedule.next(ORIGIN, ORIGIN, NOW, 5) else { panic!() };
    assert_eq!(time, ORIGIN + rolls::ROLLS * 100 * MS);
    // An end that comes before it is an end.
    let ends = Schedule { length: Some(span(1000)), ..schedule };
    assert_eq!(ends.next(ORIGIN, ORIGIN, NOW, 5), Next::Never);
}

#[test]
fn what_hits_always_and_lasts_is_one_window_without_an_end() {
    let window = Window { from_ns: ORIGIN, until_ns: u64::MAX };
    let next = rolls(1000, 1000, "100%").next(ORIGIN, ORIGIN + 77_777 * MS, NOW, 1);
    assert_eq!(next, Next::Window(window));
    // What nearly always does goes on beyond what is looked at.
    let nearly = rolls(1000, 1000, "99.9999%").next(ORIGIN, ORIGIN, NOW, 1);
    let until_ns = ORIGIN + (rolls::ROLLS + 1) * 1000 * MS;
    assert_eq!(nearly, Next::AtLeast(Window { from_ns: ORIGIN, until_ns }));
    let cut = Schedule { length: Some(span(500_000)), ..rolls(1000, 1000, "99.9999%") };
    let window = Window { from_ns: ORIGIN, until_ns: ORIGIN + 500_000 * MS };
    assert_eq!(cut.next(ORIGIN, ORIGIN, NOW, 1), Next::Window(window));
}

#[test]
fn from_one_roll_to_the_next_may_take_for_ever() {
    for every in [Span::new(u64::MAX), Span::new(u64::MAX / 2)] {
        let of = |probability: Rate| {
            let rolls = Rolls { every, duration: span(300), probability };
            let schedule = Schedule { repeat: Some(Repeat::Rolls(rolls)), ..Schedule::default() };
            schedule.next(ORIGIN, ORIGIN, NOW, 1)
        };
        let window = Window { from_ns: ORIGIN, until_ns: ORIGIN + 300 * MS };
        assert_eq!(of(Rate::ALWAYS), Next::Window(window));
        assert_eq!(of(Rate::NEVER), Next::Never);
    }
}

#[test]
fn schedules_are_shown_in_words() {
    let shown = |schedule: Schedule| schedule.to_string();
    assert_eq!(shown(rolls(600_000, 30_000, "30%")), "30s every 10m, with 30%");
    assert_eq!(shown(rolls(1000, 1000, "100%")), "every 1s");
    let start = Some(1_796_115_600_000_000_000);
    let timed = Schedule { start, length: Some(span(30_000)), repeat: None };
    assert_eq!(shown(timed), "from 2026-12-01T09:00:00Z, for 30s");
}

proptest! {
    /// Windows come one after the other, never overlap, begin at a roll, last as long as they should,
    /// and end with the schedule.
    #[test]
    fn windows_are_in_order_and_within_their_schedule(
        every in 100_u64..5_000,
        part in 1_u64..=100,
        percent in 1_u64..=100,
        length in proptest::option::of(100_u64..100_000),
        seed: u64,
    ) {
        let duration = (every * part / 100).max(1);
        let schedule = Schedule {
            length: length.map(span),
            ..rolls(every, duration, &format!("{percent}%"))
        };
        let found = windows(&schedule, seed, 60_000);
        prop_assert!(found.windows(2).all(|pair| pair[0].1 <= pair[1].0));
        for (from, until) in found {
            prop_assert_eq!(from % every, 0);
            prop_assert!(until > from);
            let whole = until - from == duration || duration == every;
            let cut = length.is_some_and(|length| until == length);
            prop_assert!(whole || cut, "{from} to {until}");
            prop_assert!(length.is_none_or(|length| until <= length));
        }
    }
}
