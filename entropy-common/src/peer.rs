//! Peer groups: the live sets of addresses that a policy's `peer` stands for.

use core::net::IpAddr;

use crate::record;

record! {
    /// An IP address of either family in 16 bytes. IPv4 takes the first four, the rest is zero.
    ///
    /// In words instead of bytes because BPF loads and stores aligned words only: bytes would be
    /// moved one by one, sixteen of them for each copy.
    pub struct Address {
        /// The bytes as they stand in a packet, four to a word.
        pub words: [u32; 4],
    }
}

impl Address {
    /// The bytes as they stand in a packet.
    #[must_use]
    pub fn octets(&self) -> [u8; 16] {
        let mut octets = [0; 16];
        for (four, word) in octets.chunks_exact_mut(4).zip(self.words) {
            four.copy_from_slice(&word.to_ne_bytes());
        }
        octets
    }
}

impl From<[u8; 4]> for Address {
    #[inline(always)]
    fn from(octets: [u8; 4]) -> Self {
        Self { words: [u32::from_ne_bytes(octets), 0, 0, 0] }
    }
}

impl From<[u8; 16]> for Address {
    #[inline(always)]
    fn from([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]: [u8; 16]) -> Self {
        let words = [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]];
        Self { words: words.map(u32::from_ne_bytes) }
    }
}

/// The version of IP, as it stands in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Family {
    /// IPv4.
    V4 = 4,
    /// IPv6.
    V6 = 6,
}

record! {
    /// Key of the peer map: group and family first, then the address, so that one
    /// longest-prefix-match trie holds all groups and a prefix never reaches across two of them.
    pub struct PeerKey {
        /// `group << 1 | 1` for IPv6, `group << 1` for IPv4; in the byte order of the machine, which
        /// is right because all of its bits always belong to the prefix.
        pub scope: u32,
        /// The address or network.
        pub address: Address,
    }
}

impl PeerKey {
    /// Bits of the key before the address.
    pub const SCOPE_BITS: u32 = 32;
    /// Length of the whole key in bits, for a look-up.
    pub const BITS: u32 = Self::SCOPE_BITS + 128;

    /// The key of an address in a group. Groups are numbered from 1 to 2^31 - 1.
    #[inline(always)]
    #[must_use]
    pub const fn new(group: u32, family: Family, address: Address) -> Self {
        Self { scope: group << 1 | matches!(family, Family::V6) as u32, address }
    }

    /// The key of a network and the length of its prefix in the trie.
    #[must_use]
    pub fn network(group: u32, network: IpAddr, prefix_length: u8) -> (Self, u32) {
        let key = match network {
            IpAddr::V4(v4) => Self::new(group, Family::V4, v4.octets().into()),
            IpAddr::V6(v6) => Self::new(group, Family::V6, v6.octets().into()),
        };
        (key, Self::SCOPE_BITS + u32::from(prefix_length))
    }

    /// The group.
    #[must_use]
    pub const fn group(&self) -> u32 {
        self.scope >> 1
    }

    /// The address or network.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        let octets = self.address.octets();
        if self.scope & 1 == 1 {
            IpAddr::from(octets)
        } else {
            IpAddr::from([octets[0], octets[1], octets[2], octets[3]])
        }
    }
}

record! {
    /// What the peer map says of a network.
    pub struct PeerEntry {
        /// 1: its addresses belong to the group. Other values are not used.
        pub member: u32,
    }
}

impl PeerEntry {
    /// The addresses of the network belong to the group.
    pub const MEMBER: Self = Self { member: 1 };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_gives_its_parts_back() {
        for ip in ["10.1.2.3", "fd00::1"] {
            let ip: IpAddr = ip.parse().unwrap();
            let (key, bits) = PeerKey::network(12, ip, 24);
            assert_eq!((key.group(), key.ip(), bits), (12, ip, 56));
        }
    }

    #[test]
    fn the_families_of_a_group_never_share_a_prefix() {
        let v4 = PeerKey::network(3, "0.0.0.0".parse().unwrap(), 0).0;
        let v6 = PeerKey::network(3, "::".parse().unwrap(), 0).0;
        assert_ne!(v4.scope, v6.scope);
    }
}
