//! From policies, as they stand in a file, and containers to rules.

use std::path::Path;

use entropy_common::{
    fault::partition::Partition,
    rule::{ANY_ICMP, ANY_PROTOCOL, Match},
};

use super::{injection::fingerprint, *};
use crate::{
    docker::{Attachment, NetworkMode},
    endpoints::Endpoint,
    endpoints::testing::{attachment, container, on},
    policy::parse,
    settings::Guard,
};

const DAEMON_SEED: u64 = 1;

fn policies(text: &str) -> Vec<Policy> {
    parse(Path::new("test.toml"), text.as_bytes()).unwrap_or_else(|problems| panic!("{problems}"))
}

/// A policy for `app=web` that cuts everything off, with these lines besides.
fn cut(name: &str, lines: &str) -> String {
    format!("[[policy]]\nname = \"{name}\"\ntarget = \"app=web\"\npartition = true\n{lines}\n")
}

/// A container with one endpoint for each interface index, on a network called `net-<index>`.
fn target(container: Container, interfaces: &[u32]) -> Target {
    let endpoint = |index: &u32| Endpoint {
        interface: interface(*index),
        container: container.id.clone(),
        network: format!("net-{index}"),
    };
    let reach = Reach::Endpoints(interfaces.iter().map(endpoint).collect());
    Target { container, reach, coming: Vec::new() }
}

fn web(interface: u32) -> Target {
    target(container("web", "app=web"), &[interface])
}

fn planned(text: &str, targets: &[Target]) -> Plan {
    plan(&policies(text), targets, DAEMON_SEED, &Guard::default(), &BTreeSet::new())
}

/// The names of the policies on each hook.
fn on_hooks(plan: &Plan) -> Vec<(u32, &'static str, Vec<&str>)> {
    plan.hooks
        .iter()
        .map(|(hook, injections)| {
            let direction = Direction::from_number(hook.direction).unwrap().name();
            (hook.ifindex, direction, injections.iter().map(|i| i.policy.as_str()).collect())
        })
        .collect()
}

/// The only rule of a policy for `app=web` with direction egress and these lines besides.
fn rule_with(lines: &str) -> Injection {
    let plan = planned(&cut("p", &format!("direction = \"egress\"\n{lines}")), &[web(7)]);
    let mut injections: Vec<_> = plan.hooks.into_values().flatten().collect();
    assert_eq!(injections.len(), 1, "{injections:?}");
    injections.remove(0)
}

fn networks(texts: &[&str]) -> BTreeSet<Network> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn containers_that_the_selector_picks_are_hit_and_no_others() {
    let targets = [
        web(7),
        target(container("web2", "app=web,tier=front"), &[8]),
        target(container("db", "app=db"), &[9]),
        target(container("plain", ""), &[10]),
    ];
    let plan = planned(&cut("p", "direction = \"egress\""), &targets);
    assert_eq!(on_hooks(&plan), [(7, "egress", vec!["p"]), (8, "egress", vec!["p"])]);
    assert_eq!(plan.hits, [("p".to_owned(), 2)].into());
    assert_eq!(plan.interfaces, [7, 8].map(|index| (index, interface(index))).into());
    let ids = plan.hooks.values().flatten().map(|i| (&*i.container, &*i.container_id));
    assert_eq!(ids.collect::<Vec<_>>(), [("web", "WEB"), ("web2", "WEB2")]);
}

#[test]
fn a_policy_that_picks_nothing_plans_nothing_and_counts_no_hit() {
    let plan = planned(&cut("p", "match.peer = \"app=db\""), &[]);
    assert_eq!(plan, Plan { hits: [("p".to_owned(), 0)].into(), ..Plan::default() });
    assert_eq!(planned("", &[web(7)]), Plan::default());
}

