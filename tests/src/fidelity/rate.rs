//! Bandwidth: as much as was asked, and never a longer queue.

use std::time::Duration;

use anyhow::{Context as _, Result};
use entropy_common::{
    fault::rate::Link,
    rule::{Direction, Rule},
};

use super::{
    bench::{Bench, Fault, Side},
    milliseconds,
    probe::{Pace, Seen, udp},
    report::{Report, Row},
    sample::percentile,
    site::{Site, Way},
    tcp,
};

const SECTION: &str = "Rate";
const RATES_MBIT: [u64; 3] = [1, 10, 100];
const QUEUE_MS: u64 = 100;
/// How far the rate may be from what was asked.
const MARGIN: f64 = 0.01;
/// Bytes of a datagram's payload beyond time and number, and of its frame.
const FILLING: usize = 1384;
const FRAME: u64 = 14 + 20 + 8 + 16 + FILLING as u64;
/// Of a full TCP segment with timestamps: bytes of the frame and of the payload.
const SEGMENT: (f64, f64) = (1514.0, 1448.0);
/// By how much more is sent than goes through.
const EXCESS: f64 = 1.3;
/// Where the sender did not get to send so much more than goes through, nothing is said of the rate.
const LEAST_EXCESS: f64 = 1.05;
/// Tries of a sender that has to share the processor with others.
const TRIES: usize = 3;
/// How late an emulated timer may be, in milliseconds.
const TIMER_MS: f64 = 2.0;
/// Share of the run that is left out at its start.
const WARM_UP: f64 = 0.3;

/// Whom netem's side is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rival {
    Netem,
    Tbf,
}

/// Measures every rate with UDP and TCP, beside netem and tbf.
pub(super) fn measure(bench: &mut Bench, report: &mut Report) -> Result<()> {
    let length = Duration::from_secs(if bench.quick { 2 } else { 5 });
    for mbit in RATES_MBIT {
        // A super-packet takes half a second at 1 Mbit/s.
        let long = if mbit == 1 && !bench.quick { 3 } else { 1 };
        let faults = [Rival::Netem, Rival::Tbf].map(|rival| fault(mbit, rival));
        let [netem, tbf] = faults;
        let (netem, tbf) = (netem?, tbf?);
        datagrams(bench, report, mbit, (&netem, &tbf), length)?;
        streams(bench, report, mbit, (&netem, &tbf), length * long)?;
    }
    Ok(())
}

fn fault(mbit: u64, rival: Rival) -> Result<Fault> {
    let link = Link::new(mbit * 1_000_000 / 8, QUEUE_MS * 1_000_000);
    let packets = (link.bytes_per_second * QUEUE_MS / 1000 / FRAME).max(2);
    Ok(Fault {
        rule: Rule { rate: link.rate().context("a rate")?, ..Rule::NONE },
        tc: match rival {
            Rival::Netem => format!("netem rate {mbit}mbit limit {packets}"),
            Rival::Tbf => format!("tbf rate {mbit}mbit burst 5000 latency {QUEUE_MS}ms"),
        },
    })
}

fn row(mbit: u64, what: &str, parameter: &'static str, holds: Option<bool>) -> Row {
    Row {
        section: SECTION,
        fault: format!("{mbit} Mbit/s, queue {QUEUE_MS} ms, {what}"),
        parameter,
        holds,
        ..Row::default()
    }
}

fn is_close(rate: f64, asked: u64) -> bool {
    (rate / asked as f64 - 1.0).abs() <= MARGIN
}

fn datagrams(
    bench: &mut Bench,
    report: &mut Report,
    mbit: u64,
    (netem, tbf): (&Fault, &Fault),
    length: Duration,
) -> Result<()> {
    let bits = FRAME as f64 * 8.0;
    let gap = Duration::from_secs_f64(bits / (mbit as f64 * 1e6 * EXCESS));
    let pace = Pace { count: (length.as_secs_f64() / gap.as_secs_f64()) as u64, gap };
    let mut measured = Vec::new();
    let sides =
        [(Side::Without, netem), (Side::Entropy, netem), (Side::Netem, netem), (Side::Netem, tbf)];
    for (side, fault) in sides {
        let mut seen = Vec::new();
        for _ in 0..TRIES {
            seen = bench.with(side, Direction::Egress, fault, |bench| once(bench, pace))?;
            if offered(&seen, bits) >= mbit as f64 * LEAST_EXCESS {
                break;
            }
        }
        measured.push((rate(&seen, bits), tail(&seen), offered(&seen, bits)));
    }
    let [without, entropy, netem, tbf] = [0, 1, 2, 3].map(|side: usize| measured[side]);
    let is_full = entropy.2 >= mbit as f64 * LEAST_EXCESS;
    report.add(Row {
        asked: Some(mbit as f64),
        without: Some(without.0),
        entropy: Some(entropy.0),
        netem: Some(netem.0),
        criterion: "within 1 %".into(),
        note: format!(
            "tbf {:.3}; offered: entropy {:.1}, netem {:.1}, tbf {:.1}",
            tbf.0, entropy.2, netem.2, tbf.2
        ),
        ..row(mbit, "UDP", "rate [Mbit/s]", is_full.then_some(is_close(entropy.0, mbit)))
    });
    let limit = QUEUE_MS as f64 + without.1.1 + TIMER_MS;
    report.add(Row {
        asked: Some(QUEUE_MS as f64),
        without: Some(without.1.0),
        entropy: Some(entropy.1.0),
        netem: Some(netem.1.0),
        criterion: format!("at most asked + longest without + {TIMER_MS} ms"),
        note: format!(
            "tbf {:.2}; longest: without {:.2}, entropy {:.2}, netem {:.2}",
            tbf.1.0, without.1.1, entropy.1.1, netem.1.1
        ),
        ..row(mbit, "UDP", "p99 of the way [ms]", Some(entropy.1.0 <= limit))
    });
    Ok(())
}

