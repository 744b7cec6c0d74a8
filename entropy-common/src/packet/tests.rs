extern crate std;

use std::vec::Vec;

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use proptest::prelude::*;

use super::*;

const MAC_A: [u8; 6] = [2, 0, 0, 0, 0, 1];
const MAC_B: [u8; 6] = [2, 0, 0, 0, 0, 2];

fn v6(last: u8) -> [u8; 16] {
    let mut octets = [0; 16];
    (octets[0], octets[15]) = (0xfd, last);
    octets
}

/// Ethernet and IPv6 headers by hand, for what the builder does not make.
fn raw_v6(next_header: u8, hop_limit: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend(MAC_B);
    frame.extend(MAC_A);
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    frame.extend((payload.len() as u16).to_be_bytes());
    frame.extend([next_header, hop_limit]);
    frame.extend(v6(1));
    frame.extend(v6(2));
    frame.extend(payload);
    frame
}

fn parse(frame: &[u8]) -> Result<Packet, Unfit> {
    Packet::parse(frame)
}

#[test]
fn a_plain_udp_packet_gives_all_its_facts() {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(MAC_A, MAC_B)
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .udp(1111, 53)
        .write(&mut frame, b"hello")
        .unwrap();
    let expected = Packet {
        length: 14 + 20 + 8 + 5,
        payload: 5,
        upper: 14 + 20,
        upper_length: 8 + 5,
        checksum: 14 + 20 + 6,
        segments: 1,
        family: Family::V4,
        source: [10, 0, 0, 1].into(),
        destination: [10, 0, 0, 2].into(),
        protocol: 17,
        tcp_flags: 0,
        ecn: 0,
        ports: Ports::new(1111, 53),
    };
    assert_eq!(parse(&frame), Ok(expected));
}

