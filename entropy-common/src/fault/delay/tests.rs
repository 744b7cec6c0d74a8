extern crate std;

use std::{format, vec::Vec};

use proptest::prelude::*;

use super::{
    table::{Distribution, PercentileError, Table},
    *,
};
use crate::{
    host::HostMemory,
    testing::{kolmogorov_smirnov, moments, probability},
};

const MS: u64 = 1_000_000;
const PACKETS: u64 = 400_000;

fn delays(delay: &Delay, tables: &[Table], seed: u64, packets: u64) -> Vec<f64> {
    let memory = HostMemory::default();
    (0..packets).map(|n| delay.given(seed, n, &memory, tables) as f64).collect()
}

/// The truncated distribution functions, in their own units; each with its mean and deviation.
fn normal(x: f64) -> f64 {
    // Simpson's rule again, but from the left end for each value: nothing in common with the table
    // but the density.
    let density = |x: f64| (-x * x / 2.0).exp();
    let integral = |to: f64| {
        let (from, panels) = (-4.0, 400);
        let width = (to - from) / f64::from(panels);
        (0..=panels)
            .map(|k| {
                let weight = match k {
                    0 => 1.0,
                    k if k == panels => 1.0,
                    k if k % 2 == 1 => 4.0,
                    _ => 2.0,
                };
                weight * density(from + f64::from(k) * width)
            })
            .sum::<f64>()
            * width
            / 3.0
    };
    integral(x.clamp(-4.0, 4.0)) / integral(4.0)
}

fn pareto(x: f64) -> f64 {
    let value = x * 0.75 + 1.5;
    if value <= 1.0 { 0.0 } else { ((1.0 - value.powi(-3)) / (1.0 - 4.5_f64.powi(-3))).min(1.0) }
}

/// By bisection over its quantile function, which is all that defines it.
fn pareto_normal(x: f64) -> f64 {
    let bisect = |goal: &dyn Fn(f64) -> f64, mut low: f64, mut high: f64| {
        for _ in 0..60 {
            let middle = (low + high) / 2.0;
            if goal(middle) < 0.0 { low = middle } else { high = middle }
        }
        (low + high) / 2.0
    };
    let quantile = |u: f64| {
        let z = bisect(&|z| normal(z) - u, -4.0, 4.0);
        let share = 1.0 - 4.5_f64.powi(-3);
        0.25 * z + 0.75 * ((1.0 - share * u).powf(-1.0 / 3.0) - 1.5) * 4.0 / 3.0
    };
    bisect(&|u| quantile(u) - x, 0.0, 1.0)
}

/// Mean and standard deviation of a distribution function, from its tails.
fn theory(distribution: fn(f64) -> f64) -> (f64, f64) {
    const STEPS: i32 = 8000;
    let (from, width) = (-4.0, 8.0 / f64::from(STEPS));
    let (mut mean, mut square) = (0.0, 0.0);
    let mut before = 0.0;
    for k in 1..=STEPS {
        let value = distribution(from + f64::from(k) * width);
        let middle = from + (f64::from(k) - 0.5) * width;
        mean += middle * (value - before);
        square += middle * middle * (value - before);
        before = value;
    }
    (mean, (square - mean * mean).sqrt())
}

#[test]
fn tables_are_standardised_and_monotone() {
    for distribution in Distribution::ALL {
        let table = distribution.table();
        let (mean, deviation) = table.moments(TABLE_BITS);
        let name = distribution.name();
        assert!(mean.abs() < 1e-8 && (deviation - 1.0).abs() < 1e-8, "{name} {mean} {deviation}");
        assert_eq!(table.entries().len(), TABLE_ENTRIES as usize);
        assert!(table.entries().is_sorted(), "{name}");
    }
}

