//! A container as the daemon needs it, read from what engines say about one.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use bollard::models::{
    ContainerInspectResponse, ContainerState, ContainerStateStatusEnum as Status, ContainerSummary,
    EndpointResource, EndpointSettings, NetworkSettings,
};

/// One container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// The engine's id for it, for all its life, restarts included.
    pub id: String,
    /// Its name now, without the leading slash of Docker's API; it can be renamed.
    pub name: String,
    /// Its labels, those of its image included.
    pub labels: BTreeMap<String, String>,
    /// What it is doing.
    pub state: State,
    /// Its first process on the host, while it runs.
    pub pid: Option<i32>,
    /// File of its network namespace, while there is one. Docker has it before the first process.
    pub sandbox_key: Option<PathBuf>,
    /// How it was asked to be networked.
    pub network_mode: NetworkMode,
    /// The networks that it is on, sorted by name.
    pub attachments: Vec<Attachment>,
}

/// What a container is doing, as far as it matters for its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Made or being started; its network may be there already.
    Created,
    /// Running.
    Running,
    /// Running, but frozen.
    Paused,
    /// Between two runs.
    Restarting,
    /// Exited, dead, being removed, or anything that this version does not know.
    Stopped,
}

/// The network mode that a container was made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkMode {
    /// In the host's own network namespace.
    Host,
    /// In a namespace without interfaces.
    None,
    /// In the namespace of another container, by name or id.
    Container(String),
    /// On a network of its own: `default`, `bridge`, a name or an id.
    Named(String),
}

/// A container's place on one network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The network's name.
    pub network_name: String,
    /// The network's id, empty before the first start.
    pub network_id: String,
    /// The network's driver (`bridge`, `macvlan`, `overlay`, ...), if the engine tells.
    pub driver: Option<String>,
    /// The bridge of the network on the host, if the engine tells.
    pub bridge: Option<String>,
    /// Its addresses there: IPv4 and global IPv6.
    pub addresses: Vec<IpAddr>,
    /// Its hardware address there.
    pub mac: Option<String>,
}

impl Container {
    /// Reads an engine's answer; none if not even the id is in it.
    pub(super) fn from_inspect(answer: ContainerInspectResponse) -> Option<Self> {
        let id = answer.id.filter(|id| !id.is_empty())?;
        let name = answer.name.unwrap_or_default();
        let state = answer.state.unwrap_or_default();
        let network = answer.network_settings.unwrap_or_default();
        let mode = answer.host_config.and_then(|config| config.network_mode);
        let labels = answer.config.and_then(|config| config.labels).unwrap_or_default();
        Some(Self {
            id,
            name: name.strip_prefix('/').unwrap_or(&name).to_owned(),
            labels: labels.into_iter().collect(),
            state: State::from(&state),
            pid: state.pid.and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 0),
            sandbox_key: text(network.sandbox_key.as_deref()).map(PathBuf::from),
            network_mode: NetworkMode::from(mode.as_deref().unwrap_or_default()),
            attachments: attachments(network),
        })
    }
}

impl Container {
    /// Reads an entry of the engine's list for a container that is being started, when the engine does not
    /// answer a closer look; on no network yet. None if not even the id is in it.
    pub(super) fn starting(summary: ContainerSummary) -> Option<Self> {
        let id = summary.id.filter(|id| !id.is_empty())?;
        // Links of other containers have names with a second slash.
        let names = summary.names.unwrap_or_default();
        let name =
            names.iter().filter_map(|name| name.strip_prefix('/')).find(|n| !n.contains('/'));
        let mode = summary.host_config.and_then(|config| config.network_mode);
        Some(Self {
            name: name.unwrap_or(&id).to_owned(),
            id,
            labels: summary.labels.unwrap_or_default().into_iter().collect(),
            state: State::Created,
            pid: None,
            sandbox_key: None,
            network_mode: NetworkMode::from(mode.as_deref().unwrap_or_default()),
            attachments: Vec::new(),
        })
    }
}

impl Attachment {
    /// Reads what the engine says of a container in the answer about a network.
    pub(super) fn of_network(name: String, id: String, endpoint: &EndpointResource) -> Self {
        let addresses = [&endpoint.ipv4_address, &endpoint.ipv6_address];
        let address = |text: &&Option<String>| -> Option<IpAddr> {
            // With the length of the network's prefix.
            text.as_deref()?.split('/').next()?.parse().ok()
        };
        Self {
            network_name: name,
            network_id: id,
            driver: None,
            bridge: None,
            addresses: addresses.iter().filter_map(address).collect(),
            mac: text(endpoint.mac_address.as_deref()).map(str::to_owned),
        }
    }
}

impl From<&ContainerState> for State {
    fn from(state: &ContainerState) -> Self {
        match state.status {
            Some(Status::CREATED) => Self::Created,
            Some(Status::RUNNING) => Self::Running,
            Some(Status::PAUSED) => Self::Paused,
            Some(Status::RESTARTING) => Self::Restarting,
            None | Some(Status::EMPTY) => Self::from_flags(state),
            Some(_) => Self::Stopped,
        }
    }
}

impl State {
    /// For engines that say it without a word. A paused container counts as running too.
    fn from_flags(state: &ContainerState) -> Self {
        match (state.running, state.paused) {
            (_, Some(true)) => Self::Paused,
            (Some(true), _) => Self::Running,
            _ => Self::Stopped,
        }
    }

