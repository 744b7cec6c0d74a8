//! One policy on one endpoint.

use entropy_common::{
    chance,
    rule::{ANY_ICMP, ANY_PAYLOAD, ANY_PROTOCOL, Direction, Match, WITH_PAYLOAD, WITHOUT_PAYLOAD},
};

use super::peers::peer_name;
use crate::{
    docker::Container,
    endpoints::Endpoint,
    policy::{Mistake, Policy, Protocol, Records, probability},
};

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
    /// The peer, a key of [`Plan::peers`](super::Plan::peers).
    pub peer: Option<String>,
    /// What happens to them; the number of a table of percentiles is not known yet.
    pub faults: Records,
}

pub(super) fn injection(
    policy: &Policy,
    container: &Container,
    endpoint: &Endpoint,
    direction: Direction,
    seed: u64,
) -> Result<Injection, Mistake> {
    let seed = endpoint_seed(policy, container, endpoint, seed);
    let mut matcher = conditions(policy);
    if policy.matcher.flows.is_some() {
        // The same connections in both directions.
        matcher.flow_seed = seed as u32;
    }
    Ok(Injection {
        policy: policy.name.clone(),
        container: container.name.clone(),
        container_id: container.id.clone(),
        seed: chance::derive(seed, u64::from(direction as u32)),
        matcher,
        peer: policy.matcher.peer.as_ref().map(peer_name),
        faults: policy.faults.records()?,
    })
}

/// Containers under one policy must not lose the same packets, and a container that is made anew
/// should lose the same ones again under a policy with a seed: so what tells endpoints apart is the
/// container's name and network, not their ids.
fn endpoint_seed(policy: &Policy, container: &Container, endpoint: &Endpoint, seed: u64) -> u64 {
    [fingerprint(&container.name), fingerprint(&endpoint.network)]
        .into_iter()
        .fold(policy_seed(policy, seed), chance::derive)
}

/// The seed of a policy, made of the daemon's if it has none.
pub(crate) fn policy_seed(policy: &Policy, seed: u64) -> u64 {
    policy.seed.unwrap_or_else(|| chance::derive(seed, fingerprint(&policy.name)))
}

/// FNV-1a, 64 bits: the same on every machine and in every version, which the standard library's
/// hashes do not promise. Source: Fowler, Noll, Vo; draft-eastlake-fnv.
pub(crate) fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// A policy's conditions on packets as the kernel has them. Open are what depends on the endpoint:
/// the number of the peer group, and which flows a share of them means.
#[must_use]
pub fn conditions(policy: &Policy) -> Match {
    let matcher = &policy.matcher;
    let protocol = match matcher.protocol {
        None => ANY_PROTOCOL,
        Some(Protocol::Tcp) => 6,
        Some(Protocol::Udp) => 17,
        Some(Protocol::Icmp) => ANY_ICMP,
        Some(Protocol::Other(number)) => u16::from(number),
    };
    let [port, local, remote] =
        matcher.ports().map(|(_, range)| range.map_or((0, 0), |range| (range.first, range.last)));
    let flags = matcher.tcp_flags.map_or((0, 0), |flags| (flags.mask, flags.set));
    let length = matcher.length.map_or((0, u32::MAX), |length| (length.first, length.last));
    Match {
        protocol,
        port_first: port.0,
        port_last: port.1,
        local_first: local.0,
        local_last: local.1,
        remote_first: remote.0,
        remote_last: remote.1,
        tcp_mask: flags.0,
        tcp_value: flags.1,
        length_first: length.0,
        length_last: length.1,
        payload: match matcher.payload {
            None => ANY_PAYLOAD,
            Some(true) => WITH_PAYLOAD,
            Some(false) => WITHOUT_PAYLOAD,
        },
        flow_share: matcher.flows.map_or(Match::ALL.flow_share, probability),
        ..Match::ALL
    }
}
