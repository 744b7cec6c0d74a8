//! From policies and containers, by the real plan, to what clients are told.

use std::{path::Path, sync::Arc};

use entropy_common::rule::Rule;

use super::*;
use crate::{
    datapath::{
        Interface,
        inspect::{HookEntry, RuleEntry},
    },
    endpoints::testing::container,
    plan::{Target, plan},
    policy::parse,
    settings::Guard,
};

const TEXT: &str = "
    [[policy]]\nname = \"slow\"\ntarget = \"app\"\ndirection = \"egress\"\ndelay = \"80ms\"
    [[policy]]\nname = \"lossy\"\ntarget = \"app=web\"\nloss = \"2%\"\nmatch = { peer = \"app=db\" }
    [[policy]]\nname = \"nobody\"\ntarget = \"app=none\"\nloss = \"2%\"
";

fn target(name: &str, labels: &str, index: Option<u32>) -> Target {
    let container = container(name, labels);
    let endpoint = |index| crate::endpoints::Endpoint {
        interface: Interface { index, name: format!("veth{index}") },
        container: container.id.clone(),
        network: "shop".into(),
    };
    let reach = match index {
        Some(index) => Reach::Endpoints(vec![endpoint(index)]),
        None => Reach::Unsupported("host network".into()),
    };
    Target { container, reach, coming: Vec::new() }
}

/// Three policies on a web container, a database and one in the host's network.
fn view(paused: &[&str]) -> View {
    let policies = parse(Path::new("shop.toml"), TEXT.as_bytes()).unwrap();
    let targets = vec![
        target("db", "app=db", Some(8)),
        target("vpn", "app=vpn", None),
        target("web", "app=web", Some(7)),
    ];
    let mut plan = plan(&policies, &targets, 1, &Guard::default(), &BTreeSet::new());
    let names = paused.iter().map(|name| ((*name).to_owned(), Window::NEVER));
    plan.windows.extend(names);
    let in_force = plan.hooks.keys().copied().collect();
    let refused = plan.unsupported.iter().cloned().collect();
    View {
        policies: Arc::new(policies),
        of_files: 1,
        paused: paused.iter().map(|&name| name.to_owned()).collect(),
        round: Some(Arc::new(Round { plan, in_force, refused, targets, problem: None })),
        ..View::default()
    }
}

fn scene(view: &View) -> Scene<'_> {
    Scene { view, halted: None, now_ns: 100, now: Instant::now() }
}

fn states(scene: &Scene<'_>) -> Vec<State> {
    scene.policies().into_iter().map(|policy| policy.state).collect()
}

#[test]
fn a_policy_says_how_it_is_and_what_is_the_matter() {
    let view = view(&[]);
    let scene = scene(&view);
    let policies = scene.policies();
    assert_eq!(states(&scene), [State::InForce, State::InForce, State::NoContainer]);
    assert_eq!(policies[0].reasons, ["container vpn: host network"]);
    assert_eq!((policies[0].containers, policies[0].source), (3, Source::File));
    assert_eq!(policies[0].origin.as_deref(), Some("shop.toml:2"));
    assert_eq!((policies[1].source, &policies[1].origin), (Source::Api, &None));
    assert_eq!(policies[1].policy["match"]["peer"], "app=db");
}

#[test]
fn pauses_halts_and_hooks_that_are_not_ready_are_told() {
    let paused = view(&["slow"]);
    assert_eq!(states(&scene(&paused))[..2], [State::Paused, State::InForce]);
    let halted = Scene { halted: Some(Halted::now("lunch")), ..scene(&paused) };
    assert_eq!(states(&halted), [State::Halted; 3]);
    let mut view = view(&[]);
    let mut round = Round::clone(view.round.as_ref().unwrap());
    round.in_force.retain(|hook| hook.ifindex == 8);
    view.round = Some(Arc::new(round));
    assert_eq!(states(&scene(&view))[..2], [State::InForce, State::Pending]);
    let injections = scene(&view).injections(None, &Activity::default());
    let slow = injections.iter().filter(|i| i.policy == "slow" && i.interface.is_some());
    assert_eq!(slow.map(|i| i.state).collect::<Vec<_>>(), [State::InForce, State::Pending]);
}

