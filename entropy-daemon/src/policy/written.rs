//! A policy as it was written, as JSON and TOML, which have the same shape: the control API takes and
//! gives either.

use std::fmt::Write as _;

use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

use super::file::nesting;
use super::problem::Mistake;
use super::text::quoted;

/// Keys of a policy in the order in which people expect them; others follow.
const ORDER: [&str; 6] = ["name", "target", "direction", "match", "schedule", "seed"];

/// The table of a policy, times as text.
pub(crate) fn json(table: &DeTable<'_>) -> Value {
    let entries = table.iter().map(|(key, value)| {
        let key: &str = key.get_ref();
        (key.to_owned(), json_value(value.get_ref()))
    });
    Value::Object(entries.collect())
}

/// The table that a text is that has no policies in it.
pub(crate) fn bare_table(text: &str) -> Option<Map<String, Value>> {
    if nesting::excess(text).is_some() {
        return None;
    }
    let document = DeTable::parse(text).ok()?;
    let document = document.get_ref();
    if document.contains_key("policy") {
        return None;
    }
    match json(document) {
        Value::Object(map) => Some(map),
        _ => None,
    }
}

fn json_value(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(number) => {
            let radix = number.radix();
            i64::from_str_radix(number.as_str(), radix).map_or(Value::Null, Value::from)
        }
        DeValue::Float(number) => number.as_str().parse::<f64>().map_or(Value::Null, Value::from),
        DeValue::Boolean(value) => Value::from(*value),
        DeValue::Datetime(time) => Value::from(time.to_string()),
        DeValue::Array(values) => values.iter().map(|value| json_value(value.get_ref())).collect(),
        DeValue::Table(table) => json(table),
    }
}

/// The text of a policy file with these policies, tables within them in line.
///
/// # Errors
/// What JSON has and TOML has not.
pub fn toml_of(policies: &[Map<String, Value>]) -> Result<String, Mistake> {
    let mut text = String::new();
    for policy in policies {
        text.push_str(if text.is_empty() { "[[policy]]\n" } else { "\n[[policy]]\n" });
        let first = ORDER.iter().filter_map(|key| policy.get_key_value(*key));
        let rest = policy.iter().filter(|(key, _)| !ORDER.contains(&key.as_str()));
        for (key, value) in first.chain(rest) {
            let value = toml_value(key, value)?;
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{} = {value}", toml_key(key));
        }
    }
    Ok(text)
}

fn toml_value(key: &str, value: &Value) -> Result<String, Mistake> {
    Ok(match value {
        Value::Null => {
            let reason = format!("{} is null", quoted(key));
            return Err(Mistake::new(reason, "leave the key out"));
        }
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => toml_string(text),
        Value::Array(values) => {
            let values: Result<Vec<_>, _> = values.iter().map(|v| toml_value(key, v)).collect();
            format!("[{}]", values?.join(", "))
        }
        Value::Object(table) if table.is_empty() => "{}".to_owned(),
        Value::Object(table) => {
            let entry = |(key, value): (&String, &Value)| {
                Ok(format!("{} = {}", toml_key(key), toml_value(key, value)?))
            };
            let entries: Result<Vec<_>, _> = table.iter().map(entry).collect();
            format!("{{ {} }}", entries?.join(", "))
        }
    })
}

fn toml_string(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn toml_key(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !key.is_empty() && key.chars().all(bare) { key.to_owned() } else { toml_string_basic(key) }
}

/// A key may not be a text of several lines.
fn toml_string_basic(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::policy::{load_files, parse};

    fn object(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn every_example_means_the_same_after_a_way_through_json() {
        let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies");
        let mut seen = 0;
        for file in std::fs::read_dir(examples).unwrap() {
            for mut policy in load_files(&[file.unwrap().path()]).unwrap() {
                let written = object(policy.origin.written.clone());
                let text = toml_of(&[written]).unwrap();
                let mut again = parse(Path::new("again"), text.as_bytes()).unwrap().remove(0);
                assert_eq!(again.origin.written, policy.origin.written);
                again.origin = policy.origin.clone();
                policy.name.clone_from(&again.name);
                assert_eq!(again, policy, "{text}");
                seen += 1;
            }
        }
        assert!(seen > 10, "{seen}");
    }

    #[test]
    fn what_stands_first_in_a_file_does_so_here() {
        let policy = serde_json::json!({
            "loss": { "rate": "2%", "burst": 2.5 }, "target": "app=\"x\"\n", "seed": 7, "name": "a",
            "match": { "peer": ["10.0.0.0/8"], "payload": true }, "odd key": {},
        });
        let text = toml_of(&[object(policy.clone())]).unwrap();
        assert!(text.starts_with("[[policy]]\nname = \"a\"\ntarget = "), "{text}");
        let document: toml::Table = text.parse().unwrap();
        let back = serde_json::to_value(&document["policy"][0]).unwrap();
        assert_eq!(back, policy);
    }

    #[test]
    fn null_is_refused_with_its_key() {
        let policy = object(serde_json::json!({ "delay": { "jitter": null } }));
        let mistake = toml_of(&[policy]).unwrap_err();
        assert_eq!(mistake.to_string(), "\"jitter\" is null: leave the key out");
    }
}