#[test]
fn one_and_two_vlan_tags_are_looked_through_and_a_third_is_not() {
    for tags in 0..=3 {
        let mut frame = [MAC_B, MAC_A].concat();
        for _ in 0..tags {
            frame.extend([0x81, 0, 0, 5]);
        }
        frame.extend([8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([0, 7, 0, 9, 0, 8, 0, 0]);
        let ports = parse(&frame).map(|packet| packet.ports);
        let expected = Ports::new(7, 9);
        assert_eq!(ports, if tags == 3 { Err(Unfit::NotIp) } else { Ok(expected) }, "{tags} tags");
    }
}

#[test]
fn ipv4_options_move_the_ports() {
    let mut frame = [MAC_B, MAC_A].concat();
    frame.extend([8, 0, 0x47, 0, 0, 36, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([1, 1, 1, 1, 1, 1, 1, 0]);
    frame.extend([0x1f, 0x90, 0, 80, 0, 0, 0, 0]);
    assert_eq!(parse(&frame).unwrap().ports, Ports::new(8080, 80));
}

#[test]
fn only_a_first_fragment_has_ports() {
    for (fragment, has_ports) in [([0x20, 0], true), ([0x20, 1], false), ([0, 200], false)] {
        let mut frame = [MAC_B, MAC_A].concat();
        frame.extend([8, 0, 0x45, 0, 0, 28, 0, 9]);
        frame.extend(fragment);
        frame.extend([64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 7, 0, 9, 0, 8, 0, 0]);
        let packet = parse(&frame).unwrap();
        assert_eq!((packet.protocol, packet.ports.present), (17, has_ports), "{fragment:?}");
    }
}

#[test]
fn every_extension_header_is_followed_to_the_upper_protocol() {
    let mut payload = Vec::new();
    payload.extend([43, 0, 0, 0, 0, 0, 0, 0]); // hop by hop
    payload.extend([60, 0, 0, 0, 0, 0, 0, 0]); // routing
    payload.extend([51, 1, 0, 0, 0, 0, 0, 0]); // destination options, 16 bytes
    payload.extend([0; 8]);
    payload.extend([135, 4, 0, 0]); // authentication, (4 + 2) * 4 bytes
    payload.extend([0; 20]);
    payload.extend([139, 0, 0, 0, 0, 0, 0, 0]); // mobility
    payload.extend([140, 0, 0, 0, 0, 0, 0, 0]); // HIP
    payload.extend([44, 0, 0, 0, 0, 0, 0, 0]); // shim6
    payload.extend([17, 0, 0, 1, 0, 0, 0, 9]); // fragment, the first one
    payload.extend([0, 7, 0, 9, 0, 8, 0, 0]);
    let packet = parse(&raw_v6(0, 64, &payload)).unwrap();
    let ports = Ports::new(7, 9);
    assert_eq!((packet.protocol, packet.ports), (17, ports));
}

#[test]
fn a_later_ipv6_fragment_has_a_protocol_and_no_ports() {
    let packet = parse(&raw_v6(44, 64, &[17, 0, 0, 8, 0, 0, 0, 9, 0, 7, 0, 9])).unwrap();
    assert_eq!((packet.protocol, packet.ports), (17, Ports::NONE));
}

#[test]
fn a_chain_longer_than_the_limit_or_cut_off_has_no_ports() {
    let too_long: Vec<u8> = (0..9).flat_map(|_| [60, 0, 0, 0, 0, 0, 0, 0]).collect();
    let cut_off = [60, 0, 0, 0, 0, 0, 0, 0, 17, 0];
    for payload in [&too_long[..], &cut_off[..]] {
        let packet = parse(&raw_v6(60, 64, payload)).unwrap();
        assert_eq!((packet.protocol, packet.ports), (60, Ports::NONE));
    }
}

#[test]
fn neighbour_discovery_is_left_alone_and_echo_is_not() {
    for kind in 133..=137 {
        let frame = raw_v6(58, 255, &[kind, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(parse(&frame), Err(Unfit::NeighbourDiscovery), "type {kind}");
        let forged = raw_v6(58, 64, &[kind, 0, 0, 0, 0, 0, 0, 0]);
        assert!(parse(&forged).is_ok(), "type {kind} with a hop limit that routers leave");
    }
    assert!(parse(&raw_v6(58, 255, &[128, 0, 0, 0, 0, 0, 0, 0])).is_ok());
}

#[test]
fn headers_that_are_none_are_malformed() {
    let mut version = [MAC_B, MAC_A].concat();
    version.extend([8, 0, 0x65]);
    version.extend([0; 40]);
    let mut length = [MAC_B, MAC_A].concat();
    length.extend([8, 0, 0x44]);
    length.extend([0; 40]);
    let whole = raw_v6(17, 64, &[]);
    for frame in [&version[..], &length[..], &whole[..whole.len() - 1]] {
        assert_eq!(parse(frame), Err(Unfit::Malformed));
    }
    assert_eq!(parse(&whole[..13]), Err(Unfit::NotIp));
    assert_eq!(parse(&[MAC_B, MAC_A].concat()), Err(Unfit::NotIp));
}

fn tcp_segment(flags: u8, words: u8, payload: usize) -> Vec<u8> {
    let mut segment = [0x9c, 0x40, 0x15, 0x38, 0, 0, 0, 1, 0, 0, 0, 2].to_vec();
    segment.extend([words << 4, flags, 1, 0, 0, 0, 0, 0]);
    segment.resize(usize::from(words) * 4 + payload, 1);
    segment
}

#[test]
fn tcp_flags_and_payload_are_read_behind_options() {
    for (flags, words, bytes) in [(tcp::SYN, 10, 0), (tcp::ACK | tcp::PSH, 8, 11), (0xff, 5, 1)] {
        let packet = parse(&raw_v6(6, 64, &tcp_segment(flags, words, bytes))).unwrap();
        assert_eq!((packet.tcp_flags, packet.payload), (flags, bytes as u32));
        assert!(packet.is_tcp());
    }
}

/// Ethernet fills up to 60 bytes, and those are nobody's payload.
#[test]
fn padding_is_not_payload() {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(MAC_A, MAC_B)
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .tcp(1, 2, 3, 4)
        .write(&mut frame, b"")
        .unwrap();
    frame.resize(60, 0);
    let packet = parse(&frame).unwrap();
    assert_eq!((packet.length, packet.payload), (60, 0));
    // A super-packet too long for IP's own count says 0: then the frame's length counts.
    frame[16..18].copy_from_slice(&[0, 0]);
    assert_eq!(parse(&frame).unwrap().payload, 6);
    // And one that says more than there is means what is there.
    frame[16..18].copy_from_slice(&[0xff, 0xff]);
    assert_eq!(parse(&frame).unwrap().payload, 6);
}

#[test]
fn the_ecn_bits_are_read_from_both_families() {
    for ecn in 0..4 {
        let mut v6 = raw_v6(17, 64, &[0, 7, 0, 9, 0, 8, 0, 0]);
        v6[15] |= ecn << 4;
        assert_eq!(parse(&v6).unwrap().ecn, ecn);
        let mut v4 = [MAC_B, MAC_A].concat();
        v4.extend([8, 0, 0x45, 0xfc | ecn, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0]);
        v4.extend([10, 0, 0, 1, 10, 0, 0, 2, 0, 7, 0, 9, 0, 8, 0, 0]);
        assert_eq!(parse(&v4).unwrap().ecn, ecn);
    }
}

#[test]
fn a_later_fragment_is_all_payload() {
    let packet = parse(&raw_v6(44, 64, &[6, 0, 0, 8, 0, 0, 0, 9, 1, 2, 3, 4])).unwrap();
    assert_eq!((packet.protocol, packet.payload, packet.is_tcp()), (6, 4, false));
}

/// The same facts, read by a parser of other people's.
fn facts_by_etherparse(frame: &[u8]) -> Option<(Address, Address, u8, Ports)> {
    let sliced = SlicedPacket::from_ethernet(frame).ok()?;
    let (source, destination, protocol) = match sliced.net? {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            (header.source().into(), header.destination().into(), ip.payload().ip_number.0)
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            (header.source().into(), header.destination().into(), ip.payload().ip_number.0)
        }
        NetSlice::Arp(_) => return None,
    };
    let ports = match sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => Some((tcp.source_port(), tcp.destination_port())),
        Some(TransportSlice::Udp(udp)) => Some((udp.source_port(), udp.destination_port())),
        _ => None,
    };
    let ports = ports.map_or(Ports::NONE, |(source, destination)| Ports::new(source, destination));
    Some((source, destination, protocol, ports))
}

proptest! {
    #[test]
    fn well_formed_packets_read_as_etherparse_reads_them(
        is_v6: bool,
        tagged: bool,
        transport in 0..3,
        a: [u8; 16],
        b: [u8; 16],
        ports: (u16, u16),
        payload in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        // An address must not make a packet of another kind: no condition on them is needed.
        let ethernet = PacketBuilder::ethernet2(MAC_A, MAC_B);
        let short = |octets: [u8; 16]| [octets[0], octets[1], octets[2], octets[3]];
        let tag = etherparse::VlanId::try_new(5).unwrap();
        let ip = match (tagged, is_v6) {
            (false, false) => ethernet.ipv4(short(a), short(b), 64),
            (false, true) => ethernet.ipv6(a, b, 64),
            (true, false) => ethernet.single_vlan(tag).ipv4(short(a), short(b), 64),
            (true, true) => ethernet.single_vlan(tag).ipv6(a, b, 64),
        };
        let mut frame = Vec::new();
        match transport {
            0 => ip.tcp(ports.0, ports.1, 1, 2).write(&mut frame, &payload).unwrap(),
            1 => ip.udp(ports.0, ports.1).write(&mut frame, &payload).unwrap(),
            _ => ip.icmpv4_echo_request(1, 2).write(&mut frame, &payload).unwrap(),
        }
        let ours = parse(&frame).unwrap();
        prop_assert_eq!(ours.length as usize, frame.len());
        prop_assert_eq!(ours.payload as usize, payload.len());
        prop_assert_eq!(
            Some((ours.source, ours.destination, ours.protocol, ours.ports)),
            facts_by_etherparse(&frame)
        );
    }

    /// Whatever the bytes: no panic, no read past the end (a slice would panic), and what is cut
    /// off at the end never changes what stood before it.
    #[test]
    fn any_bytes_are_parsed_without_harm(
        mut frame in prop::collection::vec(any::<u8>(), 0..200),
        kind in 0..4,
        cut in 0_usize..200,
    ) {
        if frame.len() > 14 {
            let ether_type = [[8, 0], [0x86, 0xdd], [0x81, 0], [8, 6]][kind as usize];
            frame[12..14].copy_from_slice(&ether_type);
            frame[14] = if kind == 0 { 0x40 | (frame[14] & 0xf) } else { 0x60 };
        }
        let whole = parse(&frame);
        let short = parse(&frame[..cut.min(frame.len())]);
        if let (Ok(whole), Ok(short)) = (whole, short) {
            prop_assert_eq!(whole.source, short.source);
            prop_assert_eq!(whole.destination, short.destination);
            prop_assert!(!short.ports.present || short.ports == whole.ports);
        }
    }
}
