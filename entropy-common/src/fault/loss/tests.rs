extern crate std;

use std::{format, vec, vec::Vec};

use proptest::prelude::*;

use super::*;
use crate::{
    host::HostMemory,
    testing::{chi_square, geometric, probability, rate, run_lengths},
};

const PACKETS: u64 = 1_000_000;

fn run(loss: &Loss, seed: u64, packets: u64) -> Vec<bool> {
    let memory = HostMemory::default();
    (0..packets).map(|ordinal| loss.hits(seed, ordinal, &memory)).collect()
}

fn count(hits: &[bool]) -> u64 {
    hits.iter().filter(|hit| **hit).count() as u64
}

fn markov(p: [f64; 5]) -> Loss {
    Loss::markov(p.map(probability)).unwrap()
}

#[test]
fn counted_losses_hit_the_packets_they_name() {
    let lost = |loss: Loss, packets| -> Vec<usize> {
        run(&loss, 1, packets).iter().enumerate().filter(|(_, l)| **l).map(|(n, _)| n).collect()
    };
    assert_eq!(lost(Loss::nth(4, 3).unwrap(), 13), [3, 7, 11]);
    assert_eq!(lost(Loss::nth(4, 0).unwrap(), 9), [0, 4, 8]);
    assert_eq!(lost(Loss::nth(1, 0).unwrap(), 3), [0, 1, 2]);
    assert_eq!(lost(Loss::first(3), 9), [0, 1, 2]);
    assert_eq!(lost(Loss::pattern(0b0110, 4).unwrap(), 8), [1, 2, 5, 6]);
    assert_eq!(lost(Loss::pattern(1 << 63, 64).unwrap(), 130), [63, 127]);
    assert!(lost(Loss::NONE, 50).is_empty());
    assert!(lost(Loss { model: 99, ..Loss::first(9) }, 50).is_empty(), "unknown model");
    assert!(lost(Loss { length: 0, ..Loss::nth(4, 3).unwrap() }, 50).is_empty(), "no period");
}

#[test]
fn impossible_counts_and_chains_are_refused() {
    assert_eq!(Loss::nth(0, 0), None);
    assert_eq!(Loss::nth(3, 3), None);
    assert_eq!(Loss::pattern(1, 0), None);
    assert_eq!(Loss::pattern(1, 65), None);
    let half = probability(0.5);
    let more = probability(0.500_001);
    assert!(Loss::markov([half, half, half, half, half]).is_some());
    assert_eq!(Loss::markov([more, half, half, half, half]), None);
    assert_eq!(Loss::markov([half, more, half, half, half]), None);
}

/// Run lengths of a chain that loses all packets in the bad state and none in the good one.
#[test]
fn bursts_have_the_rate_and_the_mean_length_that_was_asked() {
    for (seed, share, burst_milli) in [(1, 0.02, 3000), (2, 0.1, 1500), (3, 0.3, 10_000)] {
        let loss = Loss::bursts(probability(share), burst_milli).unwrap();
        let hits = run(&loss, seed, PACKETS);
        let what = format!("rate {share} in bursts of {burst_milli} / 1000, seed {seed}");
        let r = 1000.0 / f64::from(burst_milli);
        let p = share * r / (1.0 - share);
        // The correlation of a two-state chain.
        rate(&what, count(&hits), PACKETS, share, 1.0 - p - r);
        assert!((loss.expected_rate().unwrap() - share).abs() < 1e-8, "{what}");
        let runs = run_lengths(&hits, 100);
        chi_square(&what, &runs, &geometric(&runs, 1.0 - r));
        let received: Vec<bool> = hits.iter().map(|hit| !hit).collect();
        let gaps = run_lengths(&received, 1000);
        chi_square(&what, &gaps, &geometric(&gaps, 1.0 - p));
    }
}

