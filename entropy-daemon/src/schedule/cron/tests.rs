use jiff::{Timestamp, civil, tz::TimeZone};
use proptest::prelude::*;

use super::*;

mod naive;

const NS: u64 = SECOND_NS;

fn times(expression: &str, zone: &str) -> Times {
    let times = expression.parse::<Times>().unwrap_or_else(|mistake| panic!("{mistake}"));
    times.in_zone(super::zone(zone).unwrap())
}

fn at(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_second()
}

/// The matches from a time on and up to another, as the wall clock shows them, with the zone's name for
/// its offset.
fn matches(expression: &str, zone: &str, from: &str, until: &str) -> Vec<String> {
    let (times, until) = (times(expression, zone), at(until));
    let found = iter::successors(times.next(at(from)), |time| times.next(time + 1));
    let found: Vec<i64> = found.take_while(|time| *time < until).collect();
    // The same backwards.
    let last = found.last().copied().unwrap_or(until);
    let mut back: Vec<i64> =
        iter::successors(times.previous(last, i64::MIN), |time| times.previous(time - 1, i64::MIN))
            .take(found.len())
            .collect();
    back.reverse();
    if !found.is_empty() {
        assert_eq!(found, back);
    }
    let shown = |time: &i64| {
        let at = Timestamp::from_second(*time).unwrap().to_zoned(times.zone().clone());
        at.strftime("%m-%d %H:%M %Z").to_string()
    };
    found.iter().map(shown).collect()
}

#[test]
fn berlin_puts_a_time_in_the_gap_right_after_it_and_a_doubled_one_first() {
    let spring =
        |cron| matches(cron, "Europe/Berlin", "2026-03-28T20:00:00Z", "2026-03-30T10:00:00Z");
    assert_eq!(spring("30 2 * * *"), ["03-29 03:00 CEST", "03-30 02:30 CEST"]);
    assert_eq!(spring("30 3 * * *"), ["03-29 03:30 CEST", "03-30 03:30 CEST"]);
    assert_eq!(spring("0,30 2-3 29 3 *"), ["03-29 03:00 CEST", "03-29 03:30 CEST"]);
    let autumn =
        |cron| matches(cron, "Europe/Berlin", "2026-10-24T20:00:00Z", "2026-10-26T10:00:00Z");
    assert_eq!(autumn("30 2 * * *"), ["10-25 02:30 CEST", "10-26 02:30 CET"]);
    assert_eq!(autumn("0 2-3 25 * *"), ["10-25 02:00 CEST", "10-25 03:00 CET"]);
}

#[test]
fn hours_that_pass_know_no_gap_and_no_double() {
    let of = |cron, from, until| matches(cron, "Europe/Berlin", from, until);
    assert_eq!(
        of("20 * * * *", "2026-03-29T00:00:00Z", "2026-03-29T03:00:00Z"),
        ["03-29 01:20 CET", "03-29 03:20 CEST", "03-29 04:20 CEST"]
    );
    assert_eq!(
        of("*/30 */1 * * *", "2026-10-25T00:00:00Z", "2026-10-25T02:00:00Z"),
        ["10-25 02:00 CEST", "10-25 02:30 CEST", "10-25 02:00 CET", "10-25 02:30 CET"]
    );
}

#[test]
fn the_south_has_its_changes_the_other_way_round_and_some_change_by_half_an_hour() {
    let sydney = |cron, from, until| matches(cron, "Australia/Sydney", from, until);
    assert_eq!(
        sydney("30 2 * * *", "2026-10-02T20:00:00Z", "2026-10-04T20:00:00Z"),
        ["10-04 03:00 AEDT", "10-05 02:30 AEDT"]
    );
    assert_eq!(
        sydney("30 2 * * *", "2026-04-03T20:00:00Z", "2026-04-05T20:00:00Z"),
        ["04-05 02:30 AEDT", "04-06 02:30 AEST"]
    );
    let lord_howe = |cron, from, until| matches(cron, "Australia/Lord_Howe", from, until);
    assert_eq!(
        lord_howe("15,45 2 * * *", "2026-10-03T12:00:00Z", "2026-10-04T12:00:00Z"),
        ["10-04 02:30 +11", "10-04 02:45 +11"]
    );
    // In 2011 Samoa had no 30th of December.
    assert_eq!(
        matches("0 12 30 12 *", "Pacific/Apia", "2011-12-01T00:00:00Z", "2012-12-30T00:00:00Z"),
        ["12-31 00:00 +14", "12-30 12:00 +14"]
    );
}

