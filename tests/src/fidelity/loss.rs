//! Loss in all its models, duplicates and reordering: how many packets, and in which runs.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use entropy_common::{
    chance::{Probability, correlated::Chance},
    fault::{corrupt::Corrupt, delay::Delay, duplicate::Duplicate, loss::Loss, reorder::Reorder},
    host::HostMemory,
    rule::{Direction, Match, Rule},
};

use super::{
    backlog,
    bench::{Bench, Fault, Side},
    plot::Plot,
    probe::{Kind, Pace, probe},
    report::{Report, Row},
    sample::{inflation, mean_run, run_lengths},
    site::{INSIDE, Site, Way},
};
use crate::{
    numbered,
    stats::{ALPHA, clopper_pearson},
    traffic::{Receiver, send},
};

const SECTION: &str = "Loss, duplicates, reordering";
/// Bytes between the headers and the mark of a frame.
const FILLING: usize = 26;
/// Longest run of the plot.
const LONGEST: usize = 20;

pub(super) fn percent(percent: f64) -> Probability {
    let parts = (percent / 100.0 * (1_u64 << 32) as f64).round() as u64;
    Probability::from_parts(parts).unwrap_or(Probability::ALWAYS)
}

/// A loss model, in both languages.
struct Model {
    name: &'static str,
    loss: Loss,
    tc: String,
    /// Whether the lengths of runs are drawn.
    drawn: bool,
}

fn models() -> Result<Vec<Model>> {
    let plain = |name, rate: f64| Model {
        name,
        loss: Loss::rate(percent(rate)),
        tc: format!("loss {rate}%"),
        drawn: false,
    };
    let bursts = Loss::bursts(percent(10.0), 3000).context("bursts")?;
    let [p, r] = [0, 1].map(|index: usize| bursts.p[index].parts() as f64 / (1_u64 << 32) as f64);
    let chain = [1.0, 10.0, 20.0, 30.0, 0.5];
    Ok(vec![
        plain("loss 1 %", 1.0),
        plain("loss 10 %", 10.0),
        Model {
            name: "loss 10 %, correlation 25 %",
            loss: Loss::correlated(percent(10.0), percent(25.0)),
            tc: "loss 10% 25%".into(),
            drawn: true,
        },
        Model {
            name: "loss 10 %, netem's correlation 25 %",
            loss: Loss::netem(percent(10.0), percent(25.0)),
            tc: "loss 10% 25%".into(),
            drawn: false,
        },
        Model {
            name: "loss 10 % in bursts of 3",
            loss: bursts,
            tc: format!("loss gemodel {}% {}%", p * 100.0, r * 100.0),
            drawn: true,
        },
        Model {
            name: "Gilbert-Elliott 1 % 10 % 70 % 0.1 %",
            loss: Loss::gilbert_elliott(percent(1.0), percent(10.0), percent(70.0), percent(0.1)),
            tc: "loss gemodel 1% 10% 70% 0.1%".into(),
            drawn: true,
        },
        Model {
            name: "4-state 1 % 10 % 20 % 30 % 0.5 %",
            loss: Loss::markov(chain.map(percent)).context("a chain")?,
            tc: "loss state 1% 10% 20% 30% 0.5%".into(),
            drawn: false,
        },
    ])
}

/// Measures every model.
pub(super) fn measure(bench: &mut Bench, report: &mut Report) -> Result<()> {
    let count = if bench.quick { 10_000 } else { 60_000 };
    for model in models()? {
        loss(bench, report, &model, count)?;
    }
    duplicates(bench, report, count)?;
    damage(bench, report, count)?;
    reordering(bench, report)
}

/// Each frame's number of copies that came.
fn copies(bench: &Bench, count: u64) -> Result<Vec<u32>> {
    let (site, flow) = (&bench.site, backlog::flow(&bench.site)?);
    let receiver = Receiver::start(&site.neighbour, INSIDE, &flow)?;
    let frames = (0..count).map(|number| flow.frame(number, FILLING));
    send(&site.container, INSIDE, frames)?;
    let mut copies = receiver.finish(2 * count)?.copies;
    copies.resize(count as usize, 0);
    Ok(copies)
}

