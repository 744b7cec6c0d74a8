//! The upper protocol: where it begins, and what its header says.

use network_types::ip::IpProto;

use crate::packet::{Frame, Ports, tcp};

/// Most IPv6 extension headers that are looked through. RFC 8200 section 4.1 knows seven places for
/// them in a packet. Behind more, the upper protocol counts as unknown.
const MAX_EXTENSION_HEADERS: usize = 8;
/// Bits of the fragment offset in the second half-word of IPv6's fragment header (RFC 8200, 4.5).
const IPV6_FRAGMENT_OFFSET: u16 = 0xfff8;

/// Where IPv6's extension headers end.
pub(super) struct Upper {
    pub(super) protocol: u8,
    pub(super) offset: u32,
    /// The upper header itself is in this packet: no later fragment, no chain that breaks off.
    pub(super) present: bool,
}

#[inline(always)]
pub(super) fn upper_layer<F: Frame + ?Sized>(frame: &F, protocol: u8, offset: u32) -> Upper {
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
pub(super) fn is_neighbour_discovery<F: Frame + ?Sized>(
    frame: &F,
    hop_limit: u8,
    offset: u32,
) -> bool {
    hop_limit == 255 && matches!(frame.read::<[u8; 1]>(offset), Some([133..=137]))
}

/// What the upper header says.
pub(super) struct Transport {
    pub(super) ports: Ports,
    pub(super) tcp_flags: u8,
    /// Length of the header in bytes.
    pub(super) length: u32,
    /// Where its checksum is in the frame; 0 for none that is a sum in ones' complement of all of it.
    pub(super) checksum: u32,
}

impl Transport {
    const NONE: Self = Self { ports: Ports::NONE, tcp_flags: 0, length: 0, checksum: 0 };
}

#[inline(always)]
pub(super) fn transport<F: Frame + ?Sized>(frame: &F, upper: &Upper) -> Transport {
    const TCP: u8 = IpProto::Tcp as u8;
    const UDP: u8 = IpProto::Udp as u8;
    const UDP_LITE: u8 = IpProto::UdpLite as u8;
    const SCTP: u8 = IpProto::Sctp as u8;
    const DCCP: u8 = IpProto::Dccp as u8;
    const ICMP: u8 = IpProto::Icmp as u8;
    const ICMP_V6: u8 = IpProto::Ipv6Icmp as u8;

    if !upper.present {
        return Transport::NONE;
    }
    let mut transport = Transport::NONE;
    transport.length = match upper.protocol {
        TCP => tcp::LENGTH,
        SCTP | DCCP => 12,
        UDP | UDP_LITE => 8,
        // The fixed part; ICMP has no ports.
        ICMP | ICMP_V6 => {
            return Transport { length: 8, checksum: upper.offset + 2, ..Transport::NONE };
        }
        _ => return transport,
    };
    // All of them begin with the two ports.
    let Some([a, b, c, d]) = frame.read::<[u8; 4]>(upper.offset) else { return Transport::NONE };
    transport.ports = Ports::new(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    transport.checksum = match upper.protocol {
        TCP => upper.offset + tcp::CHECKSUM,
        UDP => upper.offset + 6,
        _ => 0,
    };
    if upper.protocol == TCP
        && let Some([offset, flags]) = frame.read::<[u8; 2]>(upper.offset + tcp::OFFSET_AND_FLAGS)
    {
        transport.tcp_flags = flags;
        transport.length = u32::from(offset >> 4) * 4;
    }
    transport
}
