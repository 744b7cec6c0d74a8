//! What the main loop publishes of its state. Cheap to make: what a round came to is shared.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use entropy_common::rule::HookKey;

use crate::{
    plan::{Plan, Target, Unsupported},
    policies::Lease,
    policy::Policy,
    settings::Guard,
};

/// The daemon's state.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// The policies that there are, in their order: first those of files.
    pub(crate) policies: Arc<Vec<Policy>>,
    /// How many are of files.
    pub(crate) of_files: usize,
    /// Which are paused, by name.
    pub(crate) paused: BTreeSet<String>,
    /// Which have a lease, by name.
    pub(crate) leases: BTreeMap<String, Lease>,
    /// What the last round came to; `None` before the engine has spoken.
    pub(crate) round: Option<Arc<Round>>,
    /// Why the last attempt at a round came to nothing: what is in force is as old as the last one.
    pub(crate) stuck: Option<String>,
    /// What is waited for while an earlier version's rules stand, in words.
    pub(crate) earlier: Option<String>,
    /// What no policy can do.
    pub(crate) guard: Arc<Guard>,
    /// The container engine.
    pub(crate) engine: Engine,
    /// Why policy files are not in force as they are.
    pub(crate) files: Option<String>,
    /// Why nothing can wait on this host.
    pub(crate) untimed: Option<String>,
    /// Why nothing can be damaged on this host.
    pub(crate) unwired: Option<String>,
}

/// A policy and what is known of it besides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listed<'v> {
    pub(super) policy: &'v Policy,
    pub(super) is_of_file: bool,
    pub(super) paused: bool,
    pub(super) lease: Option<Lease>,
}

/// What a round of the main loop came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Round {
    /// What should be in force.
    pub(crate) plan: Plan,
    /// The hooks where it is.
    pub(crate) in_force: BTreeSet<HookKey>,
    /// What cannot be.
    pub(crate) refused: BTreeSet<Unsupported>,
    /// The containers.
    pub(crate) targets: Vec<Target>,
    /// Why it did not come to its end, or how many changes have to be tried again.
    pub(crate) problem: Option<String>,
}

/// What is known of the container engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Engine {
    /// Its version, once it has answered.
    pub(crate) version: Option<String>,
    /// Why it does not answer; `None` if it does, or has not been asked yet.
    pub(crate) gone: Option<String>,
}

impl View {
    /// The policies with what is known of them.
    pub(super) fn listed(&self) -> impl Iterator<Item = Listed<'_>> {
        self.policies.iter().enumerate().map(|(index, policy)| Listed {
            policy,
            is_of_file: index < self.of_files,
            paused: self.paused.contains(&policy.name),
            lease: self.leases.get(&policy.name).copied(),
        })
    }

    /// The order of the policies, by name.
    pub(super) fn order(&self) -> BTreeMap<&str, usize> {
        let names = self.policies.iter().map(|policy| policy.name.as_str());
        names.zip(0..).collect()
    }
}

impl Listed<'_> {
    /// How long its client can be silent yet, and in all, in nanoseconds.
    pub(super) fn lease_ns(&self, now: Instant) -> Option<(u64, u64)> {
        let lease = self.lease?;
        let ns = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Some((ns(lease.until.saturating_duration_since(now)), ns(lease.ttl)))
    }
}
