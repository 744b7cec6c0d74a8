//! What the log says of a round: news only.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use entropy_common::rule::HookKey;
use tracing::{info, warn};

use crate::{
    plan::{Plan, Unsupported},
    policy::Span,
};

/// What has to last this long before it is said. A container that stops or starts has no veth for a
/// moment, which is no news.
const PATIENCE: Duration = Duration::from_secs(1);

/// A policy, a container and an interface of it.
type Place = (String, String, String);

/// Remembers what was said.
#[derive(Debug, Default)]
pub(crate) struct Reporter {
    injections: BTreeSet<Place>,
    unsupported: BTreeMap<Unsupported, Waiting>,
    /// Those of which the guard allows less at a stretch than they ask for.
    shortened: BTreeMap<String, Span>,
    /// Whether each policy matched a container.
    matched: BTreeMap<String, bool>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    since: Instant,
    said: bool,
}

impl Reporter {
    /// Says what is new since the round before.
    /// `in_force` tells whether the plan for a hook came true.
    pub(crate) fn round(
        &mut self,
        plan: &Plan,
        in_force: impl Fn(HookKey) -> bool,
        unsupported: BTreeSet<Unsupported>,
        now: Instant,
    ) {
        let injections = injections(plan, in_force);
        for (policy, container, interface) in injections.difference(&self.injections) {
            info!("policy {policy} is on container {container} ({interface})");
        }
        for (policy, container, interface) in self.injections.difference(&injections) {
            info!("policy {policy} is off container {container} ({interface})");
        }
        self.injections = injections;
        let news = Waiting { since: now, said: false };
        self.unsupported = unsupported
            .into_iter()
            .map(|unsupported| {
                let waiting = self.unsupported.get(&unsupported).copied().unwrap_or(news);
                (unsupported, waiting)
            })
            .collect();
        self.matches(plan);
        for (policy, longest) in &plan.shortened {
            if self.shortened.get(policy) != Some(longest) {
                warn!("policy {policy}: the guard ends it after {longest} at a stretch");
            }
        }
        self.shortened.clone_from(&plan.shortened);
    }

    /// What is in force, in a line: how many of the policies, on how many containers. Those that are
    /// paused are not.
    pub(crate) fn summary(&self, policies: usize, paused: &BTreeSet<String>) -> String {
        let count = |set: BTreeSet<&String>| set.len();
        let in_force = || self.injections.iter().filter(|(policy, ..)| !paused.contains(policy));
        let on = count(in_force().map(|(policy, ..)| policy).collect());
        let containers = count(in_force().map(|(_, container, _)| container).collect());
        let plural = if containers == 1 { "" } else { "s" };
        format!("{on} of {policies} policies in force, on {containers} container{plural}")
    }

    /// Says what has waited long enough.
    pub(crate) fn tick(&mut self, now: Instant) {
        for (Unsupported { policy, container, reason }, waiting) in &mut self.unsupported {
            if !waiting.said && now.saturating_duration_since(waiting.since) >= PATIENCE {
                waiting.said = true;
                warn!("policy {policy} on container {container}: unsupported: {reason}");
            }
        }
    }

    fn matches(&mut self, plan: &Plan) {
        for (policy, hits) in &plan.hits {
            if self.matched.get(policy) != Some(&(*hits > 0)) {
                match hits {
                    0 => warn!("policy {policy} matches no container at the moment"),
                    1 => info!("policy {policy} matches 1 container"),
                    _ => info!("policy {policy} matches {hits} containers"),
                }
            }
        }
        self.matched = plan.hits.iter().map(|(policy, hits)| (policy.clone(), *hits > 0)).collect();
    }
}

fn injections(plan: &Plan, in_force: impl Fn(HookKey) -> bool) -> BTreeSet<Place> {
    plan.hooks
        .iter()
        .filter(|(hook, _)| in_force(**hook))
        .flat_map(|(hook, injections)| {
            let interface = plan.interfaces.get(&hook.ifindex);
            let interface = interface.map_or_else(String::new, |interface| interface.name.clone());
            injections.iter().map(move |injection| {
                (injection.policy.clone(), injection.container.clone(), interface.clone())
            })
        })
        .collect()
}

#[cfg(test)]
mod tests;
