//! Delay: packets arrive later, by a fixed time and a random one.

#[cfg(any(test, feature = "user"))]
pub mod table;

use crate::{
    chance::{Probability, Stream, correlated::correlated_draw},
    memory::{Memory, Word},
    record,
};

/// Longest delay that a packet can be given, in nanoseconds: 60 s. The horizon of the line's `fq`
/// must lie behind it.
pub const MAX_DELAY_NS: u64 = 60_000_000_000;

/// Most tables of a host.
pub const MAX_TABLES: u32 = 64;
/// Entries of a table.
pub const TABLE_ENTRIES: u32 = 4096;
/// Tables of standardised distributions count in 2^-26 of a standard deviation, so they reach from
/// -32 to +32 of them.
pub const TABLE_BITS: u32 = 26;
/// Tables of a user's percentiles count in 2^-30 of the longest delay.
pub const PERCENTILE_BITS: u32 = 30;
/// A draw without a table, as a signed number, counts in 2^-31 of the jitter.
pub const UNIFORM_BITS: u32 = 31;

/// [`Delay::shape`]: no jitter.
pub const CONSTANT: u32 = 0;
/// Uniform, from `base - jitter` to `base + jitter`, as netem without a distribution.
pub const UNIFORM: u32 = 1;
/// By the table [`Delay::table`].
pub const TABLE: u32 = 2;

/// The tables, in the map or on the host.
pub trait Tables {
    /// An entry of a table; `index` is below [`TABLE_ENTRIES`]. 0, which means no jitter, if there
    /// is no such table: an internal error that the implementation counts.
    fn table_entry(&self, table: u32, index: u32) -> i32;
}

record! {
    /// Nanoseconds per unit of a table, as `mantissa / 2^shift`.
    ///
    /// A mantissa of 31 bits times an entry of 32 never overflows 64, and the relative error is below
    /// 2^-31.
    pub struct Scale {
        /// From 2^30 to 2^31 - 1, or 0.
        pub mantissa: u32,
        /// From 1 to 62.
        pub shift: u32,
    }
}

impl Scale {
    /// Always zero.
    pub const ZERO: Self = Self { mantissa: 0, shift: 1 };

    /// The scale by which `2^bits` units are `jitter_ns`. `None` above [`MAX_DELAY_NS`], and for
    /// `bits` other than the constants of this module.
    #[must_use]
    pub const fn new(jitter_ns: u64, bits: u32) -> Option<Self> {
        if jitter_ns > MAX_DELAY_NS || bits < TABLE_BITS || bits > UNIFORM_BITS {
            return None;
        }
        if jitter_ns == 0 {
            return Some(Self::ZERO);
        }
        // Up to 36 bits to exactly 31; shifting out may round up to 32.
        let width = 64 - jitter_ns.leading_zeros();
        let mantissa = if width <= 31 {
            jitter_ns << (31 - width)
        } else {
            (jitter_ns + (1 << (width - 32))) >> (width - 31)
        };
        let carried = (mantissa >> 31) as u32;
        Some(Self { mantissa: (mantissa >> carried) as u32, shift: bits + 31 - width - carried })
    }

    /// What it was made from: the nanoseconds that `2^bits` units are, rounded to 31 digits.
    #[must_use]
    pub const fn nanoseconds(self, bits: u32) -> u64 {
        ((self.mantissa as u64) << (bits & 31)) >> (self.shift & 63)
    }

    /// A number of units in nanoseconds, rounded to the nearest.
    #[inline(always)]
    #[must_use]
    pub const fn apply(self, units: i32) -> i64 {
        // The mask changes no scale that `new` made; it tells the compiler that no shift overflows.
        let shift = self.shift & 63;
        let half = (1_u64 << shift) >> 1;
        ((self.mantissa & 0x7fff_ffff) as i64 * units as i64 + half as i64) >> shift
    }
}

record! {
    /// How much later packets arrive.
    pub struct Delay {
        /// The fixed part in nanoseconds; at most [`MAX_DELAY_NS`].
        pub base_ns: u64,
        /// The random part.
        pub jitter: Scale,
        /// [`CONSTANT`], [`UNIFORM`] or [`TABLE`]. Any other is constant.
        pub shape: u32,
        /// Which table.
        pub table: u32,
        /// Probability that a packet gets the jitter of the packet before. Keeps the distribution,
        /// unlike netem's.
        pub correlation: Probability,
        /// 0: packets may overtake one another (`order = "any"`). Anything else: none leaves before
        /// one that came before it (`order = "keep"`).
        pub keep_order: u32,
    }
}

