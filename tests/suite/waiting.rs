//! Packets wait in the line, between namespaces: no daemon, no engine, only programs and devices.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use aya::programs::TcAttachType;
use entropy_common::{
    chance::{Probability, correlated::Chance},
    fault::{delay::Delay, duplicate::Duplicate, reorder::Reorder},
    names,
    rule::{Direction, HookKey, Match, Rule},
    stats::Event,
};
use entropy_tests::{
    clocked::{COUNT, Clocked, shortest},
    needs_root,
    netns::Netns,
    object::Object,
    wait::{patience, until_true},
};

const MILLISECOND: u64 = 1_000_000;
/// Every packet.
const ALWAYS: Chance = Chance { rate: Probability::ALWAYS, ..Chance::NEVER };
const VETH: &str = "vethc";
const INSIDE: &str = "eth0";

fn addresses(number: u8) -> [IpAddr; 2] {
    [
        Ipv4Addr::new(10, 0, 0, number).into(),
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into()).into(),
    ]
}

/// A container and its partner on a host with a line.
struct Host {
    container: Netns,
    partner: Netns,
    host: Netns,
    object: Object,
}

impl Host {
    fn new() -> Result<Self> {
        let (container, partner) = (Netns::new("container")?, Netns::new("partner")?);
        let host = Netns::new("host")?;
        host.bridge("br0")?;
        for (veth, inside, number) in [(VETH, &container, 1), ("vetho", &partner, 2)] {
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
        host.veth(names::LINE_ENTRANCE, &host, names::LINE_EXIT)?;
        host.set_root_qdisc(names::LINE_ENTRANCE, "fq")?;
        object.attach(names::PROGRAM_EXIT, &host, names::LINE_EXIT, TcAttachType::Ingress)?;
        object.set_line(host.index(names::LINE_ENTRANCE)?)?;
        object.attach(names::PROGRAM_FROM, &host, VETH, TcAttachType::Ingress)?;
        object.attach(names::PROGRAM_TO, &host, VETH, TcAttachType::Egress)?;
        Ok(Self { container, partner, host, object })
    }

    /// The same rule for the test's datagrams in both directions.
    fn rule(&mut self, rule: Rule) -> Result<()> {
        let index = self.host.index(VETH)?;
        for direction in Direction::ALL {
            let matcher = Match { protocol: 17, ..Match::ALL };
            let rule = Rule { id: 1 + direction as u32, seed: 3, matcher, ..rule };
            self.object.set_rules(HookKey::new(index, direction), &[rule])?;
        }
        Ok(())
    }

    /// From the container, to it, and from the host to it, in both families.
    fn ways(&self) -> Result<Vec<Clocked>> {
        let mut ways = Vec::new();
        for family in 0..2 {
            let (own, others) = (addresses(1)[family], addresses(2)[family]);
            ways.push(Clocked::new(&self.container, &self.partner, others)?);
            ways.push(Clocked::new(&self.partner, &self.container, own)?);
            ways.push(Clocked::new(&self.host, &self.container, own)?);
        }
        Ok(ways)
    }

    /// As many packets as waited come out of the line, and nothing else happens to any.
    fn balance(&self, waited: u64) -> Result<()> {
        until_true("all that waited comes out", patience(10), || {
            Ok(self.object.event(Event::Released)? >= waited)
        })?;
        for (event, count) in [
            (Event::Waited, waited),
            (Event::Released, waited),
            (Event::Stray, 0),
            (Event::NotHeld, 0),
        ] {
            assert_eq!(self.object.event(event)?, count, "{}", event.name());
        }
        Ok(())
    }
}

/// Ends a test that needs packets to wait where they cannot.
macro_rules! needs_fq {
    () => {
        needs_root!();
        if !Netns::kernel_has_qdisc("fq")? {
            entropy_tests::skip!("needs the VM: sch_fq is missing in this kernel");
        }
    };
}

#[test]
fn a_delay_holds_every_packet_in_order_and_the_line_keeps_none() -> Result<()> {
    needs_fq!();
    let mut host = Host::new()?;
    let ways = host.ways()?;
    for way in &ways {
        let usual = shortest(&way.delays()?);
        assert!(usual < 50 * MILLISECOND, "control: {usual} ns");
    }
    host.rule(Rule { delay: Delay::constant(50 * MILLISECOND), ..Rule::NONE })?;
    for way in &ways {
        let delays = way.delays()?;
        assert!(shortest(&delays) >= 50 * MILLISECOND, "{delays:?}");
        assert!(delays.iter().map(|(number, _)| *number).eq(0..COUNT as u64), "{delays:?}");
        assert!(way.is_silent()?, "one came twice");
    }
    host.balance(6 * COUNT as u64)?;
    // Two of the six ways begin on the host: their originals end in the line.
    assert_eq!(host.object.event(Event::Sunk)?, 2 * COUNT as u64);
    assert_eq!(host.object.event(Event::Freed)?, 2 * COUNT as u64);
    Ok(())
}

#[test]
fn what_is_early_overtakes_what_waits() -> Result<()> {
    needs_fq!();
    let mut host = Host::new()?;
    host.rule(Rule {
        delay: Delay::constant(200 * MILLISECOND),
        reorder: Reorder { chance: ALWAYS, gap: 4, ..Reorder::NONE },
        ..Rule::NONE
    })?;
    for way in host.ways()? {
        let delays = way.delays()?;
        let early: Vec<u64> = delays.iter().map(|(number, _)| *number).take(COUNT / 4).collect();
        assert_eq!(early.len(), delays.iter().filter(|(_, ns)| *ns < 200 * MILLISECOND).count());
        assert!(early.windows(2).all(|pair| pair[1] == pair[0] + 4), "{delays:?}");
    }
    Ok(())
}

#[test]
fn a_copy_waits_with_its_original_and_without_a_delay_comes_at_once() -> Result<()> {
    needs_fq!();
    for delay in [Delay::NONE, Delay::constant(50 * MILLISECOND)] {
        let mut host = Host::new()?;
        host.rule(Rule { delay, duplicate: Duplicate { chance: ALWAYS }, ..Rule::NONE })?;
        for way in host.ways()? {
            way.send()?;
            let delays = way.receive(2 * COUNT)?;
            assert!(shortest(&delays) >= delay.base_ns, "{delays:?}");
            let mut numbers: Vec<u64> = delays.iter().map(|(number, _)| *number).collect();
            numbers.sort_unstable();
            assert!(numbers.into_iter().eq((0..COUNT as u64).flat_map(|number| [number; 2])));
            assert!(way.is_silent()?, "one came three times");
        }
    }
    Ok(())
}
