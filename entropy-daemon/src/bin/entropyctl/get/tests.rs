use std::collections::BTreeMap;

use entropy_daemon::api::types::{Endpoint, Lease, State};

use super::*;

fn policy(name: &str, source: Source) -> Policy {
    Policy {
        name: name.into(),
        source,
        origin: (source == Source::File).then(|| "/etc/entropy/policies/web.toml:3".into()),
        state: State::InForce,
        reasons: Vec::new(),
        containers: 2,
        starts_in_ns: Some(0),
        ends_in_ns: None,
        lease: None,
        policy: serde_json::Map::new(),
        effect: None,
    }
}

#[test]
fn policies_say_where_they_come_from_and_what_is_the_matter() {
    let reasons = vec!["container vpn: host network".into(), "another".into()];
    let ends_in_ns = Some(12_300_000_000);
    let lease = Some(Lease { ttl_ns: 3_000_000_000, left_ns: 2_000_000_000 });
    let all = [
        policy("web", Source::File),
        Policy { reasons, ends_in_ns, lease, ..policy("db", Source::Api) },
    ];
    let table = policies(&all);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[1].contains("web.toml:3  in force"), "{table}");
    let note =
        "ends in 12.3 s, ends 3.0 s after its client, container vpn: host network, and 1 more";
    assert!(lines[2].starts_with("db") && lines[2].ends_with(note), "{table}");
    assert!(policies(&[]).contains("entropyctl apply"));
}

#[test]
fn an_injection_shows_what_came_of_its_loss_or_why_it_is_not_there() {
    let counters = Counters {
        seen_packets: 400,
        matched_packets: 200,
        lost_packets: 4,
        realised_loss_percent: Some(2.0),
        ..Counters::default()
    };
    let placed = Injection {
        policy: "lossy".into(),
        container: "web".into(),
        interface: Some("veth1".into()),
        direction: Some("egress".into()),
        r#match: "all IP packets".into(),
        fault: "loss 2 %".into(),
        state: State::InForce,
        reason: None,
        idle: false,
        quiet_ns: Some(0),
        counters: Some(counters.clone()),
    };
    let refused = Injection {
        interface: None,
        direction: None,
        state: State::Refused,
        reason: Some("host network".into()),
        counters: None,
        ..placed.clone()
    };
    let table = injections(&[placed, refused]);
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split("  ").collect()).collect();
    assert!(table.lines().nth(1).unwrap().contains("400      200     4       2 %"), "{table}");
    assert!(lines[2].last().unwrap().contains("host network"), "{table}");
    // Of a loss by segment, the frames.
    let by_segment = Counters { frames: 1000, realised_loss_percent: Some(0.4), ..counters };
    assert_eq!(realised(&by_segment), "0.4 %");
    assert_eq!(realised(&Counters::default()), "-");
}

#[test]
fn containers_are_listed_with_their_interfaces() {
    let container = Container {
        id: "0123456789abcdef".into(),
        name: "web".into(),
        labels: BTreeMap::new(),
        endpoints: vec![Endpoint { interface: "veth1".into(), index: 7, network: "shop".into() }],
        reason: None,
        policies: vec!["lossy".into()],
    };
    let table = containers(&[container]);
    let line = table.lines().nth(1).unwrap();
    assert!(line.starts_with("web        0123456789ab  veth1 (shop)  lossy"), "{table}");
}
