//! What only some packets have: a field for congestion marks, segments, and slots to leave in.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use entropy_common::{
    fault::{delay::Delay, loss::Loss, slot::Slot},
    rule::{Direction, Rule},
};

use super::{
    bench::{Bench, Fault, Side},
    loss::{percent, row, rule},
    milliseconds,
    probe::{Kind, Pace, probe},
    report::{Report, Row},
    sample::{mean_run, median},
    site::{Site, Way},
};
use crate::numbered;

const SECTION: &str = "Marks, segments, slots";
/// ECT(0) of RFC 3168: the sender knows what a congestion mark is.
const ECT0: libc::c_int = 2;
/// Congestion experienced.
const CE: u8 = 3;
const SLOT_MS: u64 = 20;
/// Datagrams of a super-packet.
const SEGMENTS: usize = 20;

/// Measures each.
pub(super) fn measure(bench: &mut Bench, report: &mut Report) -> Result<()> {
    let count = if bench.quick { 5_000 } else { 40_000 };
    marks(bench, report, count)?;
    segments(bench, report, count)?;
    slots(bench, report)
}

/// Marked instead of lost. Each of the datagrams comes, some of them marked.
fn marks(bench: &mut Bench, report: &mut Report, count: u32) -> Result<()> {
    let fault = Fault {
        rule: Rule { loss: Loss::rate(percent(10.0)).with_ecn(), ..rule() },
        tc: "netem loss 10% ecn limit 1000000".into(),
    };
    let mut marked = Vec::new();
    for side in Side::ALL {
        let fields = bench.with(side, Direction::Egress, &fault, |bench| {
            let site = &bench.site;
            let address = Site::far_address(Way::Bridged, 4);
            numbered::send_marked(&site.container, &site.neighbour, address, (count, ECT0))
        })?;
        ensure!(fields.len() == count as usize, "{} of {count} came ({side:?})", fields.len());
        marked.push(fields.into_iter().map(|field| field & 3 == CE).collect::<Vec<bool>>());
    }
    let [without, entropy, netem] = [0, 1, 2].map(|side: usize| &marked[side][..]);
    report.add(Row {
        section: SECTION,
        ..row(
            "loss 10 %, ecn: marked instead",
            Some(10.0),
            [without, entropy, netem],
            "; none lost",
        )
    });
    Ok(())
}

/// A super-packet crosses as one; what is lost of it are single segments all the same.
fn segments(bench: &mut Bench, report: &mut Report, count: u32) -> Result<()> {
    let fault = Fault {
        rule: Rule { loss: Loss::rate(percent(10.0)).with_segments(), ..rule() },
        tc: "netem loss 10% limit 1000000".into(),
    };
    let mut lost = Vec::new();
    for side in Side::ALL {
        let received = bench.with(side, Direction::Egress, &fault, |bench| {
            let site = &bench.site;
            let address = Site::far_address(Way::Bridged, 4);
            numbered::send_together(&site.container, &site.neighbour, address, (count, SEGMENTS))
        })?;
        let mut missing = vec![true; count as usize];
        for datagram in received {
            let number = numbered::number(&datagram).context("a short datagram")?;
            if let Some(missing) = missing.get_mut(number as usize) {
                *missing = false;
            }
        }
        lost.push(missing);
    }
    let [without, entropy, netem] = [0, 1, 2].map(|side: usize| &lost[side][..]);
    let name = format!("loss 10 % by segment, UDP super-packets of {SEGMENTS}");
    report.add(Row { section: SECTION, ..row(&name, Some(10.0), [without, entropy, netem], "") });
    // Runs of independent losses are 1 / (1 - rate) long.
    let asked = 1.0 / 0.9;
    report.add(Row {
        section: SECTION,
        fault: name,
        parameter: "mean run [packets]",
        asked: Some(asked),
        entropy: Some(mean_run(entropy)),
        netem: Some(mean_run(netem)),
        criterion: "within 5 %".into(),
        holds: Some((mean_run(entropy) / asked - 1.0).abs() <= 0.05),
        note: "netem loses whole super-packets".into(),
        ..Row::default()
    });
    Ok(())
}

/// Packets wait for the next slot and leave together.
fn slots(bench: &mut Bench, report: &mut Report) -> Result<()> {
    let every = Delay::constant(SLOT_MS * 1_000_000);
    let slot = Slot::new(every, 1_000_000_000, 0, 0)
        .map_err(|error| anyhow::anyhow!("a slot: {error:?}"))?;
    let fault = Fault {
        rule: Rule { slot, ..rule() },
        tc: format!("netem slot {SLOT_MS}ms limit 1000000"),
    };
    let pace = Pace { count: if bench.quick { 500 } else { 2500 }, gap: Duration::from_millis(1) };
    let mut gaps = Vec::new();
    for side in Side::ALL {
        let seen = bench.with(side, Direction::Egress, &fault, |bench| {
            let site = &bench.site;
            let address = Site::far_address(Way::Bridged, 4);
            probe(Kind::Udp, (&site.container, &site.neighbour, address), pace)
        })?;
        ensure!(seen.len() as u64 == pace.count, "{} of {} came", seen.len(), pace.count);
        // The packets of a slot come at once, far less than half of one apart.
        let at: Vec<u64> = seen.iter().map(|seen| seen.at_ns).collect();
        let is_first = |pair: &&[u64]| pair[1] - pair[0] > SLOT_MS * 500_000;
        let firsts: Vec<u64> = at.windows(2).filter(is_first).map(|pair| pair[1]).collect();
        let mut apart: Vec<f64> =
            firsts.windows(2).map(|pair| milliseconds((pair[1] - pair[0]) as f64)).collect();
        gaps.push((!apart.is_empty()).then(|| median(&mut apart)));
    }
    let asked = SLOT_MS as f64;
    report.add(Row {
        section: SECTION,
        fault: format!("slot {SLOT_MS} ms, a datagram each millisecond"),
        parameter: "between slots, median [ms]",
        asked: Some(asked),
        without: gaps[0],
        entropy: gaps[1],
        netem: gaps[2],
        criterion: "a slot, or with the packet that opens the next one at most 2 ms more".into(),
        holds: Some(gaps[1].is_some_and(|gap| (asked - 0.5..=asked + 2.0).contains(&gap))),
        ..Row::default()
    });
    Ok(())
}
