//! TCP throughput behind a delay, against netem's.

use std::time::Duration;

use anyhow::{Context as _, Result};
use entropy_common::{
    fault::delay::Delay,
    rule::{Direction, Rule},
};

use super::{
    bench::{Bench, Fault, Side},
    report::{Report, Row},
    sample::median,
    site::{FAMILIES, Site, Way},
    tcp::{self, Carried},
};

const DELAY_MS: u64 = 20;
const FLOWS: [usize; 2] = [1, 8];
/// Least share of netem's throughput.
const LEAST: f64 = 0.95;
/// Whether cubic ends its slow start when round trips become longer. They do by chance where the
/// processors are the limit, and what a connection carries is settled by that for many seconds: so it
/// is off, for both sides.
const HYSTART: &str = "/sys/module/tcp_cubic/parameters/hystart";
/// What of a sender's TCP would have the rest of a run, or the next one, depend on a chance of its start.
/// How large its packets are follows from how fast it would pace them, in percent of what the window
/// says (`tcp_tso_autosize`): a flow that lost a segment early, or found that two had overtaken one
/// another, sends packets of half the size from then on, each of which costs the processor the same.
/// And a connection starts with what the last one to the same address has found out. Both sides are
/// spared that.
const SENDER: [(&str, &str); 3] = [
    ("ipv4/tcp_pacing_ss_ratio", "1000"),
    ("ipv4/tcp_pacing_ca_ratio", "1000"),
    ("ipv4/tcp_no_metrics_save", "1"),
];
/// How long the flows run before what they carry counts, and how long it does.
const WARM_UP: Duration = Duration::from_millis(1_000);
const WINDOW: Duration = Duration::from_millis(2_000);

/// Measures all ways, directions and families.
pub(super) fn measure(bench: &mut Bench, report: &mut Report) -> Result<()> {
    for end in Way::ALL.map(|way| bench.site.far(way)).into_iter().chain([&bench.site.container]) {
        for (file, value) in SENDER {
            end.set_sysctl(file, value)?;
        }
    }
    std::fs::write(HYSTART, "0").with_context(|| format!("write {HYSTART}"))?;
    let result = all(bench, report);
    std::fs::write(HYSTART, "1").with_context(|| format!("write {HYSTART}"))?;
    result
}

fn all(bench: &mut Bench, report: &mut Report) -> Result<()> {
    let fault = Fault {
        rule: Rule { delay: Delay::constant(DELAY_MS * 1_000_000), ..Rule::NONE },
        tc: format!("netem delay {DELAY_MS}ms limit 1000000"),
    };
    for way in Way::ALL {
        for direction in Direction::ALL {
            for family in FAMILIES {
                for flows in FLOWS {
                    // A sample of everything is enough to see that it works.
                    if bench.quick && (flows == 8) != (family == 6) {
                        continue;
                    }
                    let name = name((way, direction, family), flows);
                    if bench.wants(&name) {
                        report.add(case(bench, (&fault, name), (way, direction, family), flows)?);
                    }
                }
            }
        }
    }
    Ok(())
}

fn case(
    bench: &mut Bench,
    (fault, name): (&Fault, String),
    (way, direction, family): (Way, Direction, u8),
    flows: usize,
) -> Result<Row> {
    let mut carried: [Vec<Carried>; 3] = Default::default();
    let runs = bench.runs;
    for run in 0..runs {
        // ABBA: what drifts hits both alike.
        let order = [Side::Entropy, Side::Netem];
        let order = if run % 2 == 0 { order } else { [order[1], order[0]] };
        let without = (run == 0).then_some(Side::Without);
        for side in without.into_iter().chain(order) {
            carried[side as usize].push(bench.with(side, direction, fault, |bench| {
                once(&bench.site, (way, direction, family), flows)
            })?);
        }
    }
    let pairs = carried[1].iter().zip(&carried[2]).map(|(ours, theirs)| ours.bits / theirs.bits);
    let pairs = pairs.fold([f64::INFINITY, 0.0], |[low, high], x| [low.min(x), high.max(x)]);
    let medians = |read: fn(&Carried) -> f64| {
        carried.each_ref().map(|runs| median(&mut runs.iter().map(read).collect::<Vec<_>>()))
    };
    let [without, entropy, netem] = medians(|carried| carried.bits / 1e6);
    let idle = medians(|carried| carried.idle * 100.0);
    let sizes = medians(|carried| carried.packet / 1e3);
    let answers = medians(|carried| carried.answers);
    let reordered = medians(|carried| carried.reordered);
    Ok(Row {
        section: "TCP throughput behind 20 ms",
        fault: name,
        parameter: "throughput [Mbit/s]",
        asked: None,
        without: Some(without),
        entropy: Some(entropy),
        netem: Some(netem),
        criterion: format!("at least {LEAST} of netem"),
        holds: (!bench.quick).then_some(entropy >= LEAST * netem),
        note: format!(
            "{:.3} of netem, medians of {runs}, single pairs {:.2} to {:.2}; processors idle: \
             without {:.0} %, entropy {:.0} %, netem {:.0} %; packets of {:.1}, {:.1}, {:.1} kB with \
             {:.2}, {:.2}, {:.2} answers; {:.0}, {:.0}, {:.0} reorderings",
            entropy / netem,
            pairs[0],
            pairs[1],
            idle[0],
            idle[1],
            idle[2],
            sizes[0],
            sizes[1],
            sizes[2],
            answers[0],
            answers[1],
            answers[2],
            reordered[0],
            reordered[1],
            reordered[2]
        ),
    })
}

fn name((way, direction, family): (Way, Direction, u8), flows: usize) -> String {
    let (from, to) = match direction {
        Direction::Egress => ("container", way.name()),
        Direction::Ingress => (way.name(), "container"),
    };
    format!("{from} to {to}, IPv{family}, {flows} flow{}", plural(flows))
}

const fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn once(
    site: &Site,
    (way, direction, family): (Way, Direction, u8),
    flows: usize,
) -> Result<Carried> {
    let far = site.far(way);
    let ends = match direction {
        Direction::Egress => (&site.container, far, Site::far_address(way, family)),
        Direction::Ingress => (far, &site.container, Site::container_address(family)),
    };
    tcp::throughput(ends, flows, WARM_UP, WINDOW)
}
