//! What Prometheus reads, in its text format (version 0.0.4).

use std::fmt::Write as _;

use entropy_common::stats::Event;

use super::types::{Counters, Health, Injection, Policy, Source, State, Status};

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

fn counters(text: &mut Text, injections: &[Injection]) {
    for (name, help, count) in COUNTERS {
        let name = format!("{name}_total");
        text.family(&name, "counter", help);
        for injection in injections {
            let place = (&injection.counters, &injection.interface, &injection.direction);
            let (Some(counters), Some(interface), Some(direction)) = place else { continue };
            let labels = [
                ("policy", injection.policy.as_str()),
                ("container", &injection.container),
                ("interface", interface),
                ("direction", direction),
            ];
            text.sample(&name, &labels, count(counters) as f64);
        }
    }
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