#[test]
fn realised_delays_follow_their_distribution() {
    let tables: Vec<Table> = Distribution::ALL.into_iter().map(Distribution::table).collect();
    // The slow one last, over fewer packets.
    for (index, (function, packets)) in [
        (normal as fn(f64) -> f64, 100_000),
        (pareto as fn(f64) -> f64, PACKETS),
        (pareto_normal as fn(f64) -> f64, 2_000),
    ]
    .into_iter()
    .enumerate()
    {
        let delay = Delay::distributed(500 * MS, 20 * MS, index as u32).unwrap();
        let sample = delays(&delay, &tables, 7, packets.max(100_000));
        let what = format!("{} seed 7", Distribution::ALL[index].name());
        let (mean, deviation) = moments(&sample);
        assert!((mean / (500.0 * MS as f64) - 1.0).abs() < 0.001, "{what}: mean {mean}");
        assert!((deviation / (20.0 * MS as f64) - 1.0).abs() < 0.01, "{what}: sd {deviation}");
        if index < 2 {
            let (middle, spread) = theory(function);
            let mut sample: Vec<f64> = sample
                .iter()
                .take(packets as usize)
                .map(|x| (x - 500.0 * MS as f64) / (20.0 * MS as f64) * spread + middle)
                .collect();
            kolmogorov_smirnov(&what, &mut sample, function);
        }
    }
    // Of paretonormal the quantiles are what defines it: the table against them.
    let scaled = |u: f64| f64::from(quantile(&tables[..], 2, (u * 4_294_967_296.0) as u32));
    let unit = f64::from(1 << TABLE_BITS);
    let (low, high) = (scaled(0.25) / unit, scaled(0.75) / unit);
    let inverse = |x: f64| pareto_normal(x);
    // Two places fix the line between the table's units and the function's own; a third one tests it.
    let own = |u: f64| {
        let (mut a, mut b) = (-4.0, 4.0);
        for _ in 0..50 {
            let middle = (a + b) / 2.0;
            if inverse(middle) < u { a = middle } else { b = middle }
        }
        (a + b) / 2.0
    };
    let slope = (high - low) / (own(0.75) - own(0.25));
    for u in [0.01, 0.1, 0.5, 0.9, 0.99] {
        let expected = low + slope * (own(u) - own(0.25));
        assert!((scaled(u) / unit - expected).abs() < 0.002, "paretonormal at {u}");
    }
}

#[test]
fn uniform_jitter_fills_its_range_evenly() {
    let delay = Delay::uniform(100 * MS, 30 * MS).unwrap();
    let mut sample = delays(&delay, &[], 3, PACKETS);
    let (mean, deviation) = moments(&sample);
    assert!((mean / (100.0 * MS as f64) - 1.0).abs() < 0.001, "{mean}");
    assert!((deviation * 3_f64.sqrt() / (30.0 * MS as f64) - 1.0).abs() < 0.01, "{deviation}");
    kolmogorov_smirnov("uniform, seed 3", &mut sample, |x| {
        (x - 70.0 * MS as f64) / (60.0 * MS as f64)
    });
}

#[test]
fn correlation_keeps_mean_and_spread() {
    for correlation in [0.25, 0.5, 0.75, 0.9] {
        let tables: Vec<Table> = Distribution::ALL.into_iter().map(Distribution::table).collect();
        let delay = Delay {
            correlation: probability(correlation),
            ..Delay::distributed(100 * MS, 10 * MS, 0).unwrap()
        };
        let sample = delays(&delay, &tables, 9, 1_000_000);
        let (mean, deviation) = moments(&sample);
        assert!((mean / (100.0 * MS as f64) - 1.0).abs() < 0.002, "{correlation}: {mean}");
        assert!((deviation / (10.0 * MS as f64) - 1.0).abs() < 0.01, "{correlation}: {deviation}");
        let products = sample.windows(2).map(|w| (w[0] - mean) * (w[1] - mean)).sum::<f64>();
        let found = products / sample.len() as f64 / deviation.powi(2);
        assert!((found - correlation).abs() < 0.01, "{correlation}: {found}");
    }
}

#[test]
fn percentiles_come_back_as_they_were_given() {
    let points = [(50.0, 20 * MS), (90.0, 80 * MS), (99.0, 300 * MS), (99.9, 1000 * MS)];
    let (table, longest_ns) = Table::percentiles(&points).unwrap();
    // The line through p99 and p99.9 goes on by a ninth of its rise.
    assert_eq!(longest_ns, 1000 * MS + 77_777_778);
    let delay = Delay::percentiles(longest_ns, 0).unwrap();
    let tables = [table];
    let mut sample = delays(&delay, &tables, 5, 1_000_000);
    sample.sort_by(f64::total_cmp);
    assert!(sample[0] >= 10.0 * MS as f64 - 1.0, "shortest: half of p50");
    for (percent, delay_ns) in points {
        // The error of a rank is chance (4.9 standard deviations) and the table's quarter step.
        let share: f64 = percent / 100.0;
        let chance = 4.9 * (share * (1.0 - share) / 1e6).sqrt();
        let rank = sample.partition_point(|x| *x <= delay_ns as f64) as f64 / 1e6;
        assert!((rank - share).abs() < chance + 0.25 / 4095.0, "p{percent} at {rank}");
    }
}

