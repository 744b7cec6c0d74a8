//! What an engine says of networks.

use std::{collections::HashMap, sync::PoisonError};

use bollard::query_parameters::{InspectNetworkOptions, ListNetworksOptions};

use super::{Engine, EngineError, bounded, is_id};
use crate::docker::Attachment;

/// What an engine says of a network.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) driver: Option<String>,
    pub(super) bridge: Option<String>,
}

impl Known {
    fn of(driver: Option<String>, options: Option<HashMap<String, String>>) -> Self {
        /// Docker's name for the option.
        const BRIDGE: &str = "com.docker.network.bridge.name";
        let bridge = options.and_then(|mut options| options.remove(BRIDGE));
        Self { driver, bridge: bridge.filter(|bridge| !bridge.is_empty()) }
    }
}

impl Engine {
    /// Learns the drivers of all networks in one go. Without them things work, only slower.
    pub(in crate::docker) async fn learn_drivers(&self) {
        let list = self.docker.list_networks(None::<ListNetworksOptions>);
        match bounded("list networks", self.timeout, list).await {
            Ok(networks) => {
                let known = networks.into_iter().filter_map(|network| {
                    Some((network.id?, Known::of(network.driver, network.options)))
                });
                self.with_networks(|networks| networks.extend(known));
            }
            Err(error) => tracing::debug!(%error, "drivers of networks are asked for one by one"),
        }
    }

    /// A container's place on a network, if it is there.
    pub(super) async fn place_on(
        &self,
        network: &str,
        id: &str,
    ) -> Result<Option<Attachment>, EngineError> {
        let inspect = self.docker.inspect_network(network, None::<InspectNetworkOptions>);
        let answer = bounded("inspect network", self.timeout, inspect).await?;
        let endpoint = answer.containers.and_then(|mut endpoints| endpoints.remove(id));
        let name = answer.name.unwrap_or_else(|| network.to_owned());
        let id = answer.id.unwrap_or_default();
        let Known { driver, bridge } = Known::of(answer.driver, answer.options);
        // Only Docker is asked here, and this is what it calls one (libnetwork, drivers/bridge).
        let usual = driver.as_deref() == Some("bridge");
        let usual = usual.then(|| id.get(..12).map(|digits| format!("br-{digits}"))).flatten();
        Ok(endpoint.map(|endpoint| Attachment {
            driver,
            bridge: bridge.or(usual),
            ..Attachment::of_network(name, id, &endpoint)
        }))
    }

    pub(super) async fn known(&self, network: &str) -> Known {
        if !is_id(network) {
            return Known::default();
        }
        if let Some(known) = self.with_networks(|networks| networks.get(network).cloned()) {
            return known;
        }
        let inspect = self.docker.inspect_network(network, None::<InspectNetworkOptions>);
        match bounded("inspect network", self.timeout, inspect).await {
            Ok(answer) => {
                let known = Known::of(answer.driver, answer.options);
                self.with_networks(|networks| networks.insert(network.into(), known.clone()));
                known
            }
            Err(error) => {
                tracing::debug!(%error, network, "driver of the network is unknown");
                Known::default()
            }
        }
    }

    fn with_networks<T>(&self, work: impl FnOnce(&mut HashMap<String, Known>) -> T) -> T {
        work(&mut self.networks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
