//! Another version takes over: what stays is left alone, under the same numbers.

use super::*;
use crate::policy::parse;

/// A policy that follows percentiles, as an injection.
fn slow(policy: &str, p99: &str) -> Injection {
    let text =
        format!("[[policy]]\nname = 'x'\ntarget = 'a'\ndelay = {{ p50 = '1ms', p99 = '{p99}' }}\n");
    let policies = parse(std::path::Path::new("test.toml"), text.as_bytes()).unwrap();
    Injection { faults: policies[0].faults.records().unwrap(), ..cut(policy) }
}

/// Everything that a plan can have.
fn full() -> Plan {
    let rules = [cut_from("p", "app=db"), lossy("q", 1 << 20), slow("s", "9ms")];
    let mut plan = plan_of(
        &[(7, EGRESS, &rules), (7, INGRESS, &rules[..1]), (8, EGRESS, &rules[1..])],
        &[("app=db", &["172.17.0.3/32", "fd00::3/128"]), ("host", &["192.0.2.1/32"])],
    );
    plan.windows = [("q".to_owned(), Window { from_ns: 5, until_ns: 9 })].into();
    plan.shields = vec![crate::guard::Shield {
        name: "the host".into(),
        peer: "host".into(),
        matcher: Match::ALL,
    }];
    plan
}

#[test]
fn nothing_is_written_where_nothing_has_changed_and_numbers_go_on() {
    let mut bench = Bench::default();
    bench.round(&full());
    bench.fake.take_calls();
    for _ in 0..3 {
        bench.upgrade();
        assert_eq!(bench.calls(&full()), [""; 0]);
    }
    let mut plan = full();
    plan.hooks.insert(HookKey::new(8, INGRESS), vec![cut_from("new", "app=new")]);
    plan.peers.insert("app=new".into(), BTreeSet::new());
    assert_eq!(bench.calls(&plan), ["add nothing to 3", "put 8 ingress new#7", "attach 8 ingress"]);
}

#[test]
fn what_is_unwanted_ends_before_there_is_a_plan_and_keeps_its_counters() {
    let mut bench = Bench::default();
    bench.round(&full());
    bench.upgrade();
    bench.fake.take_calls();
    let withdraw = |bench: &mut Bench, names: &[&str]| {
        let is_unwanted = |name: &str| names.contains(&name);
        let done = bench.reconciler.withdraw(is_unwanted, &mut bench.fake).now_or_never();
        (done.expect("the fake never waits"), bench.fake.take_calls())
    };
    let (_, calls) = withdraw(&mut bench, &["p"]);
    assert_eq!(calls, ["put 7 egress p#1 q#2 s#3", "put 7 ingress p#4"]);
    let ends = |named: &NamedRule| named.rule.active_until_ns == 0;
    let rules = || bench.fake.hooks.values().flatten();
    assert!(rules().all(|named| ends(named) == (named.policy == "p")));
    assert!(bench.reconciler.acts(1));
    assert_eq!(withdraw(&mut bench, &["p"]).1, [""; 0], "once is enough");
    bench.fake.fail_next(1, Failure::Other);
    assert_eq!(withdraw(&mut bench, &["q", "s"]).0.failed, 1);
    let (outcome, _) = withdraw(&mut bench, &["q", "s"]);
    assert_eq!((outcome.done, outcome.failed), (1, 0), "what failed is tried again");
    assert!(!bench.reconciler.acts(1));
    // The first plan decides.
    bench.round(&full());
    assert!(bench.reconciler.acts(1));
}

#[test]
fn a_window_that_moved_meanwhile_changes_no_number() {
    let mut bench = Bench::default();
    bench.round(&full());
    bench.fake.take_calls();
    bench.upgrade();
    let mut plan = full();
    plan.windows = [("q".to_owned(), Window { from_ns: 15, until_ns: 19 })].into();
    let expected = ["put 7 egress p#1 q#2 s#3", "put 8 egress q#5 s#6"];
    assert_eq!(bench.calls(&plan), expected);
}

#[test]
fn a_policy_that_moved_on_meanwhile_keeps_its_number() {
    let moved = |parts| {
        let mut plan = full();
        plan.moving.insert("q".into(), lossy("q", parts).faults);
        plan
    };
    let mut bench = Bench::default();
    bench.round(&moved(1 << 10));
    bench.fake.take_calls();
    bench.upgrade();
    let expected = ["put 7 egress p#1 q#2 s#3", "put 8 egress q#5 s#6"];
    assert_eq!(bench.calls(&moved(1 << 11)), expected);
}

#[test]
fn what_was_edited_meanwhile_is_changed_and_only_that() {
    let mut bench = Bench::default();
    bench.round(&full());
    bench.fake.take_calls();
    bench.upgrade();
    let mut plan = full();
    plan.hooks.get_mut(&HookKey::new(8, EGRESS)).unwrap()[0] = lossy("q", 1 << 21);
    plan.peers.get_mut("app=db").unwrap().clear();
    let gone = "remove 172.17.0.3/32,fd00::3/128 from 1";
    assert_eq!(bench.calls(&plan), ["put 8 egress q#7 s#6", gone]);
}

#[test]
fn what_nobody_wants_any_more_goes_whole() {
    let mut bench = Bench::default();
    bench.round(&full());
    bench.fake.take_calls();
    bench.upgrade();
    bench.calls(&Plan::default());
    assert!(bench.fake.is_empty(), "{:?}", bench.fake);
    assert_eq!(bench.reconciler.is, State::default());
    // Not even a number comes back.
    assert!(bench.calls(&full()).contains(&"put 7 ingress p#10".to_owned()));
}

#[test]
fn a_table_in_use_is_given_to_no_other_before_its_rules_are_gone() {
    let mut bench = Bench::default();
    bench.round(&plan_of(&[(7, EGRESS, &[slow("s", "9ms")])], &[]));
    bench.fake.take_calls();
    bench.upgrade();
    // The fake does not let a table be changed that a rule follows.
    let plan = plan_of(&[(7, EGRESS, &[slow("s", "8ms")])], &[]);
    assert_eq!(bench.calls(&plan), ["table 4", "put 7 egress s#2"]);
    let plan = plan_of(&[(7, EGRESS, &[slow("s", "7ms")])], &[]);
    assert_eq!(bench.calls(&plan), ["table 3", "put 7 egress s#3"], "now it is free");
}

#[test]
fn names_that_labels_cut_are_the_same_names() {
    let container = "c".repeat(200);
    let long = Injection { container: container.clone(), ..cut("p") };
    let plan = plan_of(&[(7, EGRESS, &[long])], &[]);
    let mut bench = Bench::default();
    bench.round(&plan);
    for rules in bench.fake.hooks.values_mut() {
        rules[0].container.truncate(entropy_common::rule::LABEL_SUBJECT);
    }
    let mut there = bench.fake.recovered();
    there.attached.clear();
    bench.reconciler = Reconciler::resumed(there, bench.reconciler.hand_over());
    let should = bench.reconciler.should(&plan);
    assert_eq!(should.hooks[&HookKey::new(7, EGRESS)].0[0].rule.id, 1);
}

#[test]
fn a_hook_that_was_not_taken_over_is_attached_again() {
    let mut bench = Bench::default();
    bench.round(&full());
    bench.fake.take_calls();
    bench.fake.attached.remove(&HookKey::new(8, EGRESS));
    bench.upgrade();
    assert_eq!(bench.calls(&full()), ["attach 8 egress"]);
}
