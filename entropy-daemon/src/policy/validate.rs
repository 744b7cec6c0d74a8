//! The meaning of a policy: each key has one place here that reads it, and what must hold between
//! keys is checked when all are read.
//!
//! A new key is a line in [`POLICY`] (or in the shape of its table) with the function that reads
//! it, and a new fault besides that a field of [`Faults`]; a key that a later version brings is in
//! `other_versions` until then.

pub(crate) mod fault;
pub(crate) mod matcher;
pub(crate) mod names;
mod ramp;
mod schedule;
mod target;

use std::str::FromStr;

use toml::de::{DeInteger, DeTable};

use super::model::{Direction, Faults, Match, Origin, Policy};
use super::problem::Mistake;
use super::report::{Field, Key, Report, Shape};
use super::selector::Selector;
use super::target::Target;
use super::text::{closest, plain, quoted};
use crate::schedule::Schedule;

/// A policy on its way: it gets its name when all files are read.
pub(crate) struct Candidate {
    /// The name given, if it is valid, and its offset.
    pub(crate) name: Option<(String, usize)>,
    /// Its number in the file, from 1.
    pub(crate) number: usize,
    pub(crate) origin: Origin,
    /// `None` if there is a problem with it; its name is empty until [`names::assign`].
    pub(crate) policy: Option<Policy>,
}

/// What the keys of a policy say; `None` where a key is missing or wrong.
#[derive(Default)]
struct Draft {
    target: Option<Target>,
    direction: Direction,
    matcher: Match,
    seed: Option<u64>,
    schedule: Option<Schedule>,
    ramp: Option<ramp::Keys>,
    faults: Faults,
}

const POLICY: Shape<Draft> = Shape {
    keys: &[
        // Read beforehand by `names::read`, as every other problem is told with the name.
        Key { name: "name", read: |_, _, _| () },
        Key {
            name: "target",
            read: |draft, field, report| draft.target = target::target(field, report),
        },
        Key {
            name: "direction",
            read: |draft, field, report| {
                draft.direction = direction(field, report).unwrap_or_default();
            },
        },
        Key {
            name: "match",
            read: |draft, field, report| draft.matcher = matcher::read(field, report),
        },
        Key { name: "seed", read: |draft, field, report| draft.seed = seed(field, report) },
        Key {
            name: "schedule",
            read: |draft, field, report| draft.schedule = schedule::schedule(field, report),
        },
        Key { name: "ramp", read: |draft, field, report| draft.ramp = ramp::read(field, report) },
        Key { name: "loss", read: |d, field, report| d.faults.loss = fault::loss(field, report) },
        Key {
            name: "delay",
            read: |d, field, report| d.faults.delay = fault::delay(field, report),
        },
        Key {
            name: "reorder",
            read: |d, field, report| d.faults.reorder = fault::reorder(field, report),
        },
        Key {
            name: "duplicate",
            read: |d, field, report| d.faults.duplicate = fault::duplicate(field, report),
        },
        Key {
            name: "corrupt",
            read: |d, field, report| d.faults.corrupt = fault::corrupt(field, report),
        },
        Key { name: "rate", read: |d, field, report| d.faults.rate = fault::rate(field, report) },
        Key { name: "slot", read: |d, field, report| d.faults.slot = fault::slot(field, report) },
        Key {
            name: "partition",
            read: |d, field, report| d.faults.partition = fault::partition(field, report),
        },
    ],
    other_versions: &[],
    elsewhere: &[
        ("peer", "write it inside match: match = { peer = \"app=db\" }"),
        ("protocol", "write it inside match: match = { protocol = \"tcp\" }"),
        ("port", "write it inside match: match = { port = 443 }"),
        ("local_port", "write it inside match: match = { local_port = 443 }"),
        ("remote_port", "write it inside match: match = { remote_port = 443 }"),
        ("tcp_flags", "write it inside match: match = { tcp_flags = \"syn\" }"),
        ("length", "write it inside match: match = { length = \"1000-\" }"),
        ("payload", "write it inside match: match = { payload = true }"),
        ("flows", "write it inside match: match = { flows = \"20%\" }"),
        ("every", "write it inside schedule: schedule = { every = \"10m\", duration = \"30s\" }"),
        ("probability", "write it inside schedule, beside every"),
        (
            "cron",
            "write it inside schedule: schedule = { cron = \"0 9 * * *\", duration = \"10m\" }",
        ),
        ("for", "write it inside schedule: schedule = { for = \"30s\" }"),
        ("jitter", "write it inside delay: delay = { base = \"80ms\", jitter = \"20ms\" }"),
    ],
};

