//! The `schedule` of a policy.

use std::str::FromStr;

use jiff::tz::TimeZone;
use toml::de::{DeFloat, DeTable, DeValue};

use super::fault::quantity;
use crate::policy::problem::Mistake;
use crate::policy::report::{Field, Key, Report, Shape};
use crate::policy::text::quoted;
use crate::policy::units::{Rate, Span};
use crate::schedule::{self, Cron, LONGEST, Repeat, Rolls, SHORTEST, Schedule, Times};

const HELP: &str = "write a table such as schedule = { every = \"10m\", duration = \"30s\" }";
const CRON_HELP: &str = "write cron = \"0 9-17 * * mon-fri\", duration = \"10m\"";
const ZONE_HELP: &str = "write a name such as zone = \"Europe/Berlin\"";
const PROBABILITY_HELP: &str = "write a percentage such as \"30%\", or a share such as 0.3";
const START_HELP: &str = "write a time with its zone, such as 2026-12-01T09:00:00Z or \
                          2026-12-01T09:00:00+01:00";

#[derive(Default)]
struct Keys {
    every: Option<Span>,
    cron: Option<Times>,
    zone: Option<TimeZone>,
    duration: Option<Span>,
    on: Option<Span>,
    off: Option<Span>,
    probability: Option<Rate>,
    start: Option<u64>,
    length: Option<Span>,
}

const SCHEDULE: Shape<Keys> = Shape {
    keys: &[
        Key { name: "every", read: |keys, field, report| keys.every = period(field, report) },
        Key { name: "cron", read: |keys, field, report| keys.cron = cron(field, report) },
        Key { name: "zone", read: |keys, field, report| keys.zone = zone(field, report) },
        Key { name: "duration", read: |keys, field, report| keys.duration = period(field, report) },
        Key { name: "on", read: |keys, field, report| keys.on = period(field, report) },
        Key { name: "off", read: |keys, field, report| keys.off = period(field, report) },
        Key {
            name: "probability",
            read: |keys, field, report| keys.probability = probability(field, report),
        },
        Key { name: "start", read: |keys, field, report| keys.start = start(field, report) },
        Key { name: "for", read: |keys, field, report| keys.length = period(field, report) },
    ],
    other_versions: &[],
    elsewhere: &[("frequency", "it is called every: schedule = { every = \"10m\" }")],
};

pub(super) fn schedule(field: &Field<'_>, report: &mut Report) -> Option<Schedule> {
    let Some(table) = field.value.get_ref().as_table() else {
        field.not_a(report, "a table", HELP);
        return None;
    };
    let before = report.findings.len();
    let mut keys = Keys::default();
    let present = SCHEDULE.walk(table, &field.path, &mut keys, report);
    let has = |key: &str| present.has(key);
    let mut wrong = |key: &str, mistake: Mistake| wrong_at(field, table, key, report, mistake);
    for (key, other, help) in [
        ("on", "every", "write every and duration, or on and off"),
        ("cron", "every", "write cron and duration, or every and duration"),
        ("cron", "on", "write cron and duration, or on and off"),
    ] {
        if has(key) && has(other) {
            wrong(key, Mistake::new(format!("stands beside {other}"), help));
        }
    }
    for (key, needed) in [
        ("duration", "every"),
        ("off", "on"),
        ("on", "off"),
        ("probability", "every"),
        ("zone", "cron"),
        ("cron", "duration"),
    ] {
        let is_there = match needed {
            "every" => has("every") || has("on") || has("cron"),
            "duration" => has("duration") || has("on") || has("every"),
            _ => has(needed),
        };
        if has(key) && !is_there {
            let help = if needed == "cron" || key == "cron" { CRON_HELP } else { HELP };
            wrong(key, Mistake::new(format!("means nothing without {needed}"), help));
        }
    }
    if let (Some(_), Some(duration)) = (&keys.cron, keys.duration)
        && duration > LONGEST
    {
        let help = format!("write \"{LONGEST}\" or less, and more times");
        wrong("duration", Mistake::new(format!("{duration} is too long for cron"), help));
    }
    if let (Some(every), Some(duration)) = (keys.every, keys.duration)
        && duration > every
    {
        let reason = format!("{duration} is longer than {every}, from one roll to the next");
        let help = format!("write {every} or less, or leave it out: until the next roll");
        wrong("duration", Mistake::new(reason, help));
    }
    if table.is_empty() {
        field.wrong(report, Mistake::new("says nothing", HELP));
    }
    (report.findings.len() == before).then(|| keys.schedule())
}