#[test]
fn each_direction_has_a_hook_of_its_own_and_both_is_the_default() {
    let both = [(7, "egress", vec!["p"]), (7, "ingress", vec!["p"])];
    assert_eq!(on_hooks(&planned(&cut("p", ""), &[web(7)])), both);
    assert_eq!(on_hooks(&planned(&cut("p", "direction = \"both\""), &[web(7)])), both);
    for direction in ["egress", "ingress"] {
        let plan = planned(&cut("p", &format!("direction = \"{direction}\"")), &[web(7)]);
        assert_eq!(on_hooks(&plan), [(7, direction, vec!["p"])]);
    }
}

#[test]
fn every_interface_of_a_container_is_hit() {
    let plan = planned(&cut("p", ""), &[target(container("web", "app=web"), &[7, 8])]);
    let hooks: Vec<_> = plan.hooks.keys().map(|hook| (hook.ifindex, hook.direction)).collect();
    assert_eq!(hooks, [(7, 0), (7, 1), (8, 0), (8, 1)]);
    assert_eq!(plan.hits["p"], 1);
}

#[test]
fn policies_on_one_hook_keep_the_order_of_the_file() {
    let text = [cut("z", ""), cut("a", "direction = \"ingress\""), cut("m", "")].concat();
    let plan = planned(&text, &[web(7)]);
    let expected = [(7, "egress", vec!["z", "m"]), (7, "ingress", vec!["z", "a", "m"])];
    assert_eq!(on_hooks(&plan), expected);
}

#[test]
fn an_unreachable_container_is_named_once_for_each_policy() {
    let unreachable = |name: &str, reason: &str| Target {
        container: container(name, "app=web"),
        reach: Reach::Unsupported(reason.into()),
        coming: Vec::new(),
    };
    let targets = [unreachable("h", "host network"), unreachable("m", "no host veth"), web(7)];
    let plan = planned(&[cut("b", ""), cut("a", "")].concat(), &targets);
    let found: Vec<_> =
        plan.unsupported.iter().map(|u| (&*u.policy, &*u.container, &*u.reason)).collect();
    let expected = [
        ("a", "h", "host network"),
        ("a", "m", "no host veth"),
        ("b", "h", "host network"),
        ("b", "m", "no host veth"),
    ];
    assert_eq!(found, expected);
    assert_eq!(plan.hits["a"], 3, "it is picked all the same");
    assert_eq!(plan.interfaces.len(), 1);
}

#[test]
fn sixteen_policies_fit_on_a_hook_and_the_seventeenth_is_named_once() {
    let text = |count| (1..=count).map(|n| cut(&format!("p{n:02}"), "")).collect::<String>();
    let targets = [target(container("web", "app=web"), &[7, 8])];
    let full = planned(&text(16), &targets);
    assert_eq!(full.unsupported, []);
    let over = planned(&text(17), &targets);
    assert_eq!(over.hooks, full.hooks, "the first sixteen are in force, on all four hooks");
    assert_eq!(over.hooks.len(), 4);
    let [left_out] = &over.unsupported[..] else { panic!("{:?}", over.unsupported) };
    assert_eq!((&*left_out.policy, &*left_out.container), ("p17", "web"));
    assert!(left_out.reason.starts_with("17 policies"), "{}", left_out.reason);
}

#[test]
fn policies_that_do_nothing_make_room_for_others() {
    let text: String = (0..18).map(|number| cut(&format!("p{number}"), "")).collect();
    let targets = [web(7)];
    let idle = ["p1", "p3", "p5"].map(str::to_owned).into();
    let plan = plan(&policies(&text), &targets, 1, &Guard::default(), &idle);
    assert_eq!(plan.unsupported, []);
    for injections in plan.hooks.values() {
        let names: Vec<_> = injections.iter().map(|injection| &*injection.policy).collect();
        assert_eq!(names.len(), 16);
        assert!(names.contains(&"p1") && !names.contains(&"p3") && !names.contains(&"p5"));
    }
}

