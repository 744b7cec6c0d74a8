//! Policies, containers and endpoints -> rules for each hook. Pure.

use std::collections::{BTreeMap, BTreeSet};

use entropy_common::{
    chance::{self, Probability},
    fault::{loss::Loss, partition::Partition},
    rule::{ANY_ICMP, ANY_PROTOCOL, Direction, HookKey, MAX_RULES, Match},
};
use ipnet::IpNet;

use crate::{
    datapath::Interface,
    docker::{Attachment, Container, NetworkMode},
    endpoints::{Endpoint, Reach},
    policy::{Peer, Policy, Protocol},
};

/// A container and how to reach it.
#[derive(Clone, Debug)]
pub struct Target {
    /// The container.
    pub container: Container,
    /// Its endpoints.
    pub reach: Reach,
}

/// What should be in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The rules of each hook, in the order of the policies.
    pub hooks: BTreeMap<HookKey, Vec<Injection>>,
    /// The interfaces of these hooks.
    pub interfaces: BTreeMap<u32, Interface>,
    /// The addresses and networks of each peer that an injection names.
    pub peers: BTreeMap<String, BTreeSet<IpNet>>,
    /// What cannot be done, and why.
    pub unsupported: Vec<Unsupported>,
    /// How many containers each policy hits, by name.
    pub hits: BTreeMap<String, usize>,
}

/// One policy in force on one endpoint, for one direction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Injection {
    /// Name of the policy.
    pub policy: String,
    /// Name of the container.
    pub container: String,
    /// Id of the container.
    pub container_id: String,
    /// Seed of the rule.
    pub seed: u64,
    /// Which packets; the number of the peer group is not known yet.
    pub matcher: Match,
    /// The peer, a key of [`Plan::peers`].
    pub peer: Option<String>,
    /// Loss.
    pub loss: Loss,
    /// Partition.
    pub partition: Partition,
}

/// A policy that cannot be in force on a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unsupported {
    /// Name of the policy.
    pub policy: String,
    /// Name of the container.
    pub container: String,
    /// Why.
    pub reason: String,
}

/// Computes what should be in the kernel. `seed` stands in for the seed of policies without one.
#[must_use]
pub fn plan(policies: &[Policy], targets: &[Target], seed: u64) -> Plan {
    let mut plan = Plan::default();
    // Of containers that share a namespace, the one that it belongs to comes first.
    let (owners, guests): (Vec<_>, Vec<_>) =
        targets.iter().partition(|target| owner(&target.container).is_none());
    for policy in policies {
        let mut hits = 0;
        for target in owners.iter().chain(&guests) {
            if policy.target.matches(&target.container.labels) {
                hits += 1;
                plan.add(policy, target, seed);
            }
        }
        plan.hits.insert(policy.name.clone(), hits);
        if let Some(peer) = &policy.matcher.peer {
            plan.peers.entry(peer_name(peer)).or_insert_with(|| addresses(peer, targets));
        }
    }
    plan.limit();
    let used: BTreeSet<&String> =
        plan.hooks.values().flatten().filter_map(|injection| injection.peer.as_ref()).collect();
    let unused: Vec<String> =
        plan.peers.keys().filter(|peer| !used.contains(peer)).cloned().collect();
    for peer in unused {
        plan.peers.remove(&peer);
    }
    plan
}

impl Plan {
    fn add(&mut self, policy: &Policy, target: &Target, seed: u64) {
        let endpoints = match &target.reach {
            Reach::Endpoints(endpoints) => endpoints,
            Reach::Unsupported(reason) => {
                self.unsupported.push(Unsupported {
                    policy: policy.name.clone(),
                    container: target.container.name.clone(),
                    reason: reason.clone(),
                });
                return;
            }
        };
        for endpoint in endpoints {
            for direction in Direction::ALL {
                let wanted = match direction {
                    Direction::Egress => policy.direction.has_egress(),
                    Direction::Ingress => policy.direction.has_ingress(),
                };
                if wanted {
                    let hook = HookKey::new(endpoint.interface.index, direction);
                    let injections = self.hooks.entry(hook).or_default();
                    // On it already, for a container in the same namespace: twice would be more
                    // loss than was asked for.
                    if injections.last().is_some_and(|last| last.policy == policy.name) {
                        continue;
                    }
                    let container = &target.container;
                    injections.push(injection(policy, container, endpoint, direction, seed));
                    self.interfaces.insert(endpoint.interface.index, endpoint.interface.clone());
                }
            }
        }
    }

