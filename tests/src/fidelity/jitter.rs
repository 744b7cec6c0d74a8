//! Jitter: the distributions, from the programs' arithmetic and on the wire, and the order.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use entropy_common::{
    chance::Probability,
    fault::delay::{
        Delay,
        table::{Distribution, Table},
    },
    host::{Host, HostMemory},
    rule::{Direction, Rule},
};

use super::{
    bench::{Bench, Fault, Side},
    milliseconds,
    plot::Plot,
    probe::{Kind, Pace, Seen, probe},
    report::{Report, Row},
    sample::{kolmogorov_smirnov, median, moments, out_of_order, percentile},
    shape::{Asked, Shape},
    site::{Site, Way},
};

const SECTION: &str = "Jitter";
const BASE_MS: u64 = 50;
const JITTER_MS: u64 = 10;
/// Packets of the model: what the programs compute.
const MODEL: u64 = 200_000;
/// Packets of a distribution on the wire: with Entropy, and with the others, at a calmer pace.
const MANY: Pace = Pace { count: 100_000, gap: Duration::from_micros(200) };
const SOME: Pace = Pace { count: 4000, gap: Duration::from_millis(1) };
/// Of either in a quick run.
const FEW: u64 = 500;
/// How far the standard deviation may be from what was asked.
const MARGIN: f64 = 0.02;
/// Least probability of Kolmogorov and Smirnov's test.
const LEAST: f64 = 0.001;

/// Measures every shape, then the order.
pub(super) fn measure(bench: &mut Bench, report: &mut Report) -> Result<()> {
    for shape in Shape::ALL {
        model(bench, report, shape)?;
        wire(bench, report, shape)?;
    }
    correlated(bench, report)?;
    percentiles(bench, report)?;
    order(bench, report)
}

fn delay(shape: Shape) -> Result<Delay> {
    shape.delay(BASE_MS * 1_000_000, JITTER_MS * 1_000_000).context("the delay is too long")
}

fn row(what: &str, shape: Shape, parameter: &'static str) -> Row {
    Row {
        section: SECTION,
        fault: format!("{BASE_MS} ms, jitter {JITTER_MS} ms, {}, {what}", shape.name()),
        parameter,
        ..Row::default()
    }
}

/// The departures that the programs give, by the code that they share with the host.
fn model(bench: &Bench, report: &mut Report, shape: Shape) -> Result<()> {
    let delay = delay(shape)?;
    let (host, memory) = (Host::new(&[], &[]).with_distributions(), HostMemory::default());
    let mut sample: Vec<f64> = (0..MODEL)
        .map(|ordinal| milliseconds(delay.given(bench.seed, ordinal, &memory, &host) as f64))
        .collect();
    sample.sort_unstable_by(f64::total_cmp);
    let asked = JITTER_MS as f64 * shape.deviation();
    let deviation = moments(&sample).1;
    report.add(Row {
        asked: Some(asked),
        entropy: Some(deviation),
        criterion: "within 2 %".into(),
        holds: Some((deviation / asked - 1.0).abs() <= MARGIN),
        note: format!("n = {MODEL}"),
        ..row("departures", shape, "standard deviation [ms]")
    });
    let chance = fit(&sample, &distribution(shape));
    report.add(Row {
        entropy: Some(chance),
        criterion: format!("above {LEAST}"),
        holds: Some(chance > LEAST),
        note: format!("n = {MODEL}"),
        ..row("departures", shape, "Kolmogorov-Smirnov p")
    });
    Ok(())
}

fn distribution(shape: Shape) -> Asked {
    Asked::new(shape, BASE_MS as f64, JITTER_MS as f64)
}

fn fit(sorted: &[f64], asked: &Asked) -> f64 {
    kolmogorov_smirnov(sorted, |delay| asked.share(delay))
}

fn fault(shape: Shape, keep_order: bool) -> Result<Fault> {
    let delay = Delay { keep_order: u32::from(keep_order), ..delay(shape)? };
    let distribution = match shape {
        Shape::Uniform => String::new(),
        _ => format!(" distribution {}", shape.name()),
    };
    Ok(Fault {
        rule: Rule { delay, ..Rule::NONE },
        tc: format!("netem delay {BASE_MS}ms {JITTER_MS}ms{distribution} limit 1000000"),
    })
}

