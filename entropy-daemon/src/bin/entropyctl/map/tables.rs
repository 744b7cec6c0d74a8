//! `map dump` for people.

use entropy_common::stats::Event;

use super::document::{Document, Hook, Interface, PeerGroup, Queue, Rule};
use crate::{
    args::Part,
    output::{
        table::{Column, Table},
        text,
    },
};

/// What is shown when nothing is named: all but the counters, most of which stand beside the rules.
const BY_DEFAULT: [Part; 7] =
    [Part::Lease, Part::Line, Part::Rules, Part::Hooks, Part::Peers, Part::Events, Part::Clsacts];

/// The parts asked for, each under its heading.
pub(super) fn render(document: &Document, parts: &[Part]) -> String {
    let parts = if parts.is_empty() { &BY_DEFAULT } else { parts };
    let mut summary = String::new();
    let mut sections = Vec::new();
    for part in parts {
        match part {
            Part::Lease => summary.push_str(&lease(document)),
            Part::Line => summary.push_str(&line(document)),
            Part::Rules => sections.push(rules(document)),
            Part::Hooks => sections.push(hooks(document)),
            Part::Counters => sections.push(counters(document)),
            Part::Peers => sections.push(peers(document)),
            Part::Events => sections.push(events(document)),
            Part::Clsacts => summary.push_str(&clsacts(document)),
        }
    }
    if !summary.is_empty() {
        sections.insert(0, format!("{}{summary}", daemon(document)));
    }
    sections.join("\n")
}

/// One line of the summary.
fn fact(name: &str, said: &str) -> String {
    format!("{name:7} {said}\n")
}

fn daemon(document: &Document) -> String {
    let pid = document.daemon.as_ref().and_then(|daemon| daemon.pid);
    fact(
        "daemon",
        &match pid {
            Some(pid) => format!("running (pid {pid})"),
            None => "not running: `entropyctl cleanup`, or its next start, removes all this".into(),
        },
    )
}

fn lease(document: &Document) -> String {
    let said = match &document.lease {
        Some(lease) if lease.held => format!("held, {} left", text::seconds(lease.left_ns)),
        _ => "run out: nothing is injected".into(),
    };
    fact("lease", &said)
}

fn line(document: &Document) -> String {
    let line = document.line.as_ref();
    let said = match line.and_then(|line| Some((line.entrance.as_ref()?, &line.queue))) {
        None => "none".into(),
        Some((entrance, Some(queue))) => format!("enters at {}, {}", name(entrance), held(queue)),
        Some((entrance, None)) => {
            format!("enters at {}, no fair queue: no packet can wait", name(entrance))
        }
    };
    fact("line", &said)
}

/// What the line's queue holds and has lost.
fn held(queue: &Queue) -> String {
    let packets = queue.waiting_packets as usize;
    let mut said = text::count(packets, "packet waits", "packets wait");
    said.push_str(&format!(", {} dropped", queue.dropped_packets));
    for (count, why) in [
        (queue.dropped_by_flow_limit_packets, "at the limit of a flow"),
        (queue.beyond_horizon_packets, "sent before their time, which was too far away"),
    ] {
        if count > 0 {
            said.push_str(&format!(", {count} {why}"));
        }
    }
    said
}

fn clsacts(document: &Document) -> String {
    let names: Vec<String> = document.clsacts.iter().flatten().map(name).collect();
    let said = if names.is_empty() { "none of ours".into() } else { text::line(&names.join(", ")) };
    fact("clsact", &said)
}

fn name(interface: &Interface) -> String {
    interface.name.clone().unwrap_or_else(|| format!("#{} (gone)", interface.index))
}

/// The rules with their hooks; a line instead when there are none.
fn for_each_rule<const N: usize>(
    document: &Document,
    mut table: Table<N>,
    row: impl Fn(&Hook, &Rule) -> [String; N],
) -> String {
    let hooks = || document.hooks.iter().flatten();
    if hooks().all(|hook| hook.rules.is_empty()) {
        return "no rules: no policy is in force on any container\n".into();
    }
    for hook in hooks() {
        for rule in &hook.rules {
            let cells = row(hook, rule);
            table.row(cells.each_ref().map(String::as_str));
        }
    }
    table.render()
}

fn rules(document: &Document) -> String {
    let table = Table::new([
        Column::text("INTERFACE", 21),
        Column::text("DIRECTION", 9),
        Column::text("CONTAINER", 30),
        Column::text("POLICY", 30),
        Column::text("MATCH", 48),
        Column::text("FAULT", 60),
        Column::number("SEEN"),
        Column::number("MATCHED"),
        Column::number("LOST"),
        Column::number("REALISED"),
        Column::number("DELAYED"),
        Column::number("SEED"),
    ]);
    for_each_rule(document, table, |hook, rule| {
        let counters = &rule.counters;
        [
            name(&hook.interface),
            hook.direction.into(),
            or_unknown(&rule.container),
            or_unknown(&rule.policy),
            rule.r#match.describe(),
            describe_fault(rule),
            counters.seen_packets.to_string(),
            counters.matched_packets.to_string(),
            counters.lost_packets.to_string(),
            text::share(counters.lost_packets, candidates(rule)),
            counters.delayed_packets.to_string(),
            rule.seed.clone(),
        ]
    })
}

