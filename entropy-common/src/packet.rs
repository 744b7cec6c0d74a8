//! From the bytes of a frame to the facts that decisions need.
//!
//! One parser for both sides. The kernel reads through `bpf_skb_load_bytes`, which also reaches
//! packets that are not linear, the host from a slice; neither is trusted to be long enough.

mod frame;
pub mod tcp;
mod upper;

use network_types::{
    eth::{EthHdr, EtherType},
    ip::{IpProto, Ipv4Hdr, Ipv6Hdr},
    vlan::VlanHdr,
};

pub use self::frame::{Frame, Header};
use self::{
    frame::{Ipv4Words, Ipv6Words},
    upper::{Upper, is_neighbour_discovery, transport, upper_layer},
};
use crate::{
    chance::mix,
    peer::{Address, Family},
    rule::Direction,
};

/// Most VLAN tags that are looked through (802.1ad: a service tag and a customer tag).
const MAX_VLAN_TAGS: usize = 2;

/// Why a frame is none of ours. It passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Not IP.
    NotIp,
    /// IPv6 neighbour discovery. Like ARP, which it stands for, it is left alone: a fault between
    /// two addresses must not make one of them unreachable in the other direction.
    NeighbourDiscovery,
    /// The IP header is cut off or wrong.
    Malformed,
}

/// Ports of the upper protocol.
///
/// Not an `Option`: the compiler would leave the ports of `None` undefined, and the verifier refuses
/// a program that copies them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Whether there are any: not for protocols without ports, for later fragments and for packets
    /// cut off before them.
    pub present: bool,
    /// The sender's.
    pub source: u16,
    /// The receiver's.
    pub destination: u16,
}

impl Ports {
    /// No ports.
    pub const NONE: Self = Self { present: false, source: 0, destination: 0 };

    /// The ports of a packet that has some.
    #[must_use]
    pub const fn new(source: u16, destination: u16) -> Self {
        Self { present: true, source, destination }
    }
}

/// What decisions need to know of an IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Length of the frame in bytes, Ethernet header included. A segmentation-offload super-packet
    /// is one packet.
    pub length: u32,
    /// Bytes behind the upper protocol's header (of ICMP its first eight bytes, of a protocol that
    /// has none here the IP header). All of a super-packet's segments together.
    pub payload: u32,
    /// Where the bytes behind the IP header, or behind the extension headers of IPv6, begin.
    pub upper: u32,
    /// How many bytes there are from there on by IP's own count: upper header and payload, without
    /// the padding of short frames.
    pub upper_length: u32,
    /// Where the checksum of TCP, UDP, ICMP or ICMPv6 is; 0 for packets without one, as later
    /// fragments.
    pub checksum: u32,
    /// How many segments a super-packet has. 1 after parsing: the bytes do not say. The kernel knows
    /// (`gso_segs`), and sets it where it is more.
    pub segments: u32,
    /// IPv4 or IPv6.
    pub family: Family,
    /// The sender.
    pub source: Address,
    /// The receiver.
    pub destination: Address,
    /// Upper protocol, behind the extension headers of IPv6. For packets whose extension headers
    /// cannot be followed to the end, the last one that could be seen.
    pub protocol: u8,
    /// The flags of a TCP header ([`tcp`]); 0 for packets without one.
    pub tcp_flags: u8,
    /// The two bits of explicit congestion notification (RFC 3168): 0 for packets that cannot be
    /// marked.
    pub ecn: u8,
    /// Ports, if it has some.
    pub ports: Ports,
}

impl Packet {
    /// Nothing is known yet.
    const NOTHING: Self = Self {
        length: 0,
        payload: 0,
        upper: 0,
        upper_length: 0,
        checksum: 0,
        segments: 1,
        family: Family::V4,
        source: Address { words: [0; 4] },
        destination: Address { words: [0; 4] },
        protocol: 0,
        tcp_flags: 0,
        ecn: 0,
        ports: Ports::NONE,
    };

