//! The JSON of `map dump`, which its tables are made from too.

use std::collections::BTreeMap;

use entropy_common::rule::Match;
use entropy_daemon::{
    api::types::Counters,
    datapath::inspect::{Group, HookEntry, RuleEntry, Snapshot},
    describe::{Condition, Faults},
    netlink::FqStatistics,
};
use serde::Serialize;

use crate::args::Part;

/// What `map dump --output json` writes. `{}` when nothing is pinned; a part that was not asked for
/// is left out.
///
/// Sizes are in bytes, times in nanoseconds, shares in percent, as the fields' names say. Directions
/// are as the container sees them. Names of containers and policies are as they were given to the
/// daemon, cut at 128 and 64 bytes, and not escaped.
#[derive(Debug, Default, Serialize)]
pub(super) struct Document {
    /// The daemon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) daemon: Option<Daemon>,
    /// Until when the kernel may inject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lease: Option<Lease>,
    /// The device that marked packets wait in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) line: Option<Line>,
    /// The hooks with their rules and counters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hooks: Option<Vec<Hook>>,
    /// The peer groups that rules name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) peer_groups: Option<Vec<PeerGroup>>,
    /// Packets that each event happened to, by the event's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) events: Option<BTreeMap<&'static str, u64>>,
    /// Interfaces whose clsact qdisc is the daemon's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) clsacts: Option<Vec<Interface>>,
}

/// The daemon that the maps belong to.
#[derive(Debug, Serialize)]
pub(super) struct Daemon {
    /// Whether one runs.
    pub(super) running: bool,
    /// Its process id; null if none runs.
    pub(super) pid: Option<u32>,
}

/// Until when the kernel may inject.
#[derive(Debug, Serialize)]
pub(super) struct Lease {
    /// Whether it may now.
    pub(super) held: bool,
    /// How much longer it may; 0 when it may not.
    pub(super) left_ns: u64,
}

/// The device that marked packets wait in.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    /// Where packets enter it; null while there is none.
    pub(super) entrance: Option<Interface>,
    /// The queue that they wait in; null while there is none.
    pub(super) queue: Option<Queue>,
}

/// What the kernel says of the line's queue. None of these packets is one that a rule lost.
#[derive(Debug, Serialize)]
pub(super) struct Queue {
    /// Packets that wait now.
    pub(super) waiting_packets: u32,
    /// Their bytes.
    pub(super) waiting_bytes: u32,
    /// Packets dropped, for whatever reason.
    pub(super) dropped_packets: u32,
    /// Of these: packets of flows of which as many waited as may.
    pub(super) dropped_by_flow_limit_packets: u64,
    /// Packets that should have waited longer than the queue lets any, and leave after that time.
    pub(super) beyond_horizon_packets: u64,
}

/// An interface of this host.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Interface {
    /// Its index.
    pub(super) index: u32,
    /// Its name; null if it is gone.
    pub(super) name: Option<String>,
}

/// One direction of one interface.
#[derive(Debug, Serialize)]
pub(super) struct Hook {
    /// The host's end of the container's veth pair.
    pub(super) interface: Interface,
    /// `egress` or `ingress`.
    pub(super) direction: &'static str,
    /// Its rules, in the order of their policies.
    pub(super) rules: Vec<Rule>,
}

/// One rule.
#[derive(Debug, Serialize)]
pub(super) struct Rule {
    /// Its number.
    pub(super) number: u32,
    /// Name of the policy that it comes from; empty if it is not known.
    pub(super) policy: String,
    /// Name of the container that it is for; empty if it is not known.
    pub(super) container: String,
    /// Which packets; all conditions must hold.
    pub(super) r#match: Matched,
    /// What happens to them.
    #[serde(flatten)]
    pub(super) faults: Faults,
    /// Seed of its decisions as a decimal string, as JavaScript's numbers are too short for it.
    pub(super) seed: String,
    /// Time until it is in force; 0 once it is.
    pub(super) starts_in_ns: u64,
    /// Time until it ends; 0 once it has, null if it does not.
    pub(super) ends_in_ns: Option<u64>,
    /// What it has counted.
    pub(super) counters: Counters,
}

/// Which packets a rule is for; null stands for any.
#[derive(Debug, Serialize)]
pub(super) struct Matched {
    /// Number of the peer group that the other end must be in.
    pub(super) peer_group: Option<u32>,
    /// What the policy calls that group.
    pub(super) peer: Option<String>,
    /// What else must hold.
    #[serde(flatten)]
    pub(super) condition: Condition,
}

/// One peer group.
#[derive(Debug, Serialize)]
pub(super) struct PeerGroup {
    /// Its number.
    pub(super) number: u32,
    /// What the policy calls it; empty if it is not known.
    pub(super) peer: String,
    /// Its addresses and networks now, in CIDR notation.
    pub(super) networks: Vec<String>,
}