/// The keys of [`POLICY`] that are faults.
const FAULTS: [&str; 8] =
    ["loss", "delay", "reorder", "duplicate", "corrupt", "rate", "slot", "partition"];

/// Reads the table of one policy, which begins at offset `start` and is the file's `number`th.
pub(crate) fn policy(
    table: &DeTable<'_>,
    start: usize,
    number: usize,
    origin: Origin,
) -> (Candidate, Report) {
    let (name, mut report) = names::read(table, number);
    let mut draft = Draft::default();
    let present = POLICY.walk(table, "", &mut draft, &mut report);
    if !present.has("target") && !present.has_mistyped("target") {
        let help = "say which containers it is for, such as target = \"app=web\"";
        report.missing(start, None, Mistake::new("has no target", help));
    }
    // A wrong, misplaced or mistyped fault is one already, and a strange key may have been meant
    // to be one.
    let of_fault = |key: &str| key.split('.').any(|part| FAULTS.contains(&part));
    let wrong = report.findings.iter().any(|f| f.key.as_deref().is_some_and(of_fault));
    let mistyped = FAULTS.iter().any(|fault| present.has_mistyped(fault));
    if draft.faults.is_empty() && !wrong && !mistyped && !present.strange {
        let help = "add one, such as loss = \"2%\" or delay = \"80ms\"";
        report.missing(start, None, Mistake::new("has no fault", help));
    }
    fault::check_together(&draft.faults, table, &mut report);
    let Draft { target, direction, matcher, seed, schedule, ramp, faults } = draft;
    let ramp = ramp.and_then(|keys| keys.ramp(&faults, table, &mut report));
    let policy = target.filter(|_| report.findings.is_empty()).map(|target| Policy {
        name: String::new(),
        origin: origin.clone(),
        target,
        direction,
        matcher,
        seed,
        schedule,
        ramp,
        faults,
    });
    (Candidate { name, number, origin, policy }, report)
}

/// Parses a selector; all its wrong terms are reported.
pub(crate) fn selector(field: &Field<'_>, text: &str, report: &mut Report) -> Option<Selector> {
    match Selector::parse(text) {
        Ok(selector) => Some(selector),
        Err(mistakes) => {
            mistakes.into_iter().for_each(|mistake| field.wrong(report, mistake));
            None
        }
    }
}

impl FromStr for Direction {
    type Err = Mistake;

    fn from_str(text: &str) -> Result<Self, Mistake> {
        match text {
            "egress" => return Ok(Self::Egress),
            "ingress" => return Ok(Self::Ingress),
            "both" => return Ok(Self::Both),
            _ => {}
        }
        let meant = match text.to_lowercase().as_str() {
            "out" | "outbound" | "outgoing" | "output" => Some("egress"),
            "in" | "inbound" | "incoming" | "input" => Some("ingress"),
            lower => closest(lower, ["egress", "ingress", "both"]),
        };
        let help = match meant {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => "write \"egress\", \"ingress\" or \"both\"".to_owned(),
        };
        Err(Mistake::new(format!("{} is no direction", quoted(text)), help))
    }
}

fn direction(field: &Field<'_>, report: &mut Report) -> Option<Direction> {
    let text = field.string(report, "write \"egress\", \"ingress\" or \"both\"")?;
    field.accept(report, text.parse())
}

fn seed(field: &Field<'_>, report: &mut Report) -> Option<u64> {
    let help = "write a whole number, such as 7, without quotes";
    let Some(number) = field.value.get_ref().as_integer() else {
        field.not_a(report, "an integer", help);
        return None;
    };
    let range = "a seed is 0 to 9223372036854775807, the largest integer of TOML";
    let seed = integer(number)
        .and_then(|seed| u64::try_from(seed).ok())
        .ok_or_else(|| Mistake::new(format!("{number} is out of range"), range));
    field.accept(report, seed.map_err(|m| Mistake::new(plain(&m.reason), m.help)))
}

/// The value of an integer if it is one that TOML guarantees: `i64`.
fn integer(number: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// An integer of at least `least` that fits into `T`.
fn bounded<T: TryFrom<i64> + PartialOrd + From<u8>>(
    number: &DeInteger<'_>,
    what: &str,
    help: &str,
    least: u8,
) -> Result<T, Mistake> {
    integer(number)
        .and_then(|value| T::try_from(value).ok())
        .filter(|value| *value >= T::from(least))
        .ok_or_else(|| Mistake::new(format!("{} is no {what}", plain(&number.to_string())), help))
}
