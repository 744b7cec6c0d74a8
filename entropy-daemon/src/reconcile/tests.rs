//! Rounds against a datapath that checks every step and fails when it is told to.

use entropy_common::{
    chance::Probability,
    fault::{loss::Loss, partition::Partition},
    rule::{Direction, Match},
};
use futures_util::FutureExt as _;

use super::*;
use crate::datapath::fake::{Failure, Fake};
use crate::policy::Records;

mod host;
mod property;
mod upgrade;

const EGRESS: Direction = Direction::Egress;
const INGRESS: Direction = Direction::Ingress;

/// A daemon's end of things, and the kernel.
#[derive(Debug, Default)]
struct Bench {
    reconciler: Reconciler,
    fake: Fake,
}

impl Bench {
    fn round(&mut self, plan: &Plan) -> Outcome {
        let done = self.reconciler.apply(plan, &mut self.fake, |_| {}).now_or_never();
        done.expect("the fake never waits")
    }

    /// A round without failures; what was done.
    fn calls(&mut self, plan: &Plan) -> Vec<String> {
        let outcome = self.round(plan);
        let calls = self.fake.take_calls();
        assert_eq!((outcome.done, outcome.failed), (calls.len(), 0));
        calls
    }

    /// Another version takes over: what it knows is what it is told and what is in the kernel.
    fn upgrade(&mut self) {
        let told = serde_json::to_string(&self.reconciler.hand_over()).unwrap();
        let told = serde_json::from_str(&told).unwrap();
        self.reconciler = Reconciler::resumed(self.fake.recovered(), told);
    }

    /// A round with these answers; what was done, and what came of it.
    fn answered(&mut self, plan: &Plan, answers: &[Option<Failure>]) -> (Vec<String>, Outcome) {
        self.fake.answer(answers.iter().copied());
        let outcome = self.round(plan);
        (self.fake.take_calls(), outcome)
    }
}

/// A policy that cuts off a container called web.
fn cut(policy: &str) -> Injection {
    Injection {
        policy: policy.into(),
        container: "web".into(),
        container_id: "WEB".into(),
        seed: 7,
        matcher: Match::ALL,
        peer: None,
        faults: Records { partition: Partition::CUT, ..Records::NONE },
    }
}

fn cut_from(policy: &str, peer: &str) -> Injection {
    Injection { peer: Some(peer.into()), ..cut(policy) }
}

fn lossy(policy: &str, parts: u64) -> Injection {
    let loss = Loss::rate(Probability::from_parts(parts).unwrap());
    Injection { faults: Records { loss, ..Records::NONE }, ..cut(policy) }
}

fn plan_of(hooks: &[(u32, Direction, &[Injection])], peers: &[(&str, &[&str])]) -> Plan {
    let interface = |index| Interface { index, name: format!("veth{index}") };
    let networks = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
    Plan {
        hooks: hooks
            .iter()
            .map(|(index, direction, rules)| (HookKey::new(*index, *direction), rules.to_vec()))
            .collect(),
        interfaces: hooks.iter().map(|(index, ..)| (*index, interface(*index))).collect(),
        peers: peers.iter().map(|(peer, list)| ((*peer).to_owned(), networks(list))).collect(),
        ..Plan::default()
    }
}

/// Both hooks of an interface, a peer, and a second interface.
fn example() -> Plan {
    let (p, q) = (cut_from("p", "app=db"), cut("q"));
    plan_of(
        &[(7, EGRESS, &[p.clone(), q.clone()]), (7, INGRESS, &[p]), (8, EGRESS, &[q])],
        &[("app=db", &["172.17.0.3/32", "fd00::3/128"])],
    )
}

const EXAMPLE_UP: [&str; 7] = [
    "add 172.17.0.3/32,fd00::3/128 to 1",
    "put 7 egress p#1 q#2",
    "put 7 ingress p#3",
    "put 8 egress q#4",
    "attach 7 egress",
    "attach 7 ingress",
    "attach 8 egress",
];

