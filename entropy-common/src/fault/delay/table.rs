//! The tables of delay distributions, made on the host.
//!
//! A table is an inverse distribution function at 4096 places, and linear between them. The
//! standardised ones have, with that interpolation, the mean 0 and the standard deviation 1 exactly
//! (up to the rounding of entries to 2^-26), so what a policy asks for is what packets get. The
//! tables that come with iproute2 have a pareto of 0.82 standard deviations.

extern crate std;

use std::{vec, vec::Vec};

use crate::fault::delay::{MAX_DELAY_NS, PERCENTILE_BITS, TABLE_BITS, TABLE_ENTRIES, Tables};

/// Steps between the places.
const STEPS: usize = TABLE_ENTRIES as usize - 1;
/// Where netem's tables end, in their units: 16 bits of 2^-13.
const REACH: f64 = 4.0;

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    entries: Vec<i32>,
}

/// The distributions that have a name. Their shapes are those of iproute2's generators.
///
/// Where those clip at four of their units, which heaps up one packet in a hundred of a pareto at
/// the very end, these are truncated: there is nothing beyond, and no heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// The normal distribution, up to four standard deviations on both sides.
    Normal,
    /// Pareto's with the shape 3, up to four of netem's units (3/4 of its scale) above its mean.
    Pareto,
    /// A quarter of the normal quantile and three quarters of the pareto quantile.
    ParetoNormal,
}

impl Distribution {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Normal, Self::Pareto, Self::ParetoNormal];

    /// The name that policies use, which is netem's.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Pareto => "pareto",
            Self::ParetoNormal => "paretonormal",
        }
    }

    /// Its table, with the mean 0 and the standard deviation 1.
    #[must_use]
    pub fn table(self) -> Table {
        let mut quantiles = match self {
            Self::Normal => normal(),
            Self::Pareto => pareto(),
            Self::ParetoNormal => normal()
                .into_iter()
                .zip(pareto())
                .map(|(normal, pareto)| 0.25 * normal + 0.75 * pareto)
                .collect(),
        };
        standardise(&mut quantiles);
        Table::from_units(&quantiles, TABLE_BITS)
    }
}

/// Quantiles of the normal distribution between -4 and 4, at the places of a table.
///
/// Each one is found from the one before by Newton's method on the integral of the density.
fn normal() -> Vec<f64> {
    let step = simpson(-REACH, REACH, 4000) / STEPS as f64;
    let half = STEPS.div_ceil(2);
    let mut quantiles = vec![0.0; STEPS + 1];
    let mut last = -REACH;
    for index in 0..half {
        if index > 0 {
            let start = last;
            // From the right end of the bracket, where the integral is convex in its end and
            // Newton's method therefore never leaves the right side of the root.
            let mut end = (start + 0.6).min(0.0);
            for _ in 0..50 {
                let correction = (simpson(start, end, 64) - step) / density(end);
                end -= correction;
                if correction.abs() < 1e-14 {
                    break;
                }
            }
            last = end;
        }
        quantiles[index] = last;
        quantiles[STEPS - index] = -last;
    }
    quantiles
}

/// The normal density, but for its constant factor.
fn density(x: f64) -> f64 {
    (-x * x / 2.0).exp()
}

/// Integral of [`density`] by Simpson's rule with an even number of panels.
fn simpson(from: f64, to: f64, panels: usize) -> f64 {
    let width = (to - from) / panels as f64;
    let inner: f64 = (1..panels)
        .map(|k| density(from + k as f64 * width) * if k % 2 == 1 { 4.0 } else { 2.0 })
        .sum();
    (density(from) + inner + density(to)) * width / 3.0
}

/// Quantiles of Pareto's distribution with the shape 3 in netem's units, `(x - 1.5) * 4 / 3`, as far
/// as [`REACH`].
fn pareto() -> Vec<f64> {
    let end: f64 = REACH * 3.0 / 4.0 + 1.5;
    let share = 1.0 - end.powi(-3);
    (0..=STEPS)
        .map(|index| {
            let survivors = 1.0 - share * index as f64 / STEPS as f64;
            (survivors.powf(-1.0 / 3.0) - 1.5) * 4.0 / 3.0
        })
        .collect()
}

/// Mean and standard deviation of a piecewise linear inverse distribution function.
fn moments(quantiles: &[f64]) -> (f64, f64) {
    let steps = (quantiles.len() - 1) as f64;
    let mean = quantiles.windows(2).map(|w| (w[0] + w[1]) / 2.0).sum::<f64>() / steps;
    let variance = quantiles
        .windows(2)
        .map(|w| (w[0] - mean, w[1] - mean))
        .map(|(a, b)| (a * a + a * b + b * b) / 3.0)
        .sum::<f64>()
        / steps;
    (mean, variance.sqrt())
}

fn standardise(quantiles: &mut [f64]) {
    let (mean, deviation) = moments(quantiles);
    for value in quantiles {
        *value = (*value - mean) / deviation;
    }
}

