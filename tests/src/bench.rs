//! What a packet costs: the programs run on the same bytes many times over (`BPF_PROG_TEST_RUN`), with
//! different rules.

use std::{fmt::Write as _, time::Instant};

use anyhow::{Context as _, Result};
use clap::Args;
use entropy_common::{
    chance::{Probability, correlated::Chance},
    fault::{
        delay::{Delay, table::Distribution},
        loss::Loss,
        partition::Partition,
        rate::Link,
        reorder::Reorder,
    },
    rule::{Direction, HookKey, MAX_RULES, Match, Rule},
};

use crate::{
    frames::{End, Flow, Protocol},
    object::{LOOPBACK, Object, Skb},
};

/// Which of the cases is a plain delay.
const DELAY: usize = 3;
/// Bytes of the payload.
const FILLING: usize = 26;

/// How often to look.
#[derive(Args, Clone, Copy, Debug)]
pub struct Options {
    /// Packets of one look
    #[arg(long, default_value_t = 100_000)]
    packets: u32,
    /// Looks, of which the quickest counts: what else the machine does only makes them slower
    #[arg(long, default_value_t = 30)]
    looks: u32,
}

/// Measures, and prints a table. Returns the exit code, 0.
///
/// # Errors
/// When the object is not built, or this is not root.
pub fn run(options: &Options) -> Result<u8> {
    let mut object = Object::load()?;
    let hook = HookKey::new(LOOPBACK, Direction::Egress);
    let frames = [frame(false)?, frame(true)?];
    let mut table =
        format!("{:<40}{:>12}{:>12}\n", "NANOSECONDS A PACKET", "TCP, IPv4", "TCP, IPv6");
    let mut row = |object: &mut Object, what: &str| -> Result<()> {
        let [v4, v6] = [&frames[0], &frames[1]].map(|frame| quickest(object, frame, options));
        writeln!(table, "{what:<40}{:>12.0}{:>12.0}", v4?, v6?).context("write a row")
    };
    row(&mut object, "no rules on the hook")?;
    for (what, rules) in cases()? {
        object.set_rules(hook, &rules)?;
        row(&mut object, &what)?;
    }
    let (what, rules) = cases()?.swap_remove(DELAY);
    object.set_rules(hook, &rules)?;
    object.set_shields(hook, &rules, &[shield(22), shield(2375)])?;
    row(&mut object, &format!("{what}, two guarded ports"))?;
    print!("{table}");
    println!(
        "\nDeciding only, the quickest of {} looks at {} packets each. What the kernel",
        options.looks, options.packets
    );
    println!("takes for a test run itself is in all rows.");
    Ok(0)
}

/// A guarded port of the host, as the daemon has two by default.
fn shield(port: u16) -> Match {
    Match { protocol: 6, remote_first: port, remote_last: port, peer_group: 1, ..Match::ALL }
}

/// Names and rules.
fn cases() -> Result<Vec<(String, Vec<Rule>)>> {
    let half = Probability::from_parts(1 << 31).context("a half")?;
    let rare = Probability::from_parts(1 << 22).context("a thousandth")?;
    let link = Link::new(1_250_000_000, 200_000_000).rate().context("a link")?;
    let base = Rule { id: 1, seed: 7, ..Rule::NONE };
    let delay = Rule { delay: Delay::constant(20_000_000), ..base };
    let jitter = Delay::distributed(20_000_000, 2_000_000, Distribution::Normal as u32);
    let one = |what: &str, rule: Rule| (what.to_owned(), vec![rule]);
    let many = |what: &str, rule: Rule| {
        let numbered = (1..=MAX_RULES as u32).map(|id| Rule { id, ..rule }).collect();
        (format!("{MAX_RULES} policies: {what}"), numbered)
    };
    let elsewhere = Match { protocol: 17, ..Match::ALL };
    Ok(vec![
        one("a policy for other packets", Rule { matcher: elsewhere, ..delay }),
        one("partition", Rule { partition: Partition::CUT, ..base }),
        one("loss 0.1 %", Rule { loss: Loss::rate(rare), ..base }),
        one("delay", delay),
        one(
            "delay, jitter, reordering",
            Rule {
                delay: jitter.context("a jitter")?,
                reorder: Reorder { chance: Chance::independent(half), ..Reorder::NONE },
                ..base
            },
        ),
        one("rate", Rule { rate: link, ..base }),
        many("delay", delay),
        many("for other packets", Rule { matcher: elsewhere, ..delay }),
    ])
}

fn frame(v6: bool) -> Result<Vec<u8>> {
    let end = |last: u8, port| {
        let ip = if v6 {
            [0xfd00, 0, 0, 0, 0, 0, 0, u16::from(last)].into()
        } else {
            [10, 0, 0, last].into()
        };
        End { mac: [2, 0, 0, 0, 0, last], ip, port }
    };
    let protocol = Protocol::Tcp;
    Flow { source: end(1, 40_000), destination: end(2, 5432), protocol, tag: 1 }.frame(0, FILLING)
}

/// Nanoseconds of one packet.
fn quickest(object: &mut Object, frame: &[u8], options: &Options) -> Result<f64> {
    let program = object.hook(Direction::Egress)?;
    let mut best = f64::INFINITY;
    for _ in 0..options.looks {
        let start = Instant::now();
        program.repeat(frame, Skb::FORWARDED, options.packets)?;
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(options.packets));
    }
    Ok(best)
}
