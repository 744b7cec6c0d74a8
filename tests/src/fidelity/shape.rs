//! What the distributions of jitter should be: from their formulas, not from the tables under test.

use std::f64::consts::FRAC_1_SQRT_2;

use entropy_common::fault::delay::{Delay, table::Distribution};

/// Places at which an inverse distribution function is computed.
const PLACES: usize = 100_000;
/// Where the shapes end, in standard deviations of the normal one and in netem's units.
const REACH: f64 = 4.0;

/// A shape of jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Uniform,
    Normal,
    Pareto,
    ParetoNormal,
}

impl Shape {
    pub(super) const ALL: [Self; 4] =
        [Self::Uniform, Self::Normal, Self::Pareto, Self::ParetoNormal];

    /// The name that policies and `tc` use.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Normal => "normal",
            Self::Pareto => "pareto",
            Self::ParetoNormal => "paretonormal",
        }
    }

    /// Entropy's delay; `None` when it is too long.
    pub(super) fn delay(self, base_ns: u64, jitter_ns: u64) -> Option<Delay> {
        let distribution = match self {
            Self::Uniform => return Delay::uniform(base_ns, jitter_ns),
            Self::Normal => Distribution::Normal,
            Self::Pareto => Distribution::Pareto,
            Self::ParetoNormal => Distribution::ParetoNormal,
        };
        let table = Distribution::ALL.into_iter().position(|other| other == distribution)?;
        Delay::distributed(base_ns, jitter_ns, table as u32)
    }

    /// Standard deviation that a jitter of one means.
    pub(super) fn deviation(self) -> f64 {
        if self == Self::Uniform { 1.0 / 3.0_f64.sqrt() } else { 1.0 }
    }

    /// The value that a share of the packets stays below, before it is made to have the mean 0 and
    /// the standard deviation 1.
    fn quantile(self, share: f64) -> f64 {
        match self {
            Self::Uniform => 2.0 * share - 1.0,
            Self::Normal => {
                let below = upper_tail(REACH);
                normal_quantile(below + share * (1.0 - 2.0 * below))
            }
            Self::Pareto => {
                let end: f64 = REACH * 3.0 / 4.0 + 1.5;
                let survivors = 1.0 - share * (1.0 - end.powi(-3));
                (survivors.powf(-1.0 / 3.0) - 1.5) * 4.0 / 3.0
            }
            Self::ParetoNormal => {
                0.25 * Self::Normal.quantile(share) + 0.75 * Self::Pareto.quantile(share)
            }
        }
    }
}

/// A distribution, as numbers.
pub(super) struct Asked {
    /// Values in ascending order, each of which stands for the same share.
    values: Vec<f64>,
}

impl Asked {
    /// Delays around a base.
    pub(super) fn new(shape: Shape, base: f64, jitter: f64) -> Self {
        let mut values: Vec<f64> =
            (0..PLACES).map(|place| shape.quantile((place as f64 + 0.5) / PLACES as f64)).collect();
        let (mean, deviation) = super::sample::moments(&values);
        let scale = jitter * shape.deviation() / deviation;
        for value in &mut values {
            *value = base + (*value - mean) * scale;
        }
        Self { values }
    }

    /// The share of delays up to this one.
    pub(super) fn share(&self, delay: f64) -> f64 {
        self.values.partition_point(|value| *value <= delay) as f64 / PLACES as f64
    }

    /// The delay in the middle.
    pub(super) fn median(&self) -> f64 {
        super::sample::percentile(&self.values, 0.5)
    }

    /// Points of a curve: delay and share.
    pub(super) fn curve(&self, points: usize) -> Vec<(f64, f64)> {
        (0..=points)
            .map(|point| {
                let place = (point * (PLACES - 1)) / points;
                (self.values[place], place as f64 / PLACES as f64)
            })
            .collect()
    }
}

/// The share of a normal variable above `x`, by the complementary error function's continued
/// fraction; for `x` of 2 and more.
fn upper_tail(x: f64) -> f64 {
    let z = x * FRAC_1_SQRT_2;
    let fraction = (1..=200).rev().fold(0.0, |rest, k| f64::from(k) / 2.0 / (z + rest));
    (-z * z).exp() / (z + fraction) / std::f64::consts::PI.sqrt() / 2.0
}

/// The normal quantile by Acklam's rational approximation (relative error below 1.2e-9).
fn normal_quantile(share: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const B: [f64; 6] = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
        1.0,
    ];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 5] = [
        7.784_695_709_041_462e-3,
        3.224_671_290_700_398e-1,
        2.445_134_137_142_996,
        3.754_408_661_907_416,
        1.0,
    ];
    let horner = |factors: &[f64], x: f64| factors.iter().fold(0.0, |sum, factor| sum * x + factor);
    let end = |share: f64| {
        let q = (-2.0 * share.ln()).sqrt();
        horner(&C, q) / horner(&D, q)
    };
    if share < 0.02425 {
        end(share)
    } else if share > 1.0 - 0.02425 {
        -end(1.0 - share)
    } else {
        let q = share - 0.5;
        q * horner(&A, q * q) / horner(&B, q * q)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_normal_distribution_is_that_of_the_tables() {
        for (share, value) in [(0.5, 0.0), (0.975, 1.959_964), (0.001, -3.090_232)] {
            assert!((normal_quantile(share) - value).abs() < 1e-6, "{share}");
        }
        assert!((upper_tail(4.0) / 3.167_124e-5 - 1.0).abs() < 1e-6);
    }

    #[test]
    fn every_shape_has_the_moments_that_are_asked() {
        for shape in Shape::ALL {
            let asked = Asked::new(shape, 50.0, 10.0);
            let (mean, deviation) = super::super::sample::moments(&asked.values);
            assert!((mean - 50.0).abs() < 1e-6, "{shape:?}: {mean}");
            assert!((deviation - 10.0 * shape.deviation()).abs() < 1e-6, "{shape:?}: {deviation}");
            assert!((asked.share(f64::MAX), asked.share(0.0)) == (1.0, 0.0), "{shape:?}");
        }
        let uniform = Asked::new(Shape::Uniform, 50.0, 10.0);
        assert!((uniform.share(45.0) - 0.25).abs() < 1e-4);
    }
}
