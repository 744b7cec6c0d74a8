//! The daemon's state and the kernel's counters -> what clients are told. Pure.

mod state;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use entropy_common::{
    rule::{Direction, HookKey},
    stats::RuleState,
};

use self::state::{policy_state, timed};
use super::{
    activity::{Activity, IDLE},
    types::{
        Container, Containers, Counters, Endpoint, EngineHealth, Health, Injection, Lease, Policy,
        Source, State, Status,
    },
    view::{Listed, Round, View},
};
use crate::{
    datapath::inspect::Snapshot,
    describe::{Condition, Faults},
    endpoints::{Reach, missed},
    plan::{self, Refusals},
    runtime::Halted,
    schedule::Window,
};

/// All that there is to be told of at one time.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub(super) view: &'a View,
    pub(super) halted: Option<Halted>,
    /// Nanoseconds of the clock that rules are timed by.
    pub(super) now_ns: u64,
    pub(super) now: Instant,
}

impl Scene<'_> {
    /// All policies.
    pub(super) fn policies(&self) -> Vec<Policy> {
        self.view.listed().map(|listed| self.policy(listed)).collect()
    }

    /// One policy.
    pub(super) fn policy(&self, listed: Listed<'_>) -> Policy {
        let Listed { policy, is_of_file, .. } = listed;
        let mut written = policy.origin.written.as_object().cloned().unwrap_or_default();
        written.insert("name".to_owned(), policy.name.clone().into());
        let round = self.view.round.as_deref();
        let refused = round.iter().flat_map(|round| &round.refused);
        let reasons = refused
            .filter(|refused| refused.policy == policy.name)
            .map(|refused| format!("container {}: {}", refused.container, refused.reason));
        let hits = round.and_then(|round| round.plan.hits.get(&policy.name)).copied();
        let window = if listed.paused { None } else { Some(self.window(&policy.name)) };
        let (starts_in_ns, ends_in_ns) = window.map_or((None, None), |w| timed(w, self.now_ns));
        Policy {
            name: policy.name.clone(),
            source: if is_of_file { Source::File } else { Source::Api },
            origin: is_of_file.then(|| policy.origin.to_string()),
            state: self.state(listed),
            reasons: reasons.collect(),
            containers: hits.unwrap_or_default() as u64,
            starts_in_ns,
            ends_in_ns,
            lease: listed.lease_ns(self.now).map(|(left_ns, ttl_ns)| Lease { ttl_ns, left_ns }),
            policy: written,
            effect: None,
        }
    }

    fn window(&self, policy: &str) -> Window {
        let round = self.view.round.as_deref();
        let window = round.and_then(|round| round.plan.windows.get(policy));
        window.copied().unwrap_or(Window::ALWAYS)
    }

    fn state(&self, listed: Listed<'_>) -> State {
        let name = &listed.policy.name;
        if self.halted.is_some() {
            return State::Halted;
        }
        if listed.paused {
            return State::Paused;
        }
        let Some(round) = self.view.round.as_deref() else { return State::Pending };
        let by_time = policy_state(listed.policy, self.window(name), self.now_ns);
        if by_time != State::InForce {
            return by_time;
        }
        if round.plan.hits.get(name) == Some(&0) {
            return State::NoContainer;
        }
        let mut hooks = round.plan.hooks.iter().filter(|(hook, _)| round.in_force.contains(hook));
        if hooks.any(|(_, injections)| injections.iter().any(|one| one.policy == *name)) {
            return State::InForce;
        }
        let is_refused = round.refused.iter().any(|refused| refused.policy == *name);
        if is_refused { State::Refused } else { State::Pending }
    }

    /// All injections, in the order of the policies.
    pub(super) fn injections(
        &self,
        snapshot: Option<&Snapshot>,
        activity: &Activity,
    ) -> Vec<Injection> {
        let Some(round) = self.view.round.as_deref() else { return Vec::new() };
        let states: BTreeMap<&str, State> = self
            .view
            .listed()
            .map(|listed| (listed.policy.name.as_str(), self.state(listed)))
            .collect();
        let counted = counted(snapshot);
        let mut all = Vec::new();
        for (hook, injections) in &round.plan.hooks {
            for injection in injections {
                // The policy's state, which may be in force elsewhere only.
                let state = states.get(injection.policy.as_str()).copied();
                let state = match state.unwrap_or(State::Pending) {
                    State::InForce if !round.in_force.contains(hook) => State::Pending,
                    state => state,
                };
                let key = (hook.ifindex, hook.direction, injection.policy.as_str());
                let counters = counted.get(&key).copied();
                let place = (hook.ifindex, hook.direction, injection.policy.clone());
                let quiet = activity.quiet(&place, self.now).filter(|_| state == State::InForce);
                all.push(placed(round, *hook, injection, state, counters, quiet));
            }
        }
        all.extend(round.refused.iter().map(refused));
        let order = self.view.order();
        all.sort_by(|a, b| {
            let key = |one: &Injection| {
                let policy = order.get(one.policy.as_str()).copied();
                (policy, one.container.clone(), one.interface.clone(), one.direction.clone())
            };
            key(a).cmp(&key(b))
        });
        all
    }

    /// All containers, by name.
    pub(super) fn containers(&self) -> Containers {
        let Some(round) = self.view.round.as_deref() else {
            return Containers { containers: Vec::new() };
        };
        let mut on: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for injection in round.plan.hooks.values().flatten() {
            on.entry(&injection.container_id).or_default().insert(&injection.policy);
        }
        let refusals = Refusals::new(&self.view.guard, &round.targets);
        let one = |target: &plan::Target| {
            let container = &target.container;
            let (endpoints, missing) = match &target.reach {
                Reach::Endpoints(endpoints) => (&endpoints[..], missed(container, endpoints)),
                Reach::Unsupported(reason) => (&[][..], Some(reason.clone())),
            };
            let endpoint = |endpoint: &crate::endpoints::Endpoint| Endpoint {
                interface: endpoint.interface.name.clone(),
                index: endpoint.interface.index,
                network: endpoint.network.clone(),
            };
            let policies = on.get(container.id.as_str()).into_iter().flatten();
            Container {
                id: container.id.clone(),
                name: container.name.clone(),
                labels: container.labels.clone(),
                endpoints: endpoints.iter().map(endpoint).collect(),
                reason: refusals.of(container).or(missing),
                policies: policies.map(|&policy| policy.to_owned()).collect(),
            }
        };
        Containers { containers: round.targets.iter().map(one).collect() }
    }

    /// How the daemon is.
    pub(super) fn health(&self, injections: &[Injection], unread: Option<&String>) -> Health {
        let view = self.view;
        let mut reasons = Vec::new();
        if let Some(halted) = &self.halted {
            reasons.push(format!("halted: {}", halted.reason));
        }
        let has_answered = view.engine.version.is_some() || view.round.is_some();
        match (&view.engine.gone, has_answered) {
            (Some(reason), _) => reasons.push(format!("no container engine: {reason}")),
            (None, false) => reasons.push("the container engine has not answered yet".to_owned()),
            (None, true) => {}
        }
        reasons.extend(view.earlier.clone());
        if let Some(problem) = &view.files {
            let first = problem.lines().next().unwrap_or_default();
            reasons.push(format!("policy files are not loaded: {first}"));
        }
        if let Some(stuck) = &view.stuck {
            reasons.push(format!("nothing changes, tried again: {stuck}"));
        }
        reasons.extend(view.round.iter().filter_map(|round| round.problem.clone()));
        let in_force: Vec<_> = injections.iter().filter(|i| i.state == State::InForce).collect();
        let unread = unread.filter(|_| !in_force.is_empty());
        reasons.extend(unread.map(|reason| format!("the counters cannot be read: {reason}")));
        let well = reasons.is_empty();
        // What policies that need it are told, too; the others are as well as ever.
        let lacks = [("delay, rate, slot", &view.untimed), ("damage", &view.unwired)];
        for (what, reason) in lacks {
            reasons.extend(reason.iter().map(|reason| format!("no {what} on this host: {reason}")));
        }
        let count = |set: BTreeSet<&String>| set.len() as u64;
        Health {
            status: match (&self.halted, well) {
                (Some(_), _) => Status::Halted,
                (None, true) => Status::Ok,
                (None, false) => Status::Degraded,
            },
            reasons,
            halted: self.halted.clone(),
            engine: EngineHealth {
                connected: view.engine.version.is_some() && view.engine.gone.is_none(),
                version: view.engine.version.clone(),
                reason: view.engine.gone.clone(),
            },
            no_fair_queue: view.untimed.clone(),
            no_wire: view.unwired.clone(),
            policies: view.policies.len() as u64,
            policies_in_force: count(in_force.iter().map(|one| &one.policy).collect()),
            containers_hit: count(in_force.iter().map(|one| &one.container).collect()),
            injections_idle: in_force.iter().filter(|one| one.idle).count() as u64,
        }
    }
}

