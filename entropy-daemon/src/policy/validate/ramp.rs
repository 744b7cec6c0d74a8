//! The `ramp` of a policy. What it moves is known when the faults are: [`Keys::ramp`].

use toml::de::DeTable;

use super::fault::{number_or_table, quantity};
use crate::policy::model::{DelayTime, Faults, Loss, Ramp, Start};
use crate::policy::problem::Mistake;
use crate::policy::report::{Field, Key, Report, Shape};
use crate::policy::units::{Bandwidth, Rate, Span};

const HELP: &str = "write ramp = { over = \"5m\", from = { delay = \"0ms\" } }";
const FROM_HELP: &str = "write where the faults begin: from = { delay = \"0ms\", loss = \"0%\" }";

/// The shortest step, and the shortest ramp: each step is a round through all that is in the kernel.
const SHORTEST: Span = Span::new(1_000_000_000);
/// The longest ramp.
const LONGEST: Span = Span::new(24 * 3600 * 1_000_000_000);
/// How many steps there are if the policy does not say.
const USUAL_STEPS: u64 = 100;

/// What the keys of a ramp say.
#[derive(Default)]
pub(super) struct Keys {
    over: Option<Span>,
    step: Option<Span>,
    start: Start,
}

const RAMP: Shape<Keys> = Shape {
    keys: &[
        Key { name: "over", read: |keys, field, report| keys.over = period(field, report) },
        Key { name: "step", read: |keys, field, report| keys.step = period(field, report) },
        Key {
            name: "from",
            read: |keys, field, report| keys.start = start(field, report).unwrap_or_default(),
        },
    ],
    other_versions: &[],
    elsewhere: &[("every", "it is called step: ramp = { over = \"5m\", step = \"10s\" }")],
};

const START: Shape<Start> = Shape {
    keys: &[
        Key { name: "delay", read: |start, field, report| start.delay = delay(field, report) },
        Key { name: "loss", read: |start, field, report| start.loss = rate(field, report) },
        Key {
            name: "duplicate",
            read: |start, field, report| start.duplicate = rate(field, report),
        },
        Key { name: "corrupt", read: |start, field, report| start.corrupt = rate(field, report) },
        Key { name: "rate", read: |start, field, report| start.limit = limit(field, report) },
        Key {
            name: "reorder",
            read: |_, field, report| {
                let reason = "which packets overtake does not move";
                field.wrong(report, Mistake::new(reason, "remove it, or move the delay"));
            },
        },
        Key {
            name: "slot",
            read: |_, field, report| {
                let reason = "the slots of a medium do not move";
                field.wrong(report, Mistake::new(reason, "remove it, or move the delay"));
            },
        },
        Key {
            name: "partition",
            read: |_, field, report| {
                let reason = "a partition is there or not, and does not move";
                field.wrong(report, Mistake::new(reason, "remove it, or move a loss to \"100%\""));
            },
        },
    ],
    other_versions: &[],
    elsewhere: &[],
};

/// The table as it stands; `None` if anything in it is wrong.
pub(super) fn read(field: &Field<'_>, report: &mut Report) -> Option<Keys> {
    let Some(table) = field.value.get_ref().as_table() else {
        field.not_a(report, "a table", HELP);
        return None;
    };
    let before = report.findings.len();
    let mut keys = Keys::default();
    let present = RAMP.walk(table, &field.path, &mut keys, report);
    for key in ["over", "from"] {
        if !present.has(key) && !present.has_mistyped(key) {
            let mistake = Mistake::new(format!("has no {key}"), HELP);
            report.missing(field.at(), Some(&field.path), mistake);
        }
    }
    if let (Some(over), Some(step)) = (keys.over, keys.step)
        && step > over
    {
        let at = table.get("step").map_or(field.at(), |value| value.span().start);
        let reason = format!("{step} is longer than {over}, which the ramp takes");
        let mistake = Mistake::new(reason, format!("write {over} or less, or leave it out"));
        report.wrong(at, &format!("{}.step", field.path), mistake);
    }
    (report.findings.len() == before).then_some(keys)
}

fn period(field: &Field<'_>, report: &mut Report) -> Option<Span> {
    let span: Span = quantity(field, report)?;
    let range = format!("write \"{SHORTEST}\" to \"{LONGEST}\"");
    let reason = match span {
        _ if span < SHORTEST => format!("{span} is too short"),
        _ if span > LONGEST => format!("{span} is too long"),
        _ => return Some(span),
    };
    field.wrong(report, Mistake::new(reason, range));
    None
}

fn start(field: &Field<'_>, report: &mut Report) -> Option<Start> {
    let Some(table) = field.value.get_ref().as_table() else {
        field.not_a(report, "a table", FROM_HELP);
        return None;
    };
    let mut start = Start::default();
    let before = report.findings.len();
    START.walk(table, &field.path, &mut start, report);
    if table.is_empty() {
        field.wrong(report, Mistake::new("says nothing", FROM_HELP));
    }
    (report.findings.len() == before).then_some(start)
}

