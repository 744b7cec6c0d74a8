//! Corrupt: a bit of a packet is wrong.

use crate::{
    chance::{Stream, correlated::Chance, draw},
    memory::{Memory, Word},
    record,
};

record! {
    /// Which packets are damaged, and whether the receiver can know.
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

    /// Whether the packet with this ordinal is damaged.
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
