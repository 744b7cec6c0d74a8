//! Loss, duplicates and reordering hit the share of packets that was asked for; damage and loss by segment
//! that of the frames at the wire's exit.

use anyhow::Result;
use entropy_common::{
    chance::{Probability, Stream, correlated::Chance, draw},
    fault::{corrupt::Corrupt, duplicate::Duplicate, loss::Loss, reorder::Reorder},
    names,
    rule::{Direction, HookKey, Rule},
    stats::RuleState,
};
use entropy_tests::{
    frames::Protocol,
    needs_root,
    netns::Netns,
    object::{LOOPBACK, Object, Skb},
    random::fixed_seed,
    skip,
    stats::{ALPHA, Binomial},
};

use crate::rules::{LOST, PASS, REDIRECTED, frame};

/// 0 %, 0.01 %, 1 %, 10 %, 50 % and 100 %, in parts of 2^32.
const RATES: [u64; 6] = [0, 429_497, 42_949_673, 429_496_730, 1 << 31, 1 << 32];

/// A fault that hits by chance, independently.
struct Fault {
    name: &'static str,
    stream: Stream,
    put: fn(&mut Rule, Chance),
    count: fn(&RuleState) -> u64,
    /// It is about frames at the wire's exit.
    wired: bool,
}

const FAULTS: [Fault; 5] = [
    Fault {
        name: "lost",
        stream: Stream::Loss,
        put: |rule, chance| rule.loss = Loss::rate(chance.rate),
        count: |state| state.lost,
        wired: false,
    },
    Fault {
        name: "duplicated",
        stream: Stream::Duplicate,
        put: |rule, chance| rule.duplicate = Duplicate { chance },
        count: |state| state.duplicated,
        wired: false,
    },
    Fault {
        name: "corrupted",
        stream: Stream::Corrupt,
        put: |rule, chance| rule.corrupt = Corrupt { chance, silent: 0 },
        count: |state| state.corrupted,
        wired: true,
    },
    Fault {
        name: "lost by segment",
        stream: Stream::Loss,
        put: |rule, chance| rule.loss = Loss::rate(chance.rate).with_segments(),
        count: |state| state.lost,
        wired: true,
    },
    Fault {
        name: "reordered",
        stream: Stream::Reorder,
        put: |rule, chance| rule.reorder = Reorder { jump_ns: 1_000_000, chance, ..Reorder::NONE },
        count: |state| state.reordered,
        wired: false,
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

/// Runs one program on one frame over and over. Damage adds up, but leaves the frame a datagram.
fn run(object: &mut Object, fault: &Fault, packets: u32) -> Result<()> {
    let frame = frame(false, Protocol::Udp)?;
    let hook = HookKey::new(LOOPBACK, Direction::Egress);
    let program = if fault.wired {
        object.set_slot(0, Some(hook))?;
        object.program(names::PROGRAM_WIRE)?
    } else {
        object.hook(Direction::Egress)?
    };
    let expected = match (fault.stream, fault.wired) {
        // Some rule loses everything.
        (Stream::Loss, _) => LOST,
        (_, true) => REDIRECTED,
        (_, false) => PASS,
    };
    assert_eq!(program.repeat(&frame, Skb::FORWARDED, packets)?, expected, "{}", fault.name);
    Ok(())
}

/// Each rate's count lies in its exact 99.9 % interval, and is the one that the host predicts. The
/// seeds are fixed: with new ones, one of the twenty that chance has a part in would lie outside in one run
/// of fifty, of right code.
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
        let packets = skip::packets(10_000_000);
        run(&mut object, fault, packets)?;
        let packets = u64::from(packets);
        for (rule, parts) in rules.iter().zip(RATES) {
            let state = object.state(rule.id)?;
            let at_hook = if fault.wired { 0 } else { packets };
            assert_eq!((state.seen, state.matched), (at_hook, at_hook));
            // What damages nothing looks at nothing.
            if parts > 0 {
                assert_eq!(state.framed, packets - at_hook);
            }
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
