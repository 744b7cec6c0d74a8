//! `delay`: a fixed time, jitter, or percentiles.

use std::str::FromStr;

use toml::de::DeValue;

use super::{number_or_table, quantity};
use crate::policy::model::{Delay, DelayTime, Distribution, Percentiles};
use crate::policy::problem::Mistake;
use crate::policy::report::{Field, Key, Report, Shape};
use crate::policy::text::{closest, quoted};
use crate::policy::units::{Rate, Span};

const HELP: &str = "write delay = \"80ms\" or delay = { base = \"80ms\", jitter = \"20ms\" }";
pub(super) const DISTRIBUTION_HELP: &str =
    "write \"uniform\", \"normal\", \"pareto\" or \"paretonormal\"";
const ORDER_HELP: &str = "write \"any\" if packets may overtake one another, \"keep\" if not";

#[derive(Default)]
struct Keys {
    base: Option<Span>,
    jitter: Option<Span>,
    distribution: Option<Distribution>,
    correlation: Option<Rate>,
    keep_order: bool,
    points: Vec<(Rate, Span)>,
    /// Offsets of the keys.
    given: Vec<(&'static str, usize)>,
}

const DELAY: Shape<Keys> = Shape {
    keys: &[
        Key {
            name: "base",
            read: |keys, field, report| {
                keys.given.push(("base", field.at()));
                keys.base = quantity(field, report);
            },
        },
        Key {
            name: "jitter",
            read: |keys, field, report| {
                keys.given.push(("jitter", field.at()));
                keys.jitter = quantity(field, report);
            },
        },
        Key {
            name: "distribution",
            read: |keys, field, report| {
                keys.given.push(("distribution", field.at()));
                keys.distribution = named(field, report, DISTRIBUTION_HELP);
            },
        },
        Key {
            name: "correlation",
            read: |keys, field, report| {
                keys.given.push(("correlation", field.at()));
                keys.correlation = quantity(field, report);
            },
        },
        Key {
            name: "order",
            read: |keys, field, report| {
                keys.keep_order = named::<Order>(field, report, ORDER_HELP) == Some(Order::Keep);
            },
        },
    ],
    other_versions: &[],
    elsewhere: &[],
};

/// `"80ms"` or a table.
pub(crate) fn delay(field: &Field<'_>, report: &mut Report) -> Option<Delay> {
    let before = report.findings.len();
    let keys = match field.value.get_ref() {
        DeValue::Table(table) => {
            let mut keys = Keys::default();
            DELAY.walk_with(table, &field.path, &mut keys, report, percentile);
            if report.findings.len() == before {
                check(&keys, field, report);
            }
            keys
        }
        _ => number_or_table((&DELAY, "base", HELP), field, report)?,
    };
    if report.findings.len() != before {
        return None;
    }
    let time = if keys.points.is_empty() {
        DelayTime::Base {
            base: keys.base?,
            jitter: keys.jitter.unwrap_or_default(),
            distribution: keys.distribution.unwrap_or_default(),
        }
    } else {
        let mut points = keys.points;
        points.sort_unstable_by_key(|(percent, _)| *percent);
        DelayTime::Percentiles(Percentiles(points))
    };
    let correlation = keys.correlation.unwrap_or(Rate::NEVER);
    let delay = Delay { time, correlation, keep_order: keys.keep_order };
    field.accept(report, delay.record().map(|_| delay))
}

fn check(keys: &Keys, field: &Field<'_>, report: &mut Report) {
    let mut wrong = |key: &str, reason: &str, help: &str| {
        let at = keys.given.iter().find(|(given, _)| *given == key).map(|(_, at)| *at);
        if let Some(at) = at {
            report.wrong(at, &format!("{}.{key}", field.path), Mistake::new(reason, help));
        }
    };
    if keys.points.is_empty() {
        if keys.jitter.is_none() {
            let help = "add jitter = \"20ms\"";
            wrong("distribution", "there is no jitter to distribute", help);
            wrong("correlation", "there is no jitter to correlate", help);
        }
        if keys.base.is_none() {
            report.missing(field.at(), Some(&field.path), Mistake::new("has no base", HELP));
        }
        return;
    }
    for key in ["base", "jitter", "distribution"] {
        let help = "remove it, or the percentiles";
        wrong(key, "percentiles say all about the delay already", help);
    }
}

/// Takes keys such as `p50`, `p99` and `p999` (99.9), and `"p99.9"` in quotes.
fn percentile(keys: &mut Keys, name: &str, field: &Field<'_>, report: &mut Report) -> bool {
    let Some(digits) = name.strip_prefix('p') else { return false };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    if !is_number(whole) || !is_number(fraction) {
        return false;
    }
    if field.value.get_ref().is_table() {
        let nines = "write p999 for the percentile 99.9, or \"p99.9\" in quotes";
        field.not_a(report, "a duration in quotes", nines);
        return true;
    }
    let percent = if digits.contains('.') || digits.len() <= 2 || digits == "100" {
        digits.to_owned()
    } else {
        format!("{}.{}", &digits[..2], &digits[2..])
    };
    let rate = field.accept(report, Rate::from_str(&format!("{percent}%")));
    keys.points.extend(rate.zip(quantity(field, report)));
    true
}

/// A word that stands for a value.
pub(super) trait Named: Copy + 'static {
    const NOUN: &'static str;
    const ALL: &'static [(&'static str, Self)];
}

impl Named for Distribution {
    const NOUN: &'static str = "distribution";
    const ALL: &'static [(&'static str, Self)] = &[
        (Self::Uniform.name(), Self::Uniform),
        (Self::Normal.name(), Self::Normal),
        (Self::Pareto.name(), Self::Pareto),
        (Self::ParetoNormal.name(), Self::ParetoNormal),
    ];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Any,
    Keep,
}

impl Named for Order {
    const NOUN: &'static str = "order";
    const ALL: &'static [(&'static str, Self)] = &[("any", Self::Any), ("keep", Self::Keep)];
}

pub(super) fn named<T: Named>(field: &Field<'_>, report: &mut Report, help: &str) -> Option<T> {
    let text = field.string(report, help)?;
    let known = T::ALL.iter().find(|(name, _)| *name == text);
    if known.is_none() {
        let help = match closest(text, T::ALL.iter().map(|(name, _)| *name)) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => help.to_owned(),
        };
        field.wrong(report, Mistake::new(format!("{} is no {}", quoted(text), T::NOUN), help));
    }
    known.map(|(_, value)| *value)
}
