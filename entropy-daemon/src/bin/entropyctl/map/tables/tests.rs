use entropy_common::{
    chance::Probability,
    fault::{loss::Loss, partition::Partition},
    rule::{ANY_ICMP, Direction, Match, Rule},
    stats::RuleState,
};
use entropy_daemon::{
    datapath::inspect::{Group, HookEntry, RuleEntry, Snapshot},
    netlink::FqStatistics,
};
use serde_json::json;

use super::super::document::Context;
use super::*;

const SECOND: u64 = 1_000_000_000;

fn snapshot() -> Snapshot {
    let loss = Loss::rate(Probability::from_parts(85_899_346).unwrap());
    let matcher =
        Match { peer_group: 1, protocol: 6, port_first: 5432, port_last: 5432, ..Match::ALL };
    let lossy = Rule { id: 7, seed: u64::MAX, loss, matcher, ..Rule::NONE };
    let matcher = Match { protocol: ANY_ICMP, ..Match::ALL };
    let cut = Rule { id: 8, seed: 3, partition: Partition::CUT, matcher, ..Rule::NONE };
    let counted = RuleState {
        seen: 5000,
        matched: 3000,
        matched_bytes: 300_000,
        lost: 59,
        lost_bytes: 5900,
        ..RuleState::ZERO
    };
    let entry = |rule, state, policy: &str, container: &str| RuleEntry {
        rule,
        state,
        policy: policy.into(),
        container: container.into(),
    };
    let mut events: Vec<(Event, u64)> = Event::ALL.iter().map(|&event| (event, 0)).collect();
    events[0].1 = 5012;
    Snapshot {
        lease_left_ns: 4_249_000_000,
        line: Some(3),
        hooks: vec![
            HookEntry {
                ifindex: 10,
                direction: Direction::Egress,
                rules: vec![
                    entry(lossy, counted, "slow-db", "web\x1b[2J"),
                    entry(cut, RuleState::ZERO, "", ""),
                ],
            },
            HookEntry { ifindex: 11, direction: Direction::Ingress, rules: vec![] },
        ],
        groups: vec![
            Group {
                number: 1,
                description: "app=db".into(),
                networks: vec!["10.0.0.2/32".parse().unwrap(), "fd00::/64".parse().unwrap()],
            },
            Group { number: 2, description: "app=gone".into(), networks: vec![] },
        ],
        events,
        clsacts: vec![10, 11],
    }
}

fn document(snapshot: &Snapshot) -> Document {
    let interfaces = [(3, "entropy0".to_owned()), (10, "veth1".to_owned())].into();
    let queue = Some(FqStatistics { waiting: 12, waiting_bytes: 1200, ..FqStatistics::default() });
    Document::new(snapshot, &Context { interfaces, daemon: Some(42), now_ns: SECOND, queue })
}

