//! From the bytes of a frame to the facts that decisions need.
//!
//! One parser for both sides. The kernel reads through `bpf_skb_load_bytes`, which also reaches
//! packets that are not linear, the host from a slice; neither is trusted to be long enough.

use network_types::{
    eth::{EthHdr, EtherType},
    ip::{IpProto, Ipv4Hdr, Ipv6Hdr},
    vlan::VlanHdr,
};

use crate::{
    peer::{Address, Family},
    rule::Direction,
};

/// Most VLAN tags that are looked through (802.1ad: a service tag and a customer tag).
const MAX_VLAN_TAGS: usize = 2;
/// Most IPv6 extension headers that are looked through. RFC 8200 section 4.1 knows seven places for
/// them in a packet. Behind more, the upper protocol counts as unknown.
const MAX_EXTENSION_HEADERS: usize = 8;
/// Bits of the fragment offset in the second half-word of IPv6's fragment header (RFC 8200, 4.5).
const IPV6_FRAGMENT_OFFSET: u16 = 0xfff8;

/// A header that can be read straight from packet bytes.
///
/// # Safety
/// Every bit pattern must be a valid value, and there must be no padding.
pub unsafe trait Header: Copy {}

// SAFETY: byte arrays and one integer.
unsafe impl Header for EthHdr {}
// SAFETY: as above.
unsafe impl Header for VlanHdr {}
// SAFETY: bytes and byte arrays, 20 of them: no padding with an alignment of four.
unsafe impl Header for Aligned<Ipv4Hdr> {}
// SAFETY: as above, 40 of them.
unsafe impl Header for Aligned<Ipv6Hdr> {}
// SAFETY: bytes.
unsafe impl<const N: usize> Header for [u8; N] {}

/// A header of byte arrays, read to where its words can be taken as words.
#[derive(Clone, Copy)]
#[repr(C, align(4))]
struct Aligned<T>(T);

const _: () = assert!(size_of::<Aligned<Ipv4Hdr>>() == 20 && size_of::<Aligned<Ipv6Hdr>>() == 40);

/// A frame, from its Ethernet header on.
pub trait Frame {
    /// Length in bytes.
    fn length(&self) -> u32;

    /// The header at `offset`; `None` when the frame ends before the header does.
    fn read<T: Header>(&self, offset: u32) -> Option<T>;
}

impl Frame for [u8] {
    fn length(&self) -> u32 {
        u32::try_from(self.len()).unwrap_or(u32::MAX)
    }

    fn read<T: Header>(&self, offset: u32) -> Option<T> {
        let start = usize::try_from(offset).ok()?;
        let bytes = self.get(start..start.checked_add(size_of::<T>())?)?;
        // SAFETY: the slice has the size of T, and any bytes are a valid T.
        Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
    }
}

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
    /// IPv4 or IPv6.
    pub family: Family,
    /// The sender.
    pub source: Address,
    /// The receiver.
    pub destination: Address,
    /// Upper protocol, behind the extension headers of IPv6. For packets whose extension headers
    /// cannot be followed to the end, the last one that could be seen.
    pub protocol: u8,
    /// Ports, if it has some.
    pub ports: Ports,
}

impl Packet {
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
            Self::parse_v4(frame, offset)
        } else if ether_type == EtherType::Ipv6 as u16 {
            Self::parse_v6(frame, offset)
        } else {
            Err(Unfit::NotIp)
        }
    }

    #[inline(always)]
    fn parse_v4<F: Frame + ?Sized>(frame: &F, offset: u32) -> Result<Self, Unfit> {
        let Aligned::<Ipv4Hdr>(header) = frame.read(offset).ok_or(Unfit::Malformed)?;
        let length = u32::from(header.vihl & 0xf) * 4;
        if header.vihl >> 4 != 4 || length < Ipv4Hdr::LEN as u32 {
            return Err(Unfit::Malformed);
        }
        let first_fragment = u16::from_be_bytes(header.frags) & 0x1fff == 0;
        Ok(Self {
            length: frame.length(),
            family: Family::V4,
            source: header.src_addr.into(),
            destination: header.dst_addr.into(),
            protocol: header.proto,
            ports: if first_fragment {
                ports(frame, header.proto, offset + length)
            } else {
                Ports::NONE
            },
        })
    }

    #[inline(always)]
    fn parse_v6<F: Frame + ?Sized>(frame: &F, offset: u32) -> Result<Self, Unfit> {
        let Aligned::<Ipv6Hdr>(header) = frame.read(offset).ok_or(Unfit::Malformed)?;
        if header.vcf[0] >> 4 != 6 {
            return Err(Unfit::Malformed);
        }
        let upper = upper_layer(frame, header.next_hdr, offset + Ipv6Hdr::LEN as u32);
        if upper.present
            && upper.protocol == IpProto::Ipv6Icmp as u8
            && is_neighbour_discovery(frame, header.hop_limit, upper.offset)
        {
            return Err(Unfit::NeighbourDiscovery);
        }
        Ok(Self {
            length: frame.length(),
            family: Family::V6,
            source: header.src_addr.into(),
            destination: header.dst_addr.into(),
            protocol: upper.protocol,
            ports: if upper.present {
                ports(frame, upper.protocol, upper.offset)
            } else {
                Ports::NONE
            },
        })
    }
}

