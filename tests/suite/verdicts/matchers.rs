//! Conditions of rules, made up at random: most of them wide, so that packets meet them.

use entropy_common::rule::{
    ANY_ICMP, ANY_PAYLOAD, ANY_PROTOCOL, Match, WITH_PAYLOAD, WITHOUT_PAYLOAD,
};
use entropy_tests::random::Random;

use super::{
    faults::rate,
    scene::{GROUPS, PORTS},
};

/// A range and its end that stands for "any" if it is 0.
type Range = (u16, u16);

pub(super) fn matcher(random: &mut Random) -> Match {
    if random.one_in(3) {
        return Match::ALL;
    }
    let (port_first, port_last) = ports(random, 8);
    let (local_first, local_last) = ports(random, 16);
    let (remote_first, remote_last) = ports(random, 16);
    let (length_first, length_last) = lengths(random);
    let (tcp_mask, tcp_value) = tcp_flags(random);
    Match {
        peer_group: if random.one_in(2) { 0 } else { random.between(1, GROUPS) as u32 },
        length_first,
        length_last,
        flow_share: if random.one_in(4) { rate(random) } else { Match::ALL.flow_share },
        flow_seed: random.bits() as u32,
        protocol: protocol(random),
        port_first,
        port_last,
        local_first,
        local_last,
        remote_first,
        remote_last,
        tcp_mask,
        tcp_value,
        payload: match random.below(16) {
            0 => random.bits() as u8,
            1 => WITH_PAYLOAD,
            2 => WITHOUT_PAYLOAD,
            _ => ANY_PAYLOAD,
        },
        ..Match::ALL
    }
}

/// Ports in four of `times` cases.
fn ports(random: &mut Random, times: u64) -> Range {
    match random.below(times) {
        0 => (0, 65_535),
        1 => (random.bits() as u16, random.bits() as u16),
        2 => (random.pick(&PORTS), random.pick(&PORTS)),
        3 => {
            let port = random.pick(&PORTS);
            (port, port)
        }
        _ => (0, 0),
    }
}

fn protocol(random: &mut Random) -> u16 {
    match random.below(8) {
        0 => ANY_ICMP,
        1 => random.bits() as u16,
        2 => random.below(256) as u16,
        3 => random.pick(&[1, 6, 17, 58, 132]),
        _ => ANY_PROTOCOL,
    }
}

fn lengths(random: &mut Random) -> (u32, u32) {
    match random.below(12) {
        0 => (0, random.between(14, 1500) as u32),
        1 => (random.between(14, 1500) as u32, u32::MAX),
        2 => (random.below(200) as u32, random.between(200, 4096) as u32),
        3 => (random.bits() as u32, random.bits() as u32),
        _ => (0, u32::MAX),
    }
}

/// Mask and value; a value outside of the mask matches nothing.
fn tcp_flags(random: &mut Random) -> (u8, u8) {
    match random.below(16) {
        0 => (0x12, 0x02),
        1 => (0x10, 0x10),
        2 => (random.bits() as u8, random.bits() as u8),
        _ => (0, random.bits() as u8),
    }
}