#[test]
fn a_peer_selector_stands_for_all_addresses_of_all_containers_it_picks() {
    let db = on(
        container("db", "app=db"),
        &[
            attachment("back", "bb", &["172.19.0.3", "fd00:19::3"]),
            attachment("front", "aa", &["172.18.0.3"]),
        ],
    );
    let unreachable = Target {
        container: on(container("db2", "app=db"), &[attachment("lan", "cc", &["192.0.2.9"])]),
        reach: Reach::Unsupported("macvlan".into()),
        coming: Vec::new(),
    };
    let other = on(container("cache", "app=cache"), &[attachment("back", "bb", &["172.19.0.4"])]);
    let targets = [web(7), target(db, &[8, 9]), unreachable, target(other, &[10])];
    let plan = planned(&cut("p", "match.peer = \"app=db\""), &targets);
    let expected = ["172.18.0.3/32", "172.19.0.3/32", "192.0.2.9/32", "fd00:19::3/128"];
    assert_eq!(plan.peers, [("app=db".to_owned(), networks(&expected))].into());
    assert!(plan.hooks.values().flatten().all(|i| i.peer.as_deref() == Some("app=db")));
}

#[test]
fn a_peer_that_shares_a_namespace_has_its_owners_addresses() {
    let pod = on(container("pod", ""), &[attachment("back", "bb", &["172.19.0.3"])]);
    for owner in ["POD", "pod"] {
        let mut db = container("db", "app=db");
        db.network_mode = NetworkMode::Container(owner.into());
        let targets = [web(7), target(db, &[8]), target(pod.clone(), &[8])];
        let plan = planned(&cut("p", "match.peer = \"app=db\""), &targets);
        assert_eq!(plan.peers["app=db"], networks(&["172.19.0.3/32"]), "owner given as {owner}");
    }
}

#[test]
fn a_peer_without_addresses_matches_nobody_rather_than_everybody() {
    let plan = planned(&cut("p", "match.peer = \"app=db\""), &[web(7)]);
    assert_eq!(plan.peers, [("app=db".to_owned(), BTreeSet::new())].into());
    assert!(plan.hooks.values().flatten().all(|i| i.peer.is_some()));
}

#[test]
fn networks_as_peer_are_taken_as_they_are() {
    let list = "match.peer = [\"10.0.0.0/8\", \"fd00::/8\", \"192.0.2.7\"]";
    let plan = planned(&cut("p", list), &[web(7)]);
    let expected = networks(&["10.0.0.0/8", "fd00::/8", "192.0.2.7/32"]);
    assert_eq!(plan.peers.into_values().collect::<Vec<_>>(), [expected]);
}

#[test]
fn policies_with_the_same_peer_share_it() {
    let text = ["app=db", " app = db ", "app==db", "app=db,tier"]
        .iter()
        .enumerate()
        .map(|(number, peer)| cut(&format!("p{number}"), &format!("match.peer = \"{peer}\"")))
        .collect::<String>();
    let plan = planned(&text, &[web(7)]);
    assert_eq!(plan.peers.keys().collect::<Vec<_>>(), ["app=db", "app=db,tier"]);
}

#[test]
fn peers_that_no_injection_names_are_not_planned() {
    let of_nobody = cut("nobody", "match.peer = \"app=db\"").replace("app=web", "app=gone");
    assert_eq!(planned(&of_nobody, &[web(7)]).peers, BTreeMap::new());
    // Left out for lack of room on the hook.
    let many: String = (0..16).map(|n| cut(&format!("p{n}"), "")).collect();
    let plan = planned(&(many + &cut("last", "match.peer = \"app=db\"")), &[web(7)]);
    assert_eq!(plan.peers, BTreeMap::new());
    assert_eq!(plan.unsupported.len(), 1);
}

