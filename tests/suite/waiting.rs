//! Packets wait in the line, between namespaces: no daemon, no engine, only programs and devices.

use std::{thread, time::Duration};

use anyhow::Result;
use entropy_common::{
    chance::{Probability, correlated::Chance},
    fault::{delay::Delay, duplicate::Duplicate, reorder::Reorder},
    rule::Rule,
    stats::Event,
};
use entropy_tests::{
    clocked::{COUNT, Clocked, shortest},
    needs_root,
    netns::{Devices, Line, Netns},
    threads::outcome,
    wait::{patience, until_true},
};

use crate::bridged::{Bridged, addresses};

const MILLISECOND: u64 = 1_000_000;
/// Every packet.
const ALWAYS: Chance = Chance { rate: Probability::ALWAYS, ..Chance::NEVER };

/// A container and its partner on a host with a line.
struct Host(Bridged);

impl Host {
    fn new() -> Result<Self> {
        Ok(Self(Bridged::new()?.with_line(Line::WHOLE)?))
    }

    /// As the daemon makes the line here, and as it does on a kernel without macvlan and netem: then a
    /// veth pair and copies do.
    fn both() -> Result<[Self; 2]> {
        let plain = Line { of: Devices::Veth, queue: true };
        let mut plain = Bridged::new()?.with_line(plain)?;
        plain.object.set_disowns(false)?;
        Ok([Self::new()?, Self(plain)])
    }

    /// The same rule for the test's datagrams in both directions.
    fn rule(&mut self, rule: Rule) -> Result<()> {
        self.0.rule(17, Rule { seed: 3, ..rule })
    }

    /// From the container, to it, and from the host to it, in both families.
    fn ways(&self) -> Result<Vec<Clocked>> {
        let mut ways = Vec::new();
        for family in 0..2 {
            let (own, others) = (addresses(1)[family], addresses(2)[family]);
            ways.push(Clocked::new(&self.0.container, &self.0.partner, others)?);
            ways.push(Clocked::new(&self.0.partner, &self.0.container, own)?);
            ways.push(Clocked::new(&self.0.host, &self.0.container, own)?);
        }
        Ok(ways)
    }

    /// As many packets as waited come out of the line, and nothing else happens to any.
    fn balance(&self, waited: u64) -> Result<()> {
        until_true("all that waited comes out", patience(10), || {
            Ok(self.0.object.event(Event::Released)? >= waited)
        })?;
        for (event, count) in [
            (Event::Waited, waited),
            (Event::Released, waited),
            (Event::Stray, 0),
            (Event::NotHeld, 0),
        ] {
            assert_eq!(self.0.object.event(event)?, count, "{}", event.name());
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

pub(crate) use needs_fq;

#[test]
fn a_delay_holds_every_packet_in_order_and_the_line_keeps_none() -> Result<()> {
    needs_fq!();
    for (mut host, copied) in Host::both()?.into_iter().zip([0, 2 * COUNT as u64]) {
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
        // Two of the six ways begin on the host: their originals end in the line, where copies wait.
        assert_eq!(host.0.object.event(Event::Sunk)?, copied);
        assert_eq!(host.0.object.event(Event::Freed)?, copied);
    }
    Ok(())
}

/// A packet that has waited on its way out of the container waits on its way into its partner while the
/// next one of its connection still waits for the former. In a flow of `fq` with that, it would leave
/// after it.
#[test]
fn what_waits_for_one_hook_does_not_wait_for_another() -> Result<()> {
    needs_fq!();
    const LONG: u64 = 2_000 * MILLISECOND;
    const SHORT: u64 = 100 * MILLISECOND;
    const APART: Duration = Duration::from_millis(1_500);
    const LATEST: u64 = LONG + SHORT + 700 * MILLISECOND;
    for mut host in Host::both()? {
        host.rule(Rule { delay: Delay::constant(LONG), ..Rule::NONE })?;
        host.0.rule_to_partner(Rule { delay: Delay::constant(SHORT), ..Rule::NONE })?;
        let way = Clocked::new(&host.0.container, &host.0.partner, addresses(2)[0])?;
        let delays = thread::scope(|scope| {
            let receiver = scope.spawn(|| way.receive(3));
            for number in 0..3 {
                way.send_one(number)?;
                thread::sleep(APART);
            }
            outcome(receiver.join())
        })?;
        for (number, delay) in delays {
            assert!((LONG + SHORT..LATEST).contains(&delay), "{number} came after {delay} ns");
        }
    }
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
        for mut host in Host::both()? {
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
    }
    Ok(())
}
