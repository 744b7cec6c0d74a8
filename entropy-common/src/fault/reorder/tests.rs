extern crate std;

use std::{format, vec::Vec};

use super::*;
use crate::{
    host::HostMemory,
    testing::{probability, rate},
};

fn run(share: f64, correlation: f64, gap: u32, packets: u64) -> Vec<bool> {
    let chance = Chance { rate: probability(share), correlation: probability(correlation) };
    let reorder = Reorder { chance, gap, ..Reorder::NONE };
    let memory = HostMemory::default();
    (0..packets).map(|n| reorder.hits(4, n, &memory)).collect()
}

fn early(share: f64, gap: u32, packets: u64) -> Vec<usize> {
    let hits = run(share, 0.0, gap, packets);
    hits.iter().enumerate().filter(|(_, hit)| **hit).map(|(n, _)| n).collect()
}

/// netem: the counter counts delayed packets, and one is early if it is at least gap - 1. So with
/// 100 % every gap-th packet is, counted from 1.
#[test]
fn a_gap_means_what_netems_means() {
    assert_eq!(early(1.0, 0, 6), [0; 0]);
    assert_eq!(early(1.0, 1, 4), [0, 1, 2, 3]);
    assert_eq!(early(1.0, 2, 6), [1, 3, 5]);
    assert_eq!(early(1.0, 5, 20), [4, 9, 14, 19]);
    assert_eq!(early(0.0, 5, 20), [0; 0]);
}

/// Step by step against netem's own lines, with the same draws.
#[test]
fn every_step_is_netems() {
    for (share, gap) in [(0.3, 1), (0.3, 4), (0.02, 7), (1.0, 3)] {
        let (rate, mut counter) = (probability(share), 0);
        let expected: Vec<bool> = (0..20_000)
            .map(|n| {
                let delayed = counter < gap - 1 || !rate.hits(draw(4, Stream::Reorder, n));
                counter = if delayed { counter + 1 } else { 0 };
                !delayed
            })
            .collect();
        assert_eq!(run(share, 0.0, gap, 20_000), expected, "{share} gap {gap}");
    }
}

#[test]
fn the_rate_is_kept_with_and_without_correlation() {
    for correlation in [0.0, 0.25, 0.5, 0.9] {
        let hits = run(0.05, correlation, 1, 1_000_000).iter().filter(|hit| **hit).count();
        rate(
            &format!("correlation {correlation}, seed 4"),
            hits as u64,
            1_000_000,
            0.05,
            correlation,
        );
    }
}

/// The count is kept in 30 bits and stops at the end instead of starting again.
#[test]
fn a_long_wait_does_not_start_the_gap_again() {
    let reorder = Reorder { chance: Chance::independent(probability(0.5)), ..Reorder::NONE };
    let full = COUNT_MAX << COUNT_SHIFT;
    let next = reorder.step(full, 0, u32::MAX);
    assert_eq!(next >> COUNT_SHIFT, COUNT_MAX);
    assert_ne!(reorder.step(next, 0, 0) & EARLY, 0);
}