#[test]
fn the_least_burst_is_possible_and_shorter_is_not() {
    for share in [0.0001, 0.3, 0.5, 0.75, 0.9, 0.999] {
        let least = match Loss::bursts(probability(share), 0) {
            Err(error) => error.least_milli,
            Ok(loss) => panic!("{share}: bursts of nothing: {loss:?}"),
        };
        // One packet at least, and rate / (1 - rate), so that p is no more than one.
        let expected = f64::max(1.0, share / (1.0 - share)) * 1000.0;
        assert!((f64::from(least) - expected).abs() < 1.01, "{share}: {least}");
        assert!(Loss::bursts(probability(share), least - 1).is_err());
        let hits = run(&Loss::bursts(probability(share), least).unwrap(), 5, 200_000);
        let found = count(&hits) as f64 / 200_000.0;
        assert!((found - share).abs() < 0.005, "{share}: {found}");
    }
    assert_eq!(Loss::bursts(Probability::NEVER, 0).unwrap().expected_rate(), Some(0.0));
    assert_eq!(Loss::bursts(Probability::ALWAYS, 0).unwrap().expected_rate(), Some(1.0));
}

proptest! {
    /// To 2^-32: the chain's own rate is the asked one up to the rounding of p and r.
    #[test]
    fn bursts_are_exact_to_the_last_digit(parts in 1_u64..1 << 32, burst in 1000_u32..1_000_000) {
        let asked = Probability::from_parts(parts).unwrap();
        if let Ok(loss) = Loss::bursts(asked, burst) {
            let one = (1_u64 << 32) as f64;
            let [p, r, ..] = loss.p.map(|p| p.parts() as f64 / one);
            let error = (loss.expected_rate().unwrap() - asked.parts() as f64 / one).abs();
            prop_assert!(error * (p + r) < 1.01 / one, "{} at {p} {r}", error * one);
        }
    }

    /// A state model is the same chain whichever packets its steps belong to.
    #[test]
    fn state_models_do_not_depend_on_the_ordinal(seed: u64, ordinals: [u64; 20]) {
        let models = [
            Loss::bursts(probability(0.3), 3000).unwrap(),
            markov([0.2, 0.3, 0.3, 0.4, 0.1]),
        ];
        for loss in models {
            let (memory, other) = (HostMemory::default(), HostMemory::default());
            for (n, ordinal) in ordinals.into_iter().enumerate() {
                prop_assert_eq!(
                    loss.hits(seed, ordinal, &memory),
                    loss.hits(seed, n as u64, &other)
                );
            }
        }
    }
}

/// The whole joint law of three neighbouring packets, against the chain's own probabilities.
#[test]
fn gilbert_elliott_loses_with_the_rate_of_the_old_state() {
    for (seed, p, r, bad, good) in
        [(1, 0.05, 0.3, 0.8, 0.01), (2, 0.5, 0.5, 1.0, 0.1), (3, 0.01, 0.9, 0.5, 0.0)]
    {
        let loss = Loss::gilbert_elliott(
            probability(p),
            probability(r),
            probability(bad),
            probability(good),
        );
        let hits = run(&loss, seed, PACKETS);
        let what = format!("p {p} r {r} 1-h {bad} 1-k {good}, seed {seed}");
        let theory = |pattern: usize| {
            let mut total = 0.0;
            for states in 0..8_usize {
                let mut weight = 1.0;
                let mut before = None;
                for place in 0..3 {
                    let in_bad = states >> place & 1 == 1;
                    weight *= match before {
                        None if in_bad => p / (p + r),
                        None => r / (p + r),
                        Some(false) => {
                            if in_bad {
                                p
                            } else {
                                1.0 - p
                            }
                        }
                        Some(true) => {
                            if in_bad {
                                1.0 - r
                            } else {
                                r
                            }
                        }
                    };
                    let rate = if in_bad { bad } else { good };
                    weight *= if pattern >> place & 1 == 1 { rate } else { 1.0 - rate };
                    before = Some(in_bad);
                }
                total += weight;
            }
            total
        };
        check_triples(&what, &hits, (1.0 - p - r).abs(), theory);
        assert!((loss.expected_rate().unwrap() - (p * bad + r * good) / (p + r)).abs() < 1e-8);
    }
}