const EXAMPLE_DOWN: [&str; 7] = [
    "clear 7 egress",
    "clear 7 ingress",
    "clear 8 egress",
    "detach 7 egress",
    "detach 7 ingress",
    "detach 8 egress",
    "remove 172.17.0.3/32,fd00::3/128 from 1, which ends",
];

#[test]
fn up_goes_peers_then_rules_then_programs() {
    let mut bench = Bench::default();
    assert_eq!(bench.calls(&example()), EXAMPLE_UP);
}

#[test]
fn down_goes_rules_then_programs_then_peers_and_leaves_nothing() {
    let mut bench = Bench::default();
    bench.round(&example());
    bench.fake.take_calls();
    assert_eq!(bench.calls(&Plan::default()), EXAMPLE_DOWN);
    assert!(bench.fake.is_empty(), "{:?}", bench.fake);
    assert_eq!(bench.reconciler.is, State::default());
}

#[test]
fn the_kernel_gets_what_the_plan_says() {
    let mut bench = Bench::default();
    bench.round(&example());
    let rules = &bench.fake.hooks[&HookKey::new(7, EGRESS)];
    let matcher = Match { peer_group: 1, ..Match::ALL };
    let rule = Rule { id: 1, seed: 7, matcher, partition: Partition::CUT, ..Rule::NONE };
    let expected = NamedRule { rule, policy: "p".into(), container: "web".into() };
    assert_eq!(rules[0], expected);
    assert_eq!(rules[1].rule.matcher.peer_group, 0, "a policy without a peer matches every peer");
    assert_eq!(bench.fake.groups[&1].description, "app=db");
    assert_eq!(bench.fake.attached[&HookKey::new(8, EGRESS)].name, "veth8");
}

#[test]
fn an_unchanged_plan_needs_no_action() {
    let mut bench = Bench::default();
    bench.round(&example());
    bench.fake.take_calls();
    assert_eq!(bench.calls(&example()), [""; 0]);
    let mut plan = example();
    plan.hits = [("p".to_owned(), 5)].into();
    assert_eq!(bench.calls(&plan), [""; 0]);
}

#[test]
fn a_new_address_of_a_peer_comes_before_the_old_one_goes_and_rules_stay() {
    let mut bench = Bench::default();
    bench.round(&example());
    bench.fake.take_calls();
    let mut plan = example();
    plan.peers = plan_of(&[], &[("app=db", &["172.17.0.9/32", "fd00::3/128"])]).peers;
    assert_eq!(bench.calls(&plan), ["add 172.17.0.9/32 to 1", "remove 172.17.0.3/32 from 1"]);
}

#[test]
fn a_peer_without_addresses_is_a_group_all_the_same() {
    let mut bench = Bench::default();
    let plan = |list| plan_of(&[(7, EGRESS, &[cut_from("p", "app=db")])], &[("app=db", list)]);
    let expected = ["add nothing to 1", "put 7 egress p#1", "attach 7 egress"];
    assert_eq!(bench.calls(&plan(&[])), expected);
    assert_eq!(bench.calls(&plan(&[])), [""; 0]);
    assert_eq!(bench.calls(&plan(&["10.0.0.1/32"])), ["add 10.0.0.1/32 to 1"]);
    assert_eq!(bench.calls(&plan(&[])), ["remove 10.0.0.1/32 from 1"], "it does not end");
}

#[test]
fn a_peer_of_two_policies_is_one_group_and_ends_with_the_last() {
    let mut bench = Bench::default();
    let peers: &[(&str, &[&str])] = &[("app=db", &["10.0.0.1/32"])];
    let (p, q) = (cut_from("p", "app=db"), cut_from("q", "app=db"));
    bench.round(&plan_of(&[(7, EGRESS, &[p, q.clone()])], peers));
    assert_eq!(bench.fake.groups.len(), 1);
    bench.fake.take_calls();
    assert_eq!(bench.calls(&plan_of(&[(7, EGRESS, &[q])], peers)), ["put 7 egress q#2"]);
    let expected = ["put 7 egress r#3", "remove 10.0.0.1/32 from 1, which ends"];
    assert_eq!(bench.calls(&plan_of(&[(7, EGRESS, &[cut("r")])], &[])), expected);
}

