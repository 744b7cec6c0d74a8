//! A link in the units that people use.

use crate::fault::{
    delay::MAX_DELAY_NS,
    rate::{CLOCK_BITS, Rate},
};

/// A link, in bytes and seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Bandwidth in bytes per second.
    pub bytes_per_second: u64,
    /// Longest time in the link, waiting included, in nanoseconds.
    pub queue_ns: u64,
    /// Waiting time from which packets are marked, in nanoseconds.
    pub mark_ns: Option<u64>,
    /// Bytes that the link sends at once after a rest.
    pub burst_bytes: u64,
    /// Bytes that each packet takes besides its own.
    pub overhead: i32,
    /// Bytes of a cell; 0 for none.
    pub cell: u32,
    /// Bytes that each cell takes besides its own.
    pub cell_overhead: i32,
}

/// What is wrong with a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateError {
    /// Less than 4 byte/s or more than 10 Tbit/s.
    OutOfRange,
    /// A queue or burst of more than 60 s.
    TooLong,
    /// An overhead that leaves nothing of a cell.
    EmptyCell,
}

impl core::fmt::Display for RateError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::OutOfRange => "the rate is not between 4 byte/s and 10 Tbit/s",
            Self::TooLong => "the queue or the burst takes longer than 60 s",
            Self::EmptyCell => "the overhead leaves nothing of a cell",
        })
    }
}

impl core::error::Error for RateError {}

const SLOWEST: u64 = 4;
const FASTEST: u64 = 10_000_000_000_000 / 8;
/// Units of the clock in a second.
const SECOND: u128 = 1_000_000_000 << CLOCK_BITS;

impl Link {
    /// A link with a queue and nothing special.
    #[must_use]
    pub const fn new(bytes_per_second: u64, queue_ns: u64) -> Self {
        Self {
            bytes_per_second,
            queue_ns,
            mark_ns: None,
            burst_bytes: 0,
            overhead: 0,
            cell: 0,
            cell_overhead: 0,
        }
    }

    /// How long so many bytes take, in nanoseconds, rounded down: what makes a queue or a threshold
    /// in bytes one in time.
    #[must_use]
    pub fn time_ns(&self, bytes: u64) -> u64 {
        let ns = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second.max(1));
        u64::try_from(ns).unwrap_or(u64::MAX)
    }

    /// The record.
    ///
    /// # Errors
    /// [`RateError`].
    pub fn rate(&self) -> Result<Rate, RateError> {
        if !(SLOWEST..=FASTEST).contains(&self.bytes_per_second) {
            return Err(RateError::OutOfRange);
        }
        if self.cell != 0 && i64::from(self.cell) + i64::from(self.cell_overhead) <= 0 {
            return Err(RateError::EmptyCell);
        }
        let burst_ns = self.time_ns(self.burst_bytes);
        if self.queue_ns > MAX_DELAY_NS || burst_ns > MAX_DELAY_NS {
            return Err(RateError::TooLong);
        }
        // The largest shift with which the mantissa fits in 32 bits.
        let per_byte = |shift: u32| {
            let rate = u128::from(self.bytes_per_second);
            ((SECOND << shift) + rate / 2) / rate
        };
        let fitting = (0..=62).rev().find_map(|shift| {
            u32::try_from(per_byte(shift)).ok().map(|mantissa| (mantissa, shift))
        });
        let (mantissa, shift) = fitting.ok_or(RateError::OutOfRange)?;
        Ok(Rate {
            queue_ns: self.queue_ns,
            mark_ns: self.mark_ns.unwrap_or(u64::MAX),
            burst: burst_ns << CLOCK_BITS,
            mantissa,
            shift,
            overhead: self.overhead,
            cell: self.cell,
            cell_overhead: self.cell_overhead,
            _pad: 0,
        })
    }
}

impl Rate {
    /// The bandwidth in bits per second, as near as the record has it: to nine digits.
    #[must_use]
    pub fn bits_per_second(&self) -> f64 {
        let exponent = i32::try_from(self.shift & 63).unwrap_or(0);
        let exact = 8.0 * SECOND as f64 * 2_f64.powi(exponent) / f64::from(self.mantissa.max(1));
        let digits = exact.log10().floor() as i32 - 8;
        // Powers of ten are exact, their inverses are not.
        if digits > 0 {
            let step = 10_f64.powi(digits);
            (exact / step).round() * step
        } else {
            let steps = 10_f64.powi(-digits);
            (exact * steps).round() / steps
        }
    }
}
