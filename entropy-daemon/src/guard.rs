//! What no policy can do: which containers are never hit, how many at once, and which packets always
//! pass. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use entropy_common::rule::Match;
use ipnet::IpNet;

use crate::{
    docker::State,
    endpoints::Reach,
    network::Network,
    plan::{Plan, Target},
    policy::{Policy, PortRange, Span},
    schedule::Schedule,
    settings::Guard,
};

/// The peer of a shield for the daemon's own host. No selector or network is written like this.
pub(crate) const HOST: &str = "this host";
/// The peer of the shield for [`Guard::protect_peers`].
pub(crate) const PROTECTED: &str = "protected peers";
/// TCP, as a rule names it.
const TCP: u16 = 6;

/// Packets that pass whatever the policies say: what matches a shield meets no rule of its hook.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shield {
    /// What people call it.
    pub name: String,
    /// The peer, a key of [`Plan::peers`].
    pub peer: String,
    /// The other conditions; the number of the peer group is not known yet.
    pub matcher: Match,
}

impl Guard {
    /// Why a container with these labels must not be hit; `None` if it may.
    #[must_use]
    pub fn refusal(&self, labels: &BTreeMap<String, String>) -> Option<String> {
        if let Some(selector) = self.protect.iter().find(|selector| selector.matches(labels)) {
            return Some(format!("the guard protects containers with {selector}"));
        }
        match &self.opt_in {
            Some(selector) if !selector.matches(labels) => {
                Some(format!("the guard allows containers with {selector} only"))
            }
            _ => None,
        }
    }

    /// The longest that a policy can be in force at a stretch, if that is less than it asks for.
    #[must_use]
    pub fn shortened(&self, policy: &Policy) -> Option<Span> {
        let longest = self.max_duration?;
        let asked_ns = policy.schedule.as_ref().map_or(u64::MAX, Schedule::longest_ns);
        (asked_ns > longest.nanoseconds()).then_some(longest)
    }

    /// Takes out of a plan whole policies that would hit more containers at once than the guard
    /// allows, in the order of the policies, and names them.
    pub(crate) fn limit_share<'p>(
        &self,
        plan: &mut Plan,
        policies: impl Iterator<Item = &'p str>,
        targets: &[Target],
    ) {
        let Some(share) = self.max_share else { return };
        // One that was made and never started has no network.
        let is_live = |target: &&Target| {
            let has_endpoints = match &target.reach {
                Reach::Endpoints(endpoints) => !endpoints.is_empty(),
                Reach::Unsupported(_) => false,
            };
            target.container.state != State::Created || has_endpoints
        };
        let all = targets.iter().filter(is_live).count();
        let allowed = (share.percent() / 100.0 * all as f64 + 1e-9) as usize;
        // Who shares an interface is hit with the others.
        let mut behind: BTreeMap<u32, BTreeSet<&str>> = BTreeMap::new();
        for target in targets {
            let Reach::Endpoints(endpoints) = &target.reach else { continue };
            for endpoint in endpoints {
                let containers = behind.entry(endpoint.interface.index).or_default();
                containers.insert(&target.container.id);
            }
        }
        let mut by_policy: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for (hook, injections) in &plan.hooks {
            for injection in injections {
                let containers = by_policy.entry(injection.policy.clone()).or_default();
                containers.extend(behind.get(&hook.ifindex).into_iter().flatten());
            }
        }
        let (mut hit, mut refused) = (BTreeSet::new(), BTreeMap::new());
        for policy in policies {
            let Some(containers) = by_policy.get(policy) else { continue };
            let together: BTreeSet<&str> = hit.union(containers).copied().collect();
            if together.len() > allowed {
                let count = together.len();
                let reason =
                    format!("{count} of {all} containers would be hit, the guard allows {share}");
                refused.insert(policy.to_owned(), reason);
            } else {
                hit = together;
            }
        }
        plan.retain(|injection| match refused.get(&injection.policy) {
            Some(reason) => Err(reason.clone()),
            None => Ok(()),
        });
    }

    /// The shields, and the networks of their peers.
    #[must_use]
    pub fn shields(
        &self,
        host: &BTreeSet<IpAddr>,
    ) -> (Vec<Shield>, BTreeMap<String, BTreeSet<Network>>) {
        let (mut shields, mut peers) = (Vec::new(), BTreeMap::new());
        if !self.protect_peers.is_empty() {
            peers.insert(PROTECTED.to_owned(), self.protect_peers.iter().copied().collect());
            let name = PROTECTED.to_owned();
            shields.push(Shield { name, peer: PROTECTED.to_owned(), matcher: Match::ALL });
        }
        if !host.is_empty() && !self.host_ports.is_empty() {
            let networks = host.iter().map(|address| Network::from(IpNet::from(*address)));
            peers.insert(HOST.to_owned(), networks.collect());
            shields.extend(self.host_ports.iter().map(host_port));
        }
        (shields, peers)
    }
}

fn host_port(ports: &PortRange) -> Shield {
    let matcher =
        Match { protocol: TCP, remote_first: ports.first, remote_last: ports.last, ..Match::ALL };
    Shield { name: format!("{HOST}, TCP port {ports}"), peer: HOST.to_owned(), matcher }
}

#[cfg(test)]
mod tests;