#[test]
fn a_changed_rate_is_a_new_rule_and_its_neighbours_keep_their_counters() {
    let mut bench = Bench::default();
    let rules = [cut("p"), lossy("q", 1 << 20), cut("r")];
    bench.round(&plan_of(&[(7, EGRESS, &rules), (8, EGRESS, &rules)], &[]));
    bench.fake.take_calls();
    let edited = [cut("p"), lossy("q", 1 << 21), cut("r")];
    let plan = plan_of(&[(7, EGRESS, &edited), (8, EGRESS, &rules)], &[]);
    assert_eq!(bench.calls(&plan), ["put 7 egress p#1 q#7 r#3"]);
}

#[test]
fn policies_that_change_places_keep_their_counters() {
    let mut bench = Bench::default();
    bench.round(&plan_of(&[(7, EGRESS, &[cut("p"), cut("q")])], &[]));
    bench.fake.take_calls();
    let plan = plan_of(&[(7, EGRESS, &[cut("q"), cut("p")])], &[]);
    assert_eq!(bench.calls(&plan), ["put 7 egress q#2 p#1"]);
}

#[test]
fn an_interface_that_another_container_takes_over_gets_new_rules_and_stays_attached() {
    let mut bench = Bench::default();
    bench.round(&plan_of(&[(7, EGRESS, &[cut("p")]), (7, INGRESS, &[cut("p")])], &[]));
    bench.fake.take_calls();
    // The same name even: made anew, so that its counters start from nothing.
    let anew = [Injection { container_id: "WEB2".into(), ..cut("p") }];
    let plan = plan_of(&[(7, EGRESS, &anew), (7, INGRESS, &anew)], &[]);
    assert_eq!(bench.calls(&plan), ["put 7 egress p#3", "put 7 ingress p#4"]);
}

#[test]
fn an_interface_that_comes_back_is_attached_again_under_new_numbers() {
    let mut bench = Bench::default();
    let peers: &[(&str, &[&str])] = &[("app=db", &["10.0.0.1/32"])];
    let plan = plan_of(&[(7, EGRESS, &[cut_from("p", "app=db")])], peers);
    assert_eq!(bench.calls(&plan), ["add 10.0.0.1/32 to 1", "put 7 egress p#1", "attach 7 egress"]);
    bench.calls(&Plan::default());
    assert_eq!(bench.calls(&plan), ["add 10.0.0.1/32 to 2", "put 7 egress p#2", "attach 7 egress"]);
}

#[test]
fn a_failed_action_is_tried_again_and_only_that() {
    for failing in 0..EXAMPLE_UP.len() {
        let mut bench = Bench::default();
        let mut answers = vec![None; EXAMPLE_UP.len()];
        answers[failing] = Some(Failure::Other);
        let (calls, outcome) = bench.answered(&example(), &answers);
        assert_eq!(calls.len(), EXAMPLE_UP.len(), "the others are done: {calls:?}");
        assert_eq!((outcome.done, outcome.failed), (EXAMPLE_UP.len() - 1, 1));
        assert_eq!(bench.calls(&example()), [EXAMPLE_UP[failing]]);
        assert_eq!(bench.calls(&example()), [""; 0]);
    }
}

#[test]
fn a_failed_removal_is_tried_again_and_only_that() {
    for failing in 0..EXAMPLE_DOWN.len() {
        let mut bench = Bench::default();
        bench.round(&example());
        bench.fake.take_calls();
        let mut answers = vec![None; EXAMPLE_DOWN.len()];
        answers[failing] = Some(Failure::Other);
        let (_, outcome) = bench.answered(&Plan::default(), &answers);
        assert_eq!((outcome.done, outcome.failed), (EXAMPLE_DOWN.len() - 1, 1));
        assert_eq!(bench.calls(&Plan::default()), [EXAMPLE_DOWN[failing]]);
        assert!(bench.fake.is_empty(), "{:?}", bench.fake);
    }
}

