use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::api::types::{Bucket, EngineHealth};

fn injection(container: &str, counters: Option<Counters>) -> Injection {
    Injection {
        policy: "slow".into(),
        container: container.into(),
        interface: Some("veth1".into()),
        direction: Some("egress".into()),
        r#match: String::new(),
        fault: String::new(),
        state: State::InForce,
        reason: None,
        idle: false,
        quiet_ns: None,
        counters,
    }
}

fn text() -> String {
    let health = Health {
        status: Status::Ok,
        reasons: Vec::new(),
        halted: None,
        engine: EngineHealth { connected: true, ..EngineHealth::default() },
        no_fair_queue: None,
        no_wire: None,
        policies: 0,
        policies_in_force: 0,
        containers_hit: 1,
        injections_idle: 0,
    };
    let delays = [(0, 2), (1 << 16, 3), (1 << 24, 5), (1 << 40, 7)];
    let delays = delays.map(|(from_ns, packets)| Bucket { from_ns, packets }).to_vec();
    let counters = Counters { lost_packets: 7, delays, ..Counters::default() };
    let injections = [
        injection("a\"\\\nb", Some(counters)),
        injection("web", Some(Counters::default())),
        injection("vpn", None),
    ];
    let events = Event::ALL.map(|event| (event, u64::from(event.index())));
    render(&Facts {
        health: &health,
        policies: &[],
        injections: &injections,
        containers: 3,
        lease_left_ns: Some(2_500_000_000),
        queue: Some(FqStatistics { waiting: 4, drops: 3, ..FqStatistics::default() }),
        events: &events,
    })
}

/// A sample's name and what it is told apart by.
fn sample(line: &str) -> (&str, &str) {
    let (series, value) = line.rsplit_once(' ').unwrap();
    value.parse::<f64>().unwrap();
    let name = series.split('{').next().unwrap();
    (name, &series[name.len()..])
}

#[test]
fn the_text_keeps_the_rules_of_its_format() {
    let text = text();
    assert!(text.ends_with('\n') && !text.contains("\n\n"));
    let mut families: BTreeMap<String, (String, bool)> = BTreeMap::new();
    let (mut current, mut series) = (String::new(), BTreeSet::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(help.ends_with('.') && name.starts_with("entropy_"), "{line}");
            assert!(!families.contains_key(name), "{name} is told twice");
            families.insert(name.to_owned(), (String::new(), false));
            name.clone_into(&mut current);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, current, "after its help");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            families.get_mut(name).unwrap().0 = kind.to_owned();
        } else {
            let (name, labels) = sample(line);
            let is_histogram = families[&current].0 == "histogram";
            let suffixes: &[&str] = if is_histogram { &["_bucket", "_count"] } else { &[""] };
            let is_of_family = |suffix: &&str| name.strip_suffix(*suffix) == Some(&current);
            assert!(
                suffixes.iter().any(is_of_family),
                "samples of a family stand together: {line}"
            );
            assert!(series.insert((name.to_owned(), labels.to_owned())), "{line} is told twice");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            families.get_mut(&current).unwrap().1 = true;
        }
    }
    assert!(families.values().all(|(kind, has_samples)| !kind.is_empty() && *has_samples));
    assert!(families.len() > 20, "{}", families.len());
}

#[test]
fn a_histogram_counts_what_was_held_back_no_longer_than_each_bound() {
    let text = text();
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("entropy_delay_")).collect();
    assert!(lines.iter().all(|line| !line.contains("\"web\"")), "it has delayed nothing");
    let of = |name: &str, bound: &str| {
        let bound = format!("le=\"{bound}\"}} ");
        let line = lines.iter().find(|line| line.contains(name) && line.contains(&bound));
        line.unwrap().rsplit_once(' ').unwrap().1
    };
    for (bound, packets) in [
        ("0.000065536", "2"),
        ("0.000131072", "5"),
        ("0.016777216", "5"),
        ("0.033554432", "10"),
        ("68.719476736", "10"),
        ("+Inf", "17"),
    ] {
        assert_eq!(of("_bucket", bound), packets, "{bound}");
    }
    assert_eq!(lines.len(), 23, "{lines:#?}");
    assert!(lines.last().unwrap().ends_with("} 17"), "{lines:#?}");
}

#[test]
fn names_are_escaped_and_what_is_on_no_interface_has_no_counters() {
    let text = text();
    let line = "entropy_lost_packets_total{policy=\"slow\",container=\"a\\\"\\\\\\nb\",interface=\"veth1\",direction=\"egress\"} 7\n";
    assert!(text.contains(line), "{text}");
    assert!(!text.contains("vpn"));
    assert!(text.contains("\nentropy_lease_left_seconds 2.5\n"));
    assert!(text.contains("\nentropy_halted 0\n"));
    assert!(text.contains("\nentropy_line_waiting_packets 4\n"));
    assert!(text.contains("\nentropy_line_dropped_packets_total 3\n"));
}