/// For datagrams only, so that their ordinals are their numbers.
pub(super) fn rule() -> Rule {
    Rule { matcher: Match { protocol: 17, ..Match::ALL }, ..Rule::NONE }
}

/// Share of the hits, and its 99.9 % interval, in percent.
fn share(hits: &[bool]) -> (f64, [f64; 2]) {
    let count = hits.iter().filter(|&&hit| hit).count() as f64;
    // Outcomes that resemble their neighbours tell as much as fewer independent ones.
    let wider = inflation(hits).max(1.0);
    let [hits_, trials] = [count, hits.len() as f64].map(|n| (n / wider).round() as u64);
    let interval = clopper_pearson(hits_, trials, ALPHA);
    (count / hits.len() as f64 * 100.0, [interval.start() * 100.0, interval.end() * 100.0])
}

/// A row about a share of packets.
pub(super) fn row(fault: &str, asked: Option<f64>, sides: [&[bool]; 3], more: &str) -> Row {
    let [without, entropy, netem] = sides.map(share);
    let within =
        |side: &(f64, [f64; 2])| asked.map(|asked| side.1[0] <= asked && asked <= side.1[1]);
    let theirs = match within(&netem) {
        Some(false) => "netem not",
        Some(true) => "netem too",
        None => "no rate is asked",
    };
    Row {
        section: SECTION,
        fault: fault.to_owned(),
        parameter: "share [%]",
        asked,
        without: Some(without.0),
        entropy: Some(entropy.0),
        netem: Some(netem.0),
        criterion: asked.map_or(String::new(), |_| "asked in the 99.9 % interval".into()),
        holds: within(&entropy),
        note: format!(
            "{:.3} to {:.3}, netem {:.3} to {:.3} ({theirs}); n = {}{more}",
            entropy.1[0],
            entropy.1[1],
            netem.1[0],
            netem.1[1],
            sides[1].len()
        ),
    }
}

fn loss(bench: &mut Bench, report: &mut Report, model: &Model, count: u64) -> Result<()> {
    let fault = Fault {
        rule: Rule { loss: model.loss, ..rule() },
        tc: format!("netem {} limit 1000000", model.tc),
    };
    let mut lost = Vec::new();
    for side in Side::ALL {
        let copies = bench.with(side, Direction::Egress, &fault, |bench| copies(bench, count))?;
        lost.push(copies.into_iter().map(|copies| copies == 0).collect::<Vec<bool>>());
    }
    let memory = HostMemory::default();
    let predicted: Vec<bool> =
        (0..count).map(|ordinal| model.loss.hits(bench.seed, ordinal, &memory)).collect();
    let same = if predicted == lost[1] {
        "; packet by packet as predicted".to_owned()
    } else {
        let others = predicted.iter().zip(&lost[1]).filter(|(a, b)| a != b).count();
        format!("; {others} packets other than predicted")
    };
    let asked = model.loss.expected_rate().map(|rate| rate * 100.0);
    report.add(row(model.name, asked, [&lost[0], &lost[1], &lost[2]], &same));
    let runs = [&predicted, &lost[1], &lost[2]].map(|lost| run_lengths(lost, LONGEST));
    report.add(Row {
        section: SECTION,
        fault: model.name.to_owned(),
        parameter: "mean run [packets]",
        entropy: Some(mean_run(&lost[1])),
        netem: Some(mean_run(&lost[2])),
        ..Row::default()
    });
    if model.drawn {
        let file = format!("runs-{}", file_name(model.name));
        report.curves.push(Plot::runs(&file, model.name, runs));
    }
    Ok(())
}

fn file_name(text: &str) -> String {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).map(str::to_lowercase).collect();
    words.join("-")
}