#[test]
fn when_nothing_works_nothing_is_taken_for_done() {
    let mut bench = Bench::default();
    for _ in 0..3 {
        bench.fake.fail_next(EXAMPLE_UP.len(), Failure::Other);
        let outcome = bench.round(&example());
        assert_eq!((outcome.done, outcome.failed), (0, EXAMPLE_UP.len()));
    }
    bench.fake.take_calls();
    assert_eq!(bench.calls(&example()), EXAMPLE_UP, "and under the same numbers");
}

#[test]
fn a_vanished_interface_is_no_failure_and_needs_no_detach() {
    let mut bench = Bench::default();
    let plan = plan_of(&[(7, EGRESS, &[cut("p")])], &[]);
    let (calls, outcome) = bench.answered(&plan, &[None, Some(Failure::Gone)]);
    assert_eq!(calls, ["put 7 egress p#1", "attach 7 egress: Gone"]);
    assert_eq!(outcome, Outcome { done: 1, ..Outcome::default() });
    assert_eq!(bench.calls(&Plan::default()), ["clear 7 egress"]);
}

#[test]
fn an_interface_that_vanished_before_its_detach_is_attached_when_its_number_is_used_again() {
    let mut bench = Bench::default();
    let plan = plan_of(&[(7, EGRESS, &[cut("p")])], &[]);
    bench.round(&plan);
    bench.fake.take_calls();
    let (calls, outcome) = bench.answered(&Plan::default(), &[None, Some(Failure::Gone)]);
    assert_eq!(calls, ["clear 7 egress", "detach 7 egress: Gone"]);
    assert_eq!(outcome.failed, 0);
    assert_eq!(bench.calls(&Plan::default()), [""; 0]);
    assert_eq!(bench.calls(&plan), ["put 7 egress p#2", "attach 7 egress"]);
}

#[test]
fn a_direction_is_attached_with_its_first_rule_and_detached_with_its_last() {
    let mut bench = Bench::default();
    let both = plan_of(&[(7, EGRESS, &[cut("p")]), (7, INGRESS, &[cut("q")])], &[]);
    let one = plan_of(&[(7, EGRESS, &[cut("p")])], &[]);
    assert_eq!(bench.calls(&one), ["put 7 egress p#1", "attach 7 egress"]);
    assert_eq!(bench.calls(&both), ["put 7 ingress q#2", "attach 7 ingress"]);
    assert_eq!(bench.calls(&one), ["clear 7 ingress", "detach 7 ingress"]);
}

#[test]
fn what_is_for_later_is_attached_one_in_a_round_and_after_what_is_needed_now() {
    let mut bench = Bench::default();
    let later = [8, 9].map(|index| HookKey::new(index, EGRESS));
    bench.fake.prepared = later.into();
    let mut plan = plan_of(&[(7, EGRESS, &[cut("p")])], &[]);
    plan.interfaces =
        [7, 8, 9].map(|index| (index, Interface { index, name: format!("veth{index}") })).into();
    plan.prepared = later.into();
    let first = bench.round(&plan);
    let expected = ["put 7 egress p#1", "attach 7 egress", "attach 8 egress"];
    assert_eq!((bench.fake.take_calls(), first.more), (expected.map(str::to_owned).into(), true));
    let second = bench.round(&plan);
    assert_eq!((bench.fake.take_calls(), second.more), (vec!["attach 9 egress".into()], false));
    // A container comes to be behind one of them, and nothing is left to do but to write its rules.
    plan.hooks.insert(later[1], vec![cut("p")]);
    plan.prepared.clear();
    assert_eq!(bench.calls(&plan), ["put 9 egress p#2", "detach 8 egress"]);
}

