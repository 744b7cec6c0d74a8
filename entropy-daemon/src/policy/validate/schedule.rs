//! The `schedule` of a policy.

use toml::de::{DeFloat, DeTable, DeValue};

use super::fault::quantity;
use crate::policy::problem::Mistake;
use crate::policy::report::{Field, Key, Report, Shape};
use crate::policy::text::quoted;
use crate::policy::units::{Rate, Span};
use crate::schedule::{Rolls, SHORTEST, Schedule};

const HELP: &str = "write a table such as schedule = { every = \"10m\", duration = \"30s\" }";
const PROBABILITY_HELP: &str = "write a percentage such as \"30%\", or a share such as 0.3";
const START_HELP: &str = "write a time with its zone, such as 2026-12-01T09:00:00Z or \
                          2026-12-01T09:00:00+01:00";

#[derive(Default)]
struct Keys {
    every: Option<Span>,
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
    other_versions: &["cron", "zone"],
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
    if has("every") && has("on") {
        let help = "write every and duration, or on and off";
        wrong("on", Mistake::new("stands beside every", help));
    }
    for (key, needed) in
        [("duration", "every"), ("off", "on"), ("on", "off"), ("probability", "every")]
    {
        let is_there = has(needed) || (needed == "every" && has("on"));
        if has(key) && !is_there {
            let mistake = Mistake::new(format!("means nothing without {needed}"), HELP);
            wrong(key, mistake);
        }
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
        let rolls = match (self.every, self.on, self.off) {
            (Some(every), ..) => {
                Some(Rolls { every, duration: self.duration.unwrap_or(every), probability })
            }
            (None, Some(on), Some(off)) => {
                let every = Span::new(on.nanoseconds().saturating_add(off.nanoseconds()));
                Some(Rolls { every, duration: on, probability })
            }
            _ => None,
        };
        Schedule { rolls, start: self.start, length: self.length }
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