/// What the numbers of a snapshot mean.
#[derive(Debug)]
pub(super) struct Context {
    /// Names of this host's interfaces, by index.
    pub(super) interfaces: BTreeMap<u32, String>,
    /// Process id of the daemon that runs.
    pub(super) daemon: Option<u32>,
    /// Nanoseconds of the clock that rules are timed by.
    pub(super) now_ns: u64,
    /// What the line's queue has counted; `None` if it has none.
    pub(super) queue: Option<FqStatistics>,
}

impl Document {
    /// Everything of a snapshot.
    pub(super) fn new(snapshot: &Snapshot, context: &Context) -> Self {
        let groups: BTreeMap<u32, &str> =
            snapshot.groups.iter().map(|g| (g.number, g.description.as_str())).collect();
        let left_ns = snapshot.lease_left_ns;
        let entrance = snapshot.line.map(|index| context.interface(index));
        let clsacts = snapshot.clsacts.iter().map(|&index| context.interface(index));
        let hooks = snapshot.hooks.iter().map(|hook| Hook::new(hook, &groups, context));
        Self {
            daemon: Some(Daemon { running: context.daemon.is_some(), pid: context.daemon }),
            lease: Some(Lease { held: left_ns > 0, left_ns }),
            line: Some(Line { entrance, queue: context.queue.map(Queue::from) }),
            hooks: Some(hooks.collect()),
            peer_groups: Some(snapshot.groups.iter().map(PeerGroup::from).collect()),
            events: Some(snapshot.events.iter().map(|(e, count)| (e.name(), *count)).collect()),
            clsacts: Some(clsacts.collect()),
        }
    }

    /// Only the parts asked for; all when none is named.
    pub(super) fn only(self, parts: &[Part]) -> Self {
        if parts.is_empty() {
            return self;
        }
        let wanted = |any: &[Part]| any.iter().any(|part| parts.contains(part));
        Self {
            daemon: self.daemon,
            lease: self.lease.filter(|_| wanted(&[Part::Lease])),
            line: self.line.filter(|_| wanted(&[Part::Line])),
            hooks: self.hooks.filter(|_| wanted(&[Part::Hooks, Part::Rules, Part::Counters])),
            peer_groups: self.peer_groups.filter(|_| wanted(&[Part::Peers])),
            events: self.events.filter(|_| wanted(&[Part::Events])),
            clsacts: self.clsacts.filter(|_| wanted(&[Part::Clsacts])),
        }
    }
}

impl Context {
    fn interface(&self, index: u32) -> Interface {
        Interface { index, name: self.interfaces.get(&index).cloned() }
    }
}

impl Hook {
    fn new(hook: &HookEntry, groups: &BTreeMap<u32, &str>, context: &Context) -> Self {
        let rule = |entry| Rule::new(entry, groups, context.now_ns);
        Self {
            interface: context.interface(hook.ifindex),
            direction: hook.direction.name(),
            rules: hook.rules.iter().map(rule).collect(),
        }
    }
}

impl Rule {
    fn new(entry: &RuleEntry, groups: &BTreeMap<u32, &str>, now_ns: u64) -> Self {
        let RuleEntry { rule, state, policy, container } = entry;
        let ends = (rule.active_until_ns != u64::MAX).then_some(rule.active_until_ns);
        Self {
            number: rule.id,
            policy: policy.clone(),
            container: container.clone(),
            r#match: Matched::new(&rule.matcher, groups),
            faults: Faults::new(rule),
            seed: rule.seed.to_string(),
            starts_in_ns: rule.active_from_ns.saturating_sub(now_ns),
            ends_in_ns: ends.map(|ends| ends.saturating_sub(now_ns)),
            counters: Counters::new(state, state.matched),
        }
    }
}

impl Matched {
    fn new(matcher: &Match, groups: &BTreeMap<u32, &str>) -> Self {
        let group = (matcher.peer_group != 0).then_some(matcher.peer_group);
        Self {
            peer_group: group,
            peer: group.and_then(|group| groups.get(&group)).map(|&peer| peer.to_owned()),
            condition: Condition::new(matcher),
        }
    }

    /// One line.
    pub(super) fn describe(&self) -> String {
        self.condition.describe(self.peer_group.map(|group| match &self.peer {
            Some(peer) if !peer.is_empty() => format!("peer {peer}"),
            _ => format!("peer group {group}"),
        }))
    }
}

impl From<FqStatistics> for Queue {
    fn from(queue: FqStatistics) -> Self {
        Self {
            waiting_packets: queue.waiting,
            waiting_bytes: queue.waiting_bytes,
            dropped_packets: queue.drops,
            dropped_by_flow_limit_packets: queue.flow_limit_drops,
            beyond_horizon_packets: queue.beyond_horizon,
        }
    }
}

impl From<&Group> for PeerGroup {
    fn from(group: &Group) -> Self {
        Self {
            number: group.number,
            peer: group.description.clone(),
            networks: group.networks.iter().map(ToString::to_string).collect(),
        }
    }
}
