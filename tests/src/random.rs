//! Randomness for tests that can be repeated.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher as _, Hasher as _},
};

/// The seed of this run: `ENTROPY_SEED` if set, else a new one. Printed, so that the output of a
/// failed test says how to repeat it.
///
/// # Panics
/// When `ENTROPY_SEED` is no number.
#[must_use]
pub fn seed() -> u64 {
    // RandomState is keyed from the kernel's random numbers.
    let seed = asked_seed().unwrap_or_else(|| RandomState::new().build_hasher().finish());
    println!("seed {seed} (repeat with ENTROPY_SEED={seed})");
    seed
}

/// `ENTROPY_SEED` if set, else `otherwise`, for tests that judge statistics: there a new seed each
/// time would make right code fail now and then.
///
/// # Panics
/// When `ENTROPY_SEED` is no number.
#[must_use]
pub fn fixed_seed(otherwise: u64) -> u64 {
    asked_seed().unwrap_or(otherwise)
}

fn asked_seed() -> Option<u64> {
    let text = std::env::var("ENTROPY_SEED").ok()?;
    match text.parse() {
        Ok(seed) => Some(seed),
        Err(error) => panic!("ENTROPY_SEED={text}: {error}"),
    }
}

/// A generator: xoshiro256** of Blackman and Vigna. Another algorithm than the one under test.
#[derive(Clone, Debug)]
pub struct Random([u64; 4]);

impl Random {
    /// The generator of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut state = seed;
        Self(std::array::from_fn(|_| {
            // SplitMix64, as the authors advise for filling the state.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = state;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^ (word >> 31)
        }))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        let state = &mut self.0;
        let result = state[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = state[1] << 17;
        state[2] ^= state[0];
        state[3] ^= state[1];
        state[1] ^= state[2];
        state[0] ^= state[3];
        state[2] ^= shifted;
        state[3] = state[3].rotate_left(45);
        result
    }

    /// A number below `limit`, which must not be 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(limit)) >> 64) as u64
    }

    /// A number from `first` to `last`, both included.
    pub fn between(&mut self, first: u64, last: u64) -> u64 {
        first + self.below(last - first + 1)
    }

    /// True once in `times` on average.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of several, which must not be none.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// Random bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.bits().to_ne_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }

    /// An array of random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First output for the state (1, 2, 3, 4), by hand: rotl(2 * 5, 7) * 9 = 11520; then as the
    /// implementations of other people have it in their tests.
    #[test]
    fn the_generator_is_xoshiro256_starstar() {
        let mut random = Random([1, 2, 3, 4]);
        let expected = [11_520, 0, 1_509_978_240, 1_215_971_899_390_074_240];
        assert_eq!([(); 4].map(|()| random.bits()), expected);
    }

    #[test]
    fn numbers_stay_in_their_range_and_reach_its_ends() {
        let mut random = Random::new(1);
        let numbers: Vec<u64> = (0..1000).map(|_| random.between(3, 6)).collect();
        assert_eq!((numbers.iter().min(), numbers.iter().max()), (Some(&3), Some(&6)));
    }
}
