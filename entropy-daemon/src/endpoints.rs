//! Containers and links -> endpoints: which host veth belongs to which container. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    datapath::Interface,
    docker::{Attachment, Container, NetworkMode},
    netlink::{Link, NetnsId},
};

/// One interface of one running container, seen from the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The host veth.
    pub interface: Interface,
    /// Id of the container.
    pub container: String,
    /// What tells the interface from the container's others, the same after a restart: the name of
    /// its network, or its number where that cannot be told.
    pub network: String,
}

/// The endpoints of one container, or why there are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// These; empty only while the container starts or ends, or is in no network.
    Endpoints(Vec<Endpoint>),
    /// None that this host can reach, and why.
    Unsupported(String),
}

/// Finds the endpoints of a container. `netns` is its network namespace, if it has one by now.
#[must_use]
pub fn of_container(container: &Container, netns: Option<NetnsId>, links: &[Link]) -> Reach {
    if container.network_mode == NetworkMode::Host || netns == Some(NetnsId::SameNamespace) {
        return Reach::Unsupported("host network: the container has no veth of its own".into());
    }
    if container.network_mode == NetworkMode::None {
        return Reach::Unsupported("network none: the container has no interface".into());
    }
    let veths: Vec<&Link> = match netns {
        Some(NetnsId::Id(id)) => links.iter().filter(|link| is_veth_into(link, id)).collect(),
        _ => Vec::new(),
    };
    // Before it runs, a container's interfaces may still be on their way.
    let should_have_some = container.state.is_live() && !container.attachments.is_empty();
    if veths.is_empty() && netns.is_some() && should_have_some {
        let networks: Vec<String> =
            container.attachments.iter().map(|network| network.network_name.clone()).collect();
        return Reach::Unsupported(format!(
            "network {}: no host veth leads to the container (macvlan, ipvlan or overlay)",
            networks.join(", ")
        ));
    }
    Reach::Endpoints(name_networks(container, &veths, links))
}

/// The host's ends of veth pairs that a container which is being started may be about to get: each is on
/// the bridge of a network where the container has a place, and its other end is still on the host or in a
/// namespace that is nobody's (`taken` are those that are somebody's).
///
/// Docker makes the pair, puts the outer end on the bridge and tells of the place on the network; hundreds of
/// milliseconds later it moves the inner end into the container, gives it the address that it has told, and
/// sets it up (libnetwork, drivers/bridge and osl).
#[must_use]
pub fn candidates<'a>(
    container: &Container,
    taken: &BTreeSet<i32>,
    links: &'a [Link],
) -> Vec<&'a Link> {
    let names = names(links);
    let may_be_its = |link: &&Link| {
        link.kind.as_deref() == Some("veth")
            && link.peer_netns.is_none_or(|netns| !taken.contains(&netns))
            && link.master.is_some_and(|bridge| may_be_on(container, names.get(&bridge).copied()))
    };
    links.iter().filter(may_be_its).collect()
}

/// Whether the bridge of a veth may be one of a container's networks: neither the engine nor its name says
/// another one.
fn may_be_on(container: &Container, bridge: Option<&str>) -> bool {
    let bridge = bridge.unwrap_or_default();
    let mut places = container.attachments.iter();
    let is_open = |place: &Attachment| place.bridge.is_none() && is_bridged(place);
    let may_be_any = places.any(is_open) && digits(bridge).is_none() && bridge != "docker0";
    may_be_any || network_of_bridge(container, bridge).is_some()
}

/// The digits of a network's id in the name that Docker gives its bridge: `br-` and the first twelve.
fn digits(bridge: &str) -> Option<&str> {
    let digits = bridge.strip_prefix("br-")?;
    let is_hex = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (digits.len() == 12 && is_hex).then_some(digits)
}

