//! What a rule remembers from packet to packet.
//!
//! Most decisions need no memory at all (see [`chance`](crate::chance)). Those that do are pure
//! functions from one word and the packet's draws to the next word, applied by compare-and-swap, so
//! that CPUs that handle packets of one rule at the same time never lose a step of one another.

use crate::record;

/// Words of a [`RuleMemory`].
pub const WORDS: usize = 9;

record! {
    /// The words of one rule. All of them begin as zero.
    pub struct RuleMemory {
        /// Indexed by [`Word`].
        pub words: [u64; WORDS],
    }
}

impl RuleMemory {
    /// The memory of a new rule.
    pub const ZERO: Self = Self { words: [0; WORDS] };
}

/// What a word is for. Each fault has its own, so that none waits for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Word {
    /// The loss model's last draw, or its state and count of packets.
    Loss = 0,
    /// The last draw of a correlated delay.
    Delay = 1,
    /// The last departure of `order = "keep"`, in nanoseconds of `CLOCK_MONOTONIC`.
    Departure = 2,
    /// Packets since the last one that was sent early, and the last correlated draw.
    Reorder = 3,
    /// The last draw of correlated duplicates.
    Duplicate = 4,
    /// The last draw of correlated damage.
    Corrupt = 5,
    /// The virtual clock of a rate.
    Clock = 6,
    /// When the slot begins that is being filled, and the last digits of its number.
    Slot = 7,
    /// How full that slot is, and the last digits of its number.
    Room = 8,
}

/// A rule's memory, in the map or on the host.
pub trait Memory {
    /// Replaces a word by what `step` makes of it, in one atomic step, and returns the word that was
    /// there before. `step` may be called several times and must be a pure function.
    ///
    /// An implementation that has to give up after some tries returns the last word it read: the
    /// caller's decision is then as right as any, only the step is missing from the chain.
    fn update(&self, word: Word, step: impl Fn(u64) -> u64) -> u64;
}
