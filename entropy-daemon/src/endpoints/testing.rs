//! Containers and links for tests.

use std::collections::BTreeMap;

use crate::{
    docker::{Attachment, Container, NetworkMode, State},
    netlink::Link,
};

/// A running container with these labels (`app=web,tier`), on no network yet. Its id is its name in
/// upper case.
pub(crate) fn container(name: &str, labels: &str) -> Container {
    let labels: BTreeMap<_, _> = labels
        .split_terminator(',')
        .map(|label| label.split_once('=').unwrap_or((label, "")))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    Container {
        id: name.to_uppercase(),
        name: name.into(),
        labels,
        state: State::Running,
        pid: None,
        sandbox_key: None,
        network_mode: NetworkMode::Named("default".into()),
        attachments: Vec::new(),
    }
}

/// A place on a network, whose id is `id` filled up with zeros to 64 digits.
pub(crate) fn attachment(network: &str, id: &str, addresses: &[&str]) -> Attachment {
    Attachment {
        network_name: network.into(),
        network_id: format!("{id:0<64}"),
        driver: Some("bridge".into()),
        bridge: None,
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        mac: None,
    }
}

/// A container on these networks.
pub(crate) fn on(container: Container, attachments: &[Attachment]) -> Container {
    Container { attachments: attachments.to_vec(), ..container }
}

/// The host's end of a veth pair that leads to a namespace.
pub(crate) fn veth(index: u32, netns: i32, bridge: Option<u32>) -> Link {
    Link {
        peer_index: Some(2),
        peer_netns: Some(netns),
        master: bridge,
        ..link(index, &format!("veth{index}"), "veth")
    }
}

/// A link of any kind.
pub(crate) fn link(index: u32, name: &str, kind: &str) -> Link {
    Link {
        index,
        name: name.into(),
        mac: None,
        kind: Some(kind.into()),
        peer_index: None,
        peer_netns: None,
        master: None,
        up: true,
        mtu: 1500,
    }
}
