//! Samples: percentiles, moments, and how well they follow a distribution.

/// The value below or at which a share of a sorted sample lies (nearest rank); 0 of an empty one.
pub(super) fn percentile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil().max(1.0) as usize - 1;
    sorted.get(rank.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

/// The middle one, or the mean of the two in the middle; 0 of an empty sample. Sorts.
pub(super) fn median(sample: &mut [f64]) -> f64 {
    sample.sort_unstable_by(f64::total_cmp);
    let (half, count) = (sample.len() / 2, sample.len());
    match count {
        0 => 0.0,
        _ if count % 2 == 1 => sample[half],
        _ => f64::midpoint(sample[half - 1], sample[half]),
    }
}

/// Mean and standard deviation.
pub(super) fn moments(sample: &[f64]) -> (f64, f64) {
    let count = sample.len().max(1) as f64;
    let mean = sample.iter().sum::<f64>() / count;
    let variance = sample.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
    (mean, variance.sqrt())
}

/// Kolmogorov and Smirnov's test of a sorted sample against a distribution function: the chance of a
/// distance as large or larger (asymptotic, with Stephens' correction for the size).
pub(super) fn kolmogorov_smirnov(sorted: &[f64], distribution: impl Fn(f64) -> f64) -> f64 {
    let count = sorted.len() as f64;
    let distance = sorted
        .iter()
        .enumerate()
        .map(|(index, x)| {
            let value = distribution(*x);
            (value - index as f64 / count).max((index + 1) as f64 / count - value)
        })
        .fold(0.0, f64::max);
    let root = count.sqrt();
    tail((root + 0.12 + 0.11 / root) * distance)
}

/// Kolmogorov's distribution, from above.
fn tail(lambda: f64) -> f64 {
    // Below this the sum converges slowly, and is one to nine digits.
    if lambda < 0.2 {
        return 1.0;
    }
    let term = |k: i32| {
        let sign = if k % 2 == 1 { 1.0 } else { -1.0 };
        sign * (-2.0 * f64::from(k * k) * lambda * lambda).exp()
    };
    (2.0 * (1..=100).map(term).sum::<f64>()).clamp(0.0, 1.0)
}

/// How many packets came after one that was sent later.
pub(super) fn out_of_order(numbers: impl IntoIterator<Item = u64>) -> u64 {
    let mut next = 0;
    let mut late = 0;
    for number in numbers {
        late += u64::from(number < next);
        next = next.max(number + 1);
    }
    late
}

/// Lengths of the runs of lost packets; index 0 counts runs of one, the last one all longer ones.
pub(super) fn run_lengths(lost: &[bool], longest: usize) -> Vec<u64> {
    let mut runs = vec![0; longest];
    for run in lost.split(|lost| !lost).filter(|run| !run.is_empty()) {
        runs[run.len().min(longest) - 1] += 1;
    }
    runs
}

/// Their mean length; 0 where nothing is lost.
pub(super) fn mean_run(lost: &[bool]) -> f64 {
    let runs = lost.split(|lost| !lost).filter(|run| !run.is_empty()).count().max(1);
    lost.iter().filter(|&&lost| lost).count() as f64 / runs as f64
}

/// By which factor the outcomes' resemblance to their neighbours widens the variance of their count:
/// one and twice the sum of the autocorrelations, up to the first that is not above noise.
pub(super) fn inflation(outcomes: &[bool]) -> f64 {
    let count = outcomes.len() as f64;
    let mean = outcomes.iter().filter(|&&hit| hit).count() as f64 / count;
    let variance = mean * (1.0 - mean);
    if variance == 0.0 {
        return 1.0;
    }
    let at = |hit: bool| f64::from(u8::from(hit)) - mean;
    let noise = 2.0 / count.sqrt();
    let sum: f64 = (1..200)
        .map(|lag| {
            let pairs = outcomes.iter().zip(&outcomes[lag.min(outcomes.len())..]);
            pairs.map(|(&a, &b)| at(a) * at(b)).sum::<f64>() / count / variance
        })
        .take_while(|correlation| *correlation > noise)
        .sum();
    1.0 + 2.0 * sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn percentiles_and_medians_are_of_the_sample() {
        let sorted: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|p| percentile(&sorted, p)), [1.0, 50.0, 99.0, 100.0]);
        assert_eq!(percentile(&[], 0.5), 0.0);
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&mut []), 0.0);
    }

    #[test]
    fn moments_are_those_of_the_textbook() {
        assert_eq!(moments(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]), (5.0, 2.0));
    }

    /// The quantiles of Kolmogorov's distribution as tables have them.
    #[test]
    fn the_tail_of_kolmogorovs_distribution_is_right() {
        for (lambda, chance) in [(1.2238, 0.1), (1.3581, 0.05), (1.6276, 0.01), (1.9495, 0.001)] {
            assert!((tail(lambda) / chance - 1.0).abs() < 1e-3, "{lambda}: {}", tail(lambda));
        }
        assert_eq!(tail(0.0), 1.0);
    }

    #[test]
    fn a_sample_follows_its_own_distribution_and_no_other() {
        let mut random = Random::new(7);
        let mut sample: Vec<f64> =
            (0..10_000).map(|_| random.bits() as f64 / u64::MAX as f64).collect();
        sample.sort_unstable_by(f64::total_cmp);
        assert!(kolmogorov_smirnov(&sample, |x| x) > 0.01);
        assert!(kolmogorov_smirnov(&sample, |x| x.powf(1.1)) < 1e-6);
    }

    #[test]
    fn order_runs_and_resemblance_are_seen() {
        assert_eq!(out_of_order([0, 1, 3, 2, 4]), 1);
        assert_eq!(out_of_order([0, 1, 2]), 0);
        let lost = [true, false, true, true, false, true, true, true, true];
        assert_eq!(run_lengths(&lost, 3), [1, 1, 1]);
        let mut random = Random::new(3);
        let alone: Vec<bool> = (0..50_000).map(|_| random.one_in(10)).collect();
        assert!((inflation(&alone) - 1.0).abs() < 0.1);
        let pairs: Vec<bool> = alone.iter().flat_map(|&hit| [hit; 2]).collect();
        assert!((inflation(&pairs) - 2.0).abs() < 0.1);
    }
}
