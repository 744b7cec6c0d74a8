//! What the host expects of the kernel.

use std::{cell::Cell, sync::LazyLock};

use anyhow::{Context as _, Result, ensure};
use entropy_common::{
    decide::{Environment, decide, is_shielded},
    fault::{
        delay::{
            Tables,
            table::{Distribution, Table},
        },
        rate::CLOCK_BITS,
        slot::NUMBER_BITS,
    },
    host::{Host, HostTally},
    memory::Word,
    packet::{Packet, Unfit},
    peer::PeerKey,
    rule::{Direction, HookKey, RuleSet},
    stats::{Event, RuleState},
};
use entropy_tests::{
    clock::now_ns,
    object::{Object, Skb},
};

use super::{
    faults::has_queue,
    scene::{OnHook, Scene},
};
use crate::rules::{LOST, PASS, REDIRECTED};

/// The maps of a scene in ordinary memory. Not only the decision but the way to it is written here a
/// second time: look-ups, lease and return codes are the programs' own code.
pub(crate) struct Model<'a> {
    scene: &'a Scene,
    host: Host,
    events: [u64; Event::ALL.len()],
    /// Rules that had no counters, over all packets.
    missing: Cell<u64>,
}

/// Number of the table of percentiles, behind those that have a name.
pub(crate) const PERCENTILES: u32 = Distribution::ALL.len() as u32;

/// All tables of both sides: those that have a name, and a user's.
pub(crate) fn tables() -> &'static [Table] {
    static TABLES: LazyLock<Vec<Table>> = LazyLock::new(|| {
        let named = Distribution::ALL.into_iter().map(Distribution::table);
        let points = [(50.0, 10_000_000), (90.0, 40_000_000), (99.0, 1_000_000_000)];
        named.chain(Table::percentiles(&points).map(|(table, _)| table).ok()).collect()
    });
    &TABLES
}

/// The memory of a rule that holds points in time, which host and kernel reach at different instants,
/// and the units of it in a nanosecond.
const TIMES: [(Word, u64); 3] =
    [(Word::Departure, 1), (Word::Clock, 1 << CLOCK_BITS), (Word::Slot, 1 << NUMBER_BITS)];

/// A host that also counts the rules without counters.
pub(crate) struct Counting<'a> {
    pub(crate) host: &'a Host,
    pub(crate) missing: &'a Cell<u64>,
}

impl Tables for Counting<'_> {
    fn table_entry(&self, table: u32, index: u32) -> i32 {
        self.host.table_entry(table, index)
    }
}

impl Environment for Counting<'_> {
    type Tally = HostTally;

    fn is_peer(&self, key: &PeerKey) -> bool {
        self.host.is_peer(key)
    }

    fn tally(&self, rule: u32) -> Option<HostTally> {
        let tally = self.host.tally(rule);
        if tally.is_none() {
            self.missing.set(self.missing.get() + 1);
        }
        tally
    }
}

impl<'a> Model<'a> {
    pub(crate) fn new(scene: &'a Scene) -> Self {
        let host = Host::new(&scene.counted_rules(), &scene.peers).with_tables(tables().to_vec());
        Self { scene, host, events: [0; Event::ALL.len()], missing: Cell::new(0) }
    }

    /// The return code for a packet.
    pub(crate) fn verdict(&mut self, hook: HookKey, frame: &[u8], skb: Skb) -> i32 {
        match self.scene.on_hook(hook) {
            OnHook::Nothing => PASS,
            OnHook::Stale => self.pass(Event::Stale),
            OnHook::Rules(set) => self.decide(set, hook, frame, skb),
        }
    }

    /// The host reads the clock for each packet, too, a moment after or before the kernel.
    fn decide(&mut self, set: &RuleSet, hook: HookKey, frame: &[u8], skb: Skb) -> i32 {
        self.count(Event::Packet);
        let now_ns = now_ns();
        if !self.scene.lease.holds(now_ns) {
            return self.pass(Event::LeaseExpired);
        }
        let packet = match Packet::parse(frame) {
            Ok(packet) => packet,
            Err(Unfit::NotIp) => return self.pass(Event::NotIp),
            Err(Unfit::NeighbourDiscovery) => return self.pass(Event::NeighbourDiscovery),
            Err(Unfit::Malformed) => return self.pass(Event::Malformed),
        };
        let ingress = hook.direction == Direction::Ingress as u32;
        let direction = if ingress { Direction::Ingress } else { Direction::Egress };
        let counting = Counting { host: &self.host, missing: &self.missing };
        if is_shielded(set, direction, &packet, &counting) {
            return self.pass(Event::Shielded);
        }
        let verdict = decide(set, direction, &packet, now_ns, &counting);
        if !verdict.lost {
            return if verdict.wire { self.cross() } else { PASS };
        }
        if ingress && skb.ingress_ifindex == 0 && self.scene.line_entrance != 0 {
            self.count(Event::Sunk);
            return REDIRECTED;
        }
        LOST
    }