/// The endpoints of a container that is being started, among the [`candidates`], and the interfaces that
/// may still become some. `inside` are the hardware addresses of the other ends that have been moved into a
/// namespace, by the index of the host's end.
#[must_use]
pub fn of_starting(
    container: &Container,
    candidates: &[&Link],
    inside: &BTreeMap<u32, String>,
    links: &[Link],
) -> (Reach, Vec<Interface>) {
    let macs = container.attachments.iter().filter_map(|network| network.mac.as_deref());
    let macs: BTreeSet<String> = macs.map(str::to_lowercase).collect();
    let is_its = |link: &&&Link| inside.get(&link.index).is_some_and(|mac| macs.contains(mac));
    let (its, others): (Vec<&Link>, Vec<&Link>) = candidates.iter().partition(|link| is_its(link));
    let others = if its.len() < macs.len() { others } else { Vec::new() };
    let coming = others.iter().map(|link| interface(link)).collect();
    (Reach::Endpoints(name_networks(container, &its, links)), coming)
}

fn interface(link: &Link) -> Interface {
    Interface { index: link.index, name: link.name.clone() }
}

/// The bridge by which containers of overlay networks, whose own veths are in a namespace of the
/// network's, reach the world outside (libnetwork, `libnGWNetwork`).
const GATEWAY: &str = "docker_gwbridge";

/// Why faults do not reach everything of a container that has endpoints: it is on networks that none of
/// them is on, by macvlan, ipvlan or overlay beside a bridge.
#[must_use]
pub fn missed(container: &Container, endpoints: &[Endpoint]) -> Option<String> {
    if endpoints.is_empty() || !container.state.is_live() {
        return None;
    }
    let without: Vec<&Attachment> = container
        .attachments
        .iter()
        .filter(|network| endpoints.iter().all(|endpoint| endpoint.network != network.network_name))
        .collect();
    // Endpoints that have a number instead of a name are on some of these.
    let unnamed = endpoints.iter().filter(|endpoint| endpoint.network.starts_with('#')).count();
    if without.len() <= unnamed {
        return None;
    }
    let networks: Vec<String> = without
        .iter()
        .filter(|network| unnamed == 0 || !is_bridged(network))
        .map(|network| match &network.driver {
            Some(driver) => format!("{} ({driver})", network.network_name),
            None => network.network_name.clone(),
        })
        .collect();
    let all = networks.join(", ");
    (!networks.is_empty())
        .then(|| format!("network {all}: no host veth leads to the container there"))
}

/// Whether a network is likely to have a veth on this host.
fn is_bridged(network: &Attachment) -> bool {
    network.driver.as_deref().is_none_or(|driver| driver == "bridge")
}

fn is_veth_into(link: &Link, netns: i32) -> bool {
    link.kind.as_deref() == Some("veth") && link.peer_netns == Some(netns)
}

fn names(links: &[Link]) -> BTreeMap<u32, &str> {
    links.iter().map(|link| (link.index, link.name.as_str())).collect()
}

fn name_networks(container: &Container, veths: &[&Link], links: &[Link]) -> Vec<Endpoint> {
    let bridges = names(links);
    let mut endpoints: Vec<Endpoint> = veths
        .iter()
        .enumerate()
        .map(|(number, veth)| {
            let bridge = veth.master.and_then(|index| bridges.get(&index).copied());
            let network = bridge.and_then(|bridge| network_of_bridge(container, bridge));
            Endpoint {
                interface: interface(veth),
                container: container.id.clone(),
                network: network.unwrap_or_else(|| format!("#{number}")),
            }
        })
        .collect();
    // With one of each there is nothing to confuse, whatever the bridge is called.
    if let ([endpoint], [network]) = (&mut endpoints[..], &container.attachments[..])
        && endpoint.network.starts_with('#')
    {
        endpoint.network.clone_from(&network.network_name);
    }
    endpoints
}

/// Docker calls a network's bridge as it is told, or `br-` and the first twelve digits of its id, and the
/// default network's `docker0` (libnetwork, drivers/bridge).
fn network_of_bridge(container: &Container, bridge: &str) -> Option<String> {
    if bridge == GATEWAY {
        // No attachment of the container's: Docker does not show it as one.
        return Some(GATEWAY.to_owned());
    }
    let is_its_bridge = |network: &&Attachment| match (&network.bridge, digits(bridge)) {
        (Some(told), _) => told == bridge,
        (None, Some(digits)) => network.network_id.starts_with(digits),
        (None, None) => bridge == "docker0" && network.network_name == "bridge",
    };
    let network = container.attachments.iter().find(is_its_bridge)?;
    Some(network.network_name.clone())
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