#[test]
fn what_is_for_later_and_fails_is_not_asked_for_again_at_once() {
    let mut bench = Bench::default();
    let later = [8, 9].map(|index| HookKey::new(index, EGRESS));
    bench.fake.prepared = later.into();
    let mut plan = plan_of(&[(8, EGRESS, &[]), (9, EGRESS, &[])], &[]);
    plan.prepared = later.into();
    plan.hooks.clear();
    let (calls, outcome) = bench.answered(&plan, &[Some(Failure::Unsupported)]);
    assert_eq!((calls, outcome.more), (vec!["attach 8 egress: Unsupported".into()], false));
}

fn unsupported(policy: &str, reason: &str) -> Unsupported {
    Unsupported { policy: policy.into(), container: "web".into(), reason: reason.into() }
}

#[test]
fn a_hook_that_takes_no_program_is_reported_for_each_policy_on_it() {
    let mut bench = Bench::default();
    let hooks: &[(u32, Direction, &[Injection])] =
        &[(7, EGRESS, &[cut("p"), cut("q")]), (7, INGRESS, &[cut("p")]), (8, EGRESS, &[cut("r")])];
    let plan = plan_of(hooks, &[]);
    let refusal = [None, None, None, Some(Failure::Unsupported)];
    let (calls, outcome) = bench.answered(&plan, &refusal);
    assert_eq!(calls[3..], ["attach 7 egress: Unsupported", "attach 7 ingress", "attach 8 egress"]);
    let reason = "not on this interface";
    let expected = [unsupported("p", reason), unsupported("q", reason)].into();
    assert_eq!(outcome, Outcome { done: 5, unsupported: expected, ..Outcome::default() });
    let (calls, outcome) = bench.answered(&plan, &[Some(Failure::Unsupported)]);
    assert_eq!(calls, ["attach 7 egress: Unsupported"], "somebody may have changed something");
    assert_eq!(outcome.unsupported.len(), 2, "and it is still so");
    assert_eq!(bench.calls(&plan), ["attach 7 egress"]);
}

#[test]
fn a_hook_that_takes_no_rules_is_reported_for_the_policies_on_that_hook() {
    let mut bench = Bench::default();
    let plan = plan_of(&[(7, EGRESS, &[cut("p")]), (7, INGRESS, &[cut("q")])], &[]);
    let (_, outcome) = bench.answered(&plan, &[Some(Failure::Unsupported)]);
    assert_eq!(outcome.unsupported, [unsupported("p", "not on this interface")].into());
}

#[test]
fn what_the_plan_says_is_unsupported_is_reported_in_every_round() {
    let mut bench = Bench::default();
    let host = unsupported("p", "host network");
    let plan = Plan { unsupported: vec![host.clone()], ..Plan::default() };
    for _ in 0..2 {
        let expected = Outcome { unsupported: [host.clone()].into(), ..Outcome::default() };
        assert_eq!(bench.round(&plan), expected);
    }
}

#[test]
fn the_lease_gets_its_turn_after_every_action_that_works_or_not() {
    let mut bench = Bench::default();
    bench.fake.answer([None, Some(Failure::Other), Some(Failure::Gone)]);
    let mut turns = 0;
    let round = bench.reconciler.apply(&example(), &mut bench.fake, |_| turns += 1).now_or_never();
    assert_eq!(round.map(|outcome| outcome.done), Some(5));
    assert_eq!(turns, EXAMPLE_UP.len());
}

#[test]
fn memory_does_not_grow_with_the_churn_and_numbers_are_never_used_again() {
    let mut bench = Bench::default();
    for generation in 1..=500 {
        let peer = format!("app=db{generation}");
        let container_id = generation.to_string();
        let p = Injection { container_id: container_id.clone(), ..cut_from("p", &peer) };
        let q = Injection { container_id, ..cut("q") };
        let plan = plan_of(
            &[(generation, EGRESS, &[p, q]), (1000, EGRESS, &[cut("stays")])],
            &[(&peer, &["10.0.0.1/32"])],
        );
        bench.calls(&plan);
        let Numbers { rules, groups, last_rule, last_group, .. } = &bench.reconciler.numbers;
        assert_eq!((rules.len(), groups.len()), (3, 1));
        // The fake holds that none of them was another rule's or group's.
        assert_eq!((*last_rule, *last_group), (2 * generation + 1, generation));
    }
    bench.calls(&Plan::default());
    assert!(bench.fake.is_empty());
    let numbers = &bench.reconciler.numbers;
    assert!(numbers.rules.is_empty() && numbers.groups.is_empty() && numbers.tables.is_empty());
}