#[test]
fn protocol_and_ports_go_into_the_match() {
    let any = rule_with("").matcher;
    assert_eq!(any, Match::ALL);
    assert_eq!((any.protocol, any.port_first, any.port_last), (ANY_PROTOCOL, 0, 0));
    for (word, number) in [
        ("\"tcp\"", 6),
        ("\"udp\"", 17),
        ("\"icmp\"", ANY_ICMP),
        ("132", 132),
        ("1", 1),
        ("58", 58),
    ] {
        let matcher = rule_with(&format!("match.protocol = {word}")).matcher;
        assert_eq!(matcher, Match { protocol: number, ..Match::ALL }, "{word}");
    }
    let one = rule_with("match = { port = 443 }").matcher;
    assert_eq!(one, Match { port_first: 443, port_last: 443, ..Match::ALL });
    let range = rule_with("match = { protocol = \"udp\", port = \"5000-5010\" }").matcher;
    assert_eq!(range, Match { protocol: 17, port_first: 5000, port_last: 5010, ..Match::ALL });
}

#[test]
fn the_number_of_the_peer_group_is_left_open() {
    let rule = rule_with("match.peer = \"app=db\"");
    assert_eq!((rule.matcher.peer_group, rule.peer.as_deref()), (0, Some("app=db")));
    assert_eq!(rule_with("").peer, None);
}

#[test]
fn faults_go_into_the_rule_and_only_those_asked_for() {
    let rule = |faults: &str| {
        let plan = planned(&cut("p", "").replace("partition = true", faults), &[web(7)]);
        let first = &plan.hooks.values().next().unwrap()[0];
        (first.faults.loss.p[0].parts(), first.faults.partition)
    };
    assert_eq!(rule("partition = true"), (0, Partition::CUT));
    assert_eq!(rule("loss = \"50%\""), (1 << 31, Partition::NONE));
    assert_eq!(rule("loss = \"0%\""), (0, Partition::NONE));
    assert_eq!(rule("loss = \"0.01%\""), (429_497, Partition::NONE));
    assert_eq!(rule("loss = \"100%\""), (1 << 32, Partition::NONE));
    assert_eq!(rule("loss = \"99.999999999%\"").0, (1 << 32) - 2, "the last step is always");
}

#[test]
fn percentiles_and_shares_of_flows_are_planned() {
    let rule = |lines: &str| rule_with(lines).matcher;
    assert_eq!(rule("").flow_seed, 0);
    let text = cut("p", "match.flows = \"20%\"").replace("partition = true", "delay.p50 = \"5ms\"");
    let plan = planned(&text, &[web(7)]);
    let both: Vec<_> = plan.hooks.values().flatten().collect();
    assert_eq!(both.len(), 2);
    assert_eq!(both[0].matcher, both[1].matcher, "the same connections both ways");
    assert_ne!(both[0].seed, both[1].seed);
    assert_ne!(both[0].matcher.flow_seed, 0);
    assert!(both[0].faults.percentiles.is_some());
    assert_eq!(both[0].faults.delay.table, Records::UNKNOWN_TABLE);
}

#[test]
fn more_lists_of_percentiles_than_tables_are_named() {
    let text: String = (0..70)
        .map(|n| {
            let delay = format!("delay.p50 = \"{}ms\"", n + 1);
            cut(&format!("p{n:02}"), "").replace("partition = true", &delay)
        })
        .collect();
    let targets: Vec<Target> = (0..70)
        .map(|n| target(container(&format!("c{n:02}"), &format!("app=web,n={n}")), &[n + 1]))
        .collect();
    // Each policy for a container of its own, so that no hook is full.
    let text = (0..70).fold(text, |text, n| text.replacen("\"app=web\"", &format!("\"n={n}\""), 1));
    let plan = planned(&text, &targets);
    assert_eq!((plan.hooks.len(), plan.interfaces.len()), (2 * MAX_PERCENTILES, MAX_PERCENTILES));
    assert_eq!(plan.unsupported.len(), 70 - MAX_PERCENTILES);
    assert!(plan.unsupported[0].reason.contains("percentiles"), "{:?}", plan.unsupported);
}