    /// The kernel takes so many rules on a hook. The last ones are left out and named.
    fn limit(&mut self) {
        for injections in self.hooks.values_mut() {
            let total = injections.len();
            for injection in injections.drain(MAX_RULES.min(total)..) {
                self.unsupported.push(Unsupported {
                    policy: injection.policy,
                    container: injection.container,
                    reason: format!(
                        "{total} policies apply to the container's interface, at most {MAX_RULES} can"
                    ),
                });
            }
        }
        self.unsupported.sort();
        self.unsupported.dedup();
    }
}

fn injection(
    policy: &Policy,
    container: &Container,
    endpoint: &Endpoint,
    direction: Direction,
    seed: u64,
) -> Injection {
    let loss = policy.faults.loss.as_ref().map_or(Loss::NONE, |rate| {
        Loss::rate(Probability::from_parts(rate.parts()).unwrap_or(Probability::ALWAYS))
    });
    let partition = if policy.faults.partition { Partition::CUT } else { Partition::NONE };
    Injection {
        policy: policy.name.clone(),
        container: container.name.clone(),
        container_id: container.id.clone(),
        seed: rule_seed(policy, container, endpoint, direction, seed),
        matcher: matcher(policy),
        peer: policy.matcher.peer.as_ref().map(peer_name),
        loss,
        partition,
    }
}

/// Containers under one policy must not lose the same packets, and a container that is made anew
/// should lose the same ones again under a policy with a seed: so what tells endpoints apart is the
/// container's name and network, not their ids.
fn rule_seed(
    policy: &Policy,
    container: &Container,
    endpoint: &Endpoint,
    direction: Direction,
    seed: u64,
) -> u64 {
    let start = policy.seed.unwrap_or_else(|| chance::derive(seed, fingerprint(&policy.name)));
    [fingerprint(&container.name), fingerprint(&endpoint.network), u64::from(direction as u32)]
        .into_iter()
        .fold(start, chance::derive)
}

/// FNV-1a, 64 bits: the same on every machine and in every version, which the standard library's
/// hashes do not promise. Source: Fowler, Noll, Vo; draft-eastlake-fnv.
fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn matcher(policy: &Policy) -> Match {
    let protocol = match policy.matcher.protocol {
        None => ANY_PROTOCOL,
        Some(Protocol::Tcp) => 6,
        Some(Protocol::Udp) => 17,
        Some(Protocol::Icmp) => ANY_ICMP,
        Some(Protocol::Other(number)) => u16::from(number),
    };
    let ports = policy.matcher.port;
    Match {
        protocol,
        port_first: ports.map_or(0, |ports| ports.first),
        port_last: ports.map_or(0, |ports| ports.last),
        ..Match::ALL
    }
}

/// What the policy wrote, which is what makes two peers the same.
fn peer_name(peer: &Peer) -> String {
    match peer {
        Peer::Containers(selector) => selector.to_string(),
        Peer::Networks(networks) => {
            networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        }
    }
}

fn addresses(peer: &Peer, targets: &[Target]) -> BTreeSet<IpNet> {
    match peer {
        Peer::Networks(networks) => networks.iter().map(IpNet::trunc).collect(),
        Peer::Containers(selector) => targets
            .iter()
            .filter(|target| selector.matches(&target.container.labels))
            .flat_map(|target| attachments(&target.container, targets))
            .flat_map(|network| &network.addresses)
            .map(|address| IpNet::from(*address))
            .collect(),
    }
}

/// The container, by id or name, whose namespace a container is in.
fn owner(container: &Container) -> Option<&String> {
    match &container.network_mode {
        NetworkMode::Container(owner) => Some(owner),
        _ => None,
    }
}

/// The networks that a container is on. Engines tell those of a shared namespace of its owner only.
fn attachments<'a>(container: &'a Container, targets: &'a [Target]) -> &'a [Attachment] {
    let Some(owner) = owner(container) else { return &container.attachments };
    let is_owner = |other: &&Container| other.id == *owner || other.name == *owner;
    let owner = targets.iter().map(|target| &target.container).find(is_owner);
    &owner.unwrap_or(container).attachments
}

#[cfg(test)]
mod tests;
