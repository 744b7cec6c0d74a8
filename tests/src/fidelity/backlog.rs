//! Many packets that wait at once: none may be lost.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use entropy_common::{
    fault::delay::Delay,
    rule::{Direction, Rule},
};

use super::{
    bench::{Bench, Fault, Side},
    nanoseconds,
    report::{Report, Row},
    site::{INSIDE, Site, Way},
};
use crate::{
    cpu,
    frames::{End, Flow, Protocol},
    netns::Netns,
    threads::outcome,
    traffic::{Receiver, socket::PacketSocket},
};

const SECTION: &str = "Nothing lost that was not asked for";
/// Bytes of Ethernet, IPv4 and UDP headers and of the mark.
const FIXED: usize = 14 + 20 + 8 + 16;
/// What the issue asks: the delay and the packets that wait at a gigabit per second.
const DELAY: Duration = Duration::from_millis(200);

/// Share of the speed without a fault at which is sent with one. What waits needs no work until it
/// leaves, so more than the machine can carry could be sent, and would be lost on its way on: between
/// devices, where the kernel keeps a thousand packets for each CPU (net.core.netdev_max_backlog).
const SHARE: f64 = 0.25;

/// A burst of frames.
struct Burst {
    /// Bytes of a frame, without its checksum.
    length: usize,
    count: u64,
    /// `None` for as long as it takes to send them all and a little more: all wait at once.
    delay: Option<Duration>,
}

const BURSTS: [Burst; 4] = [
    Burst { length: 1514, count: 20_000, delay: Some(DELAY) },
    Burst { length: 60, count: 50_000, delay: Some(DELAY) },
    Burst { length: 1514, count: 17_000, delay: None },
    Burst { length: 60, count: 300_000, delay: None },
];

/// Measures every burst.
pub(super) fn measure(bench: &mut Bench, report: &mut Report) -> Result<()> {
    for burst in BURSTS {
        if !bench.quick || burst.count <= 20_000 {
            case(bench, report, &burst)?;
        }
    }
    Ok(())
}

/// What came of a burst.
struct Outcome {
    lost: u64,
    per_second: f64,
    waiting: u32,
    /// Packets that the kernel dropped because too many were on their way between two devices
    /// (`net.core.netdev_max_backlog`): not in any queue of ours or netem's.
    crowded_out: u64,
}

fn case(bench: &mut Bench, report: &mut Report, burst: &Burst) -> Result<()> {
    let flow = flow(&bench.site)?;
    let mut outcomes: Vec<Outcome> = Vec::new();
    for side in Side::ALL {
        let speed = outcomes.first().map(|outcome| outcome.per_second * SHARE);
        let delay = match (speed, burst.delay) {
            (None, _) => Duration::ZERO,
            (_, Some(delay)) => delay,
            (Some(speed), None) => {
                Duration::from_secs_f64((burst.count as f64 / speed * 1.2 + 1.0).ceil().min(55.0))
            }
        };
        let fault = Fault {
            rule: Rule { delay: Delay::constant(nanoseconds(delay)), ..Rule::NONE },
            tc: format!("netem delay {}ms limit 2000000", delay.as_millis()),
        };
        outcomes.push(bench.with(side, Direction::Egress, &fault, |bench| {
            once(bench, &flow, burst, speed, delay)
        })?);
    }
    let lost = |side: usize| Some(outcomes[side].lost as f64);
    let [speed, usual] = [1, 0].map(|side: usize| outcomes[side].per_second);
    let delay = burst.delay.map_or("longer than it takes to send them".to_owned(), |delay| {
        format!("{} ms", delay.as_millis())
    });
    report.add(Row {
        section: SECTION,
        fault: format!("{} frames of {} bytes, delay {delay}", burst.count, burst.length),
        parameter: "lost packets",
        asked: Some(0.0),
        without: lost(0),
        entropy: lost(1),
        netem: lost(2),
        criterion: "none with Entropy".into(),
        holds: Some(outcomes[1].lost == 0),
        note: format!(
            "{} waited at once when the last was sent; sent at {:.0}/s = {:.0} Mbit/s, without a \
             fault at {usual:.0}/s; dropped between devices: entropy {}, netem {}",
            outcomes[1].waiting,
            speed,
            speed * burst.length as f64 * 8.0 / 1e6,
            outcomes[1].crowded_out,
            outcomes[2].crowded_out,
        ),
    });
    Ok(())
}

/// Datagrams from the container to its neighbour, frame by frame.
pub(super) fn flow(site: &Site) -> Result<Flow> {
    let end = |at: &Netns, ip, port| Ok::<_, anyhow::Error>(End { mac: at.mac(INSIDE)?, ip, port });
    Ok(Flow {
        source: end(&site.container, Site::container_address(4), 4001)?,
        destination: end(&site.neighbour, Site::far_address(Way::Bridged, 4), 4002)?,
        protocol: Protocol::Udp,
        tag: 0x666_964,
    })
}

fn once(
    bench: &Bench,
    flow: &Flow,
    burst: &Burst,
    speed: Option<f64>,
    delay: Duration,
) -> Result<Outcome> {
    let (site, before) = (&bench.site, crowded_out()?);
    let receiver = Receiver::start(&site.neighbour, INSIDE, flow)?;
    let took = blast(&site.container, flow, burst, speed)?;
    let waiting = bench.queue()?.waiting;
    thread::sleep(delay);
    let received = receiver.finish(burst.count)?;
    Ok(Outcome {
        lost: burst.count - received.distinct(),
        per_second: burst.count as f64 / took.as_secs_f64(),
        waiting,
        crowded_out: crowded_out()? - before,
    })
}

/// The second column of every CPU's line, in hexadecimal.
fn crowded_out() -> Result<u64> {
    let path = "/proc/net/softnet_stat";
    let text = fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    let drops = |line: &str| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok();
    Ok(text.lines().filter_map(drops).sum())
}

/// Sends at a speed, or as fast as it goes.
fn blast(from: &Netns, flow: &Flow, burst: &Burst, speed: Option<f64>) -> Result<Duration> {
    let socket = PacketSocket::sender(from, INSIDE)?;
    let mut frame = flow.frame(0, burst.length - FIXED)?;
    thread::scope(|scope| {
        let sent = scope.spawn(move || {
            cpu::pin(*cpu::allowed()?.first().context("no CPU")?)?;
            let start = Instant::now();
            for number in 0..burst.count {
                // Nobody on the way looks at the checksum of UDP.
                let place = frame.len() - 8;
                frame[place..].copy_from_slice(&number.to_be_bytes());
                while !socket.send(&frame)? {
                    thread::yield_now();
                }
                if let Some(speed) = speed.filter(|_| number % 16 == 0) {
                    let due = start + Duration::from_secs_f64(number as f64 / speed);
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                }
            }
            Ok(start.elapsed())
        });
        outcome(sent.join())
    })
}
