//! The policies that came over the API, and the leases that some of them have.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use tracing::{error, info};

use crate::{
    api::types::Effect,
    policy::{Origin, Policy, parse, toml_of},
    runtime::{Kept, Runtime},
};

/// Most policies that can come over the API, so that a client gone mad does not take all memory.
const MOST: usize = 10_000;

/// Why something is not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// There is no such policy.
    #[error("{0}")]
    Unknown(String),
    /// It cannot be while something else is as it is.
    #[error("{0}")]
    Conflict(String),
    /// It could not be noted, so it was not done.
    #[error("not done: {0:#}")]
    Failed(#[from] anyhow::Error),
}

impl Refusal {
    pub(crate) fn unknown(name: &str) -> Self {
        Self::Unknown(format!("no policy {name}: `entropyctl get policies` lists them"))
    }

    pub(super) fn of_file(policy: &Policy) -> Self {
        let Policy { name, origin, .. } = policy;
        Self::Conflict(format!(
            "policy {name} comes from {origin}: edit the file, or pause the policy"
        ))
    }
}

/// A policy that is to be there.
#[derive(Clone, Debug)]
pub(crate) struct Put {
    /// The policy, with what was written in its origin.
    pub(crate) policy: Policy,
    /// Whether there must be none of its name.
    pub(crate) create: bool,
    /// Whether to say only what would happen.
    pub(crate) dry_run: bool,
    /// How long it stays without hearing from its client; `None` for without end.
    pub(crate) ttl: Option<Duration>,
}

/// How long a policy stays without hearing from its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    /// After each sign of life.
    pub(crate) ttl: Duration,
    /// By now.
    pub(crate) until: Instant,
}

#[derive(Clone, Debug)]
struct One {
    policy: Policy,
    lease: Option<Lease>,
}

/// The policies, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Given(BTreeMap<String, One>);

impl Given {
    /// What the daemon before this one had. Clients get the whole time to be heard of again.
    pub(super) fn restore(runtime: &Runtime) -> Self {
        let (kept, mut problems) = runtime.policies();
        let mut given = BTreeMap::new();
        for (name, kept) in kept {
            let lease = kept.ttl_ns.map(Duration::from_nanos);
            let lease = lease.map(|ttl| Lease { ttl, until: Instant::now() + ttl });
            match policy(&name, kept) {
                Ok(policy) => drop(given.insert(name, One { policy, lease })),
                Err(error) => problems.push(error),
            }
        }
        for problem in problems {
            error!("a policy of the API is lost: {problem:#}");
        }
        if !given.is_empty() {
            info!("policies of the API from before: {}", given.len());
        }
        Self(given)
    }

    pub(super) fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.0.values().map(|one| &one.policy)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(super) fn leases(&self) -> BTreeMap<String, Lease> {
        let lease = |(name, one): (&String, &One)| Some((name.clone(), one.lease?));
        self.0.iter().filter_map(lease).collect()
    }

    pub(super) fn put(
        &mut self,
        put: Put,
        runtime: &Runtime,
        since_ns: u64,
        now: Instant,
    ) -> Result<Effect, Refusal> {
        let Put { mut policy, create, dry_run, ttl } = put;
        let name = policy.name.clone();
        let before = self.0.get(&name);
        if create && before.is_some() {
            let help = format!("PUT /v1/policies/{name} replaces it");
            return Err(Refusal::Conflict(format!("there is a policy {name} already: {help}")));
        }
        if before.is_none() && self.0.len() >= MOST {
            return Err(Refusal::Conflict(format!("there are {MOST} policies, which is the most")));
        }
        // The same policy goes on where it is.
        let same = before.filter(|before| means_the_same(&before.policy, &policy));
        let since_ns = same.and_then(|same| same.policy.origin.since_ns).unwrap_or(since_ns);
        let effect = match (before, same) {
            (None, _) => Effect::Created,
            (_, Some(same)) if same.lease.map(|lease| lease.ttl) == ttl => Effect::Unchanged,
            _ => Effect::Replaced,
        };
        if dry_run {
            return Ok(effect);
        }
        policy.origin.since_ns = Some(since_ns);
        if effect != Effect::Unchanged {
            runtime.keep(&name, &kept(&policy, since_ns, ttl))?;
            let how = if effect == Effect::Created { "created" } else { "replaced" };
            info!("policy {name} {how} over the API");
        }
        let lease = ttl.map(|ttl| Lease { ttl, until: now + ttl });
        self.0.insert(name, One { policy, lease });
        Ok(effect)
    }

    pub(super) fn delete(&mut self, name: &str, runtime: &Runtime) -> Result<(), Refusal> {
        if !self.has(name) {
            return Err(Refusal::unknown(name));
        }
        runtime.forget(name)?;
        self.0.remove(name);
        Ok(())
    }

    /// Removes a policy without noting that.
    pub(super) fn end(&mut self, name: &str) {
        self.0.remove(name);
    }

    pub(super) fn renew(&mut self, name: &str, now: Instant) -> Result<(), Refusal> {
        let one = self.0.get_mut(name).ok_or_else(|| Refusal::unknown(name))?;
        let Some(lease) = &mut one.lease else {
            let help = "it stays until it is deleted";
            return Err(Refusal::Conflict(format!("policy {name} has no lease: {help}")));
        };
        lease.until = now + lease.ttl;
        Ok(())
    }

    pub(super) fn next_end(&self) -> Option<Instant> {
        self.0.values().filter_map(|one| one.lease).map(|lease| lease.until).min()
    }

    pub(super) fn ended(&self, now: Instant) -> Vec<String> {
        let is_over = |one: &One| one.lease.is_some_and(|lease| lease.until <= now);
        self.0.iter().filter(|(_, one)| is_over(one)).map(|(name, _)| name.clone()).collect()
    }
}

fn means_the_same(one: &Policy, other: &Policy) -> bool {
    let of = |policy: &Policy| Policy { origin: Origin::default(), ..policy.clone() };
    of(one) == of(other)
}

fn kept(policy: &Policy, since_ns: u64, ttl: Option<Duration>) -> Kept {
    let written = policy.origin.written.as_object().cloned().unwrap_or_default();
    let ttl_ns = ttl.map(|ttl| u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX));
    Kept { policy: written, since_ns, ttl_ns }
}

fn policy(name: &str, kept: Kept) -> Result<Policy> {
    let of = || format!("policy {name} in the runtime directory");
    let text = toml_of(&[kept.policy]).with_context(of)?;
    let policies = parse(Path::new(name), text.as_bytes()).with_context(of)?;
    let [mut policy]: [Policy; 1] =
        policies.try_into().map_err(|_| anyhow!("{} is not one policy", of()))?;
    ensure!(policy.name == name, "{} is called {}", of(), policy.name);
    policy.origin.since_ns = Some(kept.since_ns);
    Ok(policy)
}

#[cfg(test)]
mod tests;