/// What the loss of a rule chooses from.
fn candidates(rule: &Rule) -> u64 {
    let counters = &rule.counters;
    if rule.faults.loses_segments() { counters.frames } else { counters.matched_packets }
}

fn counters(document: &Document) -> String {
    let table = Table::new([
        Column::number("RULE"),
        Column::text("INTERFACE", 21),
        Column::text("DIRECTION", 9),
        Column::text("CONTAINER", 30),
        Column::text("POLICY", 30),
        Column::number("SEEN"),
        Column::number("MATCHED"),
        Column::number("MATCHED BYTES"),
        Column::number("LOST"),
        Column::number("LOST BYTES"),
        Column::number("NO ROOM"),
        Column::number("DELAYED"),
        Column::number("REORDERED"),
        Column::number("DUPLICATED"),
        Column::number("FRAMES"),
        Column::number("CORRUPTED"),
        Column::number("SHAPED"),
        Column::number("MARKED"),
    ]);
    for_each_rule(document, table, |hook, rule| {
        let counters = &rule.counters;
        [
            rule.number.to_string(),
            name(&hook.interface),
            hook.direction.into(),
            or_unknown(&rule.container),
            or_unknown(&rule.policy),
            counters.seen_packets.to_string(),
            counters.matched_packets.to_string(),
            counters.matched_bytes.to_string(),
            counters.lost_packets.to_string(),
            counters.lost_bytes.to_string(),
            counters.queue_dropped_packets.to_string(),
            counters.delayed_packets.to_string(),
            counters.reordered_packets.to_string(),
            counters.duplicated_packets.to_string(),
            counters.frames.to_string(),
            counters.corrupted_frames.to_string(),
            counters.shaped_packets.to_string(),
            counters.marked_packets.to_string(),
        ]
    })
}

fn hooks(document: &Document) -> String {
    let hooks: Vec<&Hook> = document.hooks.iter().flatten().collect();
    if hooks.is_empty() {
        return "no hooks have rules\n".into();
    }
    let mut table = Table::new([
        Column::text("INTERFACE", 21),
        Column::number("INDEX"),
        Column::text("DIRECTION", 9),
        Column::text("CONTAINER", 30),
        Column::number("RULES"),
    ]);
    for hook in hooks {
        let container = hook.rules.first().map_or("", |rule| rule.container.as_str());
        table.row([
            &name(&hook.interface),
            &hook.interface.index.to_string(),
            hook.direction,
            &or_unknown(container),
            &hook.rules.len().to_string(),
        ]);
    }
    table.render()
}

fn peers(document: &Document) -> String {
    let groups: Vec<&PeerGroup> = document.peer_groups.iter().flatten().collect();
    if groups.is_empty() {
        return "no peer groups\n".into();
    }
    let mut table = Table::new([
        Column::number("GROUP"),
        Column::text("PEER", 48),
        Column::text("ADDRESS OR NETWORK", 48),
    ]);
    for group in groups {
        let number = group.number.to_string();
        let peer = or_unknown(&group.peer);
        if group.networks.is_empty() {
            table.row([&number, &peer, "(none now)"]);
        }
        for network in &group.networks {
            table.row([&number, &peer, network]);
        }
    }
    table.render()
}

fn events(document: &Document) -> String {
    let mut table = Table::new([
        Column::text("EVENT", 20),
        Column::number("PACKETS"),
        Column::text("MEANING", 72),
    ]);
    for event in Event::ALL {
        let count = document.events.as_ref().and_then(|events| events.get(event.name()));
        let count = count.copied().unwrap_or(0).to_string();
        table.row([event.name(), &count, meaning(event)]);
    }
    table.render()
}

fn meaning(event: Event) -> &'static str {
    match event {
        Event::Packet => "came to a hook that has rules",
        Event::LeaseExpired => "passed, as the lease had run out",
        Event::NotIp => "passed, as they are not IP (ARP, for one)",
        Event::NeighbourDiscovery => "passed, as they are the ARP of IPv6",
        Event::Malformed => "passed, as their IP header is damaged",
        Event::Stale => "passed while rules were being replaced",
        Event::NoState => "met a rule without counters, which is a bug: report it",
        Event::Sunk => "lost or delayed on the way from this host: ended in the line",
        Event::Freed => "of those, and of delayed originals, freed at the line's end",
        Event::Waited => "went into the line to wait",
        Event::Released => "of those, came out and went on",
        Event::Stray => "came out of the line and belonged to no hook",
        Event::NotHeld => "passed at once, as the line could not take them",
        Event::Wired => "sent into the wire",
        Event::Frame => "came out of the wire as frames",
        Event::NotWired => "stayed as they were, as there is no wire",
        Event::Shielded => "passed, as the guard lets them",
    }
}

fn or_unknown(name: &str) -> String {
    if name.is_empty() { "(unknown)".into() } else { name.to_owned() }
}

fn describe_fault(rule: &Rule) -> String {
    let faults = rule.faults.describe();
    match (rule.starts_in_ns, rule.ends_in_ns) {
        (_, Some(0)) => format!("{faults} (over)"),
        (0, None) => faults,
        (0, Some(left)) => format!("{faults} (for {})", text::seconds(left)),
        (wait, _) => format!("{faults} (in {})", text::seconds(wait)),
    }
}

#[cfg(test)]
mod tests;