fn once(bench: &Bench, pace: Pace) -> Result<Vec<Seen>> {
    let site = &bench.site;
    udp((&site.container, &site.neighbour, Site::far_address(Way::Bridged, 4)), pace, FILLING)
}

/// Megabits per second between the first packet that counts and the last.
fn rate(seen: &[Seen], bits: f64) -> f64 {
    let seen = &seen[(seen.len() as f64 * WARM_UP) as usize..];
    match seen {
        [first, .., last] if last.at_ns > first.at_ns => {
            (seen.len() - 1) as f64 * bits / (last.at_ns - first.at_ns) as f64 * 1e3
        }
        _ => 0.0,
    }
}

/// Megabits per second that were sent meanwhile, by the time that each packet carries.
fn offered(seen: &[Seen], bits: f64) -> f64 {
    let (Some(first), Some(last)) = (seen.first(), seen.last()) else { return 0.0 };
    let sent = |seen: &Seen| seen.at_ns - seen.delay_ns;
    let (numbers, took) =
        (last.number.saturating_sub(first.number), sent(last).saturating_sub(sent(first)));
    if took == 0 { 0.0 } else { numbers as f64 * bits / took as f64 * 1e3 }
}

/// The 99th percentile and the longest, in milliseconds.
fn tail(seen: &[Seen]) -> (f64, f64) {
    let mut delays: Vec<f64> = seen.iter().map(|seen| milliseconds(seen.delay_ns as f64)).collect();
    delays.sort_unstable_by(f64::total_cmp);
    (percentile(&delays, 0.99), percentile(&delays, 1.0))
}

fn streams(
    bench: &mut Bench,
    report: &mut Report,
    mbit: u64,
    (netem, tbf): (&Fault, &Fault),
    length: Duration,
) -> Result<()> {
    let mut measured = Vec::new();
    for (side, fault) in [(Side::Entropy, netem), (Side::Netem, netem), (Side::Netem, tbf)] {
        measured.push(bench.with(side, Direction::Egress, fault, |bench| {
            let site = &bench.site;
            let ends = (&site.container, &site.neighbour, Site::far_address(Way::Bridged, 4));
            Ok(stream_rate(&tcp::arrivals(ends, length)?))
        })?);
    }
    let entropy = measured[0];
    report.add(Row {
        asked: Some(mbit as f64),
        entropy: Some(entropy),
        netem: Some(measured[1]),
        criterion: "within 1 %".into(),
        note: format!("tbf {:.3}; payload and the headers of full segments", measured[2]),
        ..row(mbit, "TCP", "rate [Mbit/s]", Some(is_close(entropy, mbit)))
    });
    Ok(())
}

/// Megabits per second on the wire, from what the application read when.
fn stream_rate(arrivals: &[(u64, u64)]) -> f64 {
    let Some((start, end)) = arrivals.first().zip(arrivals.last()) else { return 0.0 };
    let from = start.0 + ((end.0 - start.0) as f64 * WARM_UP) as u64;
    let counted = &arrivals[arrivals.partition_point(|(at, _)| *at < from)..];
    match counted {
        [first, rest @ ..] if end.0 > first.0 => {
            let bytes: u64 = rest.iter().map(|(_, bytes)| bytes).sum();
            bytes as f64 * 8.0 * SEGMENT.0 / SEGMENT.1 / (end.0 - first.0) as f64 * 1e3
        }
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_what_counts() {
        // One packet of 1000 bits every microsecond is a gigabit per second.
        let seen: Vec<Seen> =
            (0..100).map(|n| Seen { number: n, delay_ns: n, at_ns: 5000 + n * 1000 }).collect();
        assert!((rate(&seen, 1000.0) - 1000.0).abs() < 1e-9);
        let every_other: Vec<Seen> = seen.iter().step_by(2).copied().collect();
        assert!((offered(&every_other, 1000.0) - 1001.0).abs() < 0.1);
        assert_eq!((rate(&[], 1.0), stream_rate(&[])), (0.0, 0.0));
        let arrivals: Vec<(u64, u64)> = (0..100).map(|n| (n * 1000, 1448)).collect();
        assert!((stream_rate(&arrivals) - 12_112.0).abs() < 1e-6);
    }
}