#[test]
fn a_policy_that_moves_keeps_its_rule_and_only_its_hook_is_written() {
    let (still, last) = (cut("still"), lossy("moving", 1 << 30));
    let mut plan = plan_of(&[(7, EGRESS, &[still.clone(), last]), (8, EGRESS, &[still])], &[]);
    let mut bench = Bench::default();
    let at = |plan: &mut Plan, parts: u64| {
        plan.moving.insert("moving".into(), lossy("moving", parts).faults);
    };
    at(&mut plan, 0);
    bench.calls(&plan);
    let written = |bench: &Bench| {
        let rules = &bench.reconciler.is.hooks[&HookKey::new(7, EGRESS)].0;
        (rules[1].rule.id, rules[1].rule.loss)
    };
    let (id, loss) = written(&bench);
    assert_eq!(loss, lossy("", 0).faults.loss);
    assert_eq!(bench.calls(&plan), [""; 0]);
    at(&mut plan, 1 << 29);
    assert_eq!(bench.calls(&plan), ["put 7 egress still#1 moving#2"]);
    assert_eq!(written(&bench), (id, lossy("", 1 << 29).faults.loss));
    // At the end it is as if it had never moved.
    at(&mut plan, 1 << 30);
    assert_eq!(bench.calls(&plan), ["put 7 egress still#1 moving#2"]);
    plan.moving.clear();
    assert_eq!(bench.calls(&plan), [""; 0]);
}

#[test]
fn programs_that_somebody_took_off_are_attached_again() {
    let mut bench = Bench::default();
    bench.round(&example());
    bench.fake.take_calls();
    let lost = HookKey::new(7, INGRESS);
    bench.fake.attached.remove(&lost);
    assert_eq!(bench.calls(&example()), [""; 0], "nobody has noticed");
    bench.reconciler.lost(&[lost].into());
    assert!(!bench.reconciler.is_in_force(lost));
    assert_eq!(bench.calls(&example()), ["attach 7 ingress"]);
}

#[test]
fn another_interface_of_the_number_of_one_that_vanished_gets_all_anew() {
    let mut bench = Bench::default();
    bench.round(&example());
    bench.fake.take_calls();
    let left = bench.reconciler.leave(&[7].into(), &mut bench.fake).now_or_never();
    left.expect("the fake never waits");
    assert_eq!(
        bench.fake.take_calls(),
        ["clear 7 egress", "clear 7 ingress", "detach 7 egress", "detach 7 ingress"]
    );
    assert_eq!(
        bench.calls(&example()),
        ["put 7 egress p#1 q#2", "put 7 ingress p#3", "attach 7 egress", "attach 7 ingress"]
    );
}

#[test]
fn no_rule_acts_without_the_addresses_that_are_never_hit() {
    let mut plan = example();
    plan.peers.insert("this host".into(), ["192.0.2.1/32".parse().unwrap()].into());
    let peer = "this host".to_owned();
    plan.shields = vec![crate::guard::Shield { name: peer.clone(), peer, matcher: Match::ALL }];
    let mut bench = Bench::default();
    let (calls, outcome) = bench.answered(&plan, &[Some(Failure::Other)]);
    assert!(calls[0].starts_with("add 192.0.2.1/32"), "they come first: {calls:?}");
    assert!(!calls.iter().any(|call| call.starts_with("put")), "{calls:?}");
    assert_eq!(outcome.failed, 1);
    let (calls, _) = bench.answered(&plan, &[]);
    assert_eq!(calls.iter().filter(|call| call.starts_with("put")).count(), 3, "{calls:?}");
}
