//! Policies, containers and endpoints -> rules for each hook. Pure.

mod injection;
mod peers;
mod picked;
mod refusals;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use entropy_common::{
    fault::delay::MAX_TABLES,
    rule::{Direction, HookKey, MAX_RULES},
};

pub use self::injection::{Injection, conditions};
use self::{
    injection::injection,
    peers::{addresses, owner, peer_name},
    picked::picked,
};
pub(crate) use self::{
    injection::{fingerprint, policy_seed},
    refusals::Refusals,
};
use crate::{
    datapath::Interface,
    docker::Container,
    endpoints::{Reach, missed},
    guard::Shield,
    network::Network,
    policy::{Percentiles, Policy, Records, Span},
    schedule::Window,
    settings::Guard,
};

/// Tables of delays that every host has: those of the named distributions.
pub const NAMED_TABLES: u32 = 3;
/// Most different lists of percentiles of a host.
const MAX_PERCENTILES: usize = (MAX_TABLES - NAMED_TABLES) as usize;

/// A container and how to reach it.
#[derive(Clone, Debug)]
pub struct Target {
    /// The container.
    pub container: Container,
    /// Its endpoints.
    pub reach: Reach,
    /// While it is being started, interfaces that may become its endpoints.
    pub coming: Vec<Interface>,
}

/// What should be in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The rules of each hook, in the order of the policies.
    pub hooks: BTreeMap<HookKey, Vec<Injection>>,
    /// Hooks that may get rules in a moment, when a container that is being started has come to be
    /// behind them: their programs can be there by then.
    pub prepared: BTreeSet<HookKey>,
    /// The interfaces of these hooks.
    pub interfaces: BTreeMap<u32, Interface>,
    /// The addresses and networks of each peer that an injection names.
    pub peers: BTreeMap<String, BTreeSet<Network>>,
    /// When each policy is in force, by name; those without a window always are.
    pub windows: BTreeMap<String, Window>,
    /// What policies that move do to packets by now, by name, in place of what their injections say.
    pub moving: BTreeMap<String, Records>,
    /// Packets that meet no rule; their peers are in `peers`.
    pub shields: Vec<Shield>,
    /// What cannot be done, and why.
    pub unsupported: Vec<Unsupported>,
    /// The longest that policies can be in force at a stretch where the guard allows less than they ask
    /// for, by name.
    pub shortened: BTreeMap<String, Span>,
    /// How many containers each policy hits, by name.
    pub hits: BTreeMap<String, usize>,
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

/// Computes what should be in the kernel. `seed` stands in for the seed of policies without one. Policies
/// that are `idle`, by name, are not in force and will not be by themselves: they keep their rules, but
/// count as nothing where there is a limit.
#[must_use]
pub fn plan(
    policies: &[Policy],
    targets: &[Target],
    seed: u64,
    guard: &Guard,
    idle: &BTreeSet<String>,
) -> Plan {
    let mut plan = Plan::default();
    let refusals = Refusals::new(guard, targets);
    // Of containers that share a namespace, the one that it belongs to comes first.
    let (owners, guests): (Vec<_>, Vec<_>) =
        targets.iter().partition(|target| owner(&target.container).is_none());
    let in_order = [owners, guests].concat();
    for policy in policies {
        let may_be_hit = |container: &Container| refusals.of(container).is_none();
        let picked = picked(policy, &in_order, seed, may_be_hit);
        for target in &picked {
            match refusals.of(&target.container) {
                None => plan.add(policy, target, seed),
                Some(reason) => plan.refuse_on(policy, target, reason),
            }
        }
        plan.hits.insert(policy.name.clone(), picked.len());
        let shortened = guard.shortened(policy).map(|longest| (policy.name.clone(), longest));
        plan.shortened.extend(shortened);
        if let Some(peer) = &policy.matcher.peer {
            plan.peers.entry(peer_name(peer)).or_insert_with(|| addresses(peer, targets));
        }
    }
    let names = policies.iter().map(|policy| &*policy.name);
    guard.limit_share(&mut plan, names.filter(|name| !idle.contains(*name)), targets);
    plan.limit(idle);
    plan.tidy();
    plan
}

/// The directions that a policy is for.
fn wanted(policy: &Policy) -> impl Iterator<Item = Direction> {
    let direction = policy.direction;
    Direction::ALL.into_iter().filter(move |way| match way {
        Direction::Egress => direction.has_egress(),
        Direction::Ingress => direction.has_ingress(),
    })
}

