//! Frames made up at random: right ones, nearly right ones, and noise.

use std::net::IpAddr;

use entropy_tests::random::Random;

use super::scene::PORTS;

/// Length of an Ethernet header, the shortest frame that the kernel takes.
pub(crate) const ETHERNET: usize = 14;

/// Above what any kernel with pages of 4 KiB takes for a test run.
const PAGE: usize = 4096;

const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
const ARP: [u8; 2] = [0x08, 0x06];
const VLAN: [u8; 2] = [0x81, 0x00];
const SERVICE_VLAN: [u8; 2] = [0x88, 0xa8];

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
const EXTENSIONS: [u8; 8] =
    [HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION, 135, 139, 140];
const TCP: u8 = 6;
const ICMP_V6: u8 = 58;
/// Of TCP: SYN, SYN and ACK, ACK, PSH and ACK, FIN and ACK, RST, none, all.
const FLAGS: [u8; 8] = [0x02, 0x12, 0x10, 0x18, 0x11, 0x04, 0, 0xff];
/// TCP, UDP, ICMP, ICMPv6, SCTP, UDP-Lite, DCCP, ESP, no next header.
const UPPER: [u8; 9] = [6, 17, 1, ICMP_V6, 132, 136, 33, 50, 59];

/// A frame of `ETHERNET` to `longest` bytes.
pub(crate) fn frame(random: &mut Random, longest: usize, addresses: &[IpAddr]) -> Vec<u8> {
    let mut frame = random.bytes::<12>().to_vec();
    let tags = random.pick(&[0, 0, 0, 0, 0, 0, 0, 1, 2, 3]);
    for _ in 0..tags {
        frame.extend(random.pick(&[VLAN, SERVICE_VLAN]));
        frame.extend(random.bytes::<2>());
    }
    match random.below(16) {
        0 => frame.extend(random.pick(&[ARP, [0x88, 0xcc], [0, 38], VLAN])),
        1 => frame.extend(random.bytes::<2>()),
        2..=8 => ipv4(random, addresses, &mut frame),
        _ => ipv6(random, longest, addresses, &mut frame),
    }
    fit(random, longest, &mut frame);
    if random.one_in(12) {
        let index = random.below(frame.len() as u64) as usize;
        frame[index] ^= 1 << random.below(8);
    }
    frame
}

/// Gives the frame its length: cut off somewhere, or with more behind it.
fn fit(random: &mut Random, longest: usize, frame: &mut Vec<u8>) {
    let headers = frame.len();
    let length = match random.below(16) {
        0..=2 => random.between(ETHERNET as u64, headers.max(ETHERNET) as u64) as usize,
        3..=4 => random.between(ETHERNET as u64, longest as u64) as usize,
        5 => random.between(longest as u64 - 32, longest as u64) as usize,
        6..=8 => headers,
        _ => headers + random.below(200) as usize,
    };
    let length = length.clamp(ETHERNET, longest);
    frame.resize(length, 0);
    if length > headers {
        random.fill(&mut frame[headers..]);
    }
}

fn ipv4(random: &mut Random, addresses: &[IpAddr], frame: &mut Vec<u8>) {
    frame.extend(IPV4);
    let words = match random.below(10) {
        0 => random.below(16) as u8,
        1..=3 => random.between(5, 15) as u8,
        _ => 5,
    };
    let version = if random.one_in(20) { random.below(16) as u8 } else { 4 };
    let fragment: [u8; 2] = match random.below(8) {
        0 => random.bytes(),
        1 => [0x20, 0],
        2 => [0, 1],
        _ => [0x40, 0],
    };
    let protocol = upper(random);
    frame.extend([version << 4 | words]);
    frame.extend(random.bytes::<5>());
    frame.extend(fragment);
    frame.extend([64, protocol, 0, 0]);
    for _ in 0..2 {
        match random.pick(addresses) {
            IpAddr::V4(address) if !random.one_in(4) => frame.extend(address.octets()),
            _ => frame.extend(random.bytes::<4>()),
        }
    }
    for _ in 5..words {
        frame.extend(random.bytes::<4>());
    }
    transport(random, protocol, frame);
}

