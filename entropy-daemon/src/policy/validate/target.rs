//! The `target` of a policy: a selector, or a table.

use glob::Pattern;
use toml::de::DeValue;

use super::{bounded, fault, matcher, selector};
use crate::policy::problem::Mistake;
use crate::policy::report::{Field, Key, Report, Shape};
use crate::policy::selector::Selector;
use crate::policy::target::{Pick, Target};
use crate::policy::text::quoted;
use crate::policy::units::Rate;

const HELP: &str = "write a selector such as \"app=web\", or a table such as { name = \"shop-*\" }";
const NAME_HELP: &str = "write a pattern such as \"shop-*\", or a list of them";
const PICK_HELP: &str = "write how many containers, such as 1, or a share such as \"50%\"";

/// Longest name that Docker takes, by far.
const LONGEST: usize = 255;

#[derive(Default)]
struct Keys {
    labels: Option<Selector>,
    names: Vec<Pattern>,
    pick: Option<Pick>,
}

const TARGET: Shape<Keys> = Shape {
    keys: &[
        Key { name: "labels", read: |keys, field, report| keys.labels = labels(field, report) },
        Key { name: "name", read: |keys, field, report| keys.names = names(field, report) },
        Key { name: "pick", read: |keys, field, report| keys.pick = pick(field, report) },
    ],
    other_versions: &[],
    elsewhere: &[],
};

pub(super) fn target(field: &Field<'_>, report: &mut Report) -> Option<Target> {
    match field.value.get_ref() {
        DeValue::String(_) => labels(field, report).map(Target::from),
        DeValue::Table(table) => {
            let before = report.findings.len();
            let mut keys = Keys::default();
            let present = TARGET.walk(table, &field.path, &mut keys, report);
            let says_which =
                ["labels", "name"].iter().any(|key| present.has(key) || present.has_mistyped(key));
            if !says_which && !present.strange {
                let help = "add labels = \"app=web\" or name = \"shop-*\"";
                let mistake = Mistake::new("picks no containers", help);
                report.missing(field.at(), Some(&field.path), mistake);
            }
            let Keys { labels, names, pick } = keys;
            (report.findings.len() == before).then_some(Target { labels, names, pick })
        }
        _ => {
            field.not_a(report, "a string or a table", HELP);
            None
        }
    }
}

fn labels(field: &Field<'_>, report: &mut Report) -> Option<Selector> {
    let text = field.string(report, HELP)?;
    if matcher::looks_like_addresses(text) {
        let reason = format!("{} is an address, not a selector", quoted(text));
        let help = "targets are picked by label; addresses go into match: match = { peer = ... }";
        field.wrong(report, Mistake::new(reason, help));
        return None;
    }
    selector(field, text, report)
}

/// One pattern, or a list of them.
fn names(field: &Field<'_>, report: &mut Report) -> Vec<Pattern> {
    match field.value.get_ref() {
        DeValue::Array(list) if list.is_empty() => {
            field.wrong(report, Mistake::new("the list of names is empty", NAME_HELP));
            Vec::new()
        }
        DeValue::Array(list) => list
            .iter()
            .enumerate()
            .filter_map(|(index, value)| {
                let item = Field { path: format!("{}[{index}]", field.path), value };
                name(&item, report)
            })
            .collect(),
        _ => name(field, report).into_iter().collect(),
    }
}

fn name(field: &Field<'_>, report: &mut Report) -> Option<Pattern> {
    let text = field.string(report, NAME_HELP)?;
    field.accept(report, pattern(text))
}

fn pattern(text: &str) -> Result<Pattern, Mistake> {
    let wrong = |reason: String, help: &str| Err(Mistake::new(reason, help));
    if text.is_empty() {
        return wrong("the name is empty".to_owned(), "write \"*\" for any name");
    }
    if text.starts_with('/') {
        let help = "leave out the slash that Docker's API puts before names";
        return wrong(format!("{} begins with a slash", quoted(text)), help);
    }
    // What no name can match is a mistake.
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-*?[]!".contains(c);
    if text.len() > LONGEST || !text.chars().all(allowed) {
        let help = "names have letters, digits, \"_\", \".\" and \"-\"; \"*\" stands for any of them, \
                    \"?\" for one, \"[ab]\" for one of some";
        return wrong(format!("{} is no pattern of names", quoted(text)), help);
    }
    match Pattern::new(text) {
        Ok(pattern) => Ok(pattern),
        Err(error) => wrong(
            format!("{} is no pattern of names: {}", quoted(text), error.msg),
            "\"*\" stands for any characters, \"?\" for one, \"[ab]\" for one of some",
        ),
    }
}

fn pick(field: &Field<'_>, report: &mut Report) -> Option<Pick> {
    match field.value.get_ref() {
        DeValue::Integer(number) => {
            let count = bounded(number, "number of containers", PICK_HELP, 1);
            field.accept(report, count.map(Pick::Count))
        }
        DeValue::String(_) => {
            let share: Rate = fault::quantity(field, report)?;
            if share == Rate::NEVER {
                field.wrong(report, Mistake::new("0 % of the containers is none", PICK_HELP));
                return None;
            }
            Some(Pick::Share(share))
        }
        _ => {
            field.not_a(report, "a number or a percentage in quotes", PICK_HELP);
            None
        }
    }
}