fn once(bench: &Bench) -> Result<Vec<Seen>> {
    paced(bench, SOME)
}

fn paced(bench: &Bench, pace: Pace) -> Result<Vec<Seen>> {
    let count = if bench.quick { FEW } else { pace.count };
    let pace = Pace { count, ..pace };
    let site = &bench.site;
    let ends = (&site.container, &site.neighbour, Site::far_address(Way::Bridged, 4));
    let seen = probe(Kind::Udp, ends, pace)?;
    ensure!(seen.len() as u64 == count, "{} of {count} packets came", seen.len());
    Ok(seen)
}

/// Delays of datagrams, less the median of those without a fault. The distribution is compared around
/// its own median: how far that is off is another section's.
fn wire(bench: &mut Bench, report: &mut Report, shape: Shape) -> Result<()> {
    let fault = fault(shape, false)?;
    let mut usual = 0.0;
    let mut samples = Vec::new();
    for side in Side::ALL {
        let pace = if side == Side::Entropy { MANY } else { SOME };
        let seen = bench.with(side, Direction::Egress, &fault, |bench| paced(bench, pace))?;
        let mut delays: Vec<f64> =
            seen.iter().map(|seen| milliseconds(seen.delay_ns as f64) - usual).collect();
        if side == Side::Without {
            usual = median(&mut delays);
        }
        delays.sort_unstable_by(f64::total_cmp);
        samples.push(delays);
    }
    let note = format!("n = {}, netem {}", samples[1].len(), samples[2].len());
    let [without, entropy, netem] = [0, 1, 2].map(|side| moments(&samples[side]).1);
    let asked = JITTER_MS as f64 * shape.deviation();
    report.add(Row {
        asked: Some(asked),
        without: Some(without),
        entropy: Some(entropy),
        netem: Some(netem),
        criterion: "within 2 %".into(),
        holds: (!bench.quick).then_some((entropy / asked - 1.0).abs() <= MARGIN),
        note: note.clone(),
        ..row("on the wire", shape, "standard deviation [ms]")
    });
    let target = distribution(shape);
    let [entropy, netem] = [1, 2].map(|side: usize| {
        let shift = target.median() - percentile(&samples[side], 0.5);
        let shifted: Vec<f64> = samples[side].iter().map(|delay| delay + shift).collect();
        (fit(&shifted, &target), shift)
    });
    report.add(Row {
        entropy: Some(entropy.0),
        netem: Some(netem.0),
        criterion: format!("above {LEAST}"),
        holds: (!bench.quick).then_some(entropy.0 > LEAST),
        note: format!("{note}; medians off by {:+.3}, netem {:+.3} ms", -entropy.1, -netem.1),
        ..row("on the wire", shape, "Kolmogorov-Smirnov p")
    });
    let title = format!("{BASE_MS} ms, jitter {JITTER_MS} ms, {}", shape.name());
    report.curves.push(Plot::distribution(
        &format!("jitter-{}", shape.name()),
        &title,
        target.curve(200),
        &samples[1],
        &samples[2],
    ));
    Ok(())
}

/// Correlation keeps mean and spread; netem's does not keep the spread.
fn correlated(bench: &mut Bench, report: &mut Report) -> Result<()> {
    const SHARE: u64 = 1 << 31;
    let shape = Shape::Normal;
    let correlation = Probability::from_parts(SHARE).context("a half")?;
    let fault = Fault {
        rule: Rule { delay: Delay { correlation, ..delay(shape)? }, ..Rule::NONE },
        tc: format!("netem delay {BASE_MS}ms {JITTER_MS}ms 50% distribution normal limit 1000000"),
    };
    let (host, memory) = (Host::new(&[], &[]).with_distributions(), HostMemory::default());
    let given = |ordinal| fault.rule.delay.given(bench.seed, ordinal, &memory, &host);
    let model: Vec<f64> = (0..MODEL).map(|ordinal| milliseconds(given(ordinal) as f64)).collect();
    let mut sides = Vec::new();
    for side in Side::ALL {
        let seen = bench.with(side, Direction::Egress, &fault, once)?;
        let delays: Vec<f64> = seen.iter().map(|seen| milliseconds(seen.delay_ns as f64)).collect();
        sides.push(moments(&delays));
    }
    let (mean, deviation) = moments(&model);
    let named = |what, parameter| Row {
        fault: format!("{BASE_MS} ms, jitter {JITTER_MS} ms, correlation 50 %, normal, {what}"),
        ..row("", shape, parameter)
    };
    report.add(Row {
        asked: Some(JITTER_MS as f64),
        entropy: Some(deviation),
        criterion: "within 2 %".into(),
        holds: Some((deviation / JITTER_MS as f64 - 1.0).abs() <= MARGIN),
        note: format!("n = {MODEL}; mean {mean:.3}"),
        ..named("departures", "standard deviation [ms]")
    });
    let [without, entropy, netem] = [0, 1, 2].map(|side: usize| Some(sides[side].1));
    report.add(Row {
        asked: Some(JITTER_MS as f64),
        without,
        entropy,
        netem,
        note: format!("mean: entropy {:.2}, netem {:.2}", sides[1].0, sides[2].0),
        ..named("on the wire", "standard deviation [ms]")
    });
    Ok(())
}

