//! The lease and the windows of rules end by the kernel's clock, whoever is alive.

use std::time::Duration;

use anyhow::Result;
use entropy_common::{
    fault::partition::Partition,
    lease::Lease,
    rule::{Direction, HookKey, Rule},
    stats::Event,
};
use entropy_tests::{
    clock::now_ns,
    needs_root,
    object::{LOOPBACK, Object, Skb},
    wait::patience,
};

use crate::rules::{LOST, PASS, udp};

const HOOK: HookKey = HookKey::new(LOOPBACK, Direction::Egress);
const CUT: Rule = Rule { partition: Partition::CUT, id: 1, ..Rule::NONE };

/// How often each verdict was seen, and how often it could be seen only.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    lost: u64,
    passed: u64,
}

/// The object with the program that is run, which must not take its time to load while a window is open.
fn loaded() -> Result<Object> {
    let mut object = Object::load()?;
    object.hook(Direction::Egress)?;
    Ok(object)
}

/// Length of a window, which a busy machine must not sleep through.
fn window_ns() -> u64 {
    patience(1).as_nanos() as u64 / 20
}

/// Runs packets until well after `last_ns`, and holds each verdict against the clock: `in_force`
/// says whether a time lies in the window. Between the two looks at the clock of one packet
/// anything may be.
fn watch(object: &mut Object, last_ns: u64, in_force: impl Fn(u64) -> bool) -> Result<Seen> {
    let program = object.hook(Direction::Egress)?;
    let end_ns = last_ns + Duration::from_millis(20).as_nanos() as u64;
    let mut seen = Seen::default();
    loop {
        let before = now_ns();
        let verdict = program.repeat(&udp(), Skb::FORWARDED, 1)?;
        let after = now_ns();
        match verdict {
            LOST => seen.lost += 1,
            PASS => seen.passed += 1,
            other => anyhow::bail!("verdict {other}"),
        }
        if in_force(before) == in_force(after) {
            assert_eq!(verdict == LOST, in_force(before), "between {before} and {after}");
        }
        if before > end_ns {
            return Ok(seen);
        }
    }
}

#[test]
fn when_the_lease_runs_out_everything_passes() -> Result<()> {
    needs_root!();
    let mut object = loaded()?;
    object.set_rules(HOOK, &[CUT])?;
    let until_ns = now_ns() + window_ns();
    object.set_lease(Lease { until_ns })?;
    let seen = watch(&mut object, until_ns, |now| now < until_ns)?;
    assert!(seen.lost > 0 && seen.passed > 0, "{seen:?}");
    assert_eq!(object.event(Event::LeaseExpired)?, seen.passed);
    assert_eq!(object.state(1)?.seen, seen.lost, "out of lease a rule sees nothing");
    Ok(())
}

#[test]
fn renewing_the_lease_lets_rules_act_again() -> Result<()> {
    needs_root!();
    let mut object = Object::load()?;
    object.set_rules(HOOK, &[CUT])?;
    let leases = [(Lease::EXPIRED, PASS), (Lease { until_ns: u64::MAX }, LOST)];
    for (lease, expected) in [leases, leases].concat() {
        object.set_lease(lease)?;
        let verdict = object.hook(Direction::Egress)?.repeat(&udp(), Skb::FORWARDED, 1)?;
        assert_eq!(verdict, expected, "{lease:?}");
    }
    Ok(())
}

#[test]
fn a_rule_acts_from_the_start_to_the_end_of_its_window() -> Result<()> {
    needs_root!();
    let mut object = loaded()?;
    let start = now_ns() + window_ns();
    let end = start + window_ns();
    object.set_rules(HOOK, &[Rule { active_from_ns: start, active_until_ns: end, ..CUT }])?;
    let seen = watch(&mut object, end, |now| (start..end).contains(&now))?;
    assert!(seen.lost > 0 && seen.passed > 0, "{seen:?}");
    assert_eq!(object.state(1)?.seen, seen.lost, "out of force a rule sees nothing");
    Ok(())
}