    /// A small TCP segment over IPv4, for tests and predictions.
    #[cfg(any(test, feature = "user"))]
    pub const EXAMPLE: Self = Self {
        length: 100,
        payload: 46,
        upper: 34,
        upper_length: 66,
        checksum: 50,
        segments: 1,
        family: Family::V4,
        source: Address { words: [u32::from_ne_bytes([10, 0, 0, 1]), 0, 0, 0] },
        destination: Address { words: [u32::from_ne_bytes([10, 0, 0, 2]), 0, 0, 0] },
        protocol: IpProto::Tcp as u8,
        tcp_flags: tcp::ACK,
        ecn: 0,
        ports: Ports::new(40_000, 5432),
    };

    /// Segments, at least one.
    #[inline(always)]
    #[must_use]
    pub const fn segment_count(&self) -> u64 {
        if self.segments == 0 { 1 } else { self.segments as u64 }
    }

    /// Bytes that the packet takes on a wire: the headers once for each segment.
    #[inline(always)]
    #[must_use]
    pub const fn wire_length(&self) -> u64 {
        let headers = self.length.saturating_sub(self.payload) as u64;
        self.length as u64 + headers * (self.segment_count() - 1)
    }

    /// Whether it has a TCP header.
    #[inline(always)]
    #[must_use]
    pub const fn is_tcp(&self) -> bool {
        self.ports.present && self.protocol == IpProto::Tcp as u8
    }

    /// Whether it is the first segment of a TCP connection: SYN without ACK.
    #[inline(always)]
    #[must_use]
    pub const fn opens_connection(&self) -> bool {
        self.is_tcp() && self.tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN
    }

    /// A hash of the connection: of protocol, addresses and ports, and the same for both directions
    /// of it. Later fragments have no ports, and so another hash than the first one.
    #[inline(always)]
    #[must_use]
    pub const fn flow(&self) -> u64 {
        let source = end(&self.source, self.ports.source);
        let destination = end(&self.destination, self.ports.destination);
        // A sum does not know which was which.
        mix(source.wrapping_add(destination) ^ self.protocol as u64)
    }

    /// Address of the other end, seen from the container.
    #[inline(always)]
    #[must_use]
    pub const fn peer(&self, direction: Direction) -> Address {
        match direction {
            Direction::Egress => self.destination,
            Direction::Ingress => self.source,
        }
    }

    /// Reads the facts off a frame.
    ///
    /// # Errors
    /// [`Unfit`] for frames that no rule can match.
    #[inline(always)]
    pub fn parse<F: Frame + ?Sized>(frame: &F) -> Result<Self, Unfit> {
        let mut packet = Self::NOTHING;
        packet.read(frame).map(|()| packet)
    }

    /// Reads the facts off a frame to where they are to stand: in the kernel that is a map, and a copy
    /// on the way there would not fit on the stack.
    ///
    /// # Errors
    /// [`Unfit`] for frames that no rule can match. Then nothing is changed.
    #[inline(always)]
    pub fn read<F: Frame + ?Sized>(&mut self, frame: &F) -> Result<(), Unfit> {
        let ethernet: EthHdr = frame.read(0).ok_or(Unfit::NotIp)?;
        let mut ether_type = ethernet.ether_type;
        let mut offset = EthHdr::LEN as u32;
        // A tag that the network card or veth took off (skb->vlan_tci) is not in the bytes.
        for _ in 0..MAX_VLAN_TAGS {
            if ether_type != EtherType::Ieee8021q as u16
                && ether_type != EtherType::Ieee8021ad as u16
            {
                break;
            }
            let tag: VlanHdr = frame.read(offset).ok_or(Unfit::NotIp)?;
            ether_type = tag.ether_type;
            offset += VlanHdr::LEN as u32;
        }
        if ether_type == EtherType::Ipv4 as u16 {
            self.read_v4(frame, offset)
        } else if ether_type == EtherType::Ipv6 as u16 {
            self.read_v6(frame, offset)
        } else {
            Err(Unfit::NotIp)
        }
    }

