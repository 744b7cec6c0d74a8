//! What the daemon knows of the host's containers.

use std::collections::BTreeMap;

use tracing::{debug, info, warn};

use crate::{
    api::Engine,
    docker::{Container, State, Update},
    endpoints,
    netlink::{self, Netlink, NetnsId, NetnsRef},
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
            Update::Snapshot(containers) => {
                let all = containers.into_iter().map(|container| (container.id.clone(), container));
                self.containers = all.collect();
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
        let mut targets = Vec::with_capacity(self.containers.len());
        for container in self.containers.values() {
            let netns = namespace(container, netlink).await;
            let reach = endpoints::of_container(container, netns, &links);
            targets.push(Target { container: container.clone(), reach });
        }
        // Ids are random; names make the order of peers and logs the same for everybody.
        targets.sort_by(|a, b| a.container.name.cmp(&b.container.name));
        Ok(targets)
    }
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