/// Percentiles as they come out of a dashboard. netem needs a file of a distribution for it.
fn percentiles(bench: &mut Bench, report: &mut Report) -> Result<()> {
    /// The first number that no named distribution has.
    const TABLE: u32 = Distribution::ALL.len() as u32;
    const ASKED: [(f64, u64); 4] =
        [(50.0, 20_000_000), (90.0, 50_000_000), (99.0, 100_000_000), (100.0, 120_000_000)];
    let (table, longest_ns) =
        Table::percentiles(&ASKED).map_err(|error| anyhow!("percentiles: {error}"))?;
    bench.put_table(TABLE, &table)?;
    let delay = Delay::percentiles(longest_ns, TABLE).context("the delay is too long")?;
    let fault = Fault { rule: Rule { delay, ..Rule::NONE }, tc: String::new() };
    let mut sorted = Vec::new();
    for side in [Side::Without, Side::Entropy] {
        let seen = bench.with(side, Direction::Egress, &fault, once)?;
        let mut delays: Vec<f64> =
            seen.iter().map(|seen| milliseconds(seen.delay_ns as f64)).collect();
        delays.sort_unstable_by(f64::total_cmp);
        sorted.push(delays);
    }
    let tables: Vec<Table> =
        Distribution::ALL.into_iter().map(Distribution::table).chain([table]).collect();
    let (host, memory) = (Host::new(&[], &[]).with_tables(tables), HostMemory::default());
    let given = |ordinal| delay.given(bench.seed, ordinal, &memory, &host);
    let mut model: Vec<f64> =
        (0..MODEL).map(|ordinal| milliseconds(given(ordinal) as f64)).collect();
    model.sort_unstable_by(f64::total_cmp);
    for (percent, asked_ns) in &ASKED[..3] {
        let asked = milliseconds(*asked_ns as f64);
        let of = |sorted: &[f64]| percentile(sorted, percent / 100.0);
        report.add(Row {
            section: SECTION,
            fault: "percentiles 20, 50, 100 ms".to_owned(),
            parameter: match percent {
                50.0 => "p50 [ms]",
                90.0 => "p90 [ms]",
                _ => "p99 [ms]",
            },
            asked: Some(asked),
            without: Some(of(&sorted[0])),
            entropy: Some(of(&sorted[1])),
            criterion: "departures within 2 %".into(),
            holds: Some((of(&model) / asked - 1.0).abs() <= MARGIN),
            note: format!("on the wire, n = {}; departures {:.3}", sorted[1].len(), of(&model)),
            ..Row::default()
        });
    }
    Ok(())
}

/// With `order = "keep"` nothing overtakes.
fn order(bench: &mut Bench, report: &mut Report) -> Result<()> {
    let shape = Shape::Uniform;
    let fault = fault(shape, true)?;
    let mut late = Vec::new();
    for side in Side::ALL {
        let seen = bench.with(side, Direction::Egress, &fault, once)?;
        late.push(out_of_order(seen.iter().map(|seen| seen.number)) as f64);
    }
    report.add(Row {
        asked: Some(0.0),
        without: Some(late[0]),
        entropy: Some(late[1]),
        netem: Some(late[2]),
        criterion: "none with Entropy".into(),
        holds: Some(late[1] == 0.0),
        note: "netem has no such option".into(),
        ..row("order = keep", shape, "packets out of order")
    });
    Ok(())
}