#[test]
fn days_that_not_every_month_has_come_when_they_are_there() {
    let utc = |cron, until| matches(cron, "UTC", "2026-01-01T00:00:00Z", until);
    assert_eq!(
        utc("0 0 31 * *", "2026-09-01T00:00:00Z"),
        [
            "01-31 00:00 UTC",
            "03-31 00:00 UTC",
            "05-31 00:00 UTC",
            "07-31 00:00 UTC",
            "08-31 00:00 UTC"
        ]
    );
    assert_eq!(utc("0 0 29 2 *", "2033-01-01T00:00:00Z").len(), 2);
    // 2100 is no leap year: eight years between two of these, in a zone with many changes of offset.
    let leap = times("0 2 29 2 *", "America/New_York");
    let next = leap.next(at("2096-03-01T00:00:00Z")).unwrap();
    assert_eq!(next, at("2104-02-29T07:00:00Z"));
    assert_eq!(leap.previous(next - 1, 0), Some(at("2096-02-29T07:00:00Z")));
    assert_eq!(leap.previous(next - 1, next - 3600), None);
}

#[test]
fn a_day_of_the_month_and_one_of_the_week_are_either_and_with_a_star_both() {
    let utc = |cron| matches(cron, "UTC", "2026-06-01T00:00:00Z", "2026-06-16T00:00:00Z");
    let days =
        |cron| utc(cron).iter().map(|day| day[3..5].to_owned()).collect::<Vec<_>>().join(" ");
    // The first of June 2026 is a Monday.
    assert_eq!(days("0 0 13 * fri"), "05 12 13");
    assert_eq!(days("0 0 * * fri"), "05 12");
    assert_eq!(days("0 0 13 * *"), "13");
    assert_eq!(days("0 0 * 7 *"), "");
}

#[test]
fn all_of_the_syntax_means_what_it_says() {
    for (expression, same) in [
        ("  5   4 *  * * ", "5 4 * * *"),
        ("*/20 * * * *", "0,20,40 * * * *"),
        ("10-30/10 * * * *", "10,20,30 * * * *"),
        ("05,07-09 * * * *", "5,7,8,9 * * * *"),
        ("0 0 * JAN,feb-Apr *", "0 0 * 1,2-4 *"),
        ("0 0 * * mon-FRI", "0 0 * * 1-5"),
        ("0 0 * * fri-sun", "0 0 * * 5,6,0"),
        ("0 0 * * sun-tue", "0 0 * * 0-2"),
        ("0 0 * * 7", "0 0 * * sun"),
        ("0 0 * * 5-7", "0 0 * * fri,sat,sun"),
        ("0 0 1-31/10 * *", "0 0 1,11,21,31 * *"),
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
    ] {
        let of = |cron| matches(cron, "UTC", "2026-02-27T00:00:00Z", "2026-03-03T00:00:00Z");
        let (is, should) = (of(expression), of(same));
        assert_eq!(is, should, "{expression}");
        let year = |cron| times(cron, "UTC").next(at("2026-03-03T00:00:00Z"));
        assert_eq!(year(expression), year(same), "{expression}");
    }
}