#[test]
fn without_a_queue_timed_faults_are_named_and_the_others_stay() {
    let with = |name: &str, faults: &str| cut(name, "").replace("partition = true", faults);
    let text = [
        with("slow", "delay = \"80ms\"\nmatch.peer = \"app=db\""),
        with("both", "delay = \"80ms\"\nloss = \"2%\""),
        with("lossy", "loss = \"2%\""),
    ]
    .concat();
    let mut plan = planned(&text, &[web(7)]);
    plan.refuse_timed("no queue");
    assert_eq!(
        on_hooks(&plan),
        [(7, "egress", vec!["both", "lossy"]), (7, "ingress", vec!["both", "lossy"])]
    );
    assert!(plan.hooks.values().flatten().all(|injection| !injection.faults.is_timed()));
    assert_eq!(plan.peers, BTreeMap::new());
    let named: Vec<_> = plan.unsupported.iter().map(|u| (&*u.policy, &*u.reason)).collect();
    assert_eq!(named, [("both", "no queue"), ("slow", "no queue")]);
    let mut plan = planned(&with("slow", "rate = \"1mbit\""), &[web(7)]);
    plan.refuse_timed("no queue");
    assert_eq!((plan.hooks.len(), plan.interfaces.len(), plan.hits["slow"]), (0, 0, 1));
}

#[test]
fn without_a_wire_damage_and_loss_by_segment_are_named_and_the_others_stay() {
    let with = |name: &str, faults: &str| cut(name, "").replace("partition = true", faults);
    let text = [
        with("bent", "corrupt = \"1%\"\ndelay = \"80ms\""),
        with("frames", "loss = { rate = \"2%\", per = \"segment\" }"),
        with("lossy", "loss = \"2%\""),
    ]
    .concat();
    let mut plan = planned(&text, &[web(7)]);
    plan.refuse_wired("no wire");
    let left = vec!["bent", "lossy"];
    assert_eq!(on_hooks(&plan), [(7, "egress", left.clone()), (7, "ingress", left)]);
    assert!(plan.hooks.values().flatten().all(|injection| !injection.faults.is_wired()));
    let named: Vec<_> = plan.unsupported.iter().map(|u| (&*u.policy, &*u.reason)).collect();
    assert_eq!(named, [("bent", "no wire"), ("frames", "no wire")]);
}

#[test]
fn what_the_host_cannot_do_is_left_out_of_what_moves_as_well() {
    let faults = "delay = \"80ms\"\ncorrupt = \"1%\"\nloss = \"2%\"";
    let text = cut("p", "").replace("partition = true", faults);
    let moving = || {
        let mut plan = planned(&text, &[web(7)]);
        plan.moving.insert("p".into(), policies(&text)[0].faults.records().unwrap());
        plan
    };
    let (mut queueless, mut wireless) = (moving(), moving());
    queueless.refuse_timed("no queue");
    wireless.refuse_wired("no wire");
    for plan in [&queueless, &wireless] {
        let injection = plan.hooks.values().flatten().next().unwrap();
        assert_eq!(plan.moving["p"], injection.faults);
    }
    assert!(!queueless.moving["p"].is_timed() && !wireless.moving["p"].is_wired());
}

/// The seeds of the rules of all policies, in the order of hooks and policies.
fn seeds(text: &str, targets: &[Target], daemon: u64) -> Vec<u64> {
    plan(&policies(text), targets, daemon, &Guard::default(), &BTreeSet::new())
        .hooks
        .values()
        .flatten()
        .map(|i| i.seed)
        .collect()
}

#[test]
fn a_container_made_anew_gets_the_same_seed_under_a_policy_with_a_seed() {
    let text = cut("p", "seed = 7");
    let before = target(container("web", "app=web"), &[7]);
    let anew = Container { id: "another".into(), pid: Some(99), ..before.container.clone() };
    let mut after = target(anew, &[70]);
    let Reach::Endpoints(endpoints) = &mut after.reach else { panic!() };
    endpoints[0].network = "net-7".into();
    assert_eq!(seeds(&text, &[before], 1), seeds(&text, &[after], 2), "whatever the daemon's");
}

