//! Duplicates, damage and reordering hit the share of packets that was asked for.

use anyhow::Result;
use entropy_common::{
    chance::{Probability, Stream, correlated::Chance, draw},
    fault::{corrupt::Corrupt, duplicate::Duplicate, reorder::Reorder},
    rule::{Direction, HookKey, Rule},
    stats::RuleState,
};
use entropy_tests::{
    frames::Protocol,
    needs_root,
    netns::Netns,
    object::{LOOPBACK, Object, Program, Skb},
    random::fixed_seed,
    skip::virtual_machine,
    stats::{ALPHA, Binomial},
};

use crate::rules::{PASS, frame};

/// 0 %, 0.01 %, 1 %, 10 %, 50 % and 100 %, in parts of 2^32.
const RATES: [u64; 6] = [0, 429_497, 42_949_673, 429_496_730, 1 << 31, 1 << 32];

/// Packets of each fault. Damaged ones are handed to the kernel one by one.
fn packets(fault: &Fault) -> u32 {
    if virtual_machine().is_some() && fault.spoils { 100_000 } else { 1_000_000 }
}

/// A fault that hits by chance, independently.
struct Fault {
    name: &'static str,
    stream: Stream,
    put: fn(&mut Rule, Chance),
    count: fn(&RuleState) -> u64,
    /// It changes the packet's bytes: a run on the same bytes again would find others.
    spoils: bool,
}

const FAULTS: [Fault; 3] = [
    Fault {
        name: "duplicated",
        stream: Stream::Duplicate,
        put: |rule, chance| rule.duplicate = Duplicate { chance },
        count: |state| state.duplicated,
        spoils: false,
    },
    Fault {
        name: "corrupted",
        stream: Stream::Corrupt,
        put: |rule, chance| rule.corrupt = Corrupt { chance, silent: 0 },
        count: |state| state.corrupted,
        spoils: true,
    },
    Fault {
        name: "reordered",
        stream: Stream::Reorder,
        put: |rule, chance| rule.reorder = Reorder { jump_ns: 1_000_000, chance, ..Reorder::NONE },
        count: |state| state.reordered,
        spoils: false,
    },
];

/// A rule for each rate.
fn rules(fault: &Fault, base: u64) -> Vec<Rule> {
    let rule = |(number, parts): (u32, u64)| {
        let seed = base + u64::from(number);
        let mut rule = Rule { id: number, seed, ..Rule::NONE };
        let rate = Probability::from_parts(parts).unwrap_or(Probability::NEVER);
        (fault.put)(&mut rule, Chance::independent(rate));
        rule
    };
    (1..).zip(RATES).map(rule).collect()
}

fn run(program: Program<'_>, fault: &Fault) -> Result<()> {
    let frame = frame(false, Protocol::Udp)?;
    let times = if fault.spoils { 1 } else { packets(fault) };
    for _ in 0..packets(fault) / times {
        assert_eq!(program.repeat(&frame, Skb::FORWARDED, times)?, PASS, "{}", fault.name);
    }
    Ok(())
}

/// Each rate's count lies in its exact 99.9 % interval, and is the one that the host predicts. The
/// seeds are fixed: with new ones, one of these counts would lie outside in one run of eighty, of
/// right code.
#[test]
fn every_share_lies_in_its_exact_interval() -> Result<()> {
    needs_root!();
    // What is sent twice must not get into the namespace of this machine.
    Netns::new("shares")?.run(measure)?
}

fn measure() -> Result<()> {
    for (fault, base) in FAULTS.iter().zip((fixed_seed(6_000)..).step_by(100)) {
        let mut object = Object::load()?;
        let rules = rules(fault, base);
        object.set_rules(HookKey::new(LOOPBACK, Direction::Egress), &rules)?;
        run(object.hook(Direction::Egress)?, fault)?;
        let packets = u64::from(packets(fault));
        for (rule, parts) in rules.iter().zip(RATES) {
            let state = object.state(rule.id)?;
            assert_eq!((state.seen, state.matched, state.lost), (packets, packets, 0));
            let hits = (fault.count)(&state);
            let interval = Binomial::new(packets, parts as f64 / 2_f64.powi(32)).interval(ALPHA);
            println!("{hits} of {packets} {}, {interval:?} expected", fault.name);
            assert!(interval.contains(&hits), "{hits}, {interval:?}, seed {}", rule.seed);
            let is_hit = |&n: &u64| u64::from(draw(rule.seed, fault.stream, n)) < parts;
            let predicted = (0..packets).filter(is_hit).count() as u64;
            assert_eq!(hits, predicted, "{}: the host counts otherwise", fault.name);
        }
    }
    Ok(())
}