impl Delay {
    /// No delay.
    pub const NONE: Self = Self {
        base_ns: 0,
        jitter: Scale::ZERO,
        shape: CONSTANT,
        table: 0,
        correlation: Probability::NEVER,
        keep_order: 0,
    };

    /// A fixed delay.
    #[must_use]
    pub const fn constant(base_ns: u64) -> Self {
        Self { base_ns, ..Self::NONE }
    }

    /// Uniform from `base_ns - jitter_ns` to `base_ns + jitter_ns`. `None` above [`MAX_DELAY_NS`].
    #[must_use]
    pub const fn uniform(base_ns: u64, jitter_ns: u64) -> Option<Self> {
        match Scale::new(jitter_ns, UNIFORM_BITS) {
            Some(jitter) => Some(Self { jitter, shape: UNIFORM, ..Self::constant(base_ns) }),
            None => None,
        }
    }

    /// By a standardised table: `jitter_ns` is the standard deviation. `None` above
    /// [`MAX_DELAY_NS`].
    #[must_use]
    pub const fn distributed(base_ns: u64, jitter_ns: u64, table: u32) -> Option<Self> {
        match Scale::new(jitter_ns, TABLE_BITS) {
            Some(jitter) => Some(Self { jitter, shape: TABLE, table, ..Self::constant(base_ns) }),
            None => None,
        }
    }

    /// By a table of a user's percentiles, whose longest delay is `longest_ns`. `None` above
    /// [`MAX_DELAY_NS`].
    #[must_use]
    pub const fn percentiles(longest_ns: u64, table: u32) -> Option<Self> {
        match Scale::new(longest_ns, PERCENTILE_BITS) {
            Some(jitter) => Some(Self { jitter, shape: TABLE, table, ..Self::NONE }),
            None => None,
        }
    }

    /// Whether there is any delay at all.
    #[inline(always)]
    #[must_use]
    pub const fn acts(&self) -> bool {
        self.base_ns != 0 || self.shape != CONSTANT
    }

    /// The delay of the packet with this ordinal, in nanoseconds: from 0 to [`MAX_DELAY_NS`]. What
    /// jitter would make negative is 0, which makes the mean longer than the base if the jitter
    /// reaches below it.
    #[inline(always)]
    pub fn given<M: Memory, T: Tables + ?Sized>(
        &self,
        seed: u64,
        ordinal: u64,
        memory: &M,
        tables: &T,
    ) -> u64 {
        let mut draw = 0;
        if self.shape != CONSTANT {
            let streams = [Stream::Delay, Stream::DelayRenewal];
            draw = correlated_draw(self.correlation, memory, Word::Delay, seed, streams, ordinal);
        }
        self.drawn(draw, tables)
    }

    /// The delay for a draw, in nanoseconds; see [`given`](Self::given).
    #[inline(always)]
    pub fn drawn<T: Tables + ?Sized>(&self, draw: u32, tables: &T) -> u64 {
        let mut jitter_ns = 0;
        if self.shape != CONSTANT {
            let units = if self.shape == TABLE {
                quantile(tables, self.table, draw)
            } else {
                // From 0..2^32 to -2^31..2^31.
                (draw ^ 0x8000_0000) as i32
            };
            jitter_ns = self.jitter.apply(units);
        }
        // Base and jitter are below 2^36 and 2^42 each.
        let delay_ns = (self.base_ns & (u64::MAX >> 2)) as i64 + jitter_ns;
        if delay_ns < 0 { 0 } else { at_most(delay_ns as u64, MAX_DELAY_NS) }
    }
}

/// The value of a table's inverse distribution function at `draw / 2^32`: entry `i` is its value at
/// `i / 4095`, and it is linear in between.
#[inline(always)]
pub fn quantile<T: Tables + ?Sized>(tables: &T, table: u32, draw: u32) -> i32 {
    let position = u64::from(draw) * u64::from(TABLE_ENTRIES - 1);
    // At most 4094, so there is always a next entry.
    let index = (position >> 32) as u32;
    let below = i64::from(tables.table_entry(table, index));
    let above = i64::from(tables.table_entry(table, index + 1));
    // 33 bits and a sign times 20 bits.
    let part = i64::from((position as u32) >> 12);
    (below + (((above - below) * part) >> 20)) as i32
}

#[inline(always)]
pub(crate) const fn at_most(value: u64, limit: u64) -> u64 {
    if value < limit { value } else { limit }
}

/// When a packet leaves that must not leave before any that came before it: the later one of its own
/// departure and the last one. This is also the step from the [`Word::Departure`] before to the one
/// after.
#[inline(always)]
#[must_use]
pub const fn keep_order(last_ns: u64, own_ns: u64) -> u64 {
    if last_ns > own_ns { last_ns } else { own_ns }
}

#[cfg(test)]
mod tests;