#[test]
fn mistakes_name_the_field_and_what_is_allowed() {
    const FIELDS: &str = "write minute, hour, day of the month, month and day of the week, such as \
                          \"0 9-17 * * mon-fri\"";
    const MINUTES: &str = "minutes are 0 to 59; *, lists, ranges and steps of them";
    for (expression, expected) in [
        ("", format!("the expression is empty: {FIELDS}")),
        ("0 9 * *", format!("\"0 9 * *\" has 4 fields instead of 5: {FIELDS}")),
        (
            "0 0 9 * * *",
            format!(
                "\"0 0 9 * * *\" has 6 fields instead of 5: there are no seconds or years: {FIELDS}"
            ),
        ),
        ("@reboot", format!("\"@reboot\" is no time: {FIELDS}")),
        ("@dayly", "\"@dayly\" is no time: did you mean \"@daily\"?".to_owned()),
        ("60 * * * *", format!("\"60\" is no minute: {MINUTES}")),
        ("+5 * * * *", format!("\"+5\" is no minute: {MINUTES}")),
        ("1,,2 * * * *", format!("the minute has an empty part: {MINUTES}")),
        ("-5 * * * *", format!("the minute has an empty part: {MINUTES}")),
        ("** * * * *", format!("\"**\" is no minute: {MINUTES}")),
        ("*/0 * * * *", "\"0\" is no step of minutes: write 1 to 59".to_owned()),
        ("*/90 * * * *", "\"90\" is no step of minutes: write 1 to 59".to_owned()),
        ("*/ * * * *", "\"\" is no step of minutes: write 1 to 59".to_owned()),
        (
            "5/15 * * * *",
            "minute \"5/15\" has a step and no range: write \"5-59/15\" or \"*/15\"".to_owned(),
        ),
        ("0 24 * * *", "\"24\" is no hour: hours are 0 to 23; *, lists, ranges and steps of them".into()),
        ("0 22-2 * * *", "hour \"22-2\" goes backwards: write \"22-23,0-2\"".to_owned()),
        (
            "0 0 0 * *",
            "\"0\" is no day of the month: days of the month are 1 to 31; *, lists, ranges and steps \
             of them"
                .to_owned(),
        ),
        (
            "0 0 L * *",
            "\"L\" is no day of the month: days of the month are 1 to 31; *, lists, ranges and steps \
             of them"
                .to_owned(),
        ),
        (
            "0 0 * mon *",
            "\"mon\" is no month: months are 1 to 12, or jan to dec; *, lists, ranges and steps of them"
                .to_owned(),
        ),
        ("0 0 * juli *", "\"juli\" is no month: did you mean \"jul\"?".to_owned()),
        ("0 0 * janfeb *", "\"janfeb\" is no month: months are 1 to 12, or jan to dec; *, lists, \
                            ranges and steps of them".to_owned()),
        (
            "0 0 * * 8",
            "\"8\" is no day of the week: days of the week are 0 to 7, or sun to sat; *, lists, \
             ranges and steps of them"
                .to_owned(),
        ),
        (
            "0 0 * * sat-mon",
            "day of the week \"sat-mon\" goes backwards: write \"sat-6,0-mon\"".to_owned(),
        ),
        (
            "0 0 31 2,4 *",
            "\"0 0 31 2,4 *\" never comes: no such month has that day: write a day that there is, \
             such as \"0 9 1 2 *\""
                .to_owned(),
        ),
    ] {
        let mistake = expression.parse::<Times>().map(|times| panic!("{times}")).unwrap_err();
        assert_eq!(mistake.to_string(), expected, "{expression}");
    }
}

