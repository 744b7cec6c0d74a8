//! The same once more as nobody would write it: minute by minute, with a table lookup for each field.

use std::{collections::BTreeSet, fmt};

use super::*;

/// Zones with changes of an hour in either hemisphere, of half an hour, of a day, and with none.
const ZONES: [&str; 7] = [
    "UTC",
    "Europe/Berlin",
    "America/Santiago",
    "Australia/Sydney",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "Pacific/Apia",
];

/// Days around which offsets change, that few years have, and others.
const DAYS: [&str; 10] = [
    "2026-03-27",
    "2026-10-23",
    "2026-04-03",
    "2026-10-02",
    "2026-09-04",
    "2028-02-27",
    "2026-12-30",
    "2026-06-10",
    "2100-02-27",
    "2011-12-28",
];

/// The values that an element of a list stands for.
#[derive(Clone)]
struct Part {
    text: String,
    values: BTreeSet<i8>,
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn part(least: i8, most: i8) -> impl Strategy<Value = Part> {
    let value = (least..=most)
        .prop_map(|value| Part { text: value.to_string(), values: BTreeSet::from([value]) });
    let range = (least..=most, least..=most, 1..=most).prop_map(|(a, b, step)| {
        let (first, last) = (a.min(b), a.max(b));
        let values = (first..=last).step_by(usize::try_from(step).unwrap()).collect();
        let text = if step == 1 { String::new() } else { format!("/{step}") };
        Part { text: format!("{first}-{last}{text}"), values }
    });
    let star = (1..=most).prop_map(move |step| {
        let values = (least..=most).step_by(usize::try_from(step).unwrap()).collect();
        Part { text: if step == 1 { "*".to_owned() } else { format!("*/{step}") }, values }
    });
    prop_oneof![3 => value, 2 => range, 2 => star]
}

fn list(least: i8, most: i8) -> impl Strategy<Value = Part> {
    let all = Just(Part { text: "*".to_owned(), values: (least..=most).collect() });
    let list = prop::collection::vec(part(least, most), 1..3).prop_map(|parts| Part {
        text: parts.iter().map(|part| part.text.clone()).collect::<Vec<_>>().join(","),
        values: parts.into_iter().flat_map(|part| part.values).collect(),
    });
    prop_oneof![all, list]
}

/// Whether the clock on the wall shows a match.
fn is_match(fields: &[Part; 5], wall: civil::DateTime) -> bool {
    let has = |index: usize, value: i8| fields[index].values.contains(&value);
    let weekday = wall.weekday().to_sunday_zero_offset();
    let of_month = has(2, wall.day());
    let of_week = has(4, weekday) || (weekday == 0 && has(4, 7));
    let day = match (&*fields[2].text, &*fields[4].text) {
        ("*", _) | (_, "*") => of_month && of_week,
        _ => of_month || of_week,
    };
    has(0, wall.minute()) && has(1, wall.hour()) && has(3, wall.month()) && day
}

/// All matches of so many minutes, in seconds since 1970.
fn scan(fields: &[Part; 5], zone: &TimeZone, from: i64, minutes: i64) -> Vec<i64> {
    const DAY: i64 = 1440;
    let hourly = fields[1].text.starts_with('*');
    // What the wall showed from the day before on, and by which offset.
    let shown: Vec<(i32, civil::DateTime)> = (-DAY..minutes)
        .map(|minute| {
            let at = Timestamp::from_second(from + minute * MINUTE).unwrap();
            (zone.to_offset(at).seconds(), zone.to_datetime(at))
        })
        .collect();
    let minute = |at: civil::DateTime| at.checked_add(jiff::Span::new().minutes(1)).ok();
    let is_due = |number: &usize| {
        let (day, (offset, now)) = (number - DAY as usize, shown[*number]);
        if hourly {
            return is_match(fields, now);
        }
        let has_changed = shown[day].0 != offset;
        let again = has_changed && shown[day..*number].iter().any(|(_, wall)| *wall == now);
        let mut skipped = iter::successors(minute(shown[number - 1].1), |at| minute(*at))
            .take_while(|at| *at < now);
        (is_match(fields, now) && !again) || skipped.any(|at| is_match(fields, at))
    };
    let due = (DAY as usize..shown.len()).filter(is_due);
    due.map(|number| from + (number as i64 - DAY) * MINUTE).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Matches are those of a scan, in both directions; windows are in order, apart from each other,
    /// and together as long as the minutes that follow a match.
    #[test]
    fn matches_and_windows_are_those_of_a_scan_minute_by_minute(
        minute in list(0, 59),
        hour in list(0, 23),
        day in list(1, 31),
        month in prop_oneof![3 => Just(Part { text: "*".to_owned(), values: (1..=12).collect() }), 1 => list(1, 12)],
        weekday in list(0, 7),
        zone in prop::sample::select(&ZONES[..]),
        start in prop::sample::select(&DAYS[..]),
        duration in 1_u64..7200,
        percent in prop_oneof![Just(100_u32), 1_u32..=99],
        seed: u64,
    ) {
        let fields = [minute, hour, day, month, weekday];
        let expression = fields.each_ref().map(|field| field.text.clone()).join(" ");
        let Ok(times) = expression.parse::<Times>() else { return Ok(()) };
        let times = times.in_zone(super::zone(zone).unwrap());
        let first = at(&format!("{start}T00:00:00Z"));
        let expected = scan(&fields, times.zone(), first, 4 * 1440);
        let end = first + 4 * 1440 * MINUTE;
        let found = iter::successors(times.next(first), |time| times.next(time + 1));
        let found: Vec<i64> = found.take_while(|time| *time < end).collect();
        prop_assert_eq!(&found, &expected, "{} {}", expression, zone);
        let back = iter::successors(times.previous(end - 1, first), |time| {
            times.previous(time - 1, first)
        });
        let mut back: Vec<i64> = back.collect();
        back.reverse();
        prop_assert_eq!(back, expected, "{} {} backwards", expression, zone);

        let cron = cron(&expression, zone, duration, &format!("{percent}%"));
        let duration = i64::try_from(duration).unwrap();
        // From a time on of which no window reaches back to before the scan.
        let begin = first + 1440 * MINUTE;
        let hits: Vec<i64> = found.into_iter().filter(|time| cron.hits(seed, *time)).collect();
        let is_open = |time: i64| hits.iter().any(|hit| (*hit..hit + duration).contains(&time));
        let mut after_ns = nanoseconds(begin);
        let mut windows: Vec<(i64, i64)> = Vec::new();
        while after_ns < nanoseconds(end) {
            match cron.next(0, after_ns, seed) {
                Next::Window(window) | Next::AtLeast(window) => {
                    let from_ns = window.from_ns.max(after_ns);
                    windows.push((seconds(from_ns), seconds(window.until_ns)));
                    after_ns = window.until_ns;
                }
                Next::NotBefore(time_ns) => after_ns = time_ns.max(after_ns + 1),
                Next::Never => break,
            }
        }
        let ordered = windows.windows(2).all(|pair| pair[0].1 <= pair[1].0);
        prop_assert!(ordered, "{:?}", windows);
        prop_assert!(windows.iter().all(|(from, until)| from < until), "{:?}", windows);
        // What is open, at the edges of everything and in between.
        let edges = hits.iter().flat_map(|hit| [hit - 1, *hit, hit + duration - 1, hit + duration]);
        for time in edges.filter(|time| (begin..end).contains(time)) {
            let by_windows = windows.iter().any(|(from, until)| (*from..*until).contains(&time));
            prop_assert_eq!(by_windows, is_open(time), "at {}, {:?}", time, windows);
        }
    }
}
