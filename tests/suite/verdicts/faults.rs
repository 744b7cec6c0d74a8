//! Faults made up at random, all kinds of them, and several in one rule.
//!
//! Host and kernel do not read the same clock at the same instant. So all of these have an outcome
//! that does not depend on some milliseconds: see [`link`]. What is a point in time, and moves with the
//! clock, is compared with a tolerance (see [`Model`](super::Model)).

use entropy_common::{
    chance::{Probability, correlated::Chance},
    fault::{
        corrupt::Corrupt,
        delay::{Delay, MAX_DELAY_NS},
        duplicate::Duplicate,
        loss::Loss,
        partition::Partition,
        rate::{Link, Rate},
        reorder::Reorder,
        slot::{MAX_BYTES, Slot},
    },
    rule::Rule,
};
use entropy_tests::random::Random;

/// Whether rules may have packets wait or copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timed {
    Yes,
    No,
}

/// The rule with some faults.
pub(super) fn faults(random: &mut Random, bare: Rule, timed: Timed) -> Rule {
    let mut rule = Rule {
        loss: loss(random),
        corrupt: Corrupt { chance: some(random), silent: random.below(3) as u32 },
        partition: match random.below(40) {
            0 => Partition::CUT,
            1 => Partition { cut: random.bits() as u32 },
            2..=4 => Partition::NEW_CONNECTIONS,
            _ => Partition::NONE,
        },
        ..bare
    };
    if timed == Timed::Yes {
        rule.duplicate = Duplicate { chance: some(random) };
        rule.delay = delay(random);
        rule.reorder = reorder(random);
        rule.rate = if random.one_in(5) { link(random) } else { Rate::NONE };
    }
    rule
}

/// A probability: often small, for many rules with a great one would lose everything.
pub(super) fn rate(random: &mut Random) -> Probability {
    let parts = match random.below(8) {
        0 => 0,
        1 => 1 << 32,
        2 => 1,
        3 => (1 << 32) - 1,
        4 => random.below(1 << 32),
        _ => random.below(1 << 29),
    };
    Probability::from_parts(parts).unwrap_or(Probability::NEVER)
}

/// A probability of at most an eighth.
fn small(random: &mut Random) -> Probability {
    Probability::from_parts(random.below(1 << 29)).unwrap_or(Probability::NEVER)
}

fn chance(random: &mut Random) -> Chance {
    let correlation = if random.one_in(2) { Probability::NEVER } else { rate(random) };
    Chance { rate: rate(random), correlation }
}

/// A chance in one of four rules.
fn some(random: &mut Random) -> Chance {
    if random.one_in(4) { chance(random) } else { Chance::NEVER }
}

/// Any model, with parameters that no constructor would take now and then: the kernel must not do
/// anything else with them than the host either.
fn loss(random: &mut Random) -> Loss {
    let loss = match random.below(30) {
        0 => Loss::rate(rate(random)),
        1 => Loss::correlated(rate(random), rate(random)),
        2 => Loss::correlated(small(random), small(random)),
        3 => Loss::netem(rate(random), rate(random)),
        4 => Loss::gilbert_elliott(rate(random), rate(random), rate(random), small(random)),
        5 => {
            Loss::bursts(small(random), random.between(1_200, 20_000) as u32).unwrap_or(Loss::NONE)
        }
        6 => Loss::markov([(); 5].map(|()| small(random))).unwrap_or(Loss::NONE),
        7 => Loss {
            p: [(); 5].map(|()| rate(random)),
            ..Loss::markov([small(random); 5]).unwrap_or(Loss::NONE)
        },
        8 => Loss::nth(20, random.below(20) as u32).unwrap_or(Loss::NONE),
        9 => Loss::first(random.below(300)),
        10 => Loss::pattern(
            random.bits() & random.bits() & random.bits(),
            random.between(1, 64) as u32,
        )
        .unwrap_or(Loss::NONE),
        11 => Loss {
            pattern: random.bits(),
            model: random.below(10) as u32,
            length: random.below(70) as u32,
            ..Loss::rate(rate(random))
        },
        _ => Loss::NONE,
    };
    let loss = if random.one_in(4) { loss.with_ecn() } else { loss };
    if random.one_in(4) { loss.with_segments() } else { loss }
}

/// Of any order of magnitude, up to the longest.
fn duration(random: &mut Random) -> u64 {
    let bits = random.between(8, 36);
    random.below(1 << bits).min(MAX_DELAY_NS)
}

