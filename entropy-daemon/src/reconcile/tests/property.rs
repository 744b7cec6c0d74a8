//! Any sequence of hosts with any failures, all the way from containers, links and policy files to
//! the datapath, which checks every single operation.

use std::collections::HashMap;

use proptest::{prelude::*, strategy::ValueTree as _};

use super::{
    host::{Change, Host, change},
    *,
};
use crate::{datapath::fake::Object, plan::NAMED_TABLES, policy::Records};

#[derive(Clone, Debug)]
struct Step {
    /// Whether another version takes over first.
    upgrade: bool,
    change: Change,
    answers: Vec<Option<Failure>>,
}

fn step() -> impl Strategy<Value = Step> {
    let failure =
        prop_oneof![Just(Failure::Gone), Just(Failure::Unsupported), Just(Failure::Other)];
    let answers = prop_oneof![
        2 => Just(Vec::new()),
        3 => prop::collection::vec(prop::option::weighted(0.4, failure), 0..30),
    ];
    (prop::bool::weighted(0.2), change(), answers).prop_map(|(upgrade, change, answers)| Step {
        upgrade,
        change,
        answers,
    })
}

/// A rule without the numbers: what an injection of a plan is turned into.
type Content = (String, String, Option<String>, Rule);

fn content_of_injection(injection: &Injection) -> Content {
    let Injection { policy, container, peer, seed, matcher, faults, .. } = injection.clone();
    (policy, container, peer, Rule { seed, matcher, ..faults.rule() })
}

fn content_of_rule(fake: &Fake, named: &NamedRule) -> Content {
    let NamedRule { policy, container, mut rule } = named.clone();
    let group = std::mem::take(&mut rule.matcher.peer_group);
    let peer = (group != 0).then(|| fake.description(group).unwrap().to_owned());
    // The table's number is checked with the tables.
    if rule.delay.table >= NAMED_TABLES {
        rule.delay.table = Records::UNKNOWN_TABLE;
    }
    (policy, container, peer, Rule { id: 0, ..rule })
}

/// What each hook has, and the addresses of each peer group.
#[derive(Debug, Default, Clone, PartialEq)]
struct Contents {
    hooks: BTreeMap<HookKey, Vec<Content>>,
    attached: BTreeMap<HookKey, Interface>,
    peers: BTreeMap<String, BTreeSet<Network>>,
}

impl Contents {
    fn of_plan(plan: &Plan) -> Self {
        let contents = |rules: &Vec<_>| rules.iter().map(content_of_injection).collect();
        Self {
            hooks: plan.hooks.iter().map(|(hook, rules)| (*hook, contents(rules))).collect(),
            attached: plan
                .hooks
                .keys()
                .map(|hook| (*hook, plan.interfaces[&hook.ifindex].clone()))
                .collect(),
            peers: plan.peers.clone(),
        }
    }

    fn of_fake(fake: &Fake) -> Self {
        let contents = |rules: &Vec<NamedRule>| {
            rules.iter().map(|named| content_of_rule(fake, named)).collect()
        };
        let peers = fake.groups.values();
        Self {
            hooks: fake.hooks.iter().map(|(hook, rules)| (*hook, contents(rules))).collect(),
            attached: fake.attached.clone(),
            peers: peers.map(|group| (group.description.clone(), group.networks.clone())).collect(),
        }
    }
}

/// Whether the rules of a hook may have to wait for a table that could not be written, or for what is never
/// hit.
fn may_wait(plan: &Plan, hook: &HookKey, fake: &Fake, failed: &[(Object, Failure)]) -> bool {
    let is_of_shield = |(object, _): &(Object, Failure)| match object {
        Object::Group(number) => fake.is_of_shield(*number),
        _ => false,
    };
    if failed.iter().any(is_of_shield) {
        return true;
    }
    let follows = |injection: &Injection| injection.faults.percentiles.is_some();
    failed.iter().any(|(object, _)| matches!(object, Object::Table(_)))
        && plan.hooks.get(hook).is_some_and(|injections| injections.iter().any(follows))
}

/// What failed is as it was, everything else as it should be.
fn check_objects(before: &Contents, plan: &Plan, fake: &Fake, failed: &[(Object, Failure)]) {
    let should = &Contents::of_plan(plan);
    let is = Contents::of_fake(fake);
    let has_failed = |object| failed.iter().any(|(other, _)| *other == object);
    let hooks: BTreeSet<_> = before.hooks.keys().chain(should.hooks.keys()).collect();
    for hook in hooks.into_iter().filter(|hook| !may_wait(plan, hook, fake, failed)) {
        let expected = if has_failed(Object::Hook(*hook)) { before } else { should };
        assert_eq!(is.hooks.get(hook), expected.hooks.get(hook), "{hook:?}");
    }
    let attached: BTreeSet<_> = before.attached.keys().chain(should.attached.keys()).collect();
    for hook in attached {
        // A vanished one is neither attached nor still there.
        let vanished = failed.contains(&(Object::Program(*hook), Failure::Gone));
        let expected = if has_failed(Object::Program(*hook)) { before } else { should };
        let expected = expected.attached.get(hook).filter(|_| !vanished);
        assert_eq!(is.attached.get(hook), expected, "{hook:?}");
    }
    for (number, group) in fake.groups.iter().filter(|(n, _)| !has_failed(Object::Group(**n))) {
        assert_eq!(Some(&group.networks), should.peers.get(&group.description), "group {number}");
    }
    for peer in should.peers.keys() {
        let is_there = fake.groups.values().any(|group| group.description == *peer);
        let failed = failed.iter().any(|(object, _)| match object {
            Object::Group(number) => fake.description(*number) == Some(peer),
            _ => false,
        });
        assert!(is_there || failed, "no group for {peer}");
    }
}