/// Triples far enough apart to be independent.
fn check_triples(what: &str, hits: &[bool], memory: f64, theory: impl Fn(usize) -> f64) {
    let apart = 4 + (1e-4_f64.ln() / memory.max(0.01).ln()).ceil() as usize;
    let mut counts = vec![0_u64; 8];
    for triple in hits.windows(3).skip(100).step_by(apart) {
        counts[triple.iter().enumerate().map(|(i, hit)| usize::from(*hit) << i).sum::<usize>()] +=
            1;
    }
    let total = counts.iter().sum::<u64>() as f64;
    let expected: Vec<f64> = (0..8).map(|pattern| total * theory(pattern)).collect();
    chi_square(what, &counts, &expected);
}

/// The 4-state chain: how often it is where, and how long it stays, against `tc`'s own parameters.
#[test]
fn the_four_states_follow_netems_table() {
    for (seed, p) in [(1, [0.1, 0.3, 0.2, 0.4, 0.05]), (2, [0.02, 0.5, 0.5, 0.1, 0.2])] {
        let [p13, p31, p32, p23, p14] = p;
        let loss = markov(p);
        let mut word = 0;
        let mut ways = [[0_u64; 4]; 4];
        let mut lost = 0_u64;
        for _ in 0..PACKETS {
            let before = (word & STATE) as usize;
            word = loss.step(word, seed, 0);
            ways[before][(word & STATE) as usize] += 1;
            assert_eq!(word >> 63 == 1, matches!(word & STATE, BURST_LOST | ISOLATED));
            lost += word >> 63;
        }
        // From gap, burst received, burst lost and isolated, to each of them.
        let table = [
            [1.0 - p13 - p14, 0.0, p13, p14],
            [0.0, 1.0 - p23, p23, 0.0],
            [p31, p32, 1.0 - p31 - p32, 0.0],
            [1.0, 0.0, 0.0, 0.0],
        ];
        for (from, (counts, row)) in ways.iter().zip(table).enumerate() {
            let total = counts.iter().sum::<u64>() as f64;
            let (mut found, mut expected) = (Vec::new(), Vec::new());
            for (count, share) in counts.iter().zip(row) {
                assert!(share > 0.0 || *count == 0, "a way from {from} that there is not");
                if share > 0.0 {
                    found.push(*count);
                    expected.push(share * total);
                }
            }
            if found.len() > 1 {
                chi_square(&format!("ways from state {from}, seed {seed}"), &found, &expected);
            }
        }
        let expected = loss.expected_rate().unwrap();
        let found = lost as f64 / PACKETS as f64;
        // The chains above forget within some ten packets: five times the independent error.
        let error = 5.0 * (expected * (1.0 - expected) * 10.0 / PACKETS as f64).sqrt();
        assert!((found - expected).abs() < error, "{found}, not {expected}");
    }
}

/// A gap, then at once `p13`: every run of losses in a burst goes on with 1 - p31 - p32.
#[test]
fn the_four_states_lose_in_runs_of_the_right_length() {
    let [p13, p31, p32, p23] = [0.05, 0.2, 0.1, 0.3];
    let loss = markov([p13, p31, p32, p23, 0.0]);
    let runs = run_lengths(&run(&loss, 9, PACKETS), 100);
    chi_square("runs in a burst, seed 9", &runs, &geometric(&runs, 1.0 - p31 - p32));
}

#[test]
fn two_states_of_four_are_gilberts_chain() {
    let expected = markov([0.02, 0.25, 0.0, 1.0, 0.0]).expected_rate().unwrap();
    let gilbert = Loss::gilbert_elliott(
        probability(0.02),
        probability(0.25),
        Probability::ALWAYS,
        Probability::NEVER,
    );
    assert!((expected - gilbert.expected_rate().unwrap()).abs() < 1e-9);
}