#[test]
fn injections_have_their_counters_and_refusals_their_reasons() {
    let view = view(&[]);
    let state = RuleState { seen: 10, matched: 4, lost: 1, ..RuleState::ZERO };
    let entry =
        RuleEntry { rule: Rule::NONE, state, policy: "lossy".into(), container: "web".into() };
    let hook = HookEntry { ifindex: 7, direction: Direction::Egress, rules: vec![entry] };
    let snapshot = Snapshot {
        lease_left_ns: 1,
        line: None,
        hooks: vec![hook],
        groups: Vec::new(),
        events: Vec::new(),
        clsacts: Vec::new(),
    };
    let injections = scene(&view).injections(Some(&snapshot), &Activity::default());
    let told: Vec<_> = injections
        .iter()
        .map(|i| (i.policy.as_str(), i.container.as_str(), i.direction.as_deref().unwrap_or("-")))
        .collect();
    let expected = [
        ("slow", "db", "egress"),
        ("slow", "vpn", "-"),
        ("slow", "web", "egress"),
        ("lossy", "web", "egress"),
        ("lossy", "web", "ingress"),
    ];
    assert_eq!(told, expected);
    assert_eq!(injections[1].reason.as_deref(), Some("host network"));
    assert_eq!((&*injections[0].fault, &*injections[0].r#match), ("delay 80ms", "all IP packets"));
    assert_eq!(injections[3].r#match, "peer app=db");
    let counters = injections[3].counters.as_ref().unwrap();
    assert_eq!((counters.seen_packets, counters.realised_loss_percent), (10, Some(25.0)));
    assert_eq!(injections[4].counters, None, "not in the kernel yet");
}

#[test]
fn containers_are_told_with_what_is_on_them() {
    let view = view(&[]);
    let containers = scene(&view).containers().containers;
    let told: Vec<_> = containers.iter().map(|c| (c.name.as_str(), c.policies.join(" "))).collect();
    let expected =
        [("db", "slow".to_owned()), ("vpn", String::new()), ("web", "lossy slow".to_owned())];
    assert_eq!(told, expected);
    assert_eq!(containers[0].endpoints[0].interface, "veth8");
    assert_eq!(containers[1].reason.as_deref(), Some("host network"));
}

#[test]
fn health_says_what_is_not_well() {
    let mut view = view(&[]);
    view.untimed = Some("no sch_fq".into());
    let injections = scene(&view).injections(None, &Activity::default());
    let health = scene(&view).health(&injections, None);
    assert_eq!(
        (health.status, health.policies_in_force, health.containers_hit),
        (Status::Ok, 2, 2)
    );
    assert_eq!(health.reasons, ["no delay, rate, slot on this host: no sch_fq"]);
    view.engine.gone = Some("socket not found".into());
    view.files = Some("web.toml:1:1: wrong\nmore".into());
    view.stuck = Some("list interfaces: no memory".into());
    view.earlier = Some("what the version before has put in force stays".into());
    let unread = "nothing is pinned".to_owned();
    let health = scene(&view).health(&injections, Some(&unread));
    assert_eq!(health.status, Status::Degraded);
    assert_eq!(health.reasons[0], "no container engine: socket not found");
    assert_eq!(health.reasons[1], "what the version before has put in force stays");
    assert_eq!(health.reasons[2], "policy files are not loaded: web.toml:1:1: wrong");
    assert_eq!(health.reasons[3], "nothing changes, tried again: list interfaces: no memory");
    assert_eq!(health.reasons[4], "the counters cannot be read: nothing is pinned");
    let nothing = scene(&view).health(&[], Some(&unread));
    assert!(!nothing.reasons.iter().any(|reason| reason.contains("counters")), "{nothing:?}");
    let halted = Scene { halted: Some(Halted::now("lunch")), ..scene(&view) };
    assert_eq!(halted.health(&injections, None).status, Status::Halted);
}