impl Plan {
    fn add(&mut self, policy: &Policy, target: &Target, seed: u64) {
        let endpoints = match &target.reach {
            Reach::Endpoints(endpoints) => endpoints,
            Reach::Unsupported(reason) => return self.refuse_on(policy, target, reason.clone()),
        };
        if let Some(reason) = missed(&target.container, endpoints) {
            self.refuse_on(policy, target, reason);
        }
        for interface in &target.coming {
            let hooks = wanted(policy).map(|direction| HookKey::new(interface.index, direction));
            self.prepared.extend(hooks);
            self.interfaces.insert(interface.index, interface.clone());
        }
        for endpoint in endpoints {
            for direction in wanted(policy) {
                let hook = HookKey::new(endpoint.interface.index, direction);
                let injections = self.hooks.entry(hook).or_default();
                // On it already, for a container in the same namespace: twice would be more
                // loss than was asked for.
                if injections.last().is_some_and(|last| last.policy == policy.name) {
                    continue;
                }
                let container = &target.container;
                match injection(policy, container, endpoint, direction, seed) {
                    Ok(injection) => injections.push(injection),
                    Err(mistake) => self.unsupported.push(Unsupported {
                        policy: policy.name.clone(),
                        container: container.name.clone(),
                        reason: mistake.to_string(),
                    }),
                }
                self.interfaces.insert(endpoint.interface.index, endpoint.interface.clone());
            }
        }
    }

    fn refuse_on(&mut self, policy: &Policy, target: &Target, reason: String) {
        let (policy, container) = (policy.name.clone(), target.container.name.clone());
        self.unsupported.push(Unsupported { policy, container, reason });
    }

    /// Lets packets pass as the guard says, with the addresses of this host.
    pub fn shield(&mut self, guard: &Guard, host: &BTreeSet<IpAddr>) {
        let (shields, peers) = guard.shields(host);
        self.shields = shields;
        self.peers.extend(peers);
        self.tidy();
    }

    /// The kernel takes so many rules on a hook. The last ones are left out and named; before them those
    /// that do nothing.
    fn limit(&mut self, idle: &BTreeSet<String>) {
        for injections in self.hooks.values_mut() {
            let mut superfluous = injections.len().saturating_sub(MAX_RULES);
            // From the last one on.
            injections.reverse();
            injections.retain(|injection| {
                let goes = superfluous > 0 && idle.contains(&injection.policy);
                superfluous -= usize::from(goes);
                !goes
            });
            injections.reverse();
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
        self.limit_tables();
    }

    /// The kernel has so many tables. Injections whose percentiles come too late are left out.
    fn limit_tables(&mut self) {
        let mut known: BTreeSet<Percentiles> = BTreeSet::new();
        self.retain(|injection| {
            let Some(percentiles) = &injection.faults.percentiles else { return Ok(()) };
            if known.len() < MAX_PERCENTILES || known.contains(percentiles) {
                known.insert(percentiles.clone());
                return Ok(());
            }
            Err(format!("there are more than {MAX_PERCENTILES} different lists of percentiles"))
        });
    }

    /// Leaves out delay, reordering, rate and slot, for which the host has no queue, and names the
    /// injections that had them.
    pub fn refuse_timed(&mut self, reason: &str) {
        self.refuse(reason, Records::is_timed, Records::without_timed);
    }

    /// Leaves out damage and loss by segment, for which the host has no wire, and names the injections
    /// that had them.
    pub fn refuse_wired(&mut self, reason: &str) {
        self.refuse(reason, Records::is_wired, Records::without_wired);
    }

    fn refuse(&mut self, reason: &str, needs: fn(&Records) -> bool, rest: fn(&Records) -> Records) {
        self.retain(|injection| {
            if !needs(&injection.faults) {
                return Ok(());
            }
            injection.faults = rest(&injection.faults);
            Err(reason.to_owned())
        });
        self.moving.values_mut().for_each(|records| *records = rest(records));
        self.tidy();
    }

    /// Asks about each injection. One that is refused is named with the reason, and left out unless
    /// something is left of it.
    pub(crate) fn retain(&mut self, mut accept: impl FnMut(&mut Injection) -> Result<(), String>) {
        let unsupported = &mut self.unsupported;
        for injections in self.hooks.values_mut() {
            injections.retain_mut(|injection| {
                let before = injection.faults.clone();
                let Err(reason) = accept(injection) else { return true };
                let (policy, container) = (injection.policy.clone(), injection.container.clone());
                unsupported.push(Unsupported { policy, container, reason });
                injection.faults != before && injection.faults != Records::NONE
            });
        }
    }

    /// Removes what nothing needs, and names nothing twice.
    fn tidy(&mut self) {
        self.hooks.retain(|_, injections| !injections.is_empty());
        let hooks = &self.hooks;
        let used: BTreeSet<u32> =
            hooks.keys().chain(&self.prepared).map(|hook| hook.ifindex).collect();
        self.interfaces.retain(|index, _| used.contains(index));
        // Without a rule there is nothing to be shielded from.
        if hooks.is_empty() {
            self.shields.clear();
        }
        let of_injections =
            hooks.values().flatten().filter_map(|injection| injection.peer.as_ref());
        let of_shields = self.shields.iter().map(|shield| &shield.peer);
        let used: BTreeSet<&String> = of_injections.chain(of_shields).collect();
        self.peers.retain(|peer, _| used.contains(peer));
        self.unsupported.sort();
        self.unsupported.dedup();
    }
}

#[cfg(test)]
mod tests;
