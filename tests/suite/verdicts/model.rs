//! What the host expects of the kernel.

use std::cell::Cell;

use anyhow::{Result, ensure};
use entropy_common::{
    decide::{Environment, decide},
    host::{Host, HostTally},
    packet::{Packet, Unfit},
    peer::PeerKey,
    rule::{Direction, HookKey, RuleSet},
    stats::Event,
};
use entropy_tests::object::{Object, Skb};

use super::scene::{OnHook, Scene};
use crate::rules::{LOST, PASS, SUNK};

/// The maps of a scene in ordinary memory. Not only the decision but the way to it is written here a
/// second time: look-ups, lease and return codes are the programs' own code.
pub(crate) struct Model<'a> {
    scene: &'a Scene,
    host: Host,
    events: [u64; Event::ALL.len()],
    /// Rules that had no counters, over all packets.
    missing: Cell<u64>,
}

/// A host that also counts the rules without counters.
struct Counting<'a> {
    host: &'a Host,
    missing: &'a Cell<u64>,
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
        let host = Host::new(&scene.counted_rules(), &scene.peers);
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

    fn decide(&mut self, set: &RuleSet, hook: HookKey, frame: &[u8], skb: Skb) -> i32 {
        self.count(Event::Packet);
        if !self.scene.lease.holds(self.scene.now_ns) {
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
        if !decide(set, direction, &packet, self.scene.now_ns, &counting).lost {
            return PASS;
        }
        if ingress && skb.ingress_ifindex == 0 && self.scene.line_entrance != 0 {
            self.count(Event::Sunk);
            return SUNK;
        }
        LOST
    }

    fn pass(&mut self, event: Event) -> i32 {
        self.count(event);
        PASS
    }

    fn count(&mut self, event: Event) {
        self.events[event.index() as usize] += 1;
    }

    /// What the events should count, in the order of their index.
    pub(crate) fn events(&self) -> [u64; Event::ALL.len()] {
        let mut events = self.events;
        events[Event::NoState.index() as usize] = self.missing.get();
        events
    }

    /// Holds every counter of every rule against the kernel's.
    pub(crate) fn compare_states(&self, object: &mut Object) -> Result<()> {
        for rule in self.scene.counted_rules() {
            let (kernel, host) = (object.state(rule.id)?, self.host.state(rule.id));
            ensure!(kernel == host, "rule {}: kernel {kernel:?}, host {host:?}", rule.id);
        }
        Ok(())
    }
}
