//! Reorder: some packets overtake others.

use crate::{
    chance::{
        Stream,
        correlated::{self, Chance, drawn},
        draw,
    },
    fault::delay::at_most,
    memory::{Memory, Word},
    record,
};

/// The count of packets since the last early one stands above the correlated draw.
const COUNT_SHIFT: u32 = correlated::BITS;
const DRAW_MASK: u64 = (1 << COUNT_SHIFT) - 1;
/// The count stops here; no gap is longer.
const COUNT_MAX: u64 = (1 << (63 - COUNT_SHIFT)) - 1;
/// Mark of a word: the packet of the step that made the word is early.
const EARLY: u64 = 1 << 63;

record! {
    /// Which packets are sent early, and by how much.
    pub struct Reorder {
        /// How far a packet jumps, in nanoseconds; 0 for all the way, so that it leaves at once.
        /// Where nothing is delayed, the packets are held back by this time instead, for others to
        /// overtake.
        pub jump_ns: u64,
        /// Share of the packets that are sent early.
        pub chance: Chance,
        /// Only a packet after `gap - 1` others since the last early one can be early. 1: any packet
        /// can. 0: none can.
        pub gap: u32,
        #[doc(hidden)]
        pub _pad: u32,
    }
}

impl Reorder {
    /// Packets keep their order.
    pub const NONE: Self = Self { jump_ns: 0, chance: Chance::NEVER, gap: 1, _pad: 0 };

    /// Whether any packet is sent early.
    #[inline(always)]
    #[must_use]
    pub const fn acts(&self) -> bool {
        !self.chance.rate.is_never() && self.gap != 0
    }

    /// Whether the packet with this ordinal is early.
    #[inline(always)]
    pub fn hits<M: Memory>(&self, seed: u64, ordinal: u64, memory: &M) -> bool {
        if !self.acts() {
            return false;
        }
        let fresh = draw(seed, Stream::Reorder, ordinal);
        if self.gap == 1 && self.chance.correlation.is_never() {
            return self.chance.rate.hits(fresh);
        }
        let renewal = draw(seed, Stream::ReorderRenewal, ordinal);
        let before = memory.update(Word::Reorder, |word| self.step(word, renewal, fresh));
        self.step(before, renewal, fresh) & EARLY != 0
    }

    /// One step: from the word before this packet to the word after it. Its highest bit says whether
    /// the packet is early.
    ///
    /// This is `netem_enqueue` (net/sched/sch_netem.c): within the gap nothing is drawn, and after it
    /// a packet that is not hit is counted like the others.
    #[inline(always)]
    #[must_use]
    pub const fn step(&self, word: u64, renewal: u32, fresh: u32) -> u64 {
        let count = (word & !EARLY) >> COUNT_SHIFT;
        let within = count + 1 < self.gap as u64;
        let draws = if within {
            word & DRAW_MASK
        } else {
            correlated::step(word, self.chance.correlation, renewal, fresh)
        };
        if !within && self.chance.rate.hits(drawn(draws)) {
            return EARLY | draws;
        }
        at_most(count + 1, COUNT_MAX) << COUNT_SHIFT | draws
    }
}

#[cfg(test)]
mod tests;
