//! What the daemon knows of the host's containers.

use std::collections::{BTreeMap, BTreeSet};

use tracing::{debug, info, warn};

use crate::{
    api::Engine,
    docker::{Container, State, Update},
    endpoints,
    netlink::{self, Link, Netlink, NetnsId, NetnsRef},
    plan::Target,
};

/// The containers that have, or are about to have, a network.
#[derive(Debug, Default)]
pub(crate) struct World {
    containers: BTreeMap<String, Container>,
    /// Whether an engine has told us of all containers since the start.
    pub(crate) complete: bool,
    /// The engine itself.
    pub(crate) engine: Engine,
}

impl World {
    /// Takes note of what the engine says. Returns whether anything about containers changed.
    pub(crate) fn note(&mut self, update: Update) -> bool {
        match update {
            Update::Connected(version) => {
                info!("connected to container engine {} (API {})", version.engine, version.api);
                let version = format!("{} (API {})", version.engine, version.api);
                self.engine = Engine { version: Some(version), gone: None };
                false
            }
            Update::Snapshot { containers, unknown } => {
                // What cannot be looked at stays as it was known.
                self.containers.retain(|id, _| unknown.contains(id));
                let all = containers.into_iter().map(|container| (container.id.clone(), container));
                self.containers.extend(all);
                self.complete = true;
                true
            }
            Update::Changed(container) if container.state == State::Stopped => {
                self.containers.remove(&container.id).is_some()
            }
            Update::Changed(container) => {
                let before = self.containers.insert(container.id.clone(), container.clone());
                before.as_ref() != Some(&container)
            }
            Update::Gone(id) => self.containers.remove(&id).is_some(),
            Update::Unknown { id, reason } => {
                warn!("container {id}: {reason}; what was known of it stays in force");
                false
            }
            Update::Disconnected { reason } => {
                warn!("no container engine: {reason}; known containers keep their policies");
                self.engine.gone = Some(reason);
                false
            }
        }
    }

    /// Finds the endpoints of every container.
    pub(crate) async fn targets(&self, netlink: &Netlink) -> Result<Vec<Target>, netlink::Error> {
        // Listing the links makes the kernel give an id to every namespace that one leads to.
        let links = netlink.links().await?;
        let mut placed = Vec::with_capacity(self.containers.len());
        for container in self.containers.values() {
            placed.push((container, namespace(container, netlink).await));
        }
        let ids = placed.iter().filter_map(|(_, netns)| match netns {
            Some(NetnsId::Id(id)) => Some(*id),
            _ => None,
        });
        let taken: BTreeSet<i32> = ids.collect();
        let mut targets = Vec::with_capacity(placed.len());
        for (container, netns) in placed {
            let (reach, coming) = if netns.is_none() && container.state == State::Created {
                let candidates = endpoints::candidates(container, &taken, &links);
                let inside = addresses_inside(&candidates, netlink).await;
                endpoints::of_starting(container, &candidates, &inside, &links)
            } else {
                (endpoints::of_container(container, netns, &links), Vec::new())
            };
            targets.push(Target { container: container.clone(), reach, coming });
        }
        // Ids are random; names make the order of peers and logs the same for everybody.
        targets.sort_by(|a, b| a.container.name.cmp(&b.container.name));
        Ok(targets)
    }
}

/// The hardware addresses of the other ends of veth pairs, where they are in a namespace of their own, by
/// the index of this end.
async fn addresses_inside(veths: &[&Link], netlink: &Netlink) -> BTreeMap<u32, String> {
    let mut found = BTreeMap::new();
    for veth in veths {
        let (Some(netns), Some(peer)) = (veth.peer_netns, veth.peer_index) else { continue };
        match netlink.link_in(netns, peer).await {
            Ok(inside) => found.extend(inside.and_then(|link| Some((veth.index, link.mac?)))),
            Err(error) => debug!("other end of {}: {error}", veth.name),
        }
    }
    found
}

async fn namespace(container: &Container, netlink: &Netlink) -> Option<NetnsId> {
    let by_path = container.sandbox_key.as_deref().map(NetnsRef::Path);
    let by_process = container.pid.map(NetnsRef::Pid);
    for reference in by_path.into_iter().chain(by_process) {
        match netlink.netns_id(reference).await {
            Ok(id) => return Some(id),
            Err(error) => debug!("namespace of container {}: {error}", container.name),
        }
    }
    None
}

#[cfg(test)]
mod tests;
