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
    plot::Plot,
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
                case(bench, report, ms, (kind, direction))?;
            }
        }
    }
    Ok(())
}

fn case(
    bench: &mut Bench,
    report: &mut Report,
    ms: u64,
    (kind, direction): (Kind, Direction),
) -> Result<()> {
    let fault = Fault {
        rule: Rule { delay: Delay::constant(ms * 1_000_000), ..Rule::NONE },
        tc: format!("netem delay {ms}ms limit 1000000"),
    };
    let pace = Pace { count: 200, gap: Duration::from_millis(2) };
    let mut samples = [const { Vec::new() }; 3];
    let rounds = if bench.quick { 1 } else { ROUNDS };
    for round in 0..rounds {
        for turn in 0..Side::ALL.len() {
            let side = Side::ALL[(turn + round) % Side::ALL.len()];
            let seen =
                bench.with(side, direction, &fault, |bench| once(bench, kind, direction, pace))?;
            samples[side as usize].extend(seen);
        }
    }
    for sample in &mut samples {
        sample.sort_unstable_by(f64::total_cmp);
    }
    let asked = ms as f64;
    if kind == Kind::Udp && direction == Direction::Egress {
        report.curves.push(plot(ms, &samples));
    }
    let judged = Judged::new(&samples, asked);
    let Judged { without, entropy, netem, ours, theirs } = judged;
    let way = if direction == Direction::Egress { "from" } else { "to" };
    let row = |parameter, criterion: String, holds: bool| Row {
        section: SECTION,
        fault: format!("delay {ms} ms, {kind:?}, {way} container"),
        parameter,
        asked: Some(asked),
        criterion,
        holds: (!bench.quick).then_some(holds),
        note: format!("{} packets a side", samples[0].len()),
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
            judged.median_holds(),
        )
    });
    report.add(Row {
        without: Some(without.1),
        entropy: Some(entropy.1),
        netem: Some(netem.1),
        ..row("p99 [ms]", "at most netem's + 10 %".into(), judged.p99_holds())
    });
    Ok(())
}

/// Medians and 99th percentiles, and the errors of the medians, in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Judged {
    without: (f64, f64),
    entropy: (f64, f64),
    netem: (f64, f64),
    ours: f64,
    theirs: f64,
}

impl Judged {
    fn new(samples: &[Vec<f64>; 3], asked: f64) -> Self {
        let [without, entropy, netem] = [0, 1, 2]
            .map(|side: usize| (percentile(&samples[side], 0.5), percentile(&samples[side], 0.99)));
        let error = |side: (f64, f64)| side.0 - without.0 - asked;
        Self { without, entropy, netem, ours: error(entropy), theirs: error(netem) }
    }

    fn median_holds(&self) -> bool {
        self.ours.abs() <= self.theirs.abs() + MEDIAN_MARGIN_MS
    }

    fn p99_holds(&self) -> bool {
        self.entropy.1 <= self.netem.1 * P99_MARGIN
    }
}

/// Both sides, less the median of the way without a fault.
fn plot(ms: u64, samples: &[Vec<f64>; 3]) -> Plot {
    let usual = percentile(&samples[0], 0.5);
    let [entropy, netem] =
        [1, 2].map(|side: usize| samples[side].iter().map(|x| x - usual).collect::<Vec<f64>>());
    let asked = vec![(ms as f64, 0.0), (ms as f64, 1.0)];
    Plot::distribution(&format!("delay-{ms}"), &format!("{ms} ms, UDP"), asked, &entropy, &netem)
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
