use super::*;

/// Computed from the definition: the small ones with fractions of whole numbers, the large ones
/// with 60 decimal digits.
const INTERVALS_999: [(u64, f64, RangeInclusive<u64>); 11] = [
    (10, 0.5, 0..=10),
    (20, 0.5, 3..=17),
    (50, 0.9, 37..=50),
    (100, 0.1, 2..=21),
    (1_000, 0.001, 0..=6),
    (1_000, 0.01, 2..=22),
    (1_000_000, 0.0001, 69..=134),
    (1_000_000, 0.01, 9_674..=10_329),
    (1_000_000, 0.5, 498_355..=501_645),
    (10_000_000, 0.0001, 898..=1_106),
    (10_000_000, 0.01, 98_966..=101_037),
];

#[test]
fn intervals_are_exact() {
    for (trials, probability, expected) in INTERVALS_999 {
        let interval = Binomial::new(trials, probability).interval(ALPHA);
        assert_eq!(interval, expected, "{trials} trials at {probability}");
    }
}

#[test]
fn never_and_always_leave_no_room() {
    assert_eq!(Binomial::new(1_000_000, 0.0).interval(ALPHA), 0..=0);
    assert_eq!(Binomial::new(1_000_000, 1.0).interval(ALPHA), 1_000_000..=1_000_000);
}

#[test]
fn tails_are_exact() {
    let binomial = Binomial::new(10, 0.5);
    for (count, ways) in [(0, 1.0), (1, 11.0), (5, 638.0), (10, 1024.0)] {
        assert!((binomial.at_most(count) - ways / 1024.0).abs() < 1e-15, "at most {count}");
        assert!((binomial.at_least(10 - count) - ways / 1024.0).abs() < 1e-15);
    }
    assert_eq!(binomial.at_least(11), 0.0);
    assert_eq!(binomial.trials(), 10);
}

/// 0.187 to 0.813 for 5 of 10 and 1 - 0.025^(1/10) = 0.3085 for 0 of 10, as in every table.
#[test]
fn confidence_intervals_are_those_of_clopper_and_pearson() {
    let close = |interval: RangeInclusive<f64>, low: f64, high: f64| {
        assert!((interval.start() - low).abs() < 1e-6, "{interval:?}, not {low}");
        assert!((interval.end() - high).abs() < 1e-6, "{interval:?}, not {high}");
    };
    close(clopper_pearson(5, 10, 0.05), 0.187_086, 0.812_914);
    close(clopper_pearson(0, 10, 0.05), 0.0, 0.308_497);
    close(clopper_pearson(10, 10, 0.05), 0.691_503, 1.0);
}

/// A count lies in the interval of a probability exactly when the probability lies in that of the
/// count: the two are found in different ways.
#[test]
fn both_kinds_of_interval_agree() {
    for hits in [68, 69, 134, 135] {
        let by_count = Binomial::new(1_000_000, 0.0001).interval(ALPHA).contains(&hits);
        let by_rate = clopper_pearson(hits, 1_000_000, ALPHA).contains(&0.0001);
        assert_eq!(by_count, by_rate, "{hits} hits");
    }
}

#[test]
fn runs_tell_clinging_and_alternating_from_independent() {
    let outcomes = |hit: &dyn Fn(u64) -> bool| (0..100_000).map(hit).collect::<Vec<_>>();
    let alternating = runs_deviation(&outcomes(&|n| n % 2 == 0)).unwrap();
    let clinging = runs_deviation(&outcomes(&|n| n / 10 % 2 == 0)).unwrap();
    assert!(alternating > 100.0, "{alternating}");
    assert!(clinging < -100.0, "{clinging}");
    let mut random = crate::random::Random::new(5);
    let fair: Vec<bool> = (0..100_000).map(|_| random.one_in(2)).collect();
    let deviation = runs_deviation(&fair).unwrap();
    assert!(deviation.abs() < NORMAL_999, "{deviation}");
    assert_eq!(runs_deviation(&[true; 10_000]), None);
}