#[test]
fn zones_are_names_of_the_database_that_is_built_in() {
    let utc: Times = "0 0 * * *".parse().unwrap();
    let in_zone =
        |name: &str| zone(name).map(|zone| utc.clone().in_zone(zone).zone_name().to_owned());
    assert_eq!(in_zone("europe/berlin").as_deref(), Ok("Europe/Berlin"));
    assert_eq!(in_zone("UTC").as_deref(), Ok("UTC"));
    for (name, expected) in [
        ("Europe/Berln", "\"Europe/Berln\" is no time zone: did you mean \"Europe/Berlin\"?"),
        (
            "+02:00",
            "\"+02:00\" is no time zone: write a name of the IANA database, such as \
             \"Europe/Berlin\" or \"UTC\"",
        ),
        (
            "../../etc/passwd",
            "\"../../etc/passwd\" is no time zone: write a name of the IANA database, such as \
             \"Europe/Berlin\" or \"UTC\"",
        ),
    ] {
        assert_eq!(in_zone(name).unwrap_err().to_string(), expected);
    }
}

fn cron(expression: &str, zone: &str, duration_s: u64, percent: &str) -> Cron {
    let (duration, probability) = (Span::new(duration_s * NS), percent.parse().unwrap());
    Cron { times: times(expression, zone), duration, probability }
}

fn window(from: &str, until: &str) -> Window {
    let ns = |text: &str| nanoseconds(at(text));
    Window { from_ns: ns(from), until_ns: ns(until) }
}

#[test]
fn windows_that_touch_are_one_seen_from_any_moment_of_it() {
    let cron = cron("0,10,20,40 9 * * *", "UTC", 600, "100%");
    let first = window("2026-06-01T09:00:00Z", "2026-06-01T09:30:00Z");
    let second = window("2026-06-01T09:40:00Z", "2026-06-01T09:50:00Z");
    for (after, expected) in [
        ("2026-06-01T08:00:00Z", first),
        ("2026-06-01T09:00:00Z", first),
        ("2026-06-01T09:10:00Z", first),
        ("2026-06-01T09:29:59Z", first),
        ("2026-06-01T09:30:00Z", second),
        ("2026-06-01T09:49:59.999999999Z", second),
    ] {
        let after_ns = u64::try_from(after.parse::<Timestamp>().unwrap().as_nanosecond()).unwrap();
        assert_eq!(cron.next(0, after_ns, 1), Next::Window(expected), "{after}");
    }
}

#[test]
fn a_window_that_never_ends_has_a_beginning_that_stays_and_an_end_that_is_put_off() {
    let cron = cron("* * * * *", "UTC", 60, "100%");
    let origin_ns = nanoseconds(at("2026-06-01T00:00:30Z"));
    let of = |after: &str| match cron.next(origin_ns, nanoseconds(at(after)), 1) {
        Next::AtLeast(window) => window,
        other => panic!("{other:?}"),
    };
    let (first, later) = (of("2026-06-03T00:00:40Z"), of("2026-06-09T12:00:00Z"));
    assert_eq!((first.from_ns, later.from_ns), (origin_ns, origin_ns));
    assert_eq!(first.until_ns, nanoseconds(at("2026-06-04T01:01:00Z")));
    assert!(later.until_ns > nanoseconds(at("2026-06-10T12:00:00Z")));
}

#[test]
fn probability_is_the_share_of_the_matches_whenever_they_are_asked_for() {
    let cron = cron("*/10 * * * *", "UTC", 30, "30%");
    let (mut hits, mut after_ns) = (0_u32, nanoseconds(at("2026-01-01T00:00:00Z")));
    let until_ns = nanoseconds(at("2026-05-19T21:20:00Z"));
    loop {
        match cron.next(0, after_ns, 11) {
            Next::Window(window) if window.from_ns >= until_ns => break,
            Next::Window(window) => {
                assert_eq!(cron.next(0, window.from_ns, 11), Next::Window(window));
                (hits, after_ns) = (hits + 1, window.until_ns);
            }
            other => panic!("{other:?}"),
        }
    }
    // 99.9 % of a binomial distribution with n = 20 000, p = 0.3; the seed is fixed.
    assert!((5787..=6214).contains(&hits), "{hits}");
    let never = Cron { probability: Rate::NEVER, ..cron.clone() };
    assert_eq!(never.next(0, 0, 1), Next::NotBefore(1500 * 600 * NS));
}
