//! `rate`: a link of limited bandwidth.

use toml::de::DeValue;

use super::{count, number_or_table, quantity};
use crate::policy::model::{Link, Queue};
use crate::policy::problem::Mistake;
use crate::policy::report::{Field, Key, Report, Shape};
use crate::policy::units::{Bandwidth, Size, Span};
use crate::policy::validate::integer;

const HELP: &str = "write rate = \"10mbit\" or rate = { limit = \"10mbit\", queue = \"200ms\" }";
const QUEUE_HELP: &str = "write how much may wait, as time or size: \"200ms\" or \"64KiB\"";
const ECN_HELP: &str = "write ecn = true, or from which wait on packets are marked: \"20ms\"";
const OVERHEAD_HELP: &str = "write whole bytes, such as 24 or -14";
const CELL_HELP: &str = "write the bytes of a cell, such as 53";

/// What may wait if the policy does not say.
const USUAL_QUEUE: Span = Span::new(200_000_000);

#[derive(Default)]
struct Keys {
    limit: Option<Bandwidth>,
    queue: Option<Queue>,
    burst: Option<Size>,
    overhead: Option<i32>,
    cell: Option<u32>,
    cell_overhead: Option<i32>,
    ecn: Ecn,
}

#[derive(Default)]
enum Ecn {
    #[default]
    Never,
    /// Half of the queue.
    Usual,
    After(Span),
}

const RATE: Shape<Keys> = Shape {
    keys: &[
        Key { name: "limit", read: |keys, field, report| keys.limit = quantity(field, report) },
        Key { name: "queue", read: |keys, field, report| keys.queue = queue(field, report) },
        Key { name: "burst", read: |keys, field, report| keys.burst = quantity(field, report) },
        Key { name: "overhead", read: |keys, field, report| keys.overhead = signed(field, report) },
        Key {
            name: "cell",
            read: |keys, field, report| {
                keys.cell = count(field, report, ("size of a cell", CELL_HELP), 1);
            },
        },
        Key {
            name: "cell_overhead",
            read: |keys, field, report| keys.cell_overhead = signed(field, report),
        },
        Key {
            name: "ecn",
            read: |keys, field, report| keys.ecn = ecn(field, report).unwrap_or_default(),
        },
    ],
    other_versions: &[],
    elsewhere: &[],
};

/// `"10mbit"` or a table.
pub(crate) fn rate(field: &Field<'_>, report: &mut Report) -> Option<Link> {
    let keys = number_or_table((&RATE, "limit", HELP), field, report)?;
    if keys.cell.is_none() && keys.cell_overhead.is_some() {
        let mistake = Mistake::new("there are no cells to have an overhead", "add cell = 53");
        field.wrong(report, mistake);
        return None;
    }
    let mut link = Link {
        limit: keys.limit?,
        queue: keys.queue.unwrap_or(Queue::Time(USUAL_QUEUE)),
        burst: keys.burst.unwrap_or_default(),
        mark: None,
        overhead: keys.overhead.unwrap_or_default(),
        cell: keys.cell.unwrap_or_default(),
        cell_overhead: keys.cell_overhead.unwrap_or_default(),
    };
    let record = field.accept(report, link.record())?;
    link.mark = match keys.ecn {
        Ecn::Never => None,
        Ecn::Usual => Some(Span::new(record.queue_ns / 2)),
        Ecn::After(wait) => Some(wait),
    };
    Some(link)
}

fn queue(field: &Field<'_>, report: &mut Report) -> Option<Queue> {
    let text = field.string(report, QUEUE_HELP)?;
    let queue = text.parse().map(Queue::Time).or_else(|mistake: Mistake| {
        // Of the two mistakes, the one of what was meant.
        match text.parse::<Size>() {
            Ok(size) => Ok(Queue::Size(size)),
            Err(other) if text.to_lowercase().ends_with('b') => Err(other),
            Err(_) if mistake.reason.ends_with("unknown unit") => {
                Err(Mistake::new(mistake.reason, QUEUE_HELP))
            }
            Err(_) => Err(mistake),
        }
    });
    field.accept(report, queue)
}

fn ecn(field: &Field<'_>, report: &mut Report) -> Option<Ecn> {
    match field.value.get_ref() {
        DeValue::Boolean(true) => Some(Ecn::Usual),
        DeValue::Boolean(false) => Some(Ecn::Never),
        DeValue::String(_) => quantity(field, report).map(Ecn::After),
        _ => {
            field.not_a(report, "true, false or a duration", ECN_HELP);
            None
        }
    }
}

/// Bytes, perhaps fewer than none: a few thousand at most.
fn signed(field: &Field<'_>, report: &mut Report) -> Option<i32> {
    let Some(number) = field.value.get_ref().as_integer() else {
        field.not_a(report, "an integer", OVERHEAD_HELP);
        return None;
    };
    let bytes = integer(number)
        .and_then(|value| i32::try_from(value).ok())
        .filter(|bytes| bytes.abs() <= 65_535)
        .ok_or_else(|| Mistake::new("is no overhead", "write -65535 to 65535 bytes"));
    field.accept(report, bytes)
}