    /// The packet is to cross the wire.
    fn cross(&mut self) -> i32 {
        if self.scene.wire_entrance == 0 {
            return self.pass(Event::NotWired);
        }
        self.count(Event::Wired);
        REDIRECTED
    }

    fn pass(&mut self, event: Event) -> i32 {
        self.count(event);
        PASS
    }

    fn count(&mut self, event: Event) {
        self.events[event.index() as usize] += 1;
    }

    /// What all rules together have done to packets.
    pub(crate) fn sum(&self) -> [(&'static str, u64); 8] {
        let rules = self.scene.counted_rules();
        let states: Vec<RuleState> = rules.iter().map(|rule| self.host.state(rule.id)).collect();
        let slotted = rules.iter().filter(|rule| rule.slot.acts());
        let sum = |field: fn(&RuleState) -> u64| states.iter().map(field).sum();
        [
            ("lost", sum(|state| state.lost)),
            ("delayed", sum(|state| state.delayed)),
            ("delayed by slots", slotted.map(|rule| self.host.state(rule.id).delayed).sum()),
            ("reordered", sum(|state| state.reordered)),
            ("duplicated", sum(|state| state.duplicated)),
            ("shaped", sum(|state| state.shaped)),
            ("marked", sum(|state| state.marked)),
            ("dropped by a queue", sum(|state| state.queue_dropped)),
        ]
    }

    /// What the events should count, in the order of their index.
    pub(crate) fn events(&self) -> [u64; Event::ALL.len()] {
        let mut events = self.events;
        events[Event::NoState.index() as usize] = self.missing.get();
        events
    }

    /// Holds every counter of every rule against the kernel's, and all that it remembers.
    ///
    /// Departures and the clocks of links are sums of points in time and of durations that host and
    /// kernel agree on, or the later one of two such, so they are as far apart as the instants at
    /// which both looked at the clock: at most the time since the scene began. Where packets wait
    /// for one another, the histogram of their waiting is not compared, only how many waited.
    pub(crate) fn compare_states(&self, object: &mut Object) -> Result<()> {
        for rule in self.scene.counted_rules() {
            let (mut kernel, mut host) = (object.state(rule.id)?, self.host.state(rule.id));
            let tolerance_ns = now_ns() - self.scene.now_ns;
            equalise_times(&mut kernel, &mut host, tolerance_ns)
                .with_context(|| format!("rule {}", rule.id))?;
            if has_queue(&rule) {
                equalise_delays(&mut kernel, &mut host)?;
            }
            ensure!(kernel == host, "rule {}: kernel {kernel:?}, host {host:?}", rule.id);
        }
        Ok(())
    }
}

/// The events without those that depend on whether a copy or a packet that waits finds its way into a
/// line, of which there is none here.
pub(crate) fn comparable(mut events: [u64; Event::ALL.len()]) -> [u64; Event::ALL.len()] {
    events[Event::NotHeld.index() as usize] = 0;
    events
}

/// Compares the points in time, and makes them equal.
fn equalise_times(kernel: &mut RuleState, host: &mut RuleState, tolerance_ns: u64) -> Result<()> {
    for (word, units) in TIMES {
        let place = word as usize;
        let (ours, theirs) = (&mut host.memory.words[place], &mut kernel.memory.words[place]);
        ensure!((*ours == 0) == (*theirs == 0), "{word:?}: kernel {theirs}, host {ours}");
        let (apart, allowed) = (ours.abs_diff(*theirs), tolerance_ns * units);
        ensure!(apart <= allowed, "{word:?}: kernel {theirs}, host {ours}, {allowed} allowed");
        *theirs = *ours;
    }
    Ok(())
}

/// Compares how many packets were given a delay, and makes the histograms equal.
fn equalise_delays(kernel: &mut RuleState, host: &mut RuleState) -> Result<()> {
    let [given, expected] = [&*kernel, &*host].map(|state| state.delays.iter().sum::<u64>());
    ensure!(given == expected, "delays given: kernel {given}, host {expected}");
    kernel.delays = host.delays;
    Ok(())
}
