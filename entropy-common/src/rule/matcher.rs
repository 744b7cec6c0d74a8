//! Which packets a rule is for.

use network_types::ip::IpProto;

use crate::{
    chance::{Probability, mix},
    packet::Packet,
    peer::Family,
    record,
    rule::Direction,
};

/// [`Match::protocol`] of a rule for packets of any protocol.
pub const ANY_PROTOCOL: u16 = 0xffff;
/// [`Match::protocol`] of a rule for ICMP on IPv4 and ICMPv6 on IPv6.
pub const ANY_ICMP: u16 = 0x0100;

/// [`Match::payload`]: packets with and without payload.
pub const ANY_PAYLOAD: u8 = 0;
/// Only packets with payload.
pub const WITH_PAYLOAD: u8 = 1;
/// Only packets without.
pub const WITHOUT_PAYLOAD: u8 = 2;

record! {
    /// Which packets a rule is for. All conditions must hold.
    pub struct Match {
        /// The peer group that the other end must belong to; 0 for any peer.
        pub peer_group: u32,
        /// Shortest frame in bytes, Ethernet header included; a super-packet is one frame.
        pub length_first: u32,
        /// Longest frame in bytes; `u32::MAX` for any.
        pub length_last: u32,
        /// Share of the connections ([`Packet::flow`]) that are hit; all packets of one in both
        /// directions, or none.
        pub flow_share: Probability,
        /// Which ones. The rules of a policy for both directions of an endpoint must have the same
        /// value here, whatever their other seeds, so that they choose the same connections.
        pub flow_seed: u32,
        /// IP protocol number, [`ANY_PROTOCOL`] or [`ANY_ICMP`].
        pub protocol: u16,
        /// First port of a range that one of the two ends must lie in.
        pub port_first: u16,
        /// Last port of that range. 0 for any port, and for packets without ports.
        pub port_last: u16,
        /// First port of a range that the container's own port must lie in.
        pub local_first: u16,
        /// Last port of that range; 0 as above.
        pub local_last: u16,
        /// First port of a range that the peer's port must lie in.
        pub remote_first: u16,
        /// Last port of that range; 0 as above.
        pub remote_last: u16,
        /// The TCP flags that are looked at; 0 for none, and for packets that are not TCP.
        pub tcp_mask: u8,
        /// What they must be.
        pub tcp_value: u8,
        /// [`ANY_PAYLOAD`], [`WITH_PAYLOAD`] or [`WITHOUT_PAYLOAD`].
        pub payload: u8,
        #[doc(hidden)]
        pub _pad: [u8; 3],
    }
}

impl Match {
    /// Every IP packet.
    pub const ALL: Self = Self {
        peer_group: 0,
        length_first: 0,
        length_last: u32::MAX,
        flow_share: Probability::ALWAYS,
        flow_seed: 0,
        protocol: ANY_PROTOCOL,
        port_first: 0,
        port_last: 0,
        local_first: 0,
        local_last: 0,
        remote_first: 0,
        remote_last: 0,
        tcp_mask: 0,
        tcp_value: 0,
        payload: ANY_PAYLOAD,
        _pad: [0; 3],
    };

    /// Whether all conditions hold but the peer's, for which a map has to be asked.
    ///
    /// One condition after the other, and away at the first that does not hold: a truth value that
    /// is kept for later would double the states that the verifier follows, each time.
    #[inline(always)]
    #[must_use]
    pub const fn holds(&self, direction: Direction, packet: &Packet) -> bool {
        self.holds_protocol(packet)
            && self.holds_ports(direction, packet)
            && is_within(packet.length, self.length_first, self.length_last)
            && (self.tcp_mask == 0
                || (packet.is_tcp() && packet.tcp_flags & self.tcp_mask == self.tcp_value))
            && self.holds_payload(packet)
            && self.holds_flow(packet)
    }

    /// Whether it may hold for some packets of a connection and direction and not for others.
    #[inline(always)]
    #[must_use]
    pub const fn splits_flows(&self) -> bool {
        (self.tcp_mask | self.payload) != 0
            || self.length_first != 0
            || self.length_last != u32::MAX
    }

    #[inline(always)]
    const fn holds_protocol(&self, packet: &Packet) -> bool {
        if self.protocol == ANY_ICMP {
            packet.protocol
                == match packet.family {
                    Family::V4 => IpProto::Icmp as u8,
                    Family::V6 => IpProto::Ipv6Icmp as u8,
                }
        } else {
            self.protocol == ANY_PROTOCOL || self.protocol == packet.protocol as u16
        }
    }

    #[inline(always)]
    const fn holds_ports(&self, direction: Direction, packet: &Packet) -> bool {
        if self.port_last | self.local_last | self.remote_last == 0 {
            return true;
        }
        let (source, destination) = (packet.ports.source as u32, packet.ports.destination as u32);
        let (local, remote) = match direction {
            Direction::Egress => (source, destination),
            Direction::Ingress => (destination, source),
        };
        let (first, last) = (self.port_first as u32, self.port_last as u32);
        packet.ports.present
            && (last == 0 || is_within(local, first, last) || is_within(remote, first, last))
            && (self.local_last == 0
                || is_within(local, self.local_first as u32, self.local_last as u32))
            && (self.remote_last == 0
                || is_within(remote, self.remote_first as u32, self.remote_last as u32))
    }

    #[inline(always)]
    const fn holds_flow(&self, packet: &Packet) -> bool {
        // The hash is not for free, and few rules need it.
        self.flow_share.parts() == Probability::ALWAYS.parts()
            || self.flow_share.hits((mix(packet.flow() ^ self.flow_seed as u64) >> 32) as u32)
    }

    #[inline(always)]
    const fn holds_payload(&self, packet: &Packet) -> bool {
        match self.payload {
            ANY_PAYLOAD => true,
            WITH_PAYLOAD => packet.payload != 0,
            _ => packet.payload == 0,
        }
    }
}

#[inline(always)]
const fn is_within(value: u32, first: u32, last: u32) -> bool {
    first <= value && value <= last
}

#[cfg(test)]
mod tests;