fn ipv6(random: &mut Random, longest: usize, addresses: &[IpAddr], frame: &mut Vec<u8>) {
    frame.extend(IPV6);
    let version = if random.one_in(20) { random.below(16) as u8 } else { 6 };
    let chain: Vec<u8> = (0..random.pick(&[0, 0, 0, 0, 1, 1, 2, 3, 6, 7, 8, 9, 10]))
        .map(|_| random.pick(&EXTENSIONS))
        .collect();
    let protocol = upper(random);
    let next = |index: usize| chain.get(index).copied().unwrap_or(protocol);
    // Traffic class and flow label.
    frame.extend([version << 4, random.bits() as u8, 0, 0]);
    frame.extend(random.bytes::<2>());
    frame.extend([next(0), random.pick(&[255, 255, 64, 1])]);
    for _ in 0..2 {
        match random.pick(addresses) {
            IpAddr::V6(address) if !random.one_in(4) => frame.extend(address.octets()),
            _ => frame.extend(random.bytes::<16>()),
        }
    }
    // Headers so long that the ports lie beyond a page, where only a frame on a device has bytes.
    let stretch = longest > PAGE && random.one_in(3);
    for (index, kind) in chain.iter().enumerate() {
        extension(random, stretch, *kind, next(index + 1), frame);
    }
    transport(random, protocol, frame);
}

/// One extension header with the length that it states, but for a few.
fn extension(random: &mut Random, stretch: bool, kind: u8, next: u8, frame: &mut Vec<u8>) {
    let units = if stretch {
        random.between(100, 255)
    } else if random.one_in(16) {
        random.below(256)
    } else {
        random.below(3)
    } as u8;
    let length = match kind {
        FRAGMENT => 8,
        AUTHENTICATION => (usize::from(units) + 2) * 4,
        _ => (usize::from(units) + 1) * 8,
    };
    let start = frame.len();
    frame.resize(start + length, 0);
    random.fill(&mut frame[start..]);
    frame[start] = next;
    // Of a fragment header this byte is reserved and must not matter.
    frame[start + 1] = if kind == FRAGMENT { random.bits() as u8 } else { units };
    if kind == FRAGMENT && !random.one_in(3) {
        // The first fragment: an offset of 0, any flags.
        frame[start + 2] = 0;
        frame[start + 3] &= 0x07;
    }
}

fn upper(random: &mut Random) -> u8 {
    if random.one_in(10) { random.bits() as u8 } else { random.pick(&UPPER) }
}

/// The beginning of the upper header: ports, or type and code.
fn transport(random: &mut Random, protocol: u8, frame: &mut Vec<u8>) {
    if protocol == ICMP_V6 {
        let kind = random.pick(&[128, 129, 132, 133, 134, 135, 136, 137, 138]);
        frame.extend([kind, 0]);
    } else {
        for _ in 0..2 {
            let port = if random.one_in(3) { random.bits() as u16 } else { random.pick(&PORTS) };
            frame.extend(port.to_be_bytes());
        }
    }
    let start = frame.len();
    frame.extend(random.bytes::<16>());
    if protocol == TCP {
        // The length of the header and its flags: 8 bytes for sequence and acknowledgement before.
        frame[start + 8] = random.pick(&[5, 5, 5, 8, 15]) << 4;
        frame[start + 9] = random.pick(&FLAGS);
    }
}

/// Whether a kernel may refuse to make a packet of these bytes for a test run, which some do when an
/// IP header is cut off (`bpf_prog_test_run_skb`, net/bpf/test_run.c). Such frames go over a real
/// wire in another test.
pub(crate) fn is_refused_by_test_runs(frame: &[u8]) -> bool {
    let header = match frame.get(12..14) {
        Some([0x08, 0x00]) => 20,
        Some([0x86, 0xdd]) => 40,
        _ => 0,
    };
    frame.len() < ETHERNET + header
}
