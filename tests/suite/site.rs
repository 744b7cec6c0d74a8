//! A host with a container on a bridge, as Docker would set it up, and somebody for it to talk to.

use anyhow::{Result, ensure};
use aya::programs::TcAttachType;
use entropy_common::{
    names,
    rule::{Direction, HookKey},
};
use entropy_tests::{
    frames::{End, Flow, Protocol},
    netns::Netns,
    object::Object,
    traffic::{self, Received},
};

/// The container's host veth.
pub(crate) const VETH: &str = "vethc";
/// The bridge.
pub(crate) const BRIDGE: &str = "br0";
/// The device inside the container and inside its partner.
pub(crate) const INSIDE: &str = "eth0";

/// Three namespaces.
pub(crate) struct Site {
    pub(crate) container: Netns,
    pub(crate) host: Netns,
    pub(crate) partner: Netns,
}

impl Site {
    pub(crate) fn new() -> Result<Self> {
        let site = Self {
            container: Netns::new("container")?,
            host: Netns::new("host")?,
            partner: Netns::new("partner")?,
        };
        site.host.bridge(BRIDGE)?;
        for (veth, inside) in [(VETH, &site.container), ("vetho", &site.partner)] {
            site.host.veth(veth, inside, INSIDE)?;
            site.host.enslave(veth, BRIDGE)?;
        }
        Ok(site)
    }

    /// The hook of a direction of the container.
    pub(crate) fn hook(&self, direction: Direction) -> Result<HookKey> {
        Ok(HookKey::new(self.host.index(VETH)?, direction))
    }

    /// Puts the programs on both hooks of the container.
    pub(crate) fn attach(&self, object: &mut Object) -> Result<()> {
        object.attach(names::PROGRAM_FROM, &self.host, VETH, TcAttachType::Ingress)?;
        object.attach(names::PROGRAM_TO, &self.host, VETH, TcAttachType::Egress)
    }

    /// Sends packets from or to the container and returns which ones came through.
    pub(crate) fn send(
        &self,
        direction: Direction,
        v6: bool,
        protocol: Protocol,
        count: u64,
    ) -> Result<Received> {
        let (from, to) = match direction {
            Direction::Egress => (&self.container, &self.partner),
            Direction::Ingress => (&self.partner, &self.container),
        };
        let template = crate::rules::flow(v6, protocol);
        let flow = Flow {
            source: End { mac: from.mac(INSIDE)?, ..template.source },
            destination: End { mac: to.mac(INSIDE)?, ..template.destination },
            // Another one for each direction: nothing that is on its way still is counted twice.
            tag: 0xe4_7209 + direction as u64,
            ..template
        };
        let received = traffic::through(&flow, (from, INSIDE), (to, INSIDE), count)?;
        ensure!(received.late == 0, "{} packets came late", received.late);
        Ok(received)
    }
}