#[test]
fn every_container_direction_and_network_has_a_seed_of_its_own() {
    let targets = [
        target(container("web", "app=web"), &[7, 8]),
        target(container("web2", "app=web"), &[9]),
        target(container("web3", "app=web"), &[10, 11, 12]),
    ];
    for lines in ["", "seed = 7"] {
        let seeds = seeds(&[cut("p", lines), cut("q", "")].concat(), &targets, DAEMON_SEED);
        let different: BTreeSet<_> = seeds.iter().collect();
        assert_eq!((seeds.len(), different.len()), (24, 24), "{lines}");
    }
}

#[test]
fn a_seed_decides_whatever_the_policy_is_called_and_another_seed_decides_otherwise() {
    let of = |name, seed| seeds(&cut(name, seed), &[web(7)], DAEMON_SEED);
    assert_eq!(of("p", "seed = 7"), of("renamed", "seed = 7"));
    assert_ne!(of("p", "seed = 7"), of("p", "seed = 8"));
    assert_ne!(of("p", "seed = 0"), of("p", ""), "0 is a seed like others");
}

#[test]
fn a_policy_without_seed_follows_the_daemons() {
    let of = |name, daemon| seeds(&cut(name, ""), &[web(7)], daemon);
    assert_eq!(of("p", 1), of("p", 1));
    assert_ne!(of("p", 1), of("p", 2));
    assert_ne!(of("p", 1), of("q", 1));
}

/// The seeds of a policy are a promise to its author. These come from a program of a dozen lines in
/// another language.
#[test]
fn seeds_are_the_same_in_every_version() {
    assert_eq!(fingerprint("foobar"), 0x8594_4171_f739_67e8, "test vector of the FNV draft");
    let of = |lines, daemon| seeds(&cut("p", lines), &[web(7)], daemon);
    assert_eq!(of("seed = 7", 1)[0], 0x4933_0ff9_bba6_c97c);
    assert_eq!(of("", 1)[1], 0x3b58_96f1_baf7_42aa);
}

#[test]
fn containers_that_share_a_namespace_are_hit_once_by_each_policy_and_under_the_owners_name() {
    let shared = |name: &str, labels: &str| {
        let mut container = container(name, labels);
        container.network_mode = NetworkMode::Container("POD".into());
        target(container, &[7])
    };
    let owner = target(container("pod", "app=web"), &[7]);
    let targets = [shared("a", "app=web"), owner, shared("z", "app=web,tier")];
    let on_tier = cut("tier", "").replace("app=web", "tier");
    let plan = planned(&[cut("p", ""), on_tier, cut("q", "")].concat(), &targets);
    let found: Vec<Vec<_>> = plan
        .hooks
        .values()
        .map(|injections| injections.iter().map(|i| (&*i.policy, &*i.container)).collect())
        .collect();
    let expected = vec![("p", "pod"), ("tier", "z"), ("q", "pod")];
    assert_eq!(found, [expected.clone(), expected]);
    assert_eq!(plan.hits["p"], 3);
}

#[test]
fn attachments_do_not_matter_for_who_is_hit() {
    let none: &[Attachment] = &[];
    let plan = planned(&cut("p", ""), &[target(on(container("web", "app=web"), none), &[])]);
    assert_eq!((plan.hooks.len(), plan.hits["p"], plan.unsupported.len()), (0, 1, 0));
}

fn interface(index: u32) -> Interface {
    Interface { index, name: format!("veth{index}") }
}

#[test]
fn what_a_starting_container_may_get_is_prepared_in_the_policys_direction_and_has_no_rules() {
    let starting = Target { coming: vec![interface(9)], ..web(8) };
    let other = Target { coming: vec![interface(5)], ..target(container("db", "app=db"), &[6]) };
    let plan = planned(&cut("p", "direction = 'egress'"), &[starting, other]);
    assert_eq!(plan.prepared, [HookKey::new(9, Direction::Egress)].into());
    assert_eq!(plan.interfaces, [8, 9].map(|index| (index, interface(index))).into());
    assert_eq!(plan.hooks.len(), 1);
}
