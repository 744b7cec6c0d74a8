extern crate std;

use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::{
    chance::Probability,
    fault::{loss::Loss, partition::Partition},
    host::Host,
    packet::Ports,
    peer::{Address, Family},
    rule::{ANY_ICMP, HookKey},
    stats::RuleState,
};

const HOOK: HookKey = HookKey::new(7, Direction::Egress);

fn packet() -> Packet {
    Packet::EXAMPLE
}

fn lossy(id: u32, parts: u64) -> Rule {
    Rule {
        id,
        seed: u64::from(id) + 99,
        loss: Loss::rate(Probability::from_parts(parts).unwrap()),
        ..Rule::NONE
    }
}

fn cut(id: u32) -> Rule {
    Rule { id, partition: Partition::CUT, ..Rule::NONE }
}

fn decide_one(rules: &[Rule], packet: &Packet, host: &Host) -> bool {
    decide(&RuleSet::new(HOOK, rules).unwrap(), Direction::Egress, packet, 50, host).lost
}

#[test]
fn no_rule_loses_nothing() {
    assert!(!decide_one(&[], &packet(), &Host::new(&[], &[])));
}

#[test]
fn a_partition_loses_every_packet_and_counts_it() {
    let rules = [cut(1)];
    let host = Host::new(&rules, &[]);
    for _ in 0..3 {
        assert!(decide_one(&rules, &packet(), &host));
    }
    let expected = RuleState {
        seen: 3,
        matched: 3,
        matched_bytes: 300,
        lost: 3,
        lost_bytes: 300,
        ..RuleState::ZERO
    };
    assert_eq!(host.state(1), expected);
}

#[test]
fn a_rule_acts_only_within_its_window() {
    for (from, until, lost) in [(0, 50, false), (50, 51, true), (51, 99, false), (60, 10, false)] {
        let rules = [Rule { active_from_ns: from, active_until_ns: until, ..cut(1) }];
        let host = Host::new(&rules, &[]);
        assert_eq!(decide_one(&rules, &packet(), &host), lost, "window {from}..{until}");
        assert_eq!(host.state(1).seen, u64::from(lost), "out of force a rule sees nothing");
    }
}

#[test]
fn a_rule_without_state_is_skipped_and_the_others_act() {
    let rules = [cut(1), lossy(2, 1 << 32)];
    let host = Host::new(&rules[1..], &[]);
    assert!(decide_one(&rules, &packet(), &host));
    assert_eq!(host.state(2).lost, 1);
}

#[test]
fn conditions_are_joined_by_and() {
    let peer = PeerKey::new(4, Family::V4, Address::from([10, 0, 0, 2]));
    let all = Match { peer_group: 4, protocol: 6, port_first: 5000, port_last: 6000, ..Match::ALL };
    let cases = [
        (all, true),
        (Match { peer_group: 5, ..all }, false),
        (Match { protocol: 17, ..all }, false),
        (Match { port_first: 5433, ..all }, false),
        (Match { port_first: 40_000, port_last: 40_000, ..all }, true),
        (Match { port_first: 1, port_last: 5431, ..all }, false),
        (Match::ALL, true),
    ];
    for (matcher, expected) in cases {
        let rules = [Rule { matcher, ..cut(1) }];
        let host = Host::new(&rules, &[(peer, PeerKey::BITS)]);
        assert_eq!(decide_one(&rules, &packet(), &host), expected, "{matcher:?}");
    }
}

#[test]
fn a_port_condition_never_matches_a_packet_without_ports() {
    let matcher = Match { port_first: 1, port_last: 65_535, ..Match::ALL };
    let rules = [Rule { matcher, ..cut(1) }];
    let later_fragment = Packet { ports: Ports::NONE, ..packet() };
    assert!(!decide_one(&rules, &later_fragment, &Host::new(&rules, &[])));
}

#[test]
fn icmp_stands_for_both_families_and_a_number_for_itself() {
    let icmp = |family, protocol| Packet { family, protocol, ports: Ports::NONE, ..packet() };
    for (wanted, packet, expected) in [
        (ANY_ICMP, icmp(Family::V4, 1), true),
        (ANY_ICMP, icmp(Family::V6, 58), true),
        (ANY_ICMP, icmp(Family::V4, 58), false),
        (ANY_ICMP, icmp(Family::V6, 1), false),
        (1, icmp(Family::V4, 1), true),
        (1, icmp(Family::V6, 58), false),
        (58, icmp(Family::V6, 58), true),
        (58, icmp(Family::V4, 1), false),
    ] {
        let rules = [Rule { matcher: Match { protocol: wanted, ..Match::ALL }, ..cut(1) }];
        let host = Host::new(&rules, &[]);
        assert_eq!(decide_one(&rules, &packet, &host), expected, "{wanted} {packet:?}");
    }
}

#[test]
fn the_peer_is_the_other_end_in_both_directions() {
    let rules = [Rule { matcher: Match { peer_group: 1, ..Match::ALL }, ..cut(1) }];
    for (direction, octets) in
        [(Direction::Egress, [10, 0, 0, 2]), (Direction::Ingress, [10, 0, 0, 1])]
    {
        let peer = PeerKey::new(1, Family::V4, octets.into());
        let host = Host::new(&rules, &[(peer, PeerKey::BITS)]);
        let set = RuleSet::new(HOOK, &rules).unwrap();
        assert!(decide(&set, direction, &packet(), 0, &host).lost);
    }
}

#[test]
fn a_set_refuses_a_seventeenth_rule() {
    assert!(RuleSet::new(HOOK, &[Rule::NONE; MAX_RULES]).is_some());
    assert!(RuleSet::new(HOOK, &[Rule::NONE; MAX_RULES + 1]).is_none());
}

mod composed;
mod frames;

proptest! {
    /// A rule decides the same packets the same way, alone or among others.
    #[test]
    fn rules_do_not_disturb_one_another(
        seeds in prop::array::uniform3(any::<u64>()),
        parts in prop::array::uniform3(0_u64..=1 << 32),
        packets in 1_usize..200,
    ) {
        let rules: Vec<Rule> = (0..3_u32)
            .map(|n| Rule { seed: seeds[n as usize], ..lossy(n, parts[n as usize]) })
            .collect();
        let together = Host::new(&rules, &[]);
        let apart = Host::new(&rules, &[]);
        for _ in 0..packets {
            let all = decide_one(&rules, &packet(), &together);
            let each: Vec<bool> =
                rules.iter().map(|rule| decide_one(&[*rule], &packet(), &apart)).collect();
            prop_assert_eq!(all, each.contains(&true));
        }
        for rule in &rules {
            prop_assert_eq!(together.state(rule.id), apart.state(rule.id));
        }
    }

    /// The count of lost packets follows the rate: within 4.9 standard deviations of the binomial
    /// (one failure in a million runs for a right rate).
    #[test]
    fn loss_keeps_its_rate(seed in any::<u64>(), percent in 1_u64..100) {
        const PACKETS: u64 = 20_000;
        let rules = [Rule { seed, ..lossy(1, (percent << 32) / 100) }];
        let host = Host::new(&rules, &[]);
        for _ in 0..PACKETS {
            decide_one(&rules, &packet(), &host);
        }
        let p = percent as f64 / 100.0;
        let deviation = host.state(1).lost as f64 - PACKETS as f64 * p;
        let limit = 4.9 * (PACKETS as f64 * p * (1.0 - p)).sqrt() + 1.0;
        prop_assert!(deviation.abs() < limit, "{} of {PACKETS} at {percent} %", host.state(1).lost);
    }
}