#[derive(Default)]
struct DelayKeys {
    base: Option<Span>,
    jitter: Option<Span>,
}

/// `"0ms"`, or a table of what moves of a delay: what it leaves out begins at nothing.
fn delay(field: &Field<'_>, report: &mut Report) -> Option<(Span, Span)> {
    const STAYS: &str = "it stays as it is in the policy's delay";
    const DELAY: Shape<DelayKeys> = Shape {
        keys: &[
            Key { name: "base", read: |keys, field, report| keys.base = quantity(field, report) },
            Key {
                name: "jitter",
                read: |keys, field, report| keys.jitter = quantity(field, report),
            },
        ],
        other_versions: &[],
        elsewhere: &[("distribution", STAYS), ("correlation", STAYS), ("order", STAYS)],
    };
    let help = "write delay = \"0ms\" or delay = { base = \"0ms\", jitter = \"0ms\" }";
    let keys = number_or_table((&DELAY, "base", help), field, report)?;
    Some((keys.base?, keys.jitter.unwrap_or_default()))
}

/// `"0%"`, or a table with that.
fn rate(field: &Field<'_>, report: &mut Report) -> Option<Rate> {
    const RATE: Shape<Option<Rate>> = Shape {
        keys: &[Key { name: "rate", read: |rate, field, report| *rate = quantity(field, report) }],
        other_versions: &[],
        elsewhere: &[],
    };
    number_or_table((&RATE, "rate", "write \"0%\""), field, report)?
}

/// `"100mbit"`, or a table with that.
fn limit(field: &Field<'_>, report: &mut Report) -> Option<Bandwidth> {
    const LIMIT: Shape<Option<Bandwidth>> = Shape {
        keys: &[Key {
            name: "limit",
            read: |limit, field, report| *limit = quantity(field, report),
        }],
        other_versions: &[],
        elsewhere: &[],
    };
    number_or_table((&LIMIT, "limit", "write \"100mbit\""), field, report)?
}

impl Keys {
    /// The ramp, if the policy has all that it moves.
    pub(super) fn ramp(
        self,
        faults: &Faults,
        policy: &DeTable<'_>,
        report: &mut Report,
    ) -> Option<Ramp> {
        let over = self.over?;
        let hundredth = Span::new(over.nanoseconds() / USUAL_STEPS).max(SHORTEST);
        let ramp = Ramp { over, step: self.step.unwrap_or(hundredth), from: self.start };
        let before = report.findings.len();
        let start = policy.get("ramp").and_then(|ramp| ramp.get_ref().get("from"));
        for (key, mistake) in still(&ramp.from, faults, policy) {
            let value = start.and_then(|start| start.get_ref().get(key));
            let at = value.map_or(0, |value| value.span().start);
            report.wrong(at, &format!("ramp.from.{key}"), mistake);
        }
        // What is wrong with the faults themselves was said.
        if report.findings.is_empty()
            && let Err(mistake) = check_ends(&ramp, faults)
        {
            let at = start.map_or(0, |start| start.span().start);
            report.wrong(at, "ramp.from", mistake);
        }
        (report.findings.len() == before).then_some(ramp)
    }
}

/// What is to move and cannot, by key. A fault that is there and wrong is not missing.
fn still(from: &Start, faults: &Faults, policy: &DeTable<'_>) -> Vec<(&'static str, Mistake)> {
    let mut still = Vec::new();
    for (key, moves, example) in [
        ("delay", from.delay.is_some(), "80ms"),
        ("loss", from.loss.is_some(), "2%"),
        ("duplicate", from.duplicate.is_some(), "0.5%"),
        ("corrupt", from.corrupt.is_some(), "0.1%"),
        ("rate", from.limit.is_some(), "10mbit"),
    ] {
        if moves && !policy.contains_key(key) {
            let help = format!("add {key} = \"{example}\" to the policy, or remove it");
            still.push((key, Mistake::new(format!("the policy has no {key} to move to"), help)));
        }
    }
    let is_fixed = |loss: &Loss| loss.clone().rate_mut().is_none();
    if from.loss.is_some() && faults.loss.as_ref().is_some_and(is_fixed) {
        let reason = "the loss of the policy has no rate that could move";
        let help = "write loss = { rate = \"2%\" }, or remove it";
        still.push(("loss", Mistake::new(reason, help)));
    }
    let time = faults.delay.as_ref().map(|delay| &delay.time);
    if from.delay.is_some() && matches!(time, Some(DelayTime::Percentiles(_))) {
        let help = "write delay = { base = \"80ms\", jitter = \"20ms\" }, or remove it";
        still.push(("delay", Mistake::new("percentiles do not move", help)));
    }
    still
}

/// Both ends must be faults, and different ones. What lies between two that are is one as well: each
/// limit of a record is one of a single number, or of a rate that bursts allow up to some value.
fn check_ends(ramp: &Ramp, faults: &Faults) -> Result<(), Mistake> {
    let first = ramp.at(faults, 0);
    first.records()?;
    if first == *faults {
        return Err(Mistake::new("the ramp begins where it ends", FROM_HELP));
    }
    Ok(())
}