/// What is wrong with a user's percentiles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PercentileError {
    /// There is none.
    Empty,
    /// A percentile is not between 0 and 100.
    OutOfRange {
        /// The percentile.
        percent: f64,
    },
    /// A percentile is not greater than the one before it.
    Order {
        /// The percentile.
        percent: f64,
    },
    /// A delay is shorter than that of the percentile before it.
    Decreasing {
        /// The percentile.
        percent: f64,
    },
    /// A delay is longer than [`MAX_DELAY_NS`].
    TooLong {
        /// The percentile; 100 if it is the continuation to the longest delay.
        percent: f64,
    },
}

impl core::fmt::Display for PercentileError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Empty => f.write_str("no percentile is given"),
            Self::OutOfRange { percent } => write!(f, "p{percent} is not between p0 and p100"),
            Self::Order { percent } => {
                write!(f, "p{percent} does not come after the one before it")
            }
            Self::Decreasing { percent } => {
                write!(
                    f,
                    "the delay of p{percent} is shorter than that of the percentile before it"
                )
            }
            Self::TooLong { percent } => write!(f, "the delay of p{percent} is longer than 60 s"),
        }
    }
}

impl core::error::Error for PercentileError {}

impl Table {
    /// The entries, [`TABLE_ENTRIES`] of them.
    #[must_use]
    pub fn entries(&self) -> &[i32] {
        &self.entries
    }

    /// A delay by percentiles, as `(percent, nanoseconds)` in ascending order, and the longest delay
    /// of it in nanoseconds (for [`Delay::percentiles`](super::Delay::percentiles)).
    ///
    /// Between two percentiles the delay is uniform. The ends, where they are not given as 0 and 100:
    /// the shortest delay is half of the lowest percentile's, and the longest is what the line
    /// through the last two points comes to at 100. Because the table is linear between its places,
    /// a percentile may be off by up to a quarter of 1/4095 in rank.
    ///
    /// # Errors
    /// [`PercentileError`].
    pub fn percentiles(points: &[(f64, u64)]) -> Result<(Self, u64), PercentileError> {
        let points = with_ends(points)?;
        let longest_ns = points.last().map_or(0.0, |(_, delay)| *delay).round();
        if longest_ns > MAX_DELAY_NS as f64 {
            return Err(PercentileError::TooLong { percent: 100.0 });
        }
        let scale = longest_ns.max(1.0);
        let units: Vec<f64> = (0..=STEPS)
            .map(|index| interpolate(&points, 100.0 * index as f64 / STEPS as f64) / scale)
            .collect();
        Ok((Self::from_units(&units, PERCENTILE_BITS), longest_ns as u64))
    }

    fn from_units(values: &[f64], bits: u32) -> Self {
        let unit = f64::from(1_u32 << bits);
        // A cast to an integer saturates; no table comes near its limits.
        Self { entries: values.iter().map(|value| (value * unit).round() as i32).collect() }
    }

    /// Mean and standard deviation, in units of `2^-bits`.
    #[must_use]
    pub fn moments(&self, bits: u32) -> (f64, f64) {
        let unit = f64::from(1_u32 << bits);
        let values: Vec<f64> = self.entries.iter().map(|entry| f64::from(*entry) / unit).collect();
        moments(&values)
    }
}

fn with_ends(points: &[(f64, u64)]) -> Result<Vec<(f64, f64)>, PercentileError> {
    let mut all: Vec<(f64, f64)> = Vec::with_capacity(points.len() + 2);
    for &(percent, delay_ns) in points {
        if !(0.0..=100.0).contains(&percent) {
            return Err(PercentileError::OutOfRange { percent });
        }
        if delay_ns > MAX_DELAY_NS {
            return Err(PercentileError::TooLong { percent });
        }
        if let Some(&(before, delay_before)) = all.last() {
            if percent <= before {
                return Err(PercentileError::Order { percent });
            }
            if (delay_ns as f64) < delay_before {
                return Err(PercentileError::Decreasing { percent });
            }
        }
        all.push((percent, delay_ns as f64));
    }
    let &(lowest, shortest) = all.first().ok_or(PercentileError::Empty)?;
    if lowest > 0.0 {
        all.insert(0, (0.0, shortest / 2.0));
    }
    if let [.., (p, a), (q, b)] = all[..]
        && q < 100.0
    {
        all.push((100.0, b + (b - a) * (100.0 - q) / (q - p)));
    } else if all.len() == 1 {
        // Only p0: all packets have its delay.
        all.push((100.0, shortest));
    }
    Ok(all)
}

fn interpolate(points: &[(f64, f64)], percent: f64) -> f64 {
    let piece = points.windows(2).find(|w| percent <= w[1].0);
    piece.map_or_else(
        || points.last().map_or(0.0, |last| last.1),
        |w| w[0].1 + (w[1].1 - w[0].1) * (percent - w[0].0) / (w[1].0 - w[0].0),
    )
}

impl Tables for [Table] {
    fn table_entry(&self, table: u32, index: u32) -> i32 {
        self.get(table as usize)
            .and_then(|table| table.entries.get(index as usize))
            .map_or(0, |e| *e)
    }
}