fn duplicates(bench: &mut Bench, report: &mut Report, count: u64) -> Result<()> {
    let chance = Chance::independent(percent(5.0));
    let fault = Fault {
        rule: Rule { duplicate: Duplicate { chance }, ..rule() },
        tc: "netem duplicate 5% limit 1000000".into(),
    };
    let mut twice = Vec::new();
    for side in Side::ALL {
        let copies = bench.with(side, Direction::Egress, &fault, |bench| copies(bench, count))?;
        ensure!(copies.iter().all(|&copies| copies > 0), "packets were lost ({side:?})");
        twice.push(copies.into_iter().map(|copies| copies == 2).collect::<Vec<bool>>());
    }
    report.add(row("duplicate 5 %", Some(5.0), [&twice[0], &twice[1], &twice[2]], ""));
    Ok(())
}

/// Datagrams with a wrong bit do not reach the application, which their checksum tells.
fn damage(bench: &mut Bench, report: &mut Report, count: u64) -> Result<()> {
    let fault = Fault {
        rule: Rule {
            corrupt: Corrupt { chance: Chance::independent(percent(5.0)), silent: 0 },
            ..rule()
        },
        tc: "netem corrupt 5% limit 1000000".into(),
    };
    let (mut missing, mut wrong) = (Vec::new(), Vec::new());
    for side in Side::ALL {
        let received = bench.with(side, Direction::Egress, &fault, |bench| {
            let site = &bench.site;
            let address = Site::far_address(Way::Bridged, 4);
            numbered::send(&site.container, &site.neighbour, address, count as u32)
        })?;
        let mut absent = vec![true; count as usize];
        let mut damaged = 0;
        for datagram in received {
            let number = numbered::number(&datagram).context("a short datagram")?;
            let is_whole = number < count as u32 && datagram == numbered::content(number);
            damaged += u32::from(!is_whole);
            if let Some(place) = absent.get_mut(number as usize).filter(|_| is_whole) {
                *place = false;
            }
        }
        missing.push(absent);
        wrong.push(damaged);
    }
    let name = "corrupt 5 %, UDP datagrams refused by the receiver";
    let more = format!("; wrong in the application: entropy {}, netem {}", wrong[1], wrong[2]);
    let mut row = row(name, Some(5.0), [&missing[0], &missing[1], &missing[2]], &more);
    row.holds = row.holds.map(|holds| holds && wrong[1] == 0);
    row.criterion += ", none in the application";
    report.add(row);
    Ok(())
}

/// Early packets are those that take less than half of the delay.
fn reordering(bench: &mut Bench, report: &mut Report) -> Result<()> {
    const DELAY_MS: u64 = 100;
    for gap in [1, 5] {
        let chance = Chance::independent(percent(25.0));
        let fault = Fault {
            rule: Rule {
                delay: Delay::constant(DELAY_MS * 1_000_000),
                reorder: Reorder { chance, gap, ..Reorder::NONE },
                ..rule()
            },
            tc: format!("netem delay {DELAY_MS}ms reorder 25% gap {gap} limit 1000000"),
        };
        let count = if bench.quick { 2000 } else { 10_000 };
        let pace = Pace { count, gap: Duration::from_micros(500) };
        let mut early = Vec::new();
        for side in Side::ALL {
            let seen = bench.with(side, Direction::Egress, &fault, |bench| {
                let site = &bench.site;
                let address = Site::far_address(Way::Bridged, 4);
                probe(Kind::Udp, (&site.container, &site.neighbour, address), pace)
            })?;
            ensure!(seen.len() as u64 == count, "{} of {count} packets came", seen.len());
            let mut hits = vec![false; count as usize];
            for seen in seen {
                hits[seen.number as usize] =
                    side != Side::Without && seen.delay_ns < DELAY_MS * 500_000;
            }
            early.push(hits);
        }
        // After an early packet come gap - 1 that are not asked, then one in 1 / rate is early.
        let asked = 100.0 / (f64::from(gap - 1) + 4.0);
        let name = format!("reorder 25 %, gap {gap}, delay {DELAY_MS} ms");
        report.add(row(&name, Some(asked), [&early[0], &early[1], &early[2]], ""));
    }
    Ok(())
}