/// The counters of a snapshot, by interface, direction and policy.
fn counted(snapshot: Option<&Snapshot>) -> BTreeMap<(u32, u32, &str), &RuleState> {
    let hooks = snapshot.into_iter().flat_map(|snapshot| &snapshot.hooks);
    hooks
        .flat_map(|hook| {
            hook.rules.iter().map(|entry| {
                let key = (hook.ifindex, hook.direction as u32, entry.policy.as_str());
                (key, &entry.state)
            })
        })
        .collect()
}

/// An injection on an interface.
fn placed(
    round: &Round,
    hook: HookKey,
    injection: &plan::Injection,
    state: State,
    counters: Option<&RuleState>,
    quiet: Option<Duration>,
) -> Injection {
    let faults = Faults::new(&injection.faults.rule());
    let peer = injection.peer.as_ref().map(|peer| format!("peer {peer}"));
    let idle = quiet.is_some_and(|quiet| quiet >= IDLE);
    let interface = round.plan.interfaces.get(&hook.ifindex);
    let reason = quiet.filter(|_| idle).map(|quiet| {
        let seconds = quiet.as_secs();
        match counters {
            Some(counters) if counters.matched > 0 => format!("no packet matched for {seconds} s"),
            _ => format!("no packet matched since it came into force {seconds} s ago"),
        }
    });
    Injection {
        policy: injection.policy.clone(),
        container: injection.container.clone(),
        interface: interface.map(|interface| interface.name.clone()),
        direction: Direction::from_number(hook.direction).map(|way| way.name().to_owned()),
        r#match: Condition::new(&injection.matcher).describe(peer),
        fault: faults.describe(),
        state,
        reason,
        idle,
        quiet_ns: quiet.map(|quiet| u64::try_from(quiet.as_nanos()).unwrap_or(u64::MAX)),
        counters: counters.map(|counters| counters_of(counters, faults.loses_segments())),
    }
}

/// A policy that cannot be on a container, or not all of it.
fn refused(refused: &plan::Unsupported) -> Injection {
    Injection {
        policy: refused.policy.clone(),
        container: refused.container.clone(),
        interface: None,
        direction: None,
        r#match: String::new(),
        fault: String::new(),
        state: State::Refused,
        reason: Some(refused.reason.clone()),
        idle: false,
        quiet_ns: None,
        counters: None,
    }
}

fn counters_of(state: &RuleState, by_segment: bool) -> Counters {
    Counters::new(state, if by_segment { state.framed } else { state.matched })
}

#[cfg(test)]
mod tests;
