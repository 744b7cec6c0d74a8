//! Flags -> policy, checked by the code that checks policy files. Pure.

use std::{path::Path, time::Duration};

use entropy_daemon::policy::{Problem, Problems, parse, toml_of};
use serde_json::{Map, Value, json};

use crate::args::run::Run;

/// What is to be in force.
#[derive(Debug)]
pub(super) struct Wanted {
    /// Name of the policy.
    pub(super) name: String,
    /// The policy.
    pub(super) policy: Map<String, Value>,
    /// For how long; `None` for until it is ended.
    pub(super) length: Option<Duration>,
}

impl Wanted {
    /// What the flags ask for, or what is wrong with them.
    pub(super) fn of(run: &Run) -> Result<Self, String> {
        let name = run.name.clone().unwrap_or_else(|| format!("run-{}", std::process::id()));
        let mut policy = policy(run);
        policy.insert("name".into(), name.as_str().into());
        let text = toml_of(&[policy.clone()]).map_err(|mistake| mistake.to_string())?;
        parse(Path::new("run"), text.as_bytes()).map_err(|problems| told(&problems))?;
        let length = run.length.map(|span| Duration::from_nanos(span.nanoseconds()));
        Ok(Self { name, policy, length })
    }

    /// What happens to which packets, in a line.
    pub(super) fn describe(&self) -> String {
        let aside = ["name", "schedule", "seed"];
        let parts = self.policy.iter().filter(|(key, _)| !aside.contains(&key.as_str()));
        parts.map(|(key, value)| format!("{key} {}", plain(value))).collect::<Vec<_>>().join(", ")
    }
}

/// A value without quotes and braces.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(" "),
        Value::Object(map) => {
            let parts = map.iter().map(|(key, value)| format!("{key} {}", plain(value)));
            parts.collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}

fn policy(run: &Run) -> Map<String, Value> {
    let text = |text: &Option<String>| text.as_ref().map(|text| Value::from(text.as_str()));
    let mut policy = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        policy.extend(value.map(|value| (key.to_owned(), value)));
    };
    put("target", Some(target(run)));
    put("direction", text(&run.direction));
    put("match", table(matcher(run), None));
    put("seed", run.seed.map(Value::from));
    put("loss", table(vec![("burst", text(&run.burst).map(number))], Some(("rate", &run.loss))));
    let spread = vec![("jitter", text(&run.jitter)), ("distribution", text(&run.distribution))];
    put("delay", table(spread, Some(("base", &run.delay))));
    put("reorder", text(&run.reorder));
    put("duplicate", text(&run.duplicate));
    put("corrupt", text(&run.corrupt));
    put("rate", table(vec![("queue", text(&run.queue))], Some(("limit", &run.rate))));
    put("slot", text(&run.slot));
    put("partition", run.partition.as_deref().map(partition));
    put("schedule", run.length.map(|length| json!({ "for": length.to_string() })));
    policy
}

fn target(run: &Run) -> Value {
    let names: Vec<Value> = run.container.iter().map(|name| name.as_str().into()).collect();
    if names.is_empty() && run.pick.is_none() {
        return run.target.as_deref().unwrap_or_default().into();
    }
    let mut target = Map::new();
    target.extend(run.target.as_ref().map(|labels| ("labels".into(), labels.as_str().into())));
    if !names.is_empty() {
        target.insert("name".into(), names.into());
    }
    target.extend(run.pick.as_ref().map(|pick| ("pick".into(), number(pick.as_str().into()))));
    target.into()
}

fn matcher(run: &Run) -> Vec<(&'static str, Option<Value>)> {
    let text = |text: &Option<String>| text.as_ref().map(|text| Value::from(text.as_str()));
    let peer = match run.peer.as_slice() {
        [] => None,
        [one] => Some(one.as_str().into()),
        several => Some(several.iter().map(|peer| Value::from(peer.as_str())).collect()),
    };
    vec![
        ("peer", peer),
        ("protocol", text(&run.protocol).map(number)),
        ("port", text(&run.port).map(number)),
        ("local_port", text(&run.local_port).map(number)),
        ("remote_port", text(&run.remote_port).map(number)),
        ("tcp_flags", text(&run.tcp_flags)),
        ("flows", text(&run.flows)),
    ]
}

