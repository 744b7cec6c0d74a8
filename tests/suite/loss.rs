//! Loss keeps its rate.

mod chain;
mod models;

use anyhow::Result;
use entropy_common::{
    chance::{Probability, Stream, draw},
    rule::{Direction, HookKey},
    stats::RuleState,
};
use entropy_tests::{
    frames::Protocol,
    needs_root,
    object::{LOOPBACK, Object, Skb},
    random::fixed_seed,
    skip::{self, virtual_machine},
    stats::{ALPHA, Binomial, NORMAL_999, runs_deviation},
};

use crate::rules::{LOST, frame, lossy};

const PACKETS: u32 = 1_000_000;

/// The rates of the issue, in parts of 2^32 (to the nearest), and their names.
const RATES: [(&str, u64); 6] = [
    ("0 %", 0),
    ("0.01 %", 429_497),
    ("1 %", 42_949_673),
    ("10 %", 429_496_730),
    ("50 %", 1 << 31),
    ("100 %", 1 << 32),
];

/// Numbers of the kinds, one for each rate, that are measured under software emulation.
const ROTATION: [usize; RATES.len()] = [0, 10, 5, 8, 1, 9];

/// What kind of packet is lost, and on which way.
#[derive(Clone, Copy, Debug)]
struct Kind {
    direction: Direction,
    v6: bool,
    protocol: Protocol,
}

/// Every direction with every family and protocol.
fn kinds() -> Vec<Kind> {
    let mut kinds = Vec::new();
    for direction in Direction::ALL {
        for v6 in [false, true] {
            for protocol in Protocol::ALL {
                kinds.push(Kind { direction, v6, protocol });
            }
        }
    }
    kinds
}

/// Which kinds to measure each rate with: all of them, or under software emulation one each, so that
/// over the six rates every direction, family and protocol has its turn.
fn kinds_of_rate(rate: usize) -> Vec<Kind> {
    let kinds = kinds();
    match virtual_machine() {
        None => kinds,
        Some(_) => vec![kinds[ROTATION[rate]]],
    }
}

/// Loses so many packets of one kind, and returns what the rule counted.
fn lose(kind: Kind, seed: u64, parts: u64, packets: u32) -> Result<RuleState> {
    let mut object = Object::load()?;
    let hook = HookKey::new(LOOPBACK, kind.direction);
    object.set_rules(hook, &[lossy(1, seed, parts)])?;
    let frame = frame(kind.v6, kind.protocol)?;
    object.hook(kind.direction)?.repeat(&frame, Skb::FORWARDED, packets)?;
    let state = object.state(1)?;
    let packets = u64::from(packets);
    assert_eq!((state.seen, state.matched), (packets, packets), "{kind:?}");
    assert_eq!(state.matched_bytes, packets * frame.len() as u64, "{kind:?}");
    assert_eq!(state.lost_bytes, state.lost * frame.len() as u64, "{kind:?}");
    Ok(state)
}

/// How many of so many packets the host would lose.
fn predicted(seed: u64, parts: u64, packets: u32) -> u64 {
    let is_lost = |n: &u64| u64::from(draw(seed, Stream::Loss, *n)) < parts;
    (0..u64::from(packets)).filter(is_lost).count() as u64
}

/// The seeds are fixed: with new ones each time, one of the 48 counts that chance has a part in would
/// lie outside its 99.9 % interval in one run of twenty, of right code.
#[test]
fn every_rate_lies_in_its_exact_interval() -> Result<()> {
    needs_root!();
    let (base, packets) = (fixed_seed(1_000), skip::packets(PACKETS));
    for (rate, (name, parts)) in RATES.into_iter().enumerate() {
        let interval =
            Binomial::new(u64::from(packets), parts as f64 / 2_f64.powi(32)).interval(ALPHA);
        for (number, kind) in kinds_of_rate(rate).into_iter().enumerate() {
            let seed = base + (rate * 100 + number) as u64;
            let lost = lose(kind, seed, parts, packets)?.lost;
            println!("{name}: {lost} of {packets}, {interval:?} expected, {kind:?}");
            assert!(
                interval.contains(&lost),
                "{name}: {lost}, {interval:?}, {kind:?}, seed {seed}"
            );
            let predicted = predicted(seed, parts, packets);
            assert_eq!(lost, predicted, "{name}: the host counts otherwise, {kind:?}");
        }
    }
    Ok(())
}

/// Whether a packet is lost does not depend on what became of the ones before it.
#[test]
fn losses_are_independent_of_one_another() -> Result<()> {
    needs_root!();
    let base = fixed_seed(2_000);
    for (name, parts) in [RATES[3], RATES[4]] {
        let mut object = Object::load()?;
        let rule = lossy(1, base + parts, parts);
        object.set_rules(HookKey::new(LOOPBACK, Direction::Egress), &[rule])?;
        let program = object.hook(Direction::Egress)?;
        let frame = frame(false, Protocol::Udp)?;
        let lost = (0..skip::packets(PACKETS))
            .map(|_| Ok(program.repeat(&frame, Skb::FORWARDED, 1)? == LOST))
            .collect::<Result<Vec<bool>>>()?;
        let deviation = runs_deviation(&lost).map_or(f64::INFINITY, f64::abs);
        println!("{name}: the number of runs is {deviation:.2} standard deviations off");
        assert!(deviation < NORMAL_999, "{name}: {deviation} standard deviations");
    }
    Ok(())
}

/// The table above says what it means: each is the fraction nearest to the rate.
#[test]
fn rates_are_the_nearest_fractions() {
    for ((_, parts), rate) in RATES.into_iter().zip([0.0, 0.0001, 0.01, 0.1, 0.5, 1.0]) {
        assert_eq!(parts, (rate * 2_f64.powi(32)).round() as u64);
        assert_eq!(Probability::from_parts(parts).map(Probability::parts), Some(parts));
    }
}

/// Under software emulation, too, every direction, family and protocol is measured.
#[test]
fn a_virtual_machine_leaves_no_kind_out() {
    let measured = ROTATION.map(|number| kinds()[number]);
    for direction in Direction::ALL {
        assert!(measured.iter().any(|kind| kind.direction == direction));
        for v6 in [false, true] {
            assert!(measured.iter().any(|kind| kind.v6 == v6 && kind.direction == direction));
        }
    }
    for protocol in Protocol::ALL {
        assert!(measured.iter().any(|kind| kind.protocol == protocol));
    }
}
