//! A container and its partner on a bridge, with addresses, and the programs on the container's veth:
//! no daemon, no engine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use aya::programs::TcAttachType;
use entropy_common::{
    names,
    rule::{Direction, HookKey, Match, Rule},
};
use entropy_tests::{
    netns::{Line, Netns},
    object::Object,
};

/// The container's host veth.
pub(crate) const VETH: &str = "vethc";
/// The partner's host veth.
const PARTNER_VETH: &str = "vetho";
/// The device inside the container and inside its partner.
pub(crate) const INSIDE: &str = "eth0";

/// The addresses of the container (1), its partner (2) and the host (254).
pub(crate) fn addresses(number: u8) -> [IpAddr; 2] {
    [
        Ipv4Addr::new(10, 0, 0, number).into(),
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into()).into(),
    ]
}

/// Three namespaces and the programs.
pub(crate) struct Bridged {
    pub(crate) container: Netns,
    pub(crate) partner: Netns,
    pub(crate) host: Netns,
    pub(crate) object: Object,
}

impl Bridged {
    pub(crate) fn new() -> Result<Self> {
        let (container, partner) = (Netns::new("container")?, Netns::new("partner")?);
        let host = Netns::new("host")?;
        host.bridge("br0")?;
        for (veth, inside, number) in [(VETH, &container, 1), (PARTNER_VETH, &partner, 2)] {
            host.veth(veth, inside, INSIDE)?;
            host.enslave(veth, "br0")?;
            for ip in addresses(number) {
                inside.add_address(INSIDE, ip, if ip.is_ipv4() { 24 } else { 64 })?;
            }
        }
        for ip in addresses(254) {
            host.add_address("br0", ip, if ip.is_ipv4() { 24 } else { 64 })?;
        }
        let mut object = Object::load()?;
        object.attach(names::PROGRAM_FROM, &host, VETH, TcAttachType::Ingress)?;
        object.attach(names::PROGRAM_TO, &host, VETH, TcAttachType::Egress)?;
        Ok(Self { container, partner, host, object })
    }

    /// Makes the line.
    pub(crate) fn with_line(mut self, line: Line) -> Result<Self> {
        self.host.line(&mut self.object, line)?;
        Ok(self)
    }

    /// Makes the wire.
    pub(crate) fn with_wire(mut self) -> Result<Self> {
        self.host.wire(&mut self.object)?;
        Ok(self)
    }

    /// Puts a rule on the packets to the partner, too.
    pub(crate) fn rule_to_partner(&mut self, rule: Rule) -> Result<()> {
        let Self { host, object, .. } = self;
        object.attach(names::PROGRAM_TO, host, PARTNER_VETH, TcAttachType::Egress)?;
        let hook = HookKey::new(host.index(PARTNER_VETH)?, Direction::Ingress);
        object.set_rules(hook, &[Rule { id: 3, ..rule }])
    }

    /// The hook of a direction of the container.
    pub(crate) fn hook(&self, direction: Direction) -> Result<HookKey> {
        Ok(HookKey::new(self.host.index(VETH)?, direction))
    }

    /// Puts one rule on each hook, numbered 1 + direction, for packets of one protocol.
    pub(crate) fn rule(&mut self, protocol: u16, rule: Rule) -> Result<()> {
        for direction in Direction::ALL {
            let matcher = Match { protocol, ..Match::ALL };
            let rule = Rule { id: 1 + direction as u32, matcher, ..rule };
            self.object.set_rules(self.hook(direction)?, &[rule])?;
        }
        Ok(())
    }

    /// Who sends and who receives in a direction of the container.
    pub(crate) fn ends(&self, direction: Direction) -> [&Netns; 2] {
        match direction {
            Direction::Egress => [&self.container, &self.partner],
            Direction::Ingress => [&self.partner, &self.container],
        }
    }

    /// The receiver's address in a direction, IPv4 or IPv6.
    pub(crate) fn target(direction: Direction, v6: bool) -> IpAddr {
        let number = if direction == Direction::Egress { 2 } else { 1 };
        addresses(number)[usize::from(v6)]
    }
}