fn partition(what: &str) -> Value {
    if what == "everything" { true.into() } else { what.into() }
}

/// A table of what is there. With a main key: its value alone where nothing else is there.
fn table(
    entries: Vec<(&'static str, Option<Value>)>,
    main: Option<(&str, &Option<String>)>,
) -> Option<Value> {
    let others = entries.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    let mut table: Map<String, Value> = others.collect();
    let Some((key, value)) = main else {
        return (!table.is_empty()).then(|| table.into());
    };
    let value = Value::from(value.as_deref()?);
    if table.is_empty() {
        return Some(value);
    }
    table.insert(key.to_owned(), value);
    Some(table.into())
}

/// A text that is a number as one.
fn number(value: Value) -> Value {
    let text = value.as_str().unwrap_or_default();
    let whole = text.parse::<i64>().ok().map(Value::from);
    let number = whole.or_else(|| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        digits.then(|| text.parse::<f64>().ok().map(Value::from)).flatten()
    });
    number.unwrap_or(value)
}

/// The problems as those of flags.
fn told(problems: &Problems) -> String {
    let line = |problem: &Problem| {
        let key = problem.key.as_ref().map(|key| format!("{key}: ")).unwrap_or_default();
        format!("entropyctl: {key}{}\n  help: {}", problem.reason, problem.help)
    };
    problems.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Arguments, Verb};

    fn wanted(flags: &str) -> Result<Wanted, String> {
        let words = ["entropyctl", "run"].into_iter().chain(flags.split_whitespace());
        match Arguments::try_parse_from(words).unwrap().verb {
            Verb::Run(run) => Wanted::of(&run),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_make_the_policy_that_one_would_write() {
        for (flags, policy) in [
            (
                "--loss 2% --delay 200ms --for 30s",
                json!({
                    "target": "app=db", "loss": "2%", "delay": "200ms", "schedule": { "for": "30s" },
                }),
            ),
            (
                "--loss 2% --burst 2.5 --delay 1s --jitter 20ms --distribution normal",
                json!({
                    "target": "app=db", "loss": { "rate": "2%", "burst": 2.5 },
                    "delay": { "base": "1s", "jitter": "20ms", "distribution": "normal" },
                }),
            ),
            (
                "--partition --peer 10.0.0.0/8 --peer fd00::/8 --port 443 --pick 50%",
                json!({
                    "target": { "labels": "app=db", "pick": "50%" }, "partition": true,
                    "match": { "peer": ["10.0.0.0/8", "fd00::/8"], "port": 443 },
                }),
            ),
            (
                "--partition=new-connections --container shop-* --pick 1 --direction egress",
                json!({
                    "target": { "labels": "app=db", "name": ["shop-*"], "pick": 1 },
                    "partition": "new-connections", "direction": "egress",
                }),
            ),
            (
                "--rate 10mbit --queue 64KiB --seed 7 --protocol tcp --port 80-90",
                json!({
                    "target": "app=db", "rate": { "limit": "10mbit", "queue": "64KiB" }, "seed": 7,
                    "match": { "protocol": "tcp", "port": "80-90" },
                }),
            ),
        ] {
            let wanted = wanted(&format!("--name x --target app=db {flags}")).unwrap();
            let mut policy = policy;
            policy["name"] = "x".into();
            assert_eq!(Value::from(wanted.policy), policy, "{flags}");
        }
    }

    #[test]
    fn a_wrong_flag_is_told_in_the_words_of_validate() {
        let said = wanted("--target app=db --loss 2").unwrap_err();
        assert_eq!(said, "entropyctl: loss: \"2\" has no unit\n  help: write \"2%\"");
        let said = wanted("--target app=db").unwrap_err();
        assert!(said.contains("fault"), "{said}");
    }

    #[test]
    fn what_runs_is_told_in_a_line() {
        let flags = "--target app=db --delay 200ms --jitter 5ms --loss 2% --port 443 --for 5s";
        let said = wanted(flags).unwrap().describe();
        let expected = "delay base 200ms jitter 5ms, loss 2%, match port 443, target app=db";
        assert_eq!(said, expected);
    }
}
