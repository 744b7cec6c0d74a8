extern crate std;

use std::vec::Vec;

use super::*;
use crate::{
    host::HostMemory,
    testing::{chi_square, geometric, probability, rate, run_lengths},
};

const PACKETS: u64 = 1_000_000;
const STREAMS: [Stream; 2] = [Stream::Duplicate, Stream::DuplicateRenewal];

fn draws(correlation: f64, seed: u64, packets: u64) -> Vec<u32> {
    let (memory, correlation) = (HostMemory::default(), probability(correlation));
    (0..packets)
        .map(|n| correlated_draw(correlation, &memory, Word::Duplicate, seed, STREAMS, n))
        .collect()
}

fn hits(share: f64, correlation: f64, seed: u64) -> Vec<bool> {
    let memory = HostMemory::default();
    let chance = Chance { rate: probability(share), correlation: probability(correlation) };
    (0..PACKETS).map(|n| chance.hits(&memory, Word::Duplicate, seed, STREAMS, n)).collect()
}

#[test]
fn correlation_keeps_the_rate() {
    for (seed, share) in [(1, 0.01), (2, 0.05), (3, 0.1), (4, 0.3), (5, 0.5), (6, 0.9)] {
        for correlation in [0.0, 0.25, 0.5, 0.9] {
            let count = hits(share, correlation, seed).iter().filter(|hit| **hit).count();
            let what = std::format!("rate {share}, correlation {correlation}, seed {seed}");
            rate(&what, count as u64, PACKETS, share, correlation);
        }
    }
}

/// A run of hits goes on if the draw stays or a fresh one hits again.
#[test]
fn correlated_hits_come_in_runs_of_the_length_that_theory_says() {
    for (seed, share, correlation) in [(11, 0.1, 0.25), (12, 0.1, 0.5), (13, 0.02, 0.9)] {
        let runs = run_lengths(&hits(share, correlation, seed), 60);
        let stay = correlation + (1.0 - correlation) * share;
        let what = std::format!("runs at {share}, {correlation}, seed {seed}");
        chi_square(&what, &runs, &geometric(&runs, stay));
    }
}

#[test]
fn correlated_draws_stay_uniform_and_resemble_those_before_as_asked() {
    for (seed, correlation) in [(21, 0.25), (22, 0.5), (23, 0.9)] {
        let draws = draws(correlation, seed, PACKETS);
        // Every tenth step of the chain's memory is as good as independent up to rho = 0.5; for 0.9
        // every hundredth.
        let apart = if correlation > 0.5 { 100 } else { 20 };
        let mut bins = [0_u64; 16];
        for draw in draws.iter().step_by(apart) {
            bins[(draw >> 28) as usize] += 1;
        }
        let each = bins.iter().sum::<u64>() as f64 / 16.0;
        chi_square(&std::format!("draws, seed {seed}"), &bins, &[each; 16]);

        let x: Vec<f64> = draws.iter().map(|d| f64::from(*d) / 4_294_967_296.0 - 0.5).collect();
        for lag in [1, 2, 5] {
            let sum: f64 = x.iter().zip(&x[lag..]).map(|(a, b)| a * b).sum();
            let found = sum / (x.len() - lag) as f64 * 12.0;
            let expected = correlation.powi(lag as i32);
            // Nine times the standard error of independent draws covers rho = 0.9 with three.
            assert!((found - expected).abs() < 0.009 * 3.0, "lag {lag}: {found}, not {expected}");
        }
    }
}

#[test]
fn without_correlation_no_memory_is_touched() {
    struct NoMemory;
    impl Memory for NoMemory {
        fn update(&self, _: Word, _: impl Fn(u64) -> u64) -> u64 {
            panic!("memory was asked")
        }
    }
    for n in 0..100 {
        let drawn = correlated_draw(Probability::NEVER, &NoMemory, Word::Delay, 3, STREAMS, n);
        assert_eq!(drawn, draw(3, Stream::Duplicate, n));
    }
}

/// Rates that netem's correlation was measured to give, asked for 600 000 packets (percent asked,
/// correlation, percent found).
#[test]
fn netems_correlation_breaks_the_rate_as_netem_does() {
    for (asked, correlation, found) in [
        (0.003, 0.25, 0.0),
        (0.01, 0.25, 0.0),
        (0.05, 0.25, 0.0019),
        (0.1, 0.25, 0.018),
        (0.1, 0.5, 0.0011),
        (0.3, 0.25, 0.23),
        (0.5, 0.25, 0.5),
    ] {
        const DRAWS: u64 = 600_000;
        let (share, rho) = (probability(asked), probability(correlation));
        let mut word = 0;
        let hits = (0..DRAWS)
            .filter(|&n| {
                let fresh = draw(31, Stream::Loss, n);
                word = step_netem(word, rho, draw(31, Stream::LossRenewal, n), fresh);
                hits_netem(share, drawn(word))
            })
            .count();
        let rate = hits as f64 / DRAWS as f64;
        // Two samples of one law, one of them rounded to two digits: half a digit, and the 99.9 %
        // interval of the difference, wider by what correlated hits add to a variance.
        let wider = (1.0 + correlation) / (1.0 - correlation);
        let variance = 2.0 * f64::max(found, 1e-6) * wider / DRAWS as f64;
        let allowed = found * 0.03_f64 + 3.29 * variance.sqrt();
        assert!((rate - found).abs() < allowed, "{asked}/{correlation}: {rate}, not {found}");
    }
}
