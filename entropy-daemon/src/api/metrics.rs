//! What Prometheus reads, in its text format (version 0.0.4).

use std::{fmt::Write as _, ops::RangeInclusive};

use entropy_common::stats::{Event, bucket_start_ns};

use super::types::{Counters, Health, Injection, Policy, Source, State, Status};
use crate::netlink::FqStatistics;

/// The type of the text.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A counter of an injection: its name, what it counts, and where it is.
type Counted = (&'static str, &'static str, fn(&Counters) -> u64);

const COUNTERS: [Counted; 13] = [
    ("seen_packets", "Packets that passed while the injection was in force.", |c| c.seen_packets),
    ("matched_packets", "Packets that the injection matched.", |c| c.matched_packets),
    ("matched_bytes", "Bytes of the matched packets.", |c| c.matched_bytes),
    ("lost_packets", "Packets that the injection lost.", |c| c.lost_packets),
    ("lost_bytes", "Bytes of the lost packets.", |c| c.lost_bytes),
    ("queue_dropped_packets", "Packets for which a queue had no room.", |c| {
        c.queue_dropped_packets
    }),
    ("delayed_packets", "Packets that were delayed.", |c| c.delayed_packets),
    ("reordered_packets", "Packets that were sent early.", |c| c.reordered_packets),
    ("duplicated_packets", "Packets that were sent twice.", |c| c.duplicated_packets),
    ("frames", "Frames of matching packets that came out of the wire.", |c| c.frames),
    ("corrupted_frames", "Frames that were damaged.", |c| c.corrupted_frames),
    ("shaped_packets", "Packets that waited for a link.", |c| c.shaped_packets),
    ("marked_packets", "Packets marked with congestion experienced.", |c| c.marked_packets),
];

/// What there is to be told.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) health: &'a Health,
    pub(super) policies: &'a [Policy],
    pub(super) injections: &'a [Injection],
    pub(super) containers: usize,
    /// Nanoseconds until the lease ends; `None` where it cannot be read.
    pub(super) lease_left_ns: Option<u64>,
    /// The line's queue; `None` where packets cannot wait, or it cannot be asked.
    pub(super) queue: Option<FqStatistics>,
    /// Packets that each event happened to.
    pub(super) events: &'a [(Event, u64)],
}

/// The whole text.
pub(super) fn render(facts: &Facts<'_>) -> String {
    let mut text = Text::default();
    let Facts { health, policies, injections, .. } = facts;
    text.family("build_info", "gauge", "Which version runs.");
    text.sample("build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    let gauges: [(&str, &str, f64); 6] = [
        ("healthy", "Whether all is well.", flag(health.status == Status::Ok)),
        ("halted", "Whether nothing is injected.", flag(health.halted.is_some())),
        ("engine_connected", "Whether the engine answers.", flag(health.engine.connected)),
        ("containers", "Containers that are known.", facts.containers as f64),
        ("containers_hit", "Containers that are hit.", health.containers_hit as f64),
        ("injections_idle", "Injections that match nothing.", health.injections_idle as f64),
    ];
    for (name, help, value) in gauges {
        text.family(name, "gauge", help);
        text.sample(name, &[], value);
    }
    if let Some(left_ns) = facts.lease_left_ns {
        text.family("lease_left_seconds", "gauge", "For how long the kernel may go on injecting.");
        text.sample("lease_left_seconds", &[], left_ns as f64 / 1e9);
    }
    if let Some(queue) = facts.queue {
        line(&mut text, queue);
    }
    text.family("policies", "gauge", "Policies, by where they come from and how they are.");
    for (source, name) in [(Source::File, "file"), (Source::Api, "api")] {
        for (state, word) in STATES {
            let is_one = |policy: &&Policy| policy.source == source && policy.state == state;
            let count = policies.iter().filter(is_one).count();
            text.sample("policies", &[("source", name), ("state", word)], count as f64);
        }
    }
    text.family("injections", "gauge", "Injections, by how they are.");
    for (state, word) in STATES {
        let count = injections.iter().filter(|injection| injection.state == state).count();
        text.sample("injections", &[("state", word)], count as f64);
    }
    counters(&mut text, injections);
    delays(&mut text, injections);
    text.family("events_total", "counter", "Packets that something happened to without a rule.");
    for (event, count) in facts.events {
        text.sample("events_total", &[("event", event.name())], *count as f64);
    }
    text.0
}

