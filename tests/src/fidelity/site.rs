//! The place: a host with two bridges, a container, its neighbour and one in another network.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::netns::Netns;

/// Host end of the container's veth.
pub(super) const VETH: &str = "fidc";
/// The device in every container.
pub(super) const INSIDE: &str = "eth0";
const BRIDGES: [&str; 2] = ["fidbr0", "fidbr1"];

/// Both families.
pub(super) const FAMILIES: [u8; 2] = [4, 6];

/// Between which two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The container and its neighbour on one bridge.
    Bridged,
    /// The container and the host.
    Host,
    /// The container and one in another network, with the host as router.
    Routed,
}

impl Way {
    pub(super) const ALL: [Self; 3] = [Self::Bridged, Self::Host, Self::Routed];

    /// For tables.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Bridged => "neighbour, bridged",
            Self::Host => "host",
            Self::Routed => "other network, routed",
        }
    }
}

/// The namespaces.
pub(super) struct Site {
    pub(super) host: Netns,
    pub(super) container: Netns,
    pub(super) neighbour: Netns,
    other: Netns,
}

const fn address(network: u8, number: u8, family: u8) -> IpAddr {
    match family {
        4 => IpAddr::V4(Ipv4Addr::new(10, 77, network, number)),
        _ => IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, network as u16, 0, 0, 0, number as u16)),
    }
}

impl Site {
    /// Makes everything; the calling thread, which must be the process's only one, goes to the host.
    pub(super) fn new() -> Result<Self> {
        let host = Netns::new("host")?;
        host.enter()?;
        for (network, bridge) in (0..).zip(BRIDGES) {
            host.bridge(bridge)?;
            for family in FAMILIES {
                let prefix = if family == 4 { 24 } else { 64 };
                host.add_address(bridge, address(network, 254, family), prefix)?;
            }
            // A router asks for its neighbours' addresses from a link-local one.
            host.add_address(bridge, Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 254).into(), 64)?;
        }
        let place = |name: &str, veth: &str, network: u8, number: u8| -> Result<Netns> {
            let inside = Netns::new(name)?;
            host.veth(veth, &inside, INSIDE)?;
            host.enslave(veth, BRIDGES[usize::from(network)])?;
            for family in FAMILIES {
                let prefix = if family == 4 { 24 } else { 64 };
                inside.add_address(INSIDE, address(network, number, family), prefix)?;
                inside.add_default_route(address(network, 254, family))?;
            }
            inside.set_sysctl("ipv4/ping_group_range", "0 0")?;
            Ok(inside)
        };
        let site = Self {
            container: place("container", VETH, 0, 1)?,
            neighbour: place("neighbour", "fidn", 0, 2)?,
            other: place("other", "fido", 1, 2)?,
            host,
        };
        site.open_up()?;
        Ok(site)
    }

    /// What a host with Docker has: forwarding, and bridged packets that pass the IP tables.
    fn open_up(&self) -> Result<()> {
        let host = &self.host;
        host.set_sysctl("ipv4/ip_forward", "1")?;
        host.set_sysctl("ipv6/conf/all/forwarding", "1")?;
        for file in ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"] {
            let file = format!("bridge/{file}");
            ensure!(Path::new("/proc/sys/net").join(&file).exists(), "br_netfilter is not loaded");
            host.set_sysctl(&file, "1")?;
        }
        Ok(())
    }

    /// The other end of a way.
    pub(super) fn far(&self, way: Way) -> &Netns {
        match way {
            Way::Bridged => &self.neighbour,
            Way::Host => &self.host,
            Way::Routed => &self.other,
        }
    }

    /// The address of the other end of a way.
    pub(super) const fn far_address(way: Way, family: u8) -> IpAddr {
        match way {
            Way::Bridged => address(0, 2, family),
            Way::Host => address(0, 254, family),
            Way::Routed => address(1, 2, family),
        }
    }

    /// The container's address.
    pub(super) const fn container_address(family: u8) -> IpAddr {
        address(0, 1, family)
    }
}

/// Runs a program of iproute2 in a namespace.
pub(super) fn tool(at: &Netns, program: &str, words: &[&str]) -> Result<()> {
    let path = ["/usr/sbin", "/sbin", "/usr/bin"]
        .map(|folder| Path::new(folder).join(program))
        .into_iter()
        .find(|path| path.is_file())
        .with_context(|| format!("{program} not found: install iproute2"))?;
    let output = at.run(|| Command::new(path).args(words).output())??;
    ensure!(
        output.status.success(),
        "`{program} {}` in {}: {}",
        words.join(" "),
        at.name(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