/// With runs of blanks as one.
fn shown(parts: &[Part]) -> Vec<String> {
    let text = render(&document(&snapshot()), parts);
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn rules_are_shown_with_where_what_and_how_much() {
    assert_eq!(
        shown(&[Part::Rules]),
        [
            "INTERFACE DIRECTION CONTAINER POLICY MATCH FAULT SEEN MATCHED LOST REALISED DELAYED SEED",
            "veth1 egress web\\u{1b}[2J slow-db peer app=db, tcp, port 5432 loss 2 % 5000 3000 59 \
             1.967 % 0 18446744073709551615",
            "veth1 egress (unknown) (unknown) icmp partition 0 0 0 - 0 3",
        ]
    );
}

#[test]
fn the_summary_says_who_may_inject_and_what_is_gone() {
    assert_eq!(
        shown(&[Part::Lease, Part::Line, Part::Clsacts]),
        [
            "daemon running (pid 42)",
            "lease held, 4.2 s left",
            "line enters at entropy0, 12 packets wait, 0 dropped",
            "clsact veth1, #11 (gone)",
        ]
    );
    let dead = Snapshot { lease_left_ns: 0, line: None, clsacts: vec![], ..snapshot() };
    let context = Context { interfaces: [].into(), daemon: None, now_ns: 0, queue: None };
    let text = render(&Document::new(&dead, &context), &[Part::Lease, Part::Line, Part::Clsacts]);
    for line in ["run out: nothing is injected", "entropyctl cleanup", "none of ours"] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn peers_without_address_are_shown_as_such() {
    assert_eq!(
        shown(&[Part::Peers]),
        [
            "GROUP PEER ADDRESS OR NETWORK",
            "1 app=db 10.0.0.2/32",
            "1 app=db fd00::/64",
            "2 app=gone (none now)",
        ]
    );
}

#[test]
fn counters_and_hooks_and_events_have_tables_of_their_own() {
    let counters = shown(&[Part::Counters]);
    assert_eq!(
        counters[1],
        "7 veth1 egress web\\u{1b}[2J slow-db 5000 3000 300000 59 5900 0 0 0 0 0 0 0 0"
    );
    let hooks = shown(&[Part::Hooks]);
    assert_eq!(
        hooks[1..],
        ["veth1 10 egress web\\u{1b}[2J 2", "#11 (gone) 11 ingress (unknown) 0"]
    );
    let events = shown(&[Part::Events]);
    assert_eq!(events.len(), 1 + Event::ALL.len());
    assert_eq!(events[1], "packets 5012 came to a hook that has rules");
}

#[test]
fn rules_that_are_not_in_force_say_so() {
    let fault = |from, until| {
        let mut snapshot = snapshot();
        let rule = &mut snapshot.hooks[0].rules[1].rule;
        (rule.active_from_ns, rule.active_until_ns) = (from, until);
        let document = document(&snapshot);
        describe_fault(&document.hooks.unwrap()[0].rules[1])
    };
    assert_eq!(fault(0, u64::MAX), "partition");
    assert_eq!(fault(3 * SECOND, u64::MAX), "partition (in 2.0 s)");
    assert_eq!(fault(0, 11 * SECOND), "partition (for 10.0 s)");
    assert_eq!(fault(0, SECOND), "partition (over)");
}

#[test]
fn everything_is_in_the_document_with_units_in_the_names() {
    let document = serde_json::to_value(document(&snapshot())).unwrap();
    assert_eq!(document["daemon"], json!({"running": true, "pid": 42}));
    assert_eq!(document["lease"], json!({"held": true, "left_ns": 4_249_000_000_u64}));
    assert_eq!(document["line"]["entrance"], json!({"index": 3, "name": "entropy0"}));
    assert_eq!(
        document["hooks"][0]["rules"][0],
        json!({
            "number": 7, "policy": "slow-db", "container": "web\u{1b}[2J",
            "match": {"peer_group": 1, "peer": "app=db", "protocol": "tcp",
                      "port_first": 5432, "port_last": 5432, "local_port_first": null,
                      "local_port_last": null, "remote_port_first": null,
                      "remote_port_last": null, "tcp_flags": null, "length_first_bytes": null,
                      "length_last_bytes": null, "payload": null, "flows_percent": null},
            "loss": {"model": "random", "expected_percent": 2.0,
                     "parameters_percent": {"rate": 2.0, "correlation": 0.0},
                     "count": null, "pattern": null, "ecn": false, "per": "packet"},
            "delay": null, "reorder": null, "duplicate": null, "corrupt": null, "rate": null,
            "slot": null, "partition": null, "seed": "18446744073709551615",
            "starts_in_ns": 0, "ends_in_ns": null,
            "counters": {"seen_packets": 5000, "matched_packets": 3000, "matched_bytes": 300_000,
                         "lost_packets": 59, "lost_bytes": 5900,
                         "realised_loss_percent": 59.0 / 3000.0 * 100.0,
                "queue_dropped_packets": 0, "delayed_packets": 0, "reordered_packets": 0,
                "duplicated_packets": 0, "frames": 0, "corrupted_frames": 0, "shaped_packets": 0, "marked_packets": 0, "delays": []},
        })
    );
    assert_eq!(document["peer_groups"][0]["networks"], json!(["10.0.0.2/32", "fd00::/64"]));
    assert_eq!(document["events"]["packets"], 5012);
    assert_eq!(document["clsacts"][1], json!({"index": 11, "name": null}));
}

#[test]
fn the_document_leaves_out_what_was_not_asked_for() {
    let keys = |parts: &[Part]| -> Vec<String> {
        let json = serde_json::to_value(document(&snapshot()).only(parts)).unwrap();
        json.as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(keys(&[]).len(), 7);
    assert_eq!(keys(&[Part::Lease]), ["daemon", "lease"]);
    assert_eq!(keys(&[Part::Counters]), ["daemon", "hooks"]);
    assert_eq!(serde_json::to_value(Document::default()).unwrap(), json!({}));
}

#[test]
fn what_the_line_has_lost_unasked_is_named_with_its_reason() {
    let queue = FqStatistics {
        waiting: 1,
        drops: 7,
        flow_limit_drops: 5,
        beyond_horizon: 2,
        ..FqStatistics::default()
    };
    let said = |queue| {
        let context = Context { interfaces: [].into(), daemon: None, now_ns: 0, queue };
        let document = Document::new(&snapshot(), &context);
        let json = serde_json::to_value(&document).unwrap();
        (line(&document), json["line"]["queue"]["dropped_by_flow_limit_packets"].clone())
    };
    let (text, json) = said(Some(queue));
    assert_eq!(
        text.trim_end(),
        "line    enters at #3 (gone), 1 packet waits, 7 dropped, 5 at the limit of a flow, \
         2 sent before their time, which was too far away"
    );
    assert_eq!(json, 5);
    let (text, json) = said(None);
    assert!(text.contains("no fair queue: no packet can wait"), "{text}");
    assert!(json.is_null());
}
