//! A plan as programs get it.

use std::collections::BTreeMap;

use entropy_common::rule::{Direction, HookKey};
use entropy_daemon::{
    describe::{Condition, Faults},
    outlook::{self, EXCHANGES, Outlook, PACKETS, Quantiles},
    plan::{Injection, Plan},
};
use serde::Serialize;

use crate::output::windows::Timed;

/// What would be in force.
#[derive(Debug, Serialize)]
pub(super) struct Document {
    /// Each policy on each direction of each interface.
    pub(super) injections: Vec<Row>,
    /// TCP to each interface, from a peer that all of its policies match.
    pub(super) exchanges: Vec<Exchange>,
    /// When policies with a schedule or a ramp would be in force.
    pub(super) schedules: Vec<Timed>,
    /// What cannot be in force.
    pub(super) unsupported: Vec<Unsupported>,
    /// How long policies would be in force at a stretch where the guard allows less than they ask for.
    pub(super) shortened: BTreeMap<String, String>,
    /// Policies that hit no container.
    pub(super) without_container: Vec<String>,
}

/// One policy on one direction of one interface.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) container: String,
    /// The host's end of the veth.
    pub(super) interface: String,
    /// `egress` or `ingress`, as the container sees it.
    pub(super) direction: &'static str,
    pub(super) policy: String,
    /// The other end; null for any.
    pub(super) peer: Option<String>,
    pub(super) r#match: Condition,
    pub(super) faults: Faults,
    /// What happens to packets that match.
    pub(super) packets: Packets,
}

/// What happened to packets of which the decision code was asked.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Packets {
    /// How many there were.
    pub(super) asked: u32,
    pub(super) lost: u32,
    pub(super) duplicated: u32,
    pub(super) corrupted: u32,
    /// By how much those that arrive are late; null if none does.
    pub(super) delay: Option<Times>,
}

/// How times are spread.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Times {
    pub(super) p50_ns: u64,
    pub(super) p90_ns: u64,
    pub(super) p99_ns: u64,
}

/// Connections to a container, each with a request and its answer.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Exchange {
    pub(super) container: String,
    pub(super) interface: String,
    /// How many there were.
    pub(super) asked: u32,
    /// How many had no answer after seven attempts for a segment.
    pub(super) failed: u32,
    /// From the first segment until the connection stands.
    pub(super) connected: Option<Times>,
    /// From the first segment until the answer is there.
    pub(super) answered: Option<Times>,
}

/// A policy that cannot be in force on a container.
#[derive(Debug, Serialize)]
pub(super) struct Unsupported {
    pub(super) policy: String,
    pub(super) container: String,
    pub(super) reason: String,
}

impl From<Quantiles> for Times {
    fn from(times: Quantiles) -> Self {
        Self { p50_ns: times.p50, p90_ns: times.p90, p99_ns: times.p99 }
    }
}

impl From<Outlook> for Packets {
    fn from(outlook: Outlook) -> Self {
        Self {
            asked: PACKETS,
            lost: outlook.lost,
            duplicated: outlook.duplicated,
            corrupted: outlook.corrupted,
            delay: outlook.delay.map(Times::from),
        }
    }
}

impl Document {
    pub(super) fn new(plan: &Plan, schedules: Vec<Timed>) -> Self {
        let idle = plan.hits.iter().filter(|(_, hits)| **hits == 0);
        Self {
            injections: rows(plan),
            exchanges: exchanges(plan),
            schedules,
            unsupported: plan.unsupported.iter().map(Unsupported::new).collect(),
            shortened: plan
                .shortened
                .iter()
                .map(|(policy, longest)| (policy.clone(), longest.to_string()))
                .collect(),
            without_container: idle.map(|(policy, _)| policy.clone()).collect(),
        }
    }
}

impl Unsupported {
    fn new(of: &entropy_daemon::plan::Unsupported) -> Self {
        let (policy, container) = (of.policy.clone(), of.container.clone());
        Self { policy, container, reason: of.reason.clone() }
    }
}

fn interface(plan: &Plan, index: u32) -> String {
    plan.interfaces.get(&index).map_or_else(|| index.to_string(), |found| found.name.clone())
}

fn rows(plan: &Plan) -> Vec<Row> {
    // A policy means the same to all containers, but for which packets it hits.
    let mut known: BTreeMap<(&str, u32), Packets> = BTreeMap::new();
    let mut rows = Vec::new();
    for (hook, injections) in &plan.hooks {
        for injection in injections {
            let packets = *known
                .entry((&injection.policy, hook.direction))
                .or_insert_with(|| outlook::of_injection(injection).into());
            rows.push(Row {
                container: injection.container.clone(),
                interface: interface(plan, hook.ifindex),
                direction: Direction::from_number(hook.direction).map_or("?", Direction::name),
                policy: injection.policy.clone(),
                peer: injection.peer.clone(),
                r#match: Condition::new(&injection.matcher),
                faults: Faults::new(&injection.faults.rule()),
                packets,
            });
        }
    }
    rows.sort_by(|a, b| (&a.container, &a.interface).cmp(&(&b.container, &b.interface)));
    rows
}

fn exchanges(plan: &Plan) -> Vec<Exchange> {
    let of = |index: u32, direction: Direction| -> &[Injection] {
        plan.hooks.get(&HookKey::new(index, direction)).map_or(&[], Vec::as_slice)
    };
    let names = |injections: &[Injection]| -> Vec<String> {
        injections.iter().map(|injection| injection.policy.clone()).collect()
    };
    let mut known = BTreeMap::new();
    let mut all = Vec::new();
    for index in plan.interfaces.keys() {
        let (egress, ingress) = (of(*index, Direction::Egress), of(*index, Direction::Ingress));
        let exchange = *known
            .entry((names(egress), names(ingress)))
            .or_insert_with(|| outlook::exchange(egress, ingress));
        let container = egress.iter().chain(ingress).next().map(|first| first.container.clone());
        if let Some((exchange, container)) = exchange.zip(container) {
            all.push(Exchange {
                container,
                interface: interface(plan, *index),
                asked: EXCHANGES,
                failed: exchange.failed,
                connected: exchange.connected.map(Times::from),
                answered: exchange.answered.map(Times::from),
            });
        }
    }
    all.sort_by(|a, b| (&a.container, &a.interface).cmp(&(&b.container, &b.interface)));
    all
}
