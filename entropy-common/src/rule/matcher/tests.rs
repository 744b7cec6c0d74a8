use super::*;
use crate::packet::{Ports, tcp};

fn holds(matcher: Match, packet: &Packet) -> bool {
    matcher.holds(Direction::Egress, packet)
}

#[test]
fn local_and_remote_ports_follow_the_direction() {
    // From port 40000 to port 5432.
    let packet = Packet::EXAMPLE;
    let local = Match { local_first: 5000, local_last: 6000, ..Match::ALL };
    let remote = Match { remote_first: 5000, remote_last: 6000, ..Match::ALL };
    for (direction, is_local) in [(Direction::Egress, false), (Direction::Ingress, true)] {
        assert_eq!(local.holds(direction, &packet), is_local, "{direction:?}");
        assert_eq!(remote.holds(direction, &packet), !is_local, "{direction:?}");
    }
    let both = Match { local_first: 40_000, local_last: 40_000, ..remote };
    assert!(holds(both, &packet));
    let without = Packet { ports: Ports::NONE, ..packet };
    assert!(!holds(local, &without) && !holds(remote, &without) && holds(Match::ALL, &without));
}

#[test]
fn lengths_are_inclusive_on_both_ends() {
    for (first, last, expected) in [(100, 100, true), (0, 99, false), (101, u32::MAX, false)] {
        let matcher = Match { length_first: first, length_last: last, ..Match::ALL };
        assert_eq!(holds(matcher, &Packet::EXAMPLE), expected, "{first}..={last}");
    }
}

#[test]
fn tcp_flags_are_compared_under_their_mask_and_only_of_tcp() {
    let syn = Match { tcp_mask: tcp::SYN | tcp::ACK, tcp_value: tcp::SYN, ..Match::ALL };
    let none = Match { tcp_mask: tcp::RST, tcp_value: 0, ..Match::ALL };
    let packet = |tcp_flags| Packet { tcp_flags, ..Packet::EXAMPLE };
    assert!(holds(syn, &packet(tcp::SYN)));
    assert!(holds(syn, &packet(tcp::SYN | tcp::ECE | tcp::CWR)));
    assert!(!holds(syn, &packet(tcp::SYN | tcp::ACK)));
    assert!(holds(none, &packet(tcp::ACK)));
    assert!(!holds(none, &Packet { protocol: 17, tcp_flags: 0, ..Packet::EXAMPLE }), "not TCP");
}

#[test]
fn payload_is_there_or_not() {
    for (payload, wanted, expected) in [
        (0, ANY_PAYLOAD, true),
        (1, ANY_PAYLOAD, true),
        (0, WITH_PAYLOAD, false),
        (1, WITH_PAYLOAD, true),
        (0, WITHOUT_PAYLOAD, true),
        (1, WITHOUT_PAYLOAD, false),
    ] {
        let matcher = Match { payload: wanted, ..Match::ALL };
        let packet = Packet { payload, ..Packet::EXAMPLE };
        assert_eq!(holds(matcher, &packet), expected, "{payload} bytes, {wanted}");
    }
}

/// Both directions of a connection, and every packet of it, or none; and as many as asked.
#[test]
fn a_share_of_flows_takes_whole_connections() {
    const FLOWS: u16 = 40_000;
    let matcher =
        Match { flow_share: crate::testing::probability(0.2), flow_seed: 77, ..Match::ALL };
    let mut hit = 0;
    for port in 1..=FLOWS {
        let there = Packet { ports: Ports::new(port, 80), ..Packet::EXAMPLE };
        let back = Packet {
            source: there.destination,
            destination: there.source,
            ports: Ports::new(80, port),
            tcp_flags: 0,
            length: 1500,
            ..there
        };
        let holds_back = matcher.holds(Direction::Ingress, &back);
        assert_eq!(holds(matcher, &there), holds_back, "port {port}");
        hit += u64::from(holds_back);
    }
    crate::testing::rate("flows, seed 77", hit, u64::from(FLOWS), 0.2, 0.0);
}

#[test]
fn swapped_ports_are_another_connection() {
    let packet = Packet::EXAMPLE;
    let swapped = Packet { ports: Ports::new(5432, 40_000), ..packet };
    assert_ne!(packet.flow(), swapped.flow());
}

#[test]
fn only_conditions_on_single_packets_split_flows() {
    assert!(!Match::ALL.splits_flows());
    assert!(!Match { port_first: 1, port_last: 9, protocol: 6, ..Match::ALL }.splits_flows());
    assert!(Match { payload: WITH_PAYLOAD, ..Match::ALL }.splits_flows());
    assert!(Match { tcp_mask: tcp::SYN, ..Match::ALL }.splits_flows());
    assert!(Match { length_last: 1000, ..Match::ALL }.splits_flows());
}
