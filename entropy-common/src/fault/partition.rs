//! Partition: nothing gets through.

use crate::record;

record! {
    /// Cuts off all that the rule matches.
    pub struct Partition {
        /// 0: no, anything else: yes.
        pub cut: u32,
    }
}

impl Partition {
    /// No partition.
    pub const NONE: Self = Self { cut: 0 };
    /// A partition.
    pub const CUT: Self = Self { cut: 1 };

    /// Whether packets are cut off.
    #[inline(always)]
    #[must_use]
    pub const fn hits(&self) -> bool {
        self.cut != 0
    }
}
