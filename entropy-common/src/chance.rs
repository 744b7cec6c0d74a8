//! Probabilities, and randomness that is counted instead of remembered.
//!
//! Each decision is a pure function of a seed, a stream and the ordinal of the packet. There is no
//! shared generator state: the same seed and the same order of packets give the same decisions on
//! every kernel and on the host, however many CPUs take part.

pub mod correlated;

use crate::record;

record! {
    /// A probability as a 32-bit fraction of one.
    ///
    /// `0` is never, `u32::MAX` is always, and every other value `v` stands for `v / 2^32`. So 0 and
    /// 1 are exact and the error of any other probability is at most 2^-33 (about 1.2e-10), but for
    /// the last step below one, which has no value of its own.
    #[derive(PartialOrd, Ord)]
    pub struct Probability { raw: u32 }
}

impl Probability {
    /// Never.
    pub const NEVER: Self = Self { raw: 0 };
    /// Always.
    pub const ALWAYS: Self = Self { raw: u32::MAX };

    /// The probability of `parts` out of 2^32; `None` above one.
    #[must_use]
    pub const fn from_parts(parts: u64) -> Option<Self> {
        const ONE: u64 = 1 << 32;
        match parts {
            ONE => Some(Self::ALWAYS),
            // The last fraction below one would read as "always".
            0xffff_ffff => Some(Self { raw: 0xffff_fffe }),
            0..ONE => Some(Self { raw: parts as u32 }),
            _ => None,
        }
    }

    /// Parts of 2^32, from 0 to 2^32.
    #[must_use]
    pub const fn parts(self) -> u64 {
        if self.raw == u32::MAX { 1 << 32 } else { self.raw as u64 }
    }

    /// Whether it is zero.
    #[inline(always)]
    #[must_use]
    pub const fn is_never(self) -> bool {
        self.raw == 0
    }

    /// Whether a draw hits.
    #[inline(always)]
    #[must_use]
    pub const fn hits(self, draw: u32) -> bool {
        self.raw == u32::MAX || draw < self.raw
    }
}

/// Which of a rule's decisions a draw is for. Every fault has streams of its own, so that adding one
/// fault to a policy does not change the decisions of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stream {
    /// Is the packet lost?
    Loss = 1,
    /// Does the draw for the loss stay as it was? (Correlation.)
    LossRenewal = 2,
    /// Which state does a loss model go to?
    LossState = 3,
    /// How long is the packet delayed?
    Delay = 4,
    /// Does the delay stay as it was?
    DelayRenewal = 5,
    /// Is the packet sent early?
    Reorder = 6,
    /// Does the draw for the reordering stay as it was?
    ReorderRenewal = 7,
    /// Is the packet sent twice?
    Duplicate = 8,
    /// Does the draw for the duplicate stay as it was?
    DuplicateRenewal = 9,
    /// Is the packet damaged?
    Corrupt = 10,
    /// Does the draw for the damage stay as it was?
    CorruptRenewal = 11,
    /// Where is it damaged?
    CorruptPlace = 12,
    /// How long is it to the next slot? Two draws for each packet.
    Slot = 13,
}

/// The finaliser of SplitMix64: a bijection on 64 bits in which every output bit depends on every
/// input bit.
///
/// Source: Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014; the
/// constants are David Stafford's variant 13.
#[inline(always)]
#[must_use]
pub const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// 2^64 divided by the golden ratio, made odd: the increment of SplitMix64.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A seed derived from another and from what tells its user apart.
///
/// The daemon derives the seed of a rule from the policy's seed and from the identity of the
/// endpoint, so that two containers under one policy do not lose the same packets.
#[must_use]
pub const fn derive(seed: u64, distinction: u64) -> u64 {
    mix(mix(seed.wrapping_add(GOLDEN)) ^ distinction)
}

/// Draw number `ordinal` of a stream, uniform over 32 bits.
///
/// This is output number `ordinal` of a SplitMix64 generator whose start is derived from the seed
/// and the stream.
#[inline(always)]
#[must_use]
pub const fn draw(seed: u64, stream: Stream, ordinal: u64) -> u32 {
    let start = mix(seed ^ (stream as u64).wrapping_mul(GOLDEN));
    (mix(start.wrapping_add(ordinal.wrapping_add(1).wrapping_mul(GOLDEN))) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_never_hits_and_one_always_does() {
        for draw in [0, 1, u32::MAX - 1, u32::MAX] {
            assert!(!Probability::NEVER.hits(draw));
            assert!(Probability::ALWAYS.hits(draw));
        }
        assert_eq!(Probability::from_parts(1 << 32), Some(Probability::ALWAYS));
        assert_eq!(Probability::from_parts((1 << 32) + 1), None);
    }

    #[test]
    fn the_last_fraction_below_one_is_not_always() {
        let almost = Probability::from_parts((1 << 32) - 1).unwrap();
        assert!(!almost.hits(u32::MAX));
        assert!(almost.parts() < 1 << 32);
    }

    #[test]
    fn parts_survive_the_round_trip() {
        for parts in [0, 1, 429_497, 1 << 31, 1 << 32] {
            assert_eq!(Probability::from_parts(parts).unwrap().parts(), parts);
        }
    }

    /// The reference values of SplitMix64 for the seed 0, as published with its C source
    /// (Vigna, prng.di.unimi.it/splitmix64.c, and used by other implementations' tests).
    #[test]
    fn mix_is_splitmix64() {
        let mut state = 0_u64;
        let mut next = || {
            state = state.wrapping_add(GOLDEN);
            mix(state)
        };
        assert_eq!(next(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(next(), 0x6e78_9e6a_a1b9_65f4);
        assert_eq!(next(), 0x06c4_5d18_8009_454f);
    }

    /// Each of the 32 bits of a draw is one half of the time: over 2^16 draws the count of ones lies
    /// within 4.4 standard deviations (the 99.999 % interval) for each bit.
    #[test]
    fn every_bit_of_a_draw_is_fair() {
        const DRAWS: u32 = 1 << 16;
        let mut ones = [0_u32; 32];
        for ordinal in 0..u64::from(DRAWS) {
            let draw = draw(7, Stream::Loss, ordinal);
            for (bit, ones) in ones.iter_mut().enumerate() {
                *ones += (draw >> bit) & 1;
            }
        }
        for (bit, ones) in ones.into_iter().enumerate() {
            assert!(ones.abs_diff(DRAWS / 2) < 563, "bit {bit}: {ones} ones of {DRAWS}");
        }
    }

    #[test]
    fn neighbouring_seeds_do_not_share_decisions() {
        let same = (0..10_000)
            .filter(|&n| draw(1, Stream::Loss, n) >> 31 == draw(2, Stream::Loss, n) >> 31)
            .count();
        assert!((4_800..5_200).contains(&same), "{same} of 10000 decisions equal");
    }
}