impl Keys {
    fn schedule(self) -> Schedule {
        let probability = self.probability.unwrap_or(Rate::ALWAYS);
        let repeat = match (self.every, self.on, self.off, self.cron, self.duration) {
            (Some(every), .., duration) => {
                let duration = duration.unwrap_or(every);
                Some(Repeat::Rolls(Rolls { every, duration, probability }))
            }
            (None, Some(on), Some(off), ..) => {
                let every = Span::new(on.nanoseconds().saturating_add(off.nanoseconds()));
                Some(Repeat::Rolls(Rolls { every, duration: on, probability }))
            }
            (.., Some(times), Some(duration)) => {
                let times = match self.zone {
                    Some(zone) => times.in_zone(zone),
                    None => times,
                };
                Some(Repeat::Cron(Box::new(Cron { times, duration, probability })))
            }
            _ => None,
        };
        Schedule { repeat, start: self.start, length: self.length }
    }
}

/// Reports a mistake at one key of the table.
fn wrong_at(
    field: &Field<'_>,
    table: &DeTable<'_>,
    key: &str,
    report: &mut Report,
    mistake: Mistake,
) {
    let at = table.get(key).map_or(field.at(), |value| value.span().start);
    report.wrong(at, &format!("{}.{key}", field.path), mistake);
}

fn cron(field: &Field<'_>, report: &mut Report) -> Option<Times> {
    let text = field.string(report, CRON_HELP)?;
    field.accept(report, Times::from_str(text))
}

fn zone(field: &Field<'_>, report: &mut Report) -> Option<TimeZone> {
    let name = field.string(report, ZONE_HELP)?;
    field.accept(report, schedule::zone(name))
}

fn period(field: &Field<'_>, report: &mut Report) -> Option<Span> {
    let span: Span = quantity(field, report)?;
    if span < SHORTEST {
        let reason = format!("{span} is too short");
        field.wrong(report, Mistake::new(reason, format!("write \"{SHORTEST}\" or more")));
        return None;
    }
    Some(span)
}

/// A percentage, or a share of one as the old Entropy had it.
fn probability(field: &Field<'_>, report: &mut Report) -> Option<Rate> {
    let DeValue::Float(number) = field.value.get_ref() else {
        if field.value.get_ref().as_str().is_some() {
            return quantity(field, report);
        }
        field.not_a(report, "a percentage in quotes or a share below one", PROBABILITY_HELP);
        return None;
    };
    field.accept(report, share(number))
}

fn share(number: &DeFloat<'_>) -> Result<Rate, Mistake> {
    let text = number.as_str();
    let wrong =
        || Mistake::new(format!("{} is no share from 0 to 1", quoted(text)), PROBABILITY_HELP);
    let (whole, fraction) = text.split_once('.').ok_or_else(wrong)?;
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return Err(wrong());
    }
    // The same digits, two places further to the left: exact, as a percentage is.
    let padded = format!("{fraction:0<2}");
    let (percent, rest) = padded.split_at(2);
    let rest = if rest.is_empty() { "0" } else { rest };
    format!("{}{percent}.{rest}%", whole.trim_start_matches('0')).parse().map_err(|_| wrong())
}

/// A point in time with its zone, as TOML writes it, with or without quotes.
fn start(field: &Field<'_>, report: &mut Report) -> Option<u64> {
    let text = match field.value.get_ref() {
        DeValue::Datetime(time) => time.to_string(),
        DeValue::String(text) => text.to_string(),
        _ => {
            field.not_a(report, "a date and time", START_HELP);
            return None;
        }
    };
    let time = text.parse::<jiff::Timestamp>().ok();
    let ns = time.and_then(|time| u64::try_from(time.as_nanosecond()).ok());
    if ns.is_none() {
        let reason = format!("{} is no time with a zone", quoted(&text));
        field.wrong(report, Mistake::new(reason, START_HELP));
    }
    ns
}
