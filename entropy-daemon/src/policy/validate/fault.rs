//! The faults of a policy, each with the function that reads its key.

mod delay;
mod link;
mod loss;
mod slot;

use std::str::FromStr;

use toml::de::{DeTable, DeValue};

pub(crate) use self::{delay::delay, link::rate, loss::loss, slot::slot};
use crate::policy::model::{Chance, Corrupt, Faults, Partition, Reorder};
use crate::policy::problem::Mistake;
use crate::policy::report::{Field, Key, Present, Report, Shape};
use crate::policy::text::quoted;
use crate::policy::units::{Bandwidth, Rate, Size, Span};
use crate::policy::validate::bounded;

/// What is written in quotes, with its unit.
pub(crate) trait Quantity: FromStr<Err = Mistake> {
    /// What it must be.
    const EXPECTED: &'static str;

    /// The remedy for a number without unit.
    fn help(number: &str) -> String;
}

macro_rules! quantity {
    ($type:ty, $expected:literal) => {
        impl Quantity for $type {
            const EXPECTED: &'static str = $expected;

            fn help(number: &str) -> String {
                Self::help_for_bare_number(number)
            }
        }
    };
}

quantity!(Rate, "a percentage in quotes");
quantity!(Span, "a duration in quotes");
quantity!(Size, "a size in quotes");
quantity!(Bandwidth, "a bandwidth in quotes");

/// A number with its unit in a string.
pub(crate) fn quantity<T: Quantity>(field: &Field<'_>, report: &mut Report) -> Option<T> {
    let number = match field.value.get_ref() {
        DeValue::String(text) => return field.accept(report, text.parse()),
        DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
        DeValue::Float(number) => number.as_str(),
        _ => "",
    };
    field.not_a(report, T::EXPECTED, T::help(number));
    None
}

/// The value of a fault that is one number, or a table in which `main` is that number. `None` if
/// anything in it is wrong.
pub(crate) fn number_or_table<T: Default + 'static>(
    (shape, main, help): (&Shape<T>, &'static str, &str),
    field: &Field<'_>,
    report: &mut Report,
) -> Option<T> {
    let mut value = T::default();
    let before = report.findings.len();
    match field.value.get_ref() {
        DeValue::Table(table) => {
            let present = shape.walk(table, &field.path, &mut value, report);
            require(&present, main, help, field, report);
        }
        DeValue::Array(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
            field.not_a(report, "a string or a table", help);
        }
        _ => {
            if let Some(key) = shape.keys.iter().find(|key| key.name == main) {
                (key.read)(&mut value, field, report);
            }
        }
    }
    (report.findings.len() == before).then_some(value)
}

/// Reports a table that lacks a key.
fn require(present: &Present, key: &str, help: &str, field: &Field<'_>, report: &mut Report) {
    if !present.has(key) && !present.has_mistyped(key) {
        let mistake = Mistake::new(format!("has no {key}"), help);
        report.missing(field.at(), Some(&field.path), mistake);
    }
}

/// A whole number from `least` on.
pub(crate) fn count<T: TryFrom<i64> + PartialOrd + From<u8>>(
    field: &Field<'_>,
    report: &mut Report,
    (what, help): (&str, &str),
    least: u8,
) -> Option<T> {
    let Some(number) = field.value.get_ref().as_integer() else {
        field.not_a(report, "an integer", help);
        return None;
    };
    field.accept(report, bounded(number, what, help, least))
}

fn flag(field: &Field<'_>, report: &mut Report) -> Option<bool> {
    let value = field.value.get_ref().as_bool();
    if value.is_none() {
        let key = field.path.rsplit('.').next().unwrap_or_default();
        field.not_a(report, "true or false", format!("write {key} = true, without quotes"));
    }
    value
}

#[derive(Default)]
struct ReorderKeys {
    rate: Option<Rate>,
    correlation: Option<Rate>,
    gap: Option<u32>,
    jump: Option<Span>,
}

const REORDER_HELP: &str = "write reorder = \"5%\" or reorder = { rate = \"5%\", gap = 3 }";
const GAP_HELP: &str = "write gap = 5: at most each fifth packet is early; 1 for no gap";

const REORDER: Shape<ReorderKeys> = Shape {
    keys: &[
        Key { name: "rate", read: |r, field, report| r.rate = quantity(field, report) },
        Key {
            name: "correlation",
            read: |r, field, report| r.correlation = quantity(field, report),
        },
        Key {
            name: "gap",
            read: |r, field, report| r.gap = count(field, report, ("gap", GAP_HELP), 1),
        },
        Key { name: "jump", read: |r, field, report| r.jump = quantity(field, report) },
    ],
    other_versions: &[],
    elsewhere: &[],
};

