//! `slot`: a shared medium that lets packets go in bursts.

use entropy_common::fault::delay::MAX_DELAY_NS;

use super::delay::{DISTRIBUTION_HELP, named};
use super::{count, number_or_table, quantity};
use crate::policy::model::{Distribution, Slot, SlotTime};
use crate::policy::problem::Mistake;
use crate::policy::report::{Field, Key, Report, Shape};
use crate::policy::units::{Size, Span};

const HELP: &str = "write slot = \"20ms\" or slot = { every = \"20ms\", packets = 32 }";
const PACKETS_HELP: &str = "write packets = 32, or leave it out for no limit";

/// What may wait if the policy does not say: all that can.
const USUAL_QUEUE: Span = Span::new(MAX_DELAY_NS);

#[derive(Default)]
struct Keys {
    every: Option<Span>,
    jitter: Option<Span>,
    distribution: Option<Distribution>,
    min: Option<Span>,
    max: Option<Span>,
    packets: Option<u32>,
    bytes: Option<Size>,
    queue: Option<Span>,
    /// Offsets of the keys about time.
    given: Vec<(&'static str, usize)>,
}

/// A key about time, which has to go with the others.
macro_rules! time {
    ($name:ident, $read:expr) => {
        Key {
            name: stringify!($name),
            read: |keys, field, report| {
                keys.given.push((stringify!($name), field.at()));
                keys.$name = $read(field, report);
            },
        }
    };
}

const SLOT: Shape<Keys> = Shape {
    keys: &[
        time!(every, quantity),
        time!(jitter, quantity),
        time!(distribution, |field, report| named(field, report, DISTRIBUTION_HELP)),
        time!(min, quantity),
        time!(max, quantity),
        Key {
            name: "packets",
            read: |keys, field, report| {
                keys.packets = count(field, report, ("number of packets", PACKETS_HELP), 1);
            },
        },
        Key { name: "bytes", read: |keys, field, report| keys.bytes = quantity(field, report) },
        Key { name: "queue", read: |keys, field, report| keys.queue = quantity(field, report) },
    ],
    other_versions: &[],
    elsewhere: &[],
};

/// `"20ms"` or a table.
pub(crate) fn slot(field: &Field<'_>, report: &mut Report) -> Option<Slot> {
    let before = report.findings.len();
    let mut keys = Keys::default();
    match field.value.get_ref().as_table() {
        Some(table) => {
            SLOT.walk(table, &field.path, &mut keys, report);
        }
        None => keys = number_or_table((&SLOT, "every", HELP), field, report)?,
    }
    if report.findings.len() == before {
        check(&keys, field, report);
    }
    if report.findings.len() != before {
        return None;
    }
    let time = match (keys.every, keys.min, keys.max) {
        (Some(every), ..) => SlotTime::Every {
            every,
            jitter: keys.jitter.unwrap_or_default(),
            distribution: keys.distribution.unwrap_or_default(),
        },
        (None, Some(min), Some(max)) => SlotTime::Between { min, max },
        _ => return None,
    };
    let slot = Slot {
        time,
        packets: keys.packets,
        bytes: keys.bytes,
        queue: keys.queue.unwrap_or(USUAL_QUEUE),
    };
    field.accept(report, slot.record().map(|_| slot))
}

/// Reports keys about time that do not go together.
fn check(keys: &Keys, field: &Field<'_>, report: &mut Report) {
    let mut wrong = |key: &str, reason: &str, help: &str| {
        let at = keys.given.iter().find(|(given, _)| *given == key).map(|(_, at)| *at);
        if let Some(at) = at {
            report.wrong(at, &format!("{}.{key}", field.path), Mistake::new(reason, help));
        }
    };
    let range = keys.min.is_some() || keys.max.is_some();
    if keys.every.is_some() {
        for key in ["min", "max"] {
            wrong(key, "every says when the next slot is already", "remove it, or every");
        }
        if keys.jitter.is_none() {
            let help = "add jitter = \"5ms\"";
            wrong("distribution", "there is no jitter to distribute", help);
        }
    } else if range {
        for key in ["jitter", "distribution"] {
            let help = "write every instead of min and max, or remove it";
            wrong(key, "goes with every, not with min and max", help);
        }
        if keys.max.is_none() {
            wrong("min", "there is no max", "add max = \"40ms\", or write every instead");
        }
        if keys.min.is_none() {
            wrong("max", "there is no min", "add min = \"20ms\"");
        }
    } else {
        let mistake = Mistake::new("has no every, or min and max", HELP);
        report.missing(field.at(), Some(&field.path), mistake);
    }
    if keys.bytes.is_some_and(|bytes| bytes.bytes() == 0) {
        field.wrong(report, Mistake::new("a slot for no bytes is none", "leave bytes out for any"));
    }
}
