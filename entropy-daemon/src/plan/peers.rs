//! What the peers of policies are called, and their addresses.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::Target;
use crate::{
    docker::{Attachment, Container, NetworkMode},
    network::Network,
    policy::Peer,
};

/// What the policy wrote, which is what makes two peers the same.
pub(super) fn peer_name(peer: &Peer) -> String {
    match peer {
        Peer::Containers(selector) => selector.to_string(),
        Peer::Networks(networks) => {
            networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        }
    }
}

/// The addresses and networks of a peer now.
pub(super) fn addresses(peer: &Peer, targets: &[Target]) -> BTreeSet<Network> {
    match peer {
        Peer::Networks(networks) => networks.iter().copied().collect(),
        Peer::Containers(selector) => targets
            .iter()
            .filter(|target| selector.matches(&target.container.labels))
            .flat_map(|target| attachments(&target.container, targets))
            .flat_map(|network| &network.addresses)
            .map(|address| Network::from(IpNet::from(*address)))
            .collect(),
    }
}

/// The container, by id or name, whose namespace a container is in.
pub(super) fn owner(container: &Container) -> Option<&String> {
    match &container.network_mode {
        NetworkMode::Container(owner) => Some(owner),
        _ => None,
    }
}

/// The id of the container whose namespace a container is in: its own, as a rule.
pub(super) fn identity<'c>(
    container: &'c Container,
    mut all: impl Iterator<Item = &'c Container>,
) -> &'c str {
    let Some(owner) = owner(container) else { return &container.id };
    let owner = all.find(|other| other.id == *owner || other.name == *owner);
    owner.map_or(&container.id, |owner| &owner.id)
}

/// The networks that a container is on. Engines tell those of a shared namespace of its owner only.
fn attachments<'a>(container: &'a Container, targets: &'a [Target]) -> &'a [Attachment] {
    let Some(owner) = owner(container) else { return &container.attachments };
    let is_owner = |other: &&Container| other.id == *owner || other.name == *owner;
    let owner = targets.iter().map(|target| &target.container).find(is_owner);
    &owner.unwrap_or(container).attachments
}
