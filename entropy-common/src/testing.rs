//! Statistics for tests.
//!
//! Each check says which share of right implementations it would refuse: one in a thousand, unless
//! it says otherwise. All tests draw from seeds that stand in them, so a test that passes once always
//! does; the seed is part of the message of one that fails.

extern crate std;

use std::vec::Vec;

/// Standard deviations that a normal variable exceeds in one of 1000 cases (both sides).
const Z: f64 = 3.2905;
/// The same on one side.
const Z_ONE_SIDE: f64 = 3.0902;

/// Whether counts follow an expectation: Pearson's chi-square, with bins of less than 5 expected
/// joined to the one before. The limit is Wilson and Hilferty's, which is within 1 % of the exact one
/// from two degrees of freedom on.
#[track_caller]
pub(crate) fn chi_square(what: &str, counts: &[u64], expected: &[f64]) {
    assert_eq!(counts.len(), expected.len(), "{what}");
    let mut bins: Vec<(f64, f64)> = Vec::new();
    for (count, expected) in counts.iter().zip(expected) {
        match bins.last_mut() {
            Some(last) if last.1 < 5.0 || *expected < 5.0 => {
                last.0 += *count as f64;
                last.1 += expected;
            }
            _ => bins.push((*count as f64, *expected)),
        }
    }
    let statistic: f64 = bins.iter().map(|(count, e)| (count - e).powi(2) / e).sum();
    let degrees = (bins.len() - 1) as f64;
    assert!(degrees >= 1.0, "{what}: too few bins");
    let spread = 2.0 / (9.0 * degrees);
    let limit = degrees * (1.0 - spread + Z_ONE_SIDE * spread.sqrt()).powi(3);
    assert!(statistic < limit, "{what}: chi-square {statistic:.1} of at most {limit:.1}");
}

/// Whether a sample follows a distribution function: Kolmogorov and Smirnov's test.
#[track_caller]
pub(crate) fn kolmogorov_smirnov(
    what: &str,
    sample: &mut [f64],
    distribution: impl Fn(f64) -> f64,
) {
    sample.sort_by(f64::total_cmp);
    let n = sample.len() as f64;
    let distance = sample
        .iter()
        .enumerate()
        .map(|(i, x)| {
            let value = distribution(*x);
            (value - i as f64 / n).max((i + 1) as f64 / n - value)
        })
        .fold(0.0, f64::max);
    // The asymptotic quantile of 99.9 %.
    let limit = 1.9495 / n.sqrt();
    assert!(distance < limit, "{what}: distance {distance:.5} of at most {limit:.5}");
}

/// Whether a count of hits follows a rate. Hits may resemble their neighbours: their correlation at
/// distance `k` is `correlation^k`. That widens the variance by `(1 + correlation) /
/// (1 - correlation)`. (Normal approximation: for counts of at least some thousand.)
#[track_caller]
pub(crate) fn rate(what: &str, hits: u64, of: u64, rate: f64, correlation: f64) {
    let n = of as f64;
    let expected = n * rate;
    assert!(expected * (1.0 - rate) > 1000.0, "{what}: too few for the normal approximation");
    let wider = (1.0 + correlation) / (1.0 - correlation);
    let deviation = (expected * (1.0 - rate) * wider).sqrt();
    let off = (hits as f64 - expected) / deviation;
    assert!(off.abs() < Z, "{what}: {hits} of {of} is {off:.2} standard deviations off {rate}");
}

/// Lengths of the runs of hits; index 0 counts runs of one.
pub(crate) fn run_lengths(hits: &[bool], longest: usize) -> Vec<u64> {
    let mut runs = std::vec![0; longest];
    for run in hits.split(|hit| !hit).filter(|run| !run.is_empty()) {
        runs[run.len().min(longest) - 1] += 1;
    }
    runs
}

/// What [`run_lengths`] should give if each run goes on with the probability `stay`.
pub(crate) fn geometric(runs: &[u64], stay: f64) -> Vec<f64> {
    let total = runs.iter().sum::<u64>() as f64;
    let mut rest = total;
    (0..runs.len())
        .map(|index| {
            let here = if index + 1 == runs.len() { rest } else { rest * (1.0 - stay) };
            rest -= here;
            here
        })
        .collect()
}

/// Mean and standard deviation.
pub(crate) fn moments(sample: &[f64]) -> (f64, f64) {
    let n = sample.len() as f64;
    let mean = sample.iter().sum::<f64>() / n;
    (mean, (sample.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt())
}

/// Probability from a share.
pub(crate) fn probability(share: f64) -> crate::chance::Probability {
    crate::chance::Probability::from_parts((share * (1_u64 << 32) as f64).round() as u64).unwrap()
}