    #[inline(always)]
    fn read_v4<F: Frame + ?Sized>(&mut self, frame: &F, offset: u32) -> Result<(), Unfit> {
        let [first, second, third, source, destination]: Ipv4Words =
            frame.read(offset).ok_or(Unfit::Malformed)?;
        // Version and length, type of service, total length; identification, flags and fragment
        // offset; time to live, protocol, checksum (RFC 791).
        let [vihl, tos, total @ ..] = first.to_ne_bytes();
        let [_, _, fragment @ ..] = second.to_ne_bytes();
        let length = u32::from(vihl & 0xf) * 4;
        if vihl >> 4 != 4 || length < Ipv4Hdr::LEN as u32 {
            return Err(Unfit::Malformed);
        }
        let upper = Upper {
            protocol: third.to_ne_bytes()[1],
            offset: offset + length,
            present: u16::from_be_bytes(fragment) & 0x1fff == 0,
        };
        let transport = transport(frame, &upper);
        let total = u16::from_be_bytes(total);
        let upper_length = upper_length(frame.length(), offset, total, &upper);
        *self = Self {
            length: frame.length(),
            payload: upper_length.saturating_sub(transport.length),
            upper: upper.offset,
            upper_length,
            checksum: transport.checksum,
            segments: 1,
            family: Family::V4,
            source: Address { words: [source, 0, 0, 0] },
            destination: Address { words: [destination, 0, 0, 0] },
            protocol: upper.protocol,
            tcp_flags: transport.tcp_flags,
            ecn: tos & 3,
            ports: transport.ports,
        };
        Ok(())
    }

    #[inline(always)]
    fn read_v6<F: Frame + ?Sized>(&mut self, frame: &F, offset: u32) -> Result<(), Unfit> {
        let [first, second, addresses @ ..]: Ipv6Words =
            frame.read(offset).ok_or(Unfit::Malformed)?;
        // Version, traffic class and flow label; payload length, next header, hop limit (RFC 8200).
        let [version, class, ..] = first.to_ne_bytes();
        let [behind @ .., next_header, hop_limit] = second.to_ne_bytes();
        let [a, b, c, d, e, f, g, h] = addresses;
        if version >> 4 != 6 {
            return Err(Unfit::Malformed);
        }
        let upper = upper_layer(frame, next_header, offset + Ipv6Hdr::LEN as u32);
        if upper.present
            && upper.protocol == IpProto::Ipv6Icmp as u8
            && is_neighbour_discovery(frame, hop_limit, upper.offset)
        {
            return Err(Unfit::NeighbourDiscovery);
        }
        let transport = transport(frame, &upper);
        let behind = u16::from_be_bytes(behind);
        let start = offset + Ipv6Hdr::LEN as u32;
        let upper_length = upper_length(frame.length(), start, behind, &upper);
        *self = Self {
            length: frame.length(),
            payload: upper_length.saturating_sub(transport.length),
            upper: upper.offset,
            upper_length,
            checksum: transport.checksum,
            segments: 1,
            family: Family::V6,
            source: Address { words: [a, b, c, d] },
            destination: Address { words: [e, f, g, h] },
            protocol: upper.protocol,
            tcp_flags: transport.tcp_flags,
            // The traffic class stands across the first two bytes; these are its lowest bits.
            ecn: (class >> 4) & 3,
            ports: transport.ports,
        };
        Ok(())
    }
}

/// Bytes from the upper header on, where `counted` bytes by IP's own count begin at `start`. That
/// leaves out the padding of short frames. A count of 0 stands for a super-packet too long to be
/// counted.
#[inline(always)]
const fn upper_length(length: u32, start: u32, counted: u16, upper: &Upper) -> u32 {
    let by_count = start + counted as u32;
    let end = if counted == 0 || by_count > length { length } else { by_count };
    end.saturating_sub(upper.offset)
}

/// A hash of one end of a connection.
#[inline(always)]
const fn end(address: &Address, port: u16) -> u64 {
    let [a, b, c, d] = address.words;
    let high = mix(a as u64 | (b as u64) << 32);
    mix(high.wrapping_add(c as u64 | (d as u64) << 32) ^ ((port as u64) << 16 | 1))
}

#[cfg(test)]
mod tests;
