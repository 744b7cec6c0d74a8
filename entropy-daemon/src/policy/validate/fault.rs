//! The faults of a policy, each with the function that reads its key.

use toml::de::{DeTable, DeValue};

use crate::policy::model::Faults;
use crate::policy::problem::Mistake;
use crate::policy::report::{Field, Key, Report, Shape};
use crate::policy::units::Rate;

const LOSS_HELP: &str = "write loss = \"2%\" or loss = { rate = \"2%\" }";

#[derive(Default)]
struct Loss {
    rate: Option<Rate>,
}

const LOSS: Shape<Loss> = Shape {
    keys: &[Key { name: "rate", read: |loss, field, report| loss.rate = rate(field, report) }],
    other_versions: &["burst"],
    elsewhere: &[],
};

/// `"2%"` or `{ rate = "2%" }`.
pub(crate) fn loss(field: &Field<'_>, report: &mut Report) -> Option<Rate> {
    match field.value.get_ref() {
        DeValue::Table(table) => {
            let mut loss = Loss::default();
            let present = LOSS.walk(table, &field.path, &mut loss, report);
            if !present.has("rate") && !present.has_mistyped("rate") {
                let mistake = Mistake::new("has no rate", LOSS_HELP);
                report.missing(field.at(), Some(&field.path), mistake);
            }
            loss.rate
        }
        DeValue::Array(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
            field.not_a(report, "a percentage", LOSS_HELP);
            None
        }
        DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) => rate(field, report),
    }
}

/// A percentage in a string.
fn rate(field: &Field<'_>, report: &mut Report) -> Option<Rate> {
    let number = match field.value.get_ref() {
        DeValue::String(text) => return field.accept(report, text.parse()),
        DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
        DeValue::Float(number) => number.as_str(),
        _ => "",
    };
    field.not_a(report, "a percentage in quotes", Rate::help_for_bare_number(number));
    None
}

pub(crate) fn partition(field: &Field<'_>, report: &mut Report) -> Option<bool> {
    let value = field.value.get_ref().as_bool();
    if value.is_none() {
        field.not_a(report, "true or false", "write partition = true, without quotes");
    }
    value
}

/// Reports faults that make no sense together.
pub(crate) fn check_together(faults: &Faults, table: &DeTable<'_>, report: &mut Report) {
    if let (Some(loss), true) = (faults.loss, faults.partition) {
        let at = table.get_key_value("partition").map_or(0, |(key, _)| key.span().start);
        let reason =
            format!("a partition loses every packet, so that loss = \"{loss}\" does nothing");
        report.wrong(at, "partition", Mistake::new(reason, "remove one of the two"));
    }
}
