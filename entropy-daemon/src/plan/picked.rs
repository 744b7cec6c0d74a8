//! Which of the containers that match a policy are hit.

use std::collections::BTreeSet;

use entropy_common::chance;

use super::{
    Target,
    injection::{fingerprint, policy_seed},
    peers::identity,
};
use crate::{
    docker::Container,
    endpoints::Reach,
    policy::{Pick, Policy},
};

/// The targets of a policy, in the order of `targets`.
///
/// A choice is made by hashing the policy's seed and the id of each container: it needs no memory and no
/// coordination, and is stable as others come and go (rendezvous hashing; Thaler, Ravishankar: "Using
/// Name-Based Mappings to Increase Hit Rates", 1998). Containers that share a namespace are chosen
/// together, as they cannot be hit apart. Of those that cannot be hit none is chosen, unless there are
/// no others.
pub(super) fn picked<'t>(
    policy: &Policy,
    targets: &[&'t Target],
    seed: u64,
    may_be_hit: impl Fn(&Container) -> bool,
) -> Vec<&'t Target> {
    let matches = |container: &Container| policy.target.matches(&container.name, &container.labels);
    let all: Vec<&Target> =
        targets.iter().copied().filter(|target| matches(&target.container)).collect();
    let Some(pick) = policy.target.pick else { return all };
    let reachable = |target: &Target| match &target.reach {
        Reach::Endpoints(endpoints) => !endpoints.is_empty() && may_be_hit(&target.container),
        Reach::Unsupported(_) => false,
    };
    let candidates: Vec<&Target> = all.iter().copied().filter(|target| reachable(target)).collect();
    if candidates.is_empty() {
        return all;
    }
    let start = policy_seed(policy, seed);
    let draw = |target: &Target| {
        let all = targets.iter().map(|target| &target.container);
        chance::derive(start, fingerprint(identity(&target.container, all)))
    };
    match pick {
        Pick::Share(share) => {
            let below = |target: &&Target| draw(target) >> 32 < share.parts();
            candidates.into_iter().filter(below).collect()
        }
        Pick::Count(count) => {
            let lowest: BTreeSet<u64> = candidates.iter().map(|target| draw(target)).collect();
            let lowest: BTreeSet<u64> = lowest.into_iter().take(count as usize).collect();
            candidates.into_iter().filter(|target| lowest.contains(&draw(target))).collect()
        }
    }
}

#[cfg(test)]
mod tests;
