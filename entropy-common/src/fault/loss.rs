//! Loss: packets vanish by chance.

use crate::{
    chance::{Probability, Stream, draw},
    record,
};

record! {
    /// Loss with one rate, each packet for itself.
    pub struct Loss {
        /// Share of the matched packets that vanish.
        pub rate: Probability,
    }
}

impl Loss {
    /// No loss.
    pub const NONE: Self = Self { rate: Probability::NEVER };

    /// Whether the packet with this ordinal is lost.
    #[inline(always)]
    #[must_use]
    pub const fn hits(&self, seed: u64, ordinal: u64) -> bool {
        self.rate.hits(draw(seed, Stream::Loss, ordinal))
    }
}
