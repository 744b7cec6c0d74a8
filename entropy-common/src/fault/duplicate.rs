//! Duplicate: a packet arrives twice.

use crate::{
    chance::{Stream, correlated::Chance},
    memory::{Memory, Word},
    record,
};

record! {
    /// Which packets are sent twice. A copy is not copied again, and leaves together with its
    /// original, whatever else happens to that.
    pub struct Duplicate {
        /// How often.
        pub chance: Chance,
    }
}

impl Duplicate {
    /// No duplicates.
    pub const NONE: Self = Self { chance: Chance::NEVER };

    /// Whether the packet with this ordinal is sent twice.
    #[inline(always)]
    pub fn hits<M: Memory>(&self, seed: u64, ordinal: u64, memory: &M) -> bool {
        let streams = [Stream::Duplicate, Stream::DuplicateRenewal];
        self.chance.hits(memory, Word::Duplicate, seed, streams, ordinal)
    }
}
