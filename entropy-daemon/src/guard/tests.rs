use std::path::Path;

use entropy_common::rule::MAX_SHIELDS;

use super::*;
use crate::{
    datapath::Interface,
    docker::NetworkMode,
    endpoints::{Endpoint, Reach, testing::container},
    plan::plan,
    policy::{Policy, parse},
    settings::{MAX_HOST_PORTS, Settings},
};

fn guard(lines: &str) -> Guard {
    let text = format!("[guard]\n{lines}\n");
    Settings::parse(Path::new("test.toml"), text.as_bytes()).unwrap().guard
}

fn policies(targets: &[(&str, &str)]) -> Vec<Policy> {
    let text: String = targets
        .iter()
        .map(|(name, target)| {
            format!("[[policy]]\nname = \"{name}\"\ntarget = \"{target}\"\nloss = \"1%\"\n")
        })
        .collect();
    parse(Path::new("test.toml"), text.as_bytes()).unwrap()
}

/// Containers with an endpoint each, numbered from 1.
fn targets(labels: &[&str]) -> Vec<Target> {
    let target = |(index, labels): (u32, &&str)| {
        let container = container(&format!("c{index}"), labels);
        let endpoint = Endpoint {
            interface: Interface { index, name: format!("veth{index}") },
            container: container.id.clone(),
            network: "net".into(),
        };
        Target { container, reach: Reach::Endpoints(vec![endpoint]), coming: Vec::new() }
    };
    (1..).zip(labels).map(target).collect()
}

/// A policy and a container.
type Pair = (String, String);

/// Who is hit by what, and who is not and why.
fn outcome(plan: &Plan) -> (BTreeSet<Pair>, Vec<(String, String, String)>) {
    let hit = plan.hooks.values().flatten();
    let hit = hit.map(|injection| (injection.policy.clone(), injection.container.clone()));
    let not = plan.unsupported.iter();
    let not = not.map(|u| (u.policy.clone(), u.container.clone(), u.reason.clone()));
    (hit.collect(), not.collect())
}

fn pairs(list: &[(&str, &str)]) -> BTreeSet<(String, String)> {
    list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

#[test]
fn protected_containers_are_named_and_never_hit() {
    let guard = guard("protect = [\"app=pay\", \"tier=control\"]");
    let targets = targets(&["app=web", "app=pay", "app=web,tier=control"]);
    let plan = plan(&policies(&[("p", "app")]), &targets, 1, &guard, &BTreeSet::new());
    let (hit, not) = outcome(&plan);
    assert_eq!(hit, pairs(&[("p", "c1")]));
    let reasons: Vec<_> = not.iter().map(|(_, container, why)| (&**container, &**why)).collect();
    assert_eq!(
        reasons,
        [
            ("c2", "the guard protects containers with app=pay"),
            ("c3", "the guard protects containers with tier=control"),
        ]
    );
}

#[test]
fn with_opt_in_only_containers_that_ask_for_it_are_hit() {
    let guard = guard("opt_in = \"chaos=yes\"");
    let targets = targets(&["app=web", "app=web,chaos=yes", "app=web,chaos=no"]);
    let plan = plan(&policies(&[("p", "app=web")]), &targets, 1, &guard, &BTreeSet::new());
    let (hit, not) = outcome(&plan);
    assert_eq!(hit, pairs(&[("p", "c2")]));
    assert_eq!(not.len(), 2);
    assert_eq!(not[0].2, "the guard allows containers with chaos=yes only");
}

#[test]
fn the_policy_that_would_hit_too_many_containers_is_left_out_as_a_whole() {
    let targets = targets(&["app=a", "app=a", "app=b", "app=c"]);
    let list = [("first", "app=a"), ("second", "app=b"), ("third", "app=a"), ("all", "app")];
    let of = |share: &str| {
        let plan = plan(
            &policies(&list),
            &targets,
            1,
            &guard(&format!("max_share = \"{share}\"")),
            &BTreeSet::new(),
        );
        outcome(&plan)
    };
    let (hit, not) = of("50%");
    assert_eq!(hit, pairs(&[("first", "c1"), ("first", "c2"), ("third", "c1"), ("third", "c2")]));
    let reasons: BTreeSet<_> = not.iter().map(|(policy, _, why)| (&**policy, &**why)).collect();
    assert_eq!(
        reasons,
        BTreeSet::from([
            ("second", "3 of 4 containers would be hit, the guard allows 50%"),
            ("all", "4 of 4 containers would be hit, the guard allows 50%"),
        ])
    );
    let (hit, not) = of("100%");
    assert_eq!((hit.len(), not.len()), (9, 0));
    let (hit, not) = of("24.999%");
    assert_eq!((hit.len(), not.len()), (0, 9));
}

#[test]
fn one_container_that_is_hit_by_many_policies_counts_once() {
    let targets = targets(&["app=a", "app=b"]);
    let list = policies(&[("p", "app=a"), ("q", "app=a"), ("r", "app=a")]);
    let plan = plan(&list, &targets, 1, &guard("max_share = \"50%\""), &BTreeSet::new());
    assert_eq!(outcome(&plan).1, []);
}

/// Makes one container the guest of another's namespace.
fn share(targets: &mut [Target], guest: usize, owner: usize) {
    let name = targets[owner].container.name.clone();
    targets[guest].container.network_mode = NetworkMode::Container(name);
    targets[guest].reach = targets[owner].reach.clone();
}

#[test]
fn who_shares_a_namespace_with_a_protected_container_is_protected_too() {
    for (guest, owner) in [(0, 1), (1, 0)] {
        let mut targets = targets(&["app=proxy", "app=pay", "app=proxy"]);
        share(&mut targets, guest, owner);
        let guard = guard("protect = [\"app=pay\"]");
        let plan = plan(&policies(&[("p", "app=proxy")]), &targets, 1, &guard, &BTreeSet::new());
        let (hit, not) = outcome(&plan);
        assert_eq!(hit, pairs(&[("p", "c3")]), "guest {guest}");
        let why = "it shares its network with c2, and the guard protects containers with app=pay";
        assert_eq!(not, [("p".into(), "c1".into(), why.into())]);
    }
}

#[test]
fn who_shares_a_namespace_is_hit_and_counts() {
    let mut targets = targets(&["app=a", "app=side", "app=b", "app=side"]);
    share(&mut targets, 1, 0);
    share(&mut targets, 3, 2);
    let of = |share: &str| {
        let guard = guard(&format!("max_share = \"{share}\""));
        let list = policies(&[("p", "app=a"), ("q", "app=b")]);
        outcome(&plan(&list, &targets, 1, &guard, &BTreeSet::new()))
    };
    let (hit, not) = of("50%");
    assert_eq!(hit, pairs(&[("p", "c1")]));
    assert_eq!(not[0].2, "4 of 4 containers would be hit, the guard allows 50%");
    assert_eq!(of("49%").0, BTreeSet::new());
}

#[test]
fn what_has_no_network_yet_and_what_is_idle_does_not_count() {
    let mut targets = targets(&["app=a", "app=b", "app=b"]);
    targets[2].container.state = State::Created;
    targets[2].reach = Reach::Endpoints(Vec::new());
    let list = policies(&[("p", "app=a"), ("q", "app=b")]);
    let guard = guard("max_share = \"50%\"");
    let (hit, not) = outcome(&plan(&list, &targets, 1, &guard, &BTreeSet::new()));
    assert_eq!(hit, pairs(&[("p", "c1")]));
    assert_eq!(not[0].2, "2 of 2 containers would be hit, the guard allows 50%");
    // Its rules stay, with their counters.
    let idle = BTreeSet::from(["p".to_owned()]);
    let (hit, not) = outcome(&plan(&list, &targets, 1, &guard, &idle));
    assert_eq!((hit, not), (pairs(&[("p", "c1"), ("q", "c2")]), vec![]));
}

#[test]
fn shields_are_for_the_hosts_ports_and_for_protected_peers() {
    let host: BTreeSet<IpAddr> = ["172.17.0.1".parse().unwrap(), "fe80::1".parse().unwrap()].into();
    let (shields, peers) = Guard::default().shields(&host);
    let names: Vec<_> = shields.iter().map(|shield| &*shield.name).collect();
    assert_eq!(names, ["this host, TCP port 22", "this host, TCP port 2375-2376"]);
    let networks: Vec<_> = peers[HOST].iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["172.17.0.1/32", "fe80::1/128"]);
    let matcher = shields[1].matcher;
    assert_eq!((matcher.protocol, matcher.remote_first, matcher.remote_last), (6, 2375, 2376));
    assert_eq!((matcher.port_last, matcher.local_last), (0, 0));

    let (shields, peers) =
        guard("protect_peers = [\"10.0.0.0/8\", \"!10.1.0.0/16\"]").shields(&host);
    assert_eq!(shields[0].matcher, Match::ALL);
    assert_eq!(peers[PROTECTED].len(), 2);
    assert_eq!((shields.len(), peers.len()), (3, 2));
    assert_eq!(guard("host_ports = []").shields(&host), (Vec::new(), BTreeMap::new()));
    assert_eq!(Guard::default().shields(&BTreeSet::new()).0, []);
}