const STATES: [(State, &str); 8] = [
    (State::InForce, "in_force"),
    (State::Waiting, "waiting"),
    (State::Over, "over"),
    (State::Paused, "paused"),
    (State::Halted, "halted"),
    (State::Refused, "refused"),
    (State::NoContainer, "no_container"),
    (State::Pending, "pending"),
];

/// The fair queue in which delayed packets wait. A packet that it drops is one that nobody asked for.
fn line(text: &mut Text, queue: FqStatistics) {
    let figures: [(&str, &str, &str, f64); 5] = [
        ("line_waiting_packets", "gauge", "Packets that wait in the line.", queue.waiting.into()),
        ("line_waiting_bytes", "gauge", "Bytes that wait in the line.", queue.waiting_bytes.into()),
        (
            "line_dropped_packets_total",
            "counter",
            "Packets that the line had no room for.",
            queue.drops.into(),
        ),
        (
            "line_flow_limited_packets_total",
            "counter",
            "Of the dropped ones, those whose flow had no room.",
            queue.flow_limit_drops as f64,
        ),
        (
            "line_beyond_horizon_packets_total",
            "counter",
            "Packets that should have waited longer than the line can hold them.",
            queue.beyond_horizon as f64,
        ),
    ];
    for (name, kind, help, value) in figures {
        text.family(name, kind, help);
        text.sample(name, &[], value);
    }
}

fn counters(text: &mut Text, injections: &[Injection]) {
    for (name, help, count) in COUNTERS {
        let name = format!("{name}_total");
        text.family(&name, "counter", help);
        for injection in injections {
            let Some((counters, labels)) = counted(injection) else { continue };
            text.sample(&name, &labels, count(counters) as f64);
        }
    }
}

/// The kernel's buckets that have a line of their own: the first ends at 65.5 us and has all that is
/// shorter, the last at 68.7 s, which is more than the longest delay.
const OWN_LINE: RangeInclusive<u32> = 6..=26;

/// For each injection that has delayed something. The kernel counts by powers of two and keeps no sum.
fn delays(text: &mut Text, injections: &[Injection]) {
    text.family("delay_seconds", "histogram", "For how long packets were held back.");
    for injection in injections {
        let Some((counters, labels)) = counted(injection) else { continue };
        let count: u64 = counters.delays.iter().map(|bucket| bucket.packets).sum();
        if count == 0 {
            continue;
        }
        let mut sample = |name: &str, bound: Option<&str>, packets: u64| {
            let bound = bound.map(|bound| ("le", bound));
            let labels: Vec<_> = labels.into_iter().chain(bound).collect();
            text.sample(name, &labels, packets as f64);
        };
        for bucket in OWN_LINE {
            let end_ns = bucket_start_ns(bucket + 1);
            let below = counters.delays.iter().filter(|bucket| bucket.from_ns < end_ns);
            let packets = below.map(|bucket| bucket.packets).sum();
            let bound = (end_ns as f64 / 1e9).to_string();
            sample("delay_seconds_bucket", Some(&bound), packets);
        }
        sample("delay_seconds_bucket", Some("+Inf"), count);
        sample("delay_seconds_count", None, count);
    }
}

/// An injection that is on an interface: what it has counted, and what it is told apart by.
fn counted(injection: &Injection) -> Option<(&Counters, [(&str, &str); 4])> {
    let labels = [
        ("policy", injection.policy.as_str()),
        ("container", &injection.container),
        ("interface", injection.interface.as_ref()?),
        ("direction", injection.direction.as_ref()?),
    ];
    Some((injection.counters.as_ref()?, labels))
}

const fn flag(value: bool) -> f64 {
    if value { 1.0 } else { 0.0 }
}

#[derive(Debug, Default)]
struct Text(String);

// Writing to a string cannot fail.
impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP entropy_{name} {help}\n# TYPE entropy_{name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let _ = write!(self.0, "entropy_{name}");
        for (index, (label, text)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{before}{label}=\"{}\"", escaped(text));
        }
        let after = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{after} {value}");
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests;