/// Where IPv6's extension headers end.
struct Upper {
    protocol: u8,
    offset: u32,
    /// The upper header itself is in this packet: no later fragment, no chain that breaks off.
    present: bool,
}

#[inline(always)]
fn upper_layer<F: Frame + ?Sized>(frame: &F, protocol: u8, offset: u32) -> Upper {
    const HOP_BY_HOP: u8 = IpProto::HopOpt as u8;
    const ROUTING: u8 = IpProto::Ipv6Route as u8;
    const FRAGMENT: u8 = IpProto::Ipv6Frag as u8;
    const AUTHENTICATION: u8 = IpProto::Ah as u8;
    const DESTINATION: u8 = IpProto::Ipv6Opts as u8;
    const MOBILITY: u8 = IpProto::MobilityHeader as u8;
    const HIP: u8 = IpProto::Hip as u8;
    const SHIM6: u8 = IpProto::Shim6 as u8;

    let mut upper = Upper { protocol, offset, present: true };
    for _ in 0..MAX_EXTENSION_HEADERS {
        // Every extension header is at least eight bytes long (RFC 8200, RFC 6564) and begins with
        // the number of the next one.
        let unit = match upper.protocol {
            HOP_BY_HOP | ROUTING | DESTINATION | MOBILITY | HIP | SHIM6 => 8,
            AUTHENTICATION => 4,
            FRAGMENT => 0,
            _ => return upper,
        };
        let Some([next, length, high, low]) = frame.read::<[u8; 4]>(upper.offset) else {
            upper.present = false;
            return upper;
        };
        upper.offset += match unit {
            // RFC 4302: in units of four bytes, minus two.
            4 => (u32::from(length) + 2) * 4,
            8 => (u32::from(length) + 1) * 8,
            _ => 8,
        };
        if upper.protocol == FRAGMENT && u16::from_be_bytes([high, low]) & IPV6_FRAGMENT_OFFSET != 0
        {
            upper.protocol = next;
            upper.present = false;
            return upper;
        }
        upper.protocol = next;
    }
    // What stands behind the last header that was looked through is not known to be an upper
    // protocol.
    upper.present = !matches!(
        upper.protocol,
        HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION | MOBILITY | HIP | SHIM6
    );
    upper
}

/// Router and neighbour solicitation and advertisement, and redirect, which are valid with a hop
/// limit of 255 only (RFC 4861 section 4 and 6.1, 7.1, 8.1).
#[inline(always)]
fn is_neighbour_discovery<F: Frame + ?Sized>(frame: &F, hop_limit: u8, offset: u32) -> bool {
    hop_limit == 255 && matches!(frame.read::<[u8; 1]>(offset), Some([133..=137]))
}

#[inline(always)]
fn ports<F: Frame + ?Sized>(frame: &F, protocol: u8, offset: u32) -> Ports {
    const TCP: u8 = IpProto::Tcp as u8;
    const UDP: u8 = IpProto::Udp as u8;
    const UDP_LITE: u8 = IpProto::UdpLite as u8;
    const SCTP: u8 = IpProto::Sctp as u8;
    const DCCP: u8 = IpProto::Dccp as u8;

    if !matches!(protocol, TCP | UDP | UDP_LITE | SCTP | DCCP) {
        return Ports::NONE;
    }
    // All of them begin with the two ports.
    let Some([a, b, c, d]) = frame.read::<[u8; 4]>(offset) else { return Ports::NONE };
    Ports::new(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
}

#[cfg(test)]
mod tests;
