//! Corrupt: a bit of a packet is wrong.

use network_types::ip::IpProto;

use crate::{
    chance::{Stream, correlated::Chance, draw},
    memory::{Memory, Word},
    packet::Packet,
    record,
};

record! {
    /// Which frames are damaged, and whether the receiver can know.
    pub struct Corrupt {
        /// How often.
        pub chance: Chance,
        /// 0: the receiver's checksum finds the damage; anything else: it does not, and the damage
        /// reaches the application.
        pub silent: u32,
    }
}

impl Corrupt {
    /// No damage.
    pub const NONE: Self = Self { chance: Chance::NEVER, silent: 0 };

    /// Whether any frame is damaged.
    #[inline(always)]
    #[must_use]
    pub const fn acts(&self) -> bool {
        !self.chance.rate.is_never()
    }

    /// Whether the frame with this ordinal is damaged.
    #[inline(always)]
    pub fn hits<M: Memory>(&self, seed: u64, ordinal: u64, memory: &M) -> bool {
        let streams = [Stream::Corrupt, Stream::CorruptRenewal];
        self.chance.hits(memory, Word::Corrupt, seed, streams, ordinal)
    }

    /// The draw for [`place`].
    #[inline(always)]
    #[must_use]
    pub const fn place_draw(seed: u64, ordinal: u64) -> u32 {
        draw(seed, Stream::CorruptPlace, ordinal)
    }
}

/// The bit to turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which byte.
    pub byte: u32,
    /// Which bit of it, as a mask of one bit.
    pub mask: u8,
}

/// Which bit of `bytes` bytes a draw means; below `bytes` for any draw, and byte 0 of no bytes.
///
/// One bit and not more: a sum in ones' complement, as of IP, TCP and UDP, finds every single wrong
/// bit, but not always two. All bits are equally likely up to a share of `bytes / 2^29`.
#[inline(always)]
#[must_use]
pub const fn place(draw: u32, bytes: u32) -> Place {
    // At most 2^29 bytes: the product stays below 2^64.
    let bits = ((bytes & 0x1fff_ffff) as u64) << 3;
    let bit = (draw as u64 * bits) >> 32;
    Place { byte: (bit >> 3) as u32, mask: 1 << (bit & 7) }
}

/// What is to be done to a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The byte of the frame that is wrong.
    pub byte: u32,
    /// Which bit of it, as a mask of one bit.
    pub mask: u8,
    /// Where the checksum is that is to be mended; 0 to leave it, so that the receiver finds out.
    pub checksum: u32,
    /// By how many bits the byte is shifted to the left in its word of the sum: 8 or 0.
    pub shift: u32,
    /// A checksum of 0 means that there is none, and stays so (UDP).
    pub optional: bool,
}

impl Damage {
    /// The damage that a draw means; `None` for a frame that cannot be damaged in this way.
    ///
    /// It is behind the IP header, because there every bit is covered by the upper protocol's checksum,
    /// which is not so for the header of IPv6. What the receiver must not notice is in the payload, and
    /// the checksum is mended: that needs a payload, and the checksum in the same frame.
    #[inline(always)]
    #[must_use]
    pub const fn new(packet: &Packet, draw: u32, silent: bool) -> Option<Self> {
        let (length, checksum) =
            if silent { (packet.payload, packet.checksum) } else { (packet.upper_length, 0) };
        let before = packet.upper_length.saturating_sub(length);
        // A header that is too short for its checksum does not have it.
        let has_sum = checksum != 0 && checksum + 2 <= packet.upper + before;
        if length == 0 || (silent && !has_sum) {
            return None;
        }
        let place = place(draw, length);
        let behind = before + place.byte;
        let shift = if behind & 1 == 0 { 8 } else { 0 };
        let optional = packet.protocol == IpProto::Udp as u8;
        Some(Self { byte: packet.upper + behind, mask: place.mask, checksum, shift, optional })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::chi_square;

    extern crate std;
    use std::{vec, vec::Vec};

    #[test]
    fn the_place_is_always_within_the_bytes() {
        for bytes in [1, 2, 54, 1514, 65_535] {
            assert_eq!(place(0, bytes), Place { byte: 0, mask: 1 });
            assert_eq!(place(u32::MAX, bytes), Place { byte: bytes - 1, mask: 0x80 });
        }
        assert_eq!(place(u32::MAX, 0).byte, 0);
    }

    #[test]
    fn damage_lies_behind_the_ip_header_and_silent_damage_in_the_payload() {
        let packet = Packet::EXAMPLE;
        let bytes =
            |silent| [0, u32::MAX].map(|draw| Damage::new(&packet, draw, silent).unwrap().byte);
        assert_eq!(bytes(false), [34, 99]);
        assert_eq!(bytes(true), [54, 99]);
        let loud = Damage { byte: 34, mask: 1, checksum: 0, shift: 8, optional: false };
        assert_eq!(Damage::new(&packet, 0, false), Some(loud));
        let silent = Damage { byte: 99, mask: 0x80, checksum: 50, shift: 0, optional: false };
        assert_eq!(Damage::new(&packet, u32::MAX, true), Some(silent));
    }

    #[test]
    fn what_has_no_payload_or_no_checksum_cannot_be_damaged_silently() {
        let bare = Packet { payload: 0, ..Packet::EXAMPLE };
        let fragment = Packet { checksum: 0, ..Packet::EXAMPLE };
        let short = Packet { payload: 50, ..Packet::EXAMPLE };
        for packet in [bare, fragment, short] {
            assert_eq!(Damage::new(&packet, 7, true), None);
            assert!(Damage::new(&packet, 7, false).is_some());
        }
        let nothing = Packet { upper_length: 0, payload: 0, ..Packet::EXAMPLE };
        assert_eq!(Damage::new(&nothing, 7, false), None);
    }

    #[test]
    fn every_bit_is_hit_equally_often() {
        const BYTES: u32 = 20;
        const DRAWS: u64 = 160_000;
        let mut counts = vec![0_u64; 8 * BYTES as usize];
        for ordinal in 0..DRAWS {
            let place = place(Corrupt::place_draw(5, ordinal), BYTES);
            counts[(place.byte * 8 + place.mask.trailing_zeros()) as usize] += 1;
        }
        let expected: Vec<f64> = vec![DRAWS as f64 / 160.0; 160];
        chi_square("bits hit, seed 5", &counts, &expected);
    }
}
