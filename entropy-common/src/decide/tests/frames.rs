//! What happens to frames at the wire's exit.

use super::*;
use crate::{
    chance::{Stream, correlated::Chance, draw},
    decide::wire,
    fault::{
        corrupt::{Corrupt, Damage},
        delay::Delay,
    },
};

const ALWAYS: Chance = Chance::independent(Probability::ALWAYS);

fn corrupting(id: u32, chance: Chance, silent: u32) -> Rule {
    Rule { id, seed: u64::from(id), corrupt: Corrupt { chance, silent }, ..Rule::NONE }
}

/// A rule that loses segments.
fn leaky(id: u32, parts: u64) -> Rule {
    let rule = lossy(id, parts);
    Rule { loss: rule.loss.with_segments(), ..rule }
}

fn cross(rules: &[Rule], packet: &Packet, host: &Host) -> (Crossing, Option<Damage>) {
    wire::decide(&RuleSet::new(HOOK, rules).unwrap(), Direction::Egress, packet, 50, host)
}

fn at_hook(rules: &[Rule], host: &Host) -> Verdict {
    decide(&RuleSet::new(HOOK, rules).unwrap(), Direction::Egress, &packet(), 50, host)
}

#[test]
fn every_packet_of_a_rule_that_looks_at_frames_crosses_the_wire_and_no_other() {
    let rare = Probability::from_parts(1).unwrap();
    for (rule, wire) in [
        (corrupting(1, Chance::independent(rare), 0), true),
        (corrupting(1, Chance::NEVER, 1), false),
        (leaky(1, 1), true),
        (Rule { loss: Loss::NONE.with_segments(), ..leaky(1, 1) }, false),
        (lossy(1, 1), false),
        (Rule { id: 1, delay: Delay::constant(9), ..Rule::NONE }, false),
        (Rule { active_until_ns: 50, ..corrupting(1, ALWAYS, 0) }, false),
        (Rule { matcher: Match { protocol: 17, ..Match::ALL }, ..leaky(1, 1) }, false),
    ] {
        let host = Host::new(&[rule], &[]);
        assert_eq!(at_hook(&[rule], &host).wire, wire, "{rule:?}");
        let state = host.state(1);
        assert_eq!(
            (state.lost, state.corrupted, state.framed),
            (0, 0, 0),
            "nothing is decided yet"
        );
    }
}

#[test]
fn what_is_lost_at_the_hook_crosses_nothing() {
    let rules = [corrupting(1, ALWAYS, 0), cut(2)];
    assert!(at_hook(&rules, &Host::new(&rules, &[])).lost);
}

#[test]
fn damage_is_drawn_by_the_number_of_the_frame_and_counted() {
    let chance = Chance::independent(Probability::from_parts(1 << 30).unwrap());
    let rules = [corrupting(1, chance, 0)];
    let host = Host::new(&rules, &[]);
    let mut corrupted = 0;
    for number in 0..1000 {
        let hit = draw(1, Stream::Corrupt, number) < 1 << 30;
        corrupted += u64::from(hit);
        let expected = Damage::new(&packet(), Corrupt::place_draw(1, number), false);
        assert_eq!(cross(&rules, &packet(), &host).1, expected.filter(|_| hit), "{number}");
    }
    let expected = RuleState { framed: 1000, corrupted, ..RuleState::ZERO };
    assert_eq!(host.state(1), expected);
}

#[test]
fn segments_are_lost_by_their_own_number_and_not_by_that_of_the_packet() {
    let rules = [leaky(1, 1 << 31)];
    let host = Host::new(&rules, &[]);
    let mut lost = 0;
    for number in 0..1000 {
        assert!(!at_hook(&rules, &host).lost);
        let hit = draw(100, Stream::Loss, number) < 1 << 31;
        lost += u64::from(hit);
        assert_eq!(cross(&rules, &packet(), &host).0.lost, u32::from(hit), "{number}");
    }
    let state = host.state(1);
    assert_eq!((state.matched, state.framed), (1000, 1000));
    assert_eq!((state.lost, state.lost_bytes), (lost, 100 * lost));
}

#[test]
fn a_frame_is_damaged_once_and_counted_by_each_rule_and_silence_wins() {
    let rules = [corrupting(1, ALWAYS, 0), corrupting(2, ALWAYS, 1)];
    let host = Host::new(&rules, &[]);
    let (_, damage) = cross(&rules, &packet(), &host);
    assert_eq!(damage, Damage::new(&packet(), Corrupt::place_draw(1, 0), true));
    assert!(damage.is_some());
    assert_eq!((host.state(1).corrupted, host.state(2).corrupted), (1, 1));
}

#[test]
fn what_is_lost_or_cannot_be_damaged_does_not_count_as_damaged() {
    let rules = [corrupting(1, ALWAYS, 1), leaky(2, 1 << 32)];
    let host = Host::new(&rules, &[]);
    let (crossing, damage) = cross(&rules, &packet(), &host);
    assert_eq!((crossing.lost, damage), (1, None));
    let bare = Packet { payload: 0, ..packet() };
    assert_eq!(cross(&rules[..1], &bare, &host).1, None);
    assert_eq!((host.state(1).framed, host.state(1).corrupted), (2, 0));
}

#[test]
fn segments_that_can_be_marked_are_marked_instead() {
    let rule = leaky(1, 1 << 32);
    let rules = [Rule { loss: rule.loss.with_ecn(), ..rule }];
    for (ecn, lost) in [(0, 1), (2, 0)] {
        let host = Host::new(&rules, &[]);
        let (crossing, _) = cross(&rules, &Packet { ecn, ..packet() }, &host);
        assert_eq!((crossing.lost, crossing.mark_ce), (lost, 1 - lost));
        assert_eq!(host.state(1).marked, u64::from(1 - lost));
    }
}