/// `"5%"` or a table.
pub(crate) fn reorder(field: &Field<'_>, report: &mut Report) -> Option<Reorder> {
    let keys = number_or_table((&REORDER, "rate", REORDER_HELP), field, report)?;
    if keys.jump.is_some_and(|jump| jump == Span::default()) {
        let help = "leave jump out for all the way";
        field.wrong(report, Mistake::new("a jump of nothing is no reordering", help));
        return None;
    }
    Some(Reorder {
        chance: chance(keys.rate, keys.correlation)?,
        gap: keys.gap.unwrap_or(1),
        jump: keys.jump,
    })
}

fn chance(rate: Option<Rate>, correlation: Option<Rate>) -> Option<Chance> {
    Some(Chance { rate: rate?, correlation: correlation.unwrap_or(Rate::NEVER) })
}

#[derive(Default)]
struct DuplicateKeys {
    rate: Option<Rate>,
    correlation: Option<Rate>,
}

const DUPLICATE_HELP: &str = "write duplicate = \"0.5%\" or duplicate = { rate = \"0.5%\" }";

const DUPLICATE: Shape<DuplicateKeys> = Shape {
    keys: &[
        Key { name: "rate", read: |d, field, report| d.rate = quantity(field, report) },
        Key {
            name: "correlation",
            read: |d, field, report| d.correlation = quantity(field, report),
        },
    ],
    other_versions: &[],
    elsewhere: &[],
};

/// `"0.5%"` or a table.
pub(crate) fn duplicate(field: &Field<'_>, report: &mut Report) -> Option<Chance> {
    let keys = number_or_table((&DUPLICATE, "rate", DUPLICATE_HELP), field, report)?;
    chance(keys.rate, keys.correlation)
}

#[derive(Default)]
struct CorruptKeys {
    rate: Option<Rate>,
    correlation: Option<Rate>,
    silent: bool,
}

const CORRUPT_HELP: &str =
    "write corrupt = \"0.1%\" or corrupt = { rate = \"0.1%\", silent = true }";

const CORRUPT: Shape<CorruptKeys> = Shape {
    keys: &[
        Key { name: "rate", read: |c, field, report| c.rate = quantity(field, report) },
        Key {
            name: "correlation",
            read: |c, field, report| c.correlation = quantity(field, report),
        },
        Key {
            name: "silent",
            read: |c, field, report| c.silent = flag(field, report).unwrap_or_default(),
        },
    ],
    other_versions: &[],
    elsewhere: &[],
};

/// `"0.1%"` or a table.
pub(crate) fn corrupt(field: &Field<'_>, report: &mut Report) -> Option<Corrupt> {
    let keys = number_or_table((&CORRUPT, "rate", CORRUPT_HELP), field, report)?;
    Some(Corrupt { chance: chance(keys.rate, keys.correlation)?, silent: keys.silent })
}

const PARTITION_HELP: &str = "write partition = true or partition = \"new-connections\"";

/// `true`, or `"new-connections"`.
pub(crate) fn partition(field: &Field<'_>, report: &mut Report) -> Option<Partition> {
    match field.value.get_ref() {
        DeValue::Boolean(cut) => cut.then_some(Partition::Everything),
        DeValue::String(text) if text == "new-connections" => Some(Partition::NewConnections),
        DeValue::String(text) => {
            let help = match text.as_ref() {
                "true" | "false" => format!("write partition = {text}, without quotes"),
                _ => PARTITION_HELP.to_owned(),
            };
            field.wrong(report, Mistake::new(format!("{} is no partition", quoted(text)), help));
            None
        }
        _ => {
            field.not_a(report, "true, false or a string", PARTITION_HELP);
            None
        }
    }
}

/// Reports faults that make no sense together.
pub(crate) fn check_together(faults: &Faults, table: &DeTable<'_>, report: &mut Report) {
    let rest = Faults { partition: None, ..faults.clone() };
    if faults.partition == Some(Partition::Everything) && !rest.is_empty() {
        let at = table.get_key_value("partition").map_or(0, |(key, _)| key.span().start);
        let others = [
            ("loss", rest.loss.is_some()),
            ("delay", rest.delay.is_some()),
            ("reorder", rest.reorder.is_some()),
            ("duplicate", rest.duplicate.is_some()),
            ("corrupt", rest.corrupt.is_some()),
            ("rate", rest.rate.is_some()),
            ("slot", rest.slot.is_some()),
        ];
        let others: Vec<_> = others.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
        let verb = if others.len() == 1 { "does" } else { "do" };
        let reason =
            format!("a partition loses every packet, so that {} {verb} nothing", others.join(", "));
        let help = "remove it, or the other faults";
        report.wrong(at, "partition", Mistake::new(reason, help));
    }
}