#[test]
fn percentiles_with_both_ends_and_a_single_one() {
    let (table, longest) = Table::percentiles(&[(0.0, MS), (100.0, 3 * MS)]).unwrap();
    assert_eq!((longest, table.entries()[4095]), (3 * MS, 1 << PERCENTILE_BITS));
    assert_eq!(table.entries()[0], ((1 << PERCENTILE_BITS) + 1) / 3);
    let (table, longest) = Table::percentiles(&[(50.0, 2 * MS)]).unwrap();
    assert_eq!(longest, 3 * MS, "the line from half of it");
    assert!(table.entries().is_sorted());
    let (table, longest) = Table::percentiles(&[(0.0, 2 * MS)]).unwrap();
    assert_eq!(longest, 2 * MS);
    assert!(table.entries().iter().all(|entry| *entry == 1 << PERCENTILE_BITS));
    assert!(Table::percentiles(&[(50.0, 0)]).is_ok(), "no delay at all");
}

#[test]
fn wrong_percentiles_are_refused() {
    use PercentileError as E;
    let second = 1_000 * MS;
    for (points, expected) in [
        (&[][..], E::Empty),
        (&[(101.0, 1)], E::OutOfRange { percent: 101.0 }),
        (&[(50.0, 1), (50.0, 2)], E::Order { percent: 50.0 }),
        (&[(90.0, 1), (50.0, 2)], E::Order { percent: 50.0 }),
        (&[(50.0, 2), (90.0, 1)], E::Decreasing { percent: 90.0 }),
        (&[(50.0, 61 * second)], E::TooLong { percent: 50.0 }),
        (&[(50.0, second), (51.0, 59 * second)], E::TooLong { percent: 100.0 }),
    ] {
        assert_eq!(Table::percentiles(points), Err(expected));
    }
    assert!(Table::percentiles(&[(f64::NAN, 1)]).is_err());
}

#[test]
fn extremes_stay_between_zero_and_the_longest_delay() {
    let wide = Delay::uniform(MS, MAX_DELAY_NS).unwrap();
    let sample = delays(&wide, &[], 1, 10_000);
    assert!(sample.iter().all(|x| (0.0..=MAX_DELAY_NS as f64).contains(x)));
    assert!(sample.contains(&0.0));
    let broken = Delay { base_ns: u64::MAX, ..wide };
    assert!(delays(&broken, &[], 1, 100).iter().all(|x| *x == MAX_DELAY_NS as f64));
    // A table that is not there is no jitter.
    let missing = Delay::distributed(MS, MS, 99).unwrap();
    assert!(delays(&missing, &[], 1, 10).iter().all(|x| *x == MS as f64));
    assert_eq!(Scale::new(MAX_DELAY_NS + 1, TABLE_BITS), None);
}

proptest! {
    #[test]
    fn a_scale_is_exact_to_2_31(ns in 1..=MAX_DELAY_NS, bits in TABLE_BITS..=UNIFORM_BITS) {
        let scale = Scale::new(ns, bits).unwrap();
        prop_assert!((1 << 30..1_u64 << 31).contains(&u64::from(scale.mantissa)));
        prop_assert!((1..=62).contains(&scale.shift));
        let exact = ns as f64 / 2_f64.powi(bits as i32);
        let found = f64::from(scale.mantissa) / 2_f64.powi(scale.shift as i32);
        prop_assert!((found / exact - 1.0).abs() <= 2_f64.powi(-31));
        for units in [i32::MIN, -1, 0, 1, i32::MAX] {
            let error = scale.apply(units) as f64 - found * f64::from(units);
            prop_assert!(error.abs() <= 0.5 + 1e-4 * exact, "{units}: off by {error} ns");
        }
    }

    #[test]
    fn kept_order_never_goes_back(own: [u64; 50]) {
        let mut last = 0;
        for own in own {
            let departure = keep_order(last, own);
            prop_assert!(departure >= last && departure >= own);
            prop_assert!(departure == last || departure == own);
            last = departure;
        }
    }

    /// Interpolated values lie between their neighbours, and rise with the draw.
    #[test]
    fn quantiles_rise_with_the_draw(draws: [u32; 20]) {
        let tables = [Distribution::Pareto.table()];
        let mut draws = draws;
        draws.sort_unstable();
        let values = draws.map(|draw| quantile(&tables[..], 0, draw));
        prop_assert!(values.is_sorted());
        let entries = tables[0].entries();
        prop_assert_eq!(quantile(&tables[..], 0, 0), entries[0]);
        prop_assert!(entries[4095] - quantile(&tables[..], 0, u32::MAX) <= entries[4095] - entries[4094]);
    }
}