/// Any shape, by every table and by some that are not there.
fn delay(random: &mut Random) -> Delay {
    let base_ns = duration(random);
    let jitter_ns = duration(random);
    let table = random.pick(&[0, 1, 2, 2, 3, 63, 64, u32::MAX]);
    let delay = match random.below(10) {
        0 => Some(Delay::constant(base_ns)),
        1 => Delay::uniform(base_ns, jitter_ns),
        2 => Delay::distributed(base_ns, jitter_ns, table),
        3 => Delay::distributed(base_ns, base_ns / 4, table),
        4 => Delay::percentiles(jitter_ns, super::PERCENTILES),
        _ => None,
    };
    let correlation = if random.one_in(3) { rate(random) } else { Probability::NEVER };
    let keep_order = u32::from(random.one_in(3));
    delay.map_or(Delay::NONE, |delay| Delay { correlation, keep_order, ..delay })
}

fn reorder(random: &mut Random) -> Reorder {
    if !random.one_in(4) {
        return Reorder::NONE;
    }
    Reorder {
        jump_ns: random.pick(&[0, 0, 1_000_000, MAX_DELAY_NS]),
        chance: chance(random),
        gap: random.pick(&[0, 1, 1, 2, 5, 1_000]),
        ..Reorder::NONE
    }
}

/// Bytes per second of a link on which a cell takes twelve seconds.
const SLOW: u64 = 4;
const CELL: u32 = 48;
const CELL_NS: u64 = CELL as u64 * 1_000_000_000 / SLOW;

/// A link on which it does not matter how long the machine takes from one packet to the next.
fn link(random: &mut Random) -> Rate {
    let overhead = random.pick(&[0, 0, -8, 4, 38]);
    // A page takes less than a tenth of a microsecond: no packet finds another one before it.
    let fast = Link {
        burst_bytes: random.pick(&[0, 100, 100_000]),
        overhead,
        cell: random.pick(&[0, 0, 48]),
        cell_overhead: random.pick(&[0, 5]),
        ..Link::new(random.between(125_000_000_000, 1_250_000_000_000), random.below(1_000))
    };
    // No cell is through before the scene is over. All packets take whole cells, so what waits
    // before one is a number of them, less the age of the scene; and the limits lie in the middle
    // between two such times.
    let slow = Link { overhead, cell: CELL, ..Link::new(SLOW, 0) };
    let link = if random.one_in(3) { fast } else { slow };
    let rate = link.rate().unwrap_or(Rate::NONE);
    if link == fast {
        return rate;
    }
    Rate {
        queue_ns: if random.one_in(2) { u64::MAX } else { limit(random) },
        mark_ns: if random.one_in(4) { u64::MAX } else { limit(random) },
        ..rate
    }
}

/// A time between those that the cells of a slow link take, mostly that of few.
fn limit(random: &mut Random) -> u64 {
    let bits = random.below(12);
    random.below(1 << bits) * CELL_NS + CELL_NS / 2
}

/// Gives the first of some rules slots, where it does not matter how long the machine takes from one
/// packet to the next. For that, no packet may want to leave at any other time than at once.
pub(super) fn take_turns(random: &mut Random, rules: &mut [Rule]) {
    for rule in &mut *rules {
        *rule = Rule { delay: Delay::NONE, rate: Rate::NONE, ..*rule };
    }
    if let Some(first) = rules.first_mut() {
        first.slot = slot(random);
    }
}

/// Slots that are over before the next packet comes, or of which none is over before the scene is.
fn slot(random: &mut Random) -> Slot {
    const SECOND_NS: u64 = 1_000_000_000;
    let (packets, bytes) = match random.below(4) {
        0 => (random.between(1, 4) as u32, 0),
        1 => (0, random.pick(&[1, 1_000, 10_000])),
        2 => (random.between(1, 4) as u32, random.pick(&[1_000, MAX_BYTES])),
        _ => (random.between(100, 400) as u32, 0),
    };
    if random.one_in(2) {
        let every = Delay::uniform(random.between(20, 60), random.below(20));
        return Slot { every: every.unwrap_or(Delay::NONE), queue_ns: 0, packets, bytes };
    }
    // After 16 to 18 s, 32 to 36 s, 48 to 54 s; and then later than any packet may wait. The limits of
    // a queue lie in between.
    let jitter = random.pick(&[0, SECOND_NS]);
    let every = match random.below(2) {
        0 => Delay::uniform(17 * SECOND_NS, jitter),
        // At most four standard deviations.
        _ => Delay::distributed(17 * SECOND_NS, jitter / 5, 0),
    };
    let queue_ns = random.pick(&[25 * SECOND_NS, 42 * SECOND_NS, MAX_DELAY_NS]);
    Slot { every: every.unwrap_or(Delay::NONE), queue_ns, packets, bytes }
}

/// Whether packets wait for one another at a rule, on its link or for its slots. How long is then a
/// difference of two points in time, and moves with the clock.
pub(super) fn has_queue(rule: &Rule) -> bool {
    rule.slot.acts() || rule.rate.acts() && rule.rate.queue_ns >= CELL_NS / 2
}