/// The ids of the rules that were in the kernel and in every plan since.
type Ids = HashMap<(HookKey, Injection), u32>;

/// As long as a rule is planned it keeps its id, and with it its counters.
fn check_ids(ids: &mut Ids, plan: &Plan, fake: &Fake, failed: &[(Object, Failure)]) {
    ids.retain(|(hook, injection), _| {
        plan.hooks.get(hook).is_some_and(|injections| injections.contains(injection))
    });
    for (hook, injections) in &plan.hooks {
        let has_failed = failed.iter().any(|(object, _)| *object == Object::Hook(*hook));
        if has_failed || may_wait(plan, hook, fake, failed) {
            continue;
        }
        for (injection, named) in injections.iter().zip(&fake.hooks[hook]) {
            let id = *ids.entry((*hook, injection.clone())).or_insert(named.rule.id);
            assert_eq!(named.rule.id, id, "{injection:?} got another id");
        }
    }
}

fn check_outcome(outcome: &Outcome, plan: &Plan, calls: usize, failed: &[(Object, Failure)]) {
    let others = failed.iter().filter(|(_, failure)| *failure == Failure::Other).count();
    assert_eq!(outcome.failed, others);
    assert_eq!(outcome.done, calls - failed.len());
    for unsupported in &plan.unsupported {
        assert!(outcome.unsupported.contains(unsupported), "{unsupported:?}");
    }
    for (object, _) in failed.iter().filter(|(_, failure)| *failure == Failure::Unsupported) {
        let on_object = |hook: &HookKey| match object {
            Object::Program(program) => hook == program,
            Object::Hook(failed) => hook == failed,
            Object::Group(_) | Object::Table(_) => false,
        };
        let affected = plan.hooks.iter().filter(|(hook, _)| on_object(hook));
        for injection in affected.flat_map(|(_, injections)| injections) {
            let reported = outcome.unsupported.iter().any(|unsupported| {
                (&unsupported.policy, &unsupported.container)
                    == (&injection.policy, &injection.container)
            });
            assert!(reported, "not reported: {injection:?}");
        }
    }
}

/// Each rule that follows percentiles has their table.
fn check_tables(plan: &Plan, fake: &Fake, failed: &[(Object, Failure)]) {
    if !failed.is_empty() {
        return;
    }
    for (hook, injections) in &plan.hooks {
        for (injection, named) in injections.iter().zip(&fake.hooks[hook]) {
            let Some(percentiles) = &injection.faults.percentiles else { continue };
            let table = percentiles.table().unwrap().0;
            assert_eq!(fake.tables.get(&named.rule.delay.table), Some(&table), "{injection:?}");
        }
    }
}

/// One round with everything that must hold after it.
fn round(bench: &mut Bench, ids: &mut Ids, plan: &Plan, answers: &[Option<Failure>]) {
    let before = Contents::of_fake(&bench.fake);
    let (calls, outcome) = bench.answered(plan, answers);
    let failed = bench.fake.take_failures();
    check_outcome(&outcome, plan, calls.len(), &failed);
    check_objects(&before, plan, &bench.fake, &failed);
    check_ids(ids, plan, &bench.fake, &failed);
    let planned: usize = plan.hooks.values().map(Vec::len).sum();
    assert_eq!(bench.reconciler.numbers.rules.len(), planned);
    assert_eq!(bench.reconciler.numbers.groups.len(), plan.peers.len());
    check_tables(plan, &bench.fake, &failed);
    if failed.is_empty() {
        assert_eq!(Contents::of_fake(&bench.fake), Contents::of_plan(plan));
        assert_eq!(bench.fake.groups.len(), plan.peers.len(), "a group too many");
        assert_eq!(bench.calls(plan), [""; 0], "there is nothing more to do");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn the_kernel_is_what_the_plan_says_but_for_what_failed(
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let (mut host, mut bench, mut ids) = (Host::default(), Bench::default(), Ids::new());
        for Step { upgrade, change, answers } in &steps {
            if *upgrade {
                bench.upgrade();
            }
            host.change(change);
            round(&mut bench, &mut ids, &host.plan(), answers);
        }
        round(&mut bench, &mut ids, &host.plan(), &[]);
        round(&mut bench, &mut ids, &Plan::default(), &[]);
        prop_assert!(bench.fake.is_empty());
    }
}

/// A test of sequences in which nothing ever happens would be worth nothing.
#[test]
fn the_sequences_have_in_them_what_they_are_for() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut calls, mut failures, mut widest) = (BTreeSet::new(), 0, 0);
    for _ in 0..50 {
        let steps = prop::collection::vec(step(), 1..40).new_tree(&mut runner).unwrap().current();
        let (mut host, mut bench) = (Host::default(), Bench::default());
        for Step { change, answers, .. } in &steps {
            host.change(change);
            let plan = host.plan();
            widest = widest.max(plan.hooks.values().map(Vec::len).max().unwrap_or(0));
            for call in bench.answered(&plan, answers).0 {
                calls.insert(call.split(' ').next().unwrap_or_default().to_owned());
            }
            failures += bench.fake.take_failures().len();
        }
    }
    assert!(
        calls.iter().eq(["add", "attach", "clear", "detach", "put", "remove", "table"]),
        "{calls:?}"
    );
    assert!(failures > 500, "{failures} failures");
    assert_eq!(widest, entropy_common::rule::MAX_RULES);
}
