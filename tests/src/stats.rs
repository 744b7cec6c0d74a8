//! How far chance alone may carry a count: exact binomial bounds and the runs test.
//!
//! No normal approximation for counts: at a rate of 0.01 % it is wrong. Probabilities are summed
//! term by term. Each term comes from its neighbour by one multiplication, and all of them together
//! are made to sum to one, so that no gamma function of large numbers takes away digits.

use std::ops::RangeInclusive;

/// Chance that a right implementation fails a check: both tails of the 99.9 % interval together.
pub const ALPHA: f64 = 0.001;

/// Terms below this share of the greatest one do not change any sum.
const NEGLIGIBLE: f64 = 1e-40;

/// The binomial distribution of the count of hits in `trials` with `probability` each.
#[derive(Debug)]
pub struct Binomial {
    trials: u64,
    /// The count that `terms` begins with; the counts outside have no weight worth mentioning.
    first: u64,
    terms: Vec<f64>,
}

impl Binomial {
    /// The distribution.
    ///
    /// # Panics
    /// When `probability` is not between 0 and 1.
    #[must_use]
    pub fn new(trials: u64, probability: f64) -> Self {
        assert!((0.0..=1.0).contains(&probability), "probability {probability}");
        if probability == 0.0 || probability == 1.0 {
            let certain = if probability == 0.0 { 0 } else { trials };
            return Self { trials, first: certain, terms: vec![1.0] };
        }
        let mode = (((trials + 1) as f64 * probability) as u64).min(trials);
        let odds = probability / (1.0 - probability);
        // Weight of a count from that of the one below it: P(k) / P(k - 1).
        let step = |count: u64| (trials - count + 1) as f64 / count as f64 * odds;

        let below = falling((1..=mode).rev().map(|count| (count - 1, 1.0 / step(count))));
        let above = falling((mode + 1..=trials).map(|count| (count, step(count))));
        let first = mode - below.len() as u64;
        let mut terms: Vec<f64> = below.into_iter().rev().chain([1.0]).chain(above).collect();
        // Small ones first.
        let mut sorted = terms.clone();
        sorted.sort_by(f64::total_cmp);
        let sum: f64 = sorted.iter().sum();
        terms.iter_mut().for_each(|term| *term /= sum);
        Self { trials, first, terms }
    }

    /// Probability of at most `count` hits.
    #[must_use]
    pub fn at_most(&self, count: u64) -> f64 {
        let end = (count + 1).saturating_sub(self.first).min(self.terms.len() as u64);
        self.terms[..end as usize].iter().sum()
    }

    /// Probability of at least `count` hits.
    #[must_use]
    pub fn at_least(&self, count: u64) -> f64 {
        let start = count.saturating_sub(self.first).min(self.terms.len() as u64);
        self.terms[start as usize..].iter().rev().sum()
    }

    /// The counts that leave at most half of `alpha` on each side of them: the exact
    /// `1 - alpha` interval.
    #[must_use]
    pub fn interval(&self, alpha: f64) -> RangeInclusive<u64> {
        let tail = alpha / 2.0;
        let cut = |terms: &mut dyn Iterator<Item = &f64>| {
            let mut sum = 0.0;
            terms
                .take_while(|term| {
                    sum += **term;
                    sum <= tail
                })
                .count() as u64
        };
        let low = cut(&mut self.terms.iter());
        let high = cut(&mut self.terms.iter().rev());
        self.first + low..=self.first + (self.terms.len() as u64 - 1) - high
    }

    /// Number of trials.
    #[must_use]
    pub const fn trials(&self) -> u64 {
        self.trials
    }
}

/// Weights that fall from 1, each by its factor, as long as they matter.
fn falling(factors: impl Iterator<Item = (u64, f64)>) -> Vec<f64> {
    let mut weight = 1.0;
    factors
        .map_while(|(_, factor)| {
            weight *= factor;
            (weight > NEGLIGIBLE).then_some(weight)
        })
        .collect()
}

/// The exact (Clopper-Pearson) `1 - alpha` confidence interval of the probability behind `hits` of
/// `trials`.
#[must_use]
pub fn clopper_pearson(hits: u64, trials: u64, alpha: f64) -> RangeInclusive<f64> {
    let tail = alpha / 2.0;
    let low = if hits == 0 {
        0.0
    } else {
        bisect(|probability| Binomial::new(trials, probability).at_least(hits) > tail)
    };
    let high = if hits == trials {
        1.0
    } else {
        bisect(|probability| Binomial::new(trials, probability).at_most(hits) < tail)
    };
    low..=high
}

/// Where a condition that fails at 0 and holds at 1 begins to hold.
fn bisect(holds: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..50 {
        let middle = (low + high) / 2.0;
        if holds(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    (low + high) / 2.0
}

/// By how many standard deviations the number of runs (stretches of equal outcomes) differs from
/// what independent outcomes with the same shares have (Wald and Wolfowitz 1940). Below 0: outcomes
/// cling together. `None` when there are fewer than 1000 of one kind: the count of runs is then not
/// normal enough.
#[must_use]
pub fn runs_deviation(outcomes: &[bool]) -> Option<f64> {
    let hits = outcomes.iter().filter(|&&hit| hit).count() as f64;
    let misses = outcomes.len() as f64 - hits;
    if hits < 1000.0 || misses < 1000.0 {
        return None;
    }
    let runs = 1 + outcomes.windows(2).filter(|pair| pair[0] != pair[1]).count();
    let total = hits + misses;
    let mean = 2.0 * hits * misses / total + 1.0;
    let variance = (mean - 1.0) * (mean - 2.0) / (total - 1.0);
    Some((runs as f64 - mean) / variance.sqrt())
}

/// Standard deviations within which a normal variable lies 99.9 % of the time.
pub const NORMAL_999: f64 = 3.290_526_731;

#[cfg(test)]
mod tests;