    /// Whether it has processes, running or frozen.
    #[must_use]
    pub fn is_live(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

impl From<&str> for NetworkMode {
    fn from(text: &str) -> Self {
        match text {
            "host" => Self::Host,
            "none" => Self::None,
            "" => Self::Named("default".into()),
            _ => match text.strip_prefix("container:") {
                Some(container) => Self::Container(container.into()),
                None => Self::Named(text.into()),
            },
        }
    }
}

fn attachments(settings: NetworkSettings) -> Vec<Attachment> {
    let networks = settings.networks.unwrap_or_default();
    let mut attachments: Vec<_> =
        networks.into_iter().map(|(name, endpoint)| attachment(name, &endpoint)).collect();
    attachments.sort_by(|a, b| a.network_name.cmp(&b.network_name));
    attachments
}

fn attachment(network_name: String, endpoint: &EndpointSettings) -> Attachment {
    let addresses = [&endpoint.ip_address, &endpoint.global_ipv6_address];
    Attachment {
        network_name,
        network_id: endpoint.network_id.clone().unwrap_or_default(),
        driver: None,
        bridge: None,
        addresses: addresses
            .into_iter()
            .filter_map(|address| address.as_deref()?.parse().ok())
            .filter(|address: &IpAddr| !address.is_unspecified())
            .collect(),
        mac: text(endpoint.mac_address.as_deref()).map(str::to_owned),
    }
}

/// Engines say "nothing" with an empty string as often as by leaving it out.
fn text(value: Option<&str>) -> Option<&str> {
    value.filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(answer: Value) -> Option<Container> {
        Container::from_inspect(serde_json::from_value(answer).unwrap())
    }

    #[test]
    fn answer_of_docker_is_read_whole() {
        let container = read(json!({
            "Id": "abc", "Name": "/web",
            "State": {"Status": "running", "Running": true, "Paused": false, "Pid": 4711},
            "HostConfig": {"NetworkMode": "front"},
            "Config": {"Labels": {"app": "web", "tier": ""}},
            "GraphDriver": {"Name": "overlayfs", "Data": null},
            "NetworkSettings": {
                "SandboxKey": "/var/run/docker/netns/1234",
                "Networks": {
                    "front": {
                        "NetworkID": "n1", "IPAddress": "172.18.0.2", "MacAddress": "02:42:ac:12:00:02",
                        "GlobalIPv6Address": "fd00::2",
                    },
                    "back": {"NetworkID": "n2", "IPAddress": "", "GlobalIPv6Address": "", "MacAddress": ""},
                },
            },
        }))
        .unwrap();
        assert_eq!((container.id.as_str(), container.name.as_str()), ("abc", "web"));
        assert_eq!((container.state, container.pid), (State::Running, Some(4711)));
        assert_eq!(container.sandbox_key, Some("/var/run/docker/netns/1234".into()));
        assert_eq!(container.network_mode, NetworkMode::Named("front".into()));
        let labels = [("app".to_owned(), "web".to_owned()), ("tier".to_owned(), String::new())];
        assert_eq!(container.labels, labels.into());
        let [back, front] = &container.attachments[..] else { panic!("{container:?}") };
        assert_eq!(
            (back.network_name.as_str(), &back.addresses[..], &back.mac),
            ("back", &[][..], &None)
        );
        assert_eq!(front.network_id, "n1");
        let addresses: [IpAddr; 2] = ["172.18.0.2".parse().unwrap(), "fd00::2".parse().unwrap()];
        assert_eq!(front.addresses, addresses);
        assert_eq!(front.mac.as_deref(), Some("02:42:ac:12:00:02"));
    }

    #[test]
    fn answer_with_hardly_anything_in_it_is_a_stopped_container() {
        let container = read(json!({"Id": "abc"})).unwrap();
        assert_eq!((container.state, container.pid), (State::Stopped, None));
        assert_eq!(container.network_mode, NetworkMode::Named("default".into()));
        assert_eq!((container.sandbox_key, container.attachments), (None, vec![]));
        assert_eq!(read(json!({"Id": ""})), None);
        assert_eq!(read(json!({"Name": "/x"})), None);
        let odd = json!({
            "Id": "x", "State": {"Pid": 0}, "NetworkSettings": {"SandboxKey": "", "Networks": null},
            "Config": {"Labels": null},
        });
        assert_eq!(read(odd).unwrap().pid, None);
    }

    #[test]
    fn state_is_known_with_and_without_a_word() {
        let state = |value: Value| State::from(&serde_json::from_value(value).unwrap());
        assert_eq!(state(json!({"Status": "paused", "Running": true})), State::Paused);
        assert_eq!(state(json!({"Running": true, "Paused": true})), State::Paused);
        assert_eq!(state(json!({"Running": true})), State::Running);
        assert_eq!(state(json!({"Status": "", "Running": false})), State::Stopped);
        for (word, meant) in [
            ("created", State::Created),
            ("running", State::Running),
            ("restarting", State::Restarting),
            ("exited", State::Stopped),
            ("dead", State::Stopped),
            ("removing", State::Stopped),
        ] {
            assert_eq!(state(json!({"Status": word})), meant);
        }
        assert!(State::Paused.is_live() && !State::Created.is_live());
    }

    #[test]
    fn network_modes_are_told_apart() {
        assert_eq!(NetworkMode::from("host"), NetworkMode::Host);
        assert_eq!(NetworkMode::from("none"), NetworkMode::None);
        assert_eq!(NetworkMode::from("container:ab"), NetworkMode::Container("ab".into()));
        assert_eq!(NetworkMode::from("hostess"), NetworkMode::Named("hostess".into()));
    }
}
