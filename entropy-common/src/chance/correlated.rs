//! Draws that resemble the one before.
//!
//! **Ours** keeps the rate. A draw equals the one before with the probability `rho` and is fresh
//! otherwise. Whatever the draws before, each one is exactly uniform, so a probability that is
//! compared with it is kept exactly; and draws that lie `k` packets apart have the correlation
//! `rho^k`, as has every function of them, hits and delays alike. (In the literature: a discrete
//! autoregressive process of order one, DAR(1), Jacobs and Lewis 1978.)
//!
//! **netem's** does not. It is the average `x = ((2^32 - rho) * fresh + rho * last) >> 32`
//! (`get_crandom`, net/sched/sch_netem.c), which crowds around one half: small probabilities hardly
//! ever hit. It is here so that netem can be compared with and replaced.

use crate::{
    chance::{Probability, Stream, draw},
    memory::{Memory, Word},
    record,
};

/// Marks a word that holds a draw; the draw is in the lower half.
const DRAWN: u64 = 1 << 32;

/// The bits of a word that this module uses; callers may keep something else in the rest.
pub const BITS: u32 = 33;

/// The draw that a word holds.
#[inline(always)]
#[must_use]
pub const fn drawn(word: u64) -> u32 {
    word as u32
}

/// One step of our process: the word with the draw for this packet.
///
/// `renewal` and `fresh` are two independent draws. The correlation [`Probability::ALWAYS`] repeats
/// the first draw for ever.
#[inline(always)]
#[must_use]
pub const fn step(word: u64, correlation: Probability, renewal: u32, fresh: u32) -> u64 {
    if word & DRAWN != 0 && correlation.hits(renewal) {
        DRAWN | (word & (DRAWN - 1))
    } else {
        DRAWN | fresh as u64
    }
}

/// One step of netem's process. Where netem begins with a random number that its seed does not
/// determine, this begins with `first`.
#[inline(always)]
#[must_use]
pub const fn step_netem(word: u64, correlation: Probability, first: u32, fresh: u32) -> u64 {
    let last = if word & DRAWN == 0 { first } else { drawn(word) };
    // The kernel's `rho + 1`, from 1 to 2^32; the sum is at most (2^32 - 1) * 2^32.
    let rho = correlation.raw as u64 + 1;
    DRAWN | (((1 << 32) - rho) * fresh as u64 + rho * last as u64) >> 32
}

/// netem's comparison: a packet is hit if the probability is not zero and at least the draw.
#[inline(always)]
#[must_use]
pub const fn hits_netem(rate: Probability, draw: u32) -> bool {
    !rate.is_never() && rate.raw >= draw
}

/// The draw for a packet, correlated with the one of the packet before.
///
/// Without correlation it needs no memory and is a function of the ordinal alone.
#[inline(always)]
pub fn correlated_draw<M: Memory>(
    correlation: Probability,
    memory: &M,
    word: Word,
    seed: u64,
    [stream, renewal]: [Stream; 2],
    ordinal: u64,
) -> u32 {
    let fresh = draw(seed, stream, ordinal);
    if correlation.is_never() {
        return fresh;
    }
    let renewal = draw(seed, renewal, ordinal);
    drawn(step(
        memory.update(word, |word| step(word, correlation, renewal, fresh)),
        correlation,
        renewal,
        fresh,
    ))
}

record! {
    /// How often something happens, and how much that resembles the packet before.
    pub struct Chance {
        /// Share of the packets that are hit.
        pub rate: Probability,
        /// Probability that the draw of the packet before is used again, beyond what chance does.
        pub correlation: Probability,
    }
}

impl Chance {
    /// It never happens.
    pub const NEVER: Self = Self { rate: Probability::NEVER, correlation: Probability::NEVER };

    /// Packets are hit independently of one another.
    #[must_use]
    pub const fn independent(rate: Probability) -> Self {
        Self { rate, correlation: Probability::NEVER }
    }

    /// Whether the packet with this ordinal is hit.
    #[inline(always)]
    pub fn hits<M: Memory>(
        &self,
        memory: &M,
        word: Word,
        seed: u64,
        streams: [Stream; 2],
        ordinal: u64,
    ) -> bool {
        !self.rate.is_never()
            && self.rate.hits(correlated_draw(
                self.correlation,
                memory,
                word,
                seed,
                streams,
                ordinal,
            ))
    }
}

#[cfg(test)]
mod tests;
