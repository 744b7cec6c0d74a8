//! One-way delay: how far the median is from what was asked, and the tail.

use std::time::Duration;

use anyhow::{Result, ensure};
use entropy_common::{
    fault::delay::Delay,
    rule::{Direction, Rule},
};

use super::{
    bench::{Bench, Fault, Side},
    milliseconds,
    probe::{Kind, Pace, probe},
    report::{Report, Row},
    sample::percentile,
    site::{INSIDE, Site, Way, tool},
};

const SECTION: &str = "One-way delay";
/// What is asked, in milliseconds.
const DELAYS_MS: [u64; 4] = [1, 10, 100, 1000];
const KINDS: [Kind; 3] = [Kind::Udp, Kind::Tcp, Kind::Icmp];
/// By how much the error of the median may exceed netem's, in milliseconds.
const MEDIAN_MARGIN_MS: f64 = 0.05;
/// By how much the 99th percentile may exceed netem's.
const P99_MARGIN: f64 = 1.1;
/// Rounds, in each of which every side has its turn.
const ROUNDS: usize = 3;

/// Measures every delay with every kind of packet.
pub(super) fn measure(bench: &mut Bench, report: &mut Report) -> Result<()> {
    let site = &bench.site;
    for (at, network) in [(&site.container, "10.77.0.0/24"), (&site.neighbour, "10.77.0.0/24")] {
        // Messages must not wait for acknowledgements that take a second.
        let words = ["route", "change", network, "dev", INSIDE, "initcwnd", "1000"];
        tool(at, "ip", &words)?;
    }
    for ms in DELAYS_MS {
        for kind in KINDS {
            for direction in Direction::ALL {
                if bench.quick && (ms == 1000 || direction == Direction::Ingress) {
                    continue;
                }
                case(bench, report, ms, kind, direction)?;
            }
        }
    }
    Ok(())
}

fn case(
    bench: &mut Bench,
    report: &mut Report,
    ms: u64,
    kind: Kind,
    direction: Direction,
) -> Result<()> {
    let fault = Fault {
        rule: Rule { delay: Delay::constant(ms * 1_000_000), ..Rule::NONE },
        tc: format!("netem delay {ms}ms limit 1000000"),
    };
    let (rounds, count) = if bench.quick { (1, 200) } else { (ROUNDS, 400) };
    let pace = Pace { count, gap: Duration::from_millis(2) };
    let mut samples = [const { Vec::new() }; 3];
    for round in 0..rounds {
        for turn in 0..Side::ALL.len() {
            let side = Side::ALL[(turn + round) % Side::ALL.len()];
            let seen =
                bench.with(side, direction, &fault, |bench| once(bench, kind, direction, pace))?;
            samples[side as usize].extend(seen);
        }
    }
    let [without, entropy, netem] = samples.map(|mut sample| {
        sample.sort_unstable_by(f64::total_cmp);
        (percentile(&sample, 0.5), percentile(&sample, 0.99))
    });
    let asked = ms as f64;
    let error = |side: (f64, f64)| side.0 - without.0 - asked;
    let (ours, theirs) = (error(entropy), error(netem));
    let way = if direction == Direction::Egress { "from" } else { "to" };
    let row = |parameter, criterion: String, holds: bool| Row {
        section: SECTION,
        fault: format!("delay {ms} ms, {kind:?}, {way} container"),
        parameter,
        asked: Some(asked),
        criterion,
        holds: (!bench.quick).then_some(holds),
        note: format!("{} packets a side", rounds as u64 * count),
        ..Row::default()
    };
    report.add(Row {
        without: Some(without.0),
        entropy: Some(asked + ours),
        netem: Some(asked + theirs),
        note: format!("errors {ours:+.4} and {theirs:+.4} ms"),
        ..row(
            "median - without [ms]",
            format!("error at most netem's + {MEDIAN_MARGIN_MS} ms"),
            ours.abs() <= theirs.abs() + MEDIAN_MARGIN_MS,
        )
    });
    report.add(Row {
        without: Some(without.1),
        entropy: Some(entropy.1),
        netem: Some(netem.1),
        ..row("p99 [ms]", "at most netem's + 10 %".into(), entropy.1 <= netem.1 * P99_MARGIN)
    });
    Ok(())
}

/// Delays in milliseconds.
fn once(bench: &Bench, kind: Kind, direction: Direction, pace: Pace) -> Result<Vec<f64>> {
    let site = &bench.site;
    let ends = match direction {
        Direction::Egress => (&site.container, &site.neighbour, Site::far_address(Way::Bridged, 4)),
        Direction::Ingress => (&site.neighbour, &site.container, Site::container_address(4)),
    };
    let seen = probe(kind, ends, pace)?;
    ensure!(seen.len() as u64 == pace.count, "{} of {} packets came", seen.len(), pace.count);
    Ok(seen.into_iter().map(|seen| milliseconds(seen.delay_ns as f64)).collect())
}