#[test]
fn a_plan_keeps_the_peers_of_its_shields_while_there_is_a_rule() {
    let host: BTreeSet<IpAddr> = ["172.17.0.1".parse().unwrap()].into();
    let guard = Guard::default();
    let mut busy =
        plan(&policies(&[("p", "app")]), &targets(&["app"]), 1, &guard, &BTreeSet::new());
    busy.shield(&guard, &host);
    assert_eq!((busy.shields.len(), busy.peers.len()), (2, 1));
    let mut idle =
        plan(&policies(&[("p", "gone")]), &targets(&["app"]), 1, &guard, &BTreeSet::new());
    idle.shield(&guard, &host);
    assert_eq!((idle.shields.len(), idle.peers.len()), (0, 0));
}

/// Protected peers need one, each entry of ports another.
#[test]
fn all_shields_fit() {
    const { assert!(MAX_HOST_PORTS < MAX_SHIELDS) };
}

#[test]
fn what_lasts_longer_than_the_guard_allows_is_named() {
    let guard = guard("max_duration = \"1h\"");
    let shortened = |schedule: &str| {
        let text =
            format!("[[policy]]\nname = \"p\"\ntarget = \"app\"\nloss = \"1%\"\n{schedule}\n");
        let policies = parse(Path::new("test.toml"), text.as_bytes()).unwrap();
        let plan = plan(&policies, &targets(&["app=a"]), 1, &guard, &BTreeSet::new());
        plan.shortened.get("p").map(ToString::to_string)
    };
    let hour = Some("1h".to_owned());
    assert_eq!(shortened(""), hour);
    assert_eq!(shortened("schedule = { every = \"2h\", duration = \"90m\" }"), hour);
    assert_eq!(shortened("schedule = { every = \"1m\" }"), hour, "it goes on without a break");
    assert_eq!(shortened("schedule = { cron = \"@daily\", duration = \"61m\" }"), hour);
    assert_eq!(shortened("schedule = { on = \"1h\", off = \"1s\" }"), None);
    assert_eq!(shortened("schedule = { for = \"1h\" }"), None);
}
