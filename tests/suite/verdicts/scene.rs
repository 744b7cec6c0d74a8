//! Rules, peers, lease and line of a host, made up at random.

use std::net::IpAddr;

use anyhow::Result;
use entropy_common::{
    fault::partition::Partition,
    lease::Lease,
    peer::PeerKey,
    rule::{Direction, Hook, HookKey, MAX_RULES, MAX_SHIELDS, Match, Rule, RuleSet},
    stats::RuleState,
};
use entropy_tests::{
    clock::now_ns,
    object::{Object, slot},
    random::Random,
};

use super::{
    faults::{Timed, faults, take_turns},
    matchers::matcher,
};

/// Ports that rules ask for and packets have, so that they meet.
pub(crate) const PORTS: [u16; 8] = [0, 1, 53, 80, 5432, 5433, 40_000, 65_535];
/// Longer than any run of the tests.
const DAY_NS: u64 = 86_400_000_000_000;
/// Peer groups.
pub(crate) const GROUPS: u64 = 4;

/// What a packet finds on a hook.
#[derive(Debug)]
pub(crate) enum OnHook<'a> {
    /// No entry.
    Nothing,
    /// An entry that points to no set, or to one made for another hook.
    Stale,
    /// Rules.
    Rules(&'a RuleSet),
}

/// How a hook is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wiring {
    Right,
    NoHook,
    NoSet,
    SetOfAnother,
}

#[derive(Debug)]
struct Side {
    key: HookKey,
    wiring: Wiring,
    set: RuleSet,
    number: u32,
}

/// All that decisions depend on, packets apart.
#[derive(Debug)]
pub(crate) struct Scene {
    sides: [Side; 2],
    /// Rules whose counters are missing.
    uncounted: Vec<u32>,
    pub(crate) peers: Vec<(PeerKey, u32)>,
    /// Addresses that rules are about, so that packets with them meet a rule.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) lease: Lease,
    pub(crate) line_entrance: u32,
    /// The same for the wire.
    pub(crate) wire_entrance: u32,
    /// When the scene begins. No window begins or ends anywhere between this and its end.
    pub(crate) now_ns: u64,
}

impl Scene {
    /// A scene for the two hooks of one interface. In half of them there is no line, so that what should wait
    /// passes at once, as far as a test run can tell. Where there is one, it leads nowhere, and no
    /// rule sends packets to it but those that are lost. So does the wire in half of them.
    pub(crate) fn new(random: &mut Random, ifindex: u32) -> Self {
        let line_entrance = if random.one_in(2) { random.bits() as u32 | 1 } else { 0 };
        let wire_entrance = if random.one_in(2) { random.bits() as u32 | 1 } else { 0 };
        Self { wire_entrance, ..Self::with_line(random, ifindex, line_entrance) }
    }

    /// A scene with what is said to be the line's entrance; 0 for none.
    pub(crate) fn with_line(random: &mut Random, ifindex: u32, line_entrance: u32) -> Self {
        let timed = if line_entrance == 0 { Timed::Yes } else { Timed::No };
        let now_ns = now_ns();
        let addresses: Vec<IpAddr> = (0..8).map(|_| address(random)).collect();
        let peers = (0..random.below(9)).map(|_| peer(random, &addresses)).collect();
        let first_id = random.bits() as u32;
        let slotted = timed == Timed::Yes && random.one_in(6);
        let mut made = 0;
        let sides = Direction::ALL.map(|direction| {
            let mut rules: Vec<Rule> = (0..random.below(MAX_RULES as u64 + 1))
                .map(|_| {
                    made += 1;
                    rule(random, first_id.wrapping_add(made), now_ns, timed)
                })
                .collect();
            if slotted {
                take_turns(random, &mut rules);
            }
            side(random, HookKey::new(ifindex, direction), &rules)
        });
        let ids = sides.iter().flat_map(|side| side.set.used()).map(|rule| rule.id);
        Self {
            uncounted: ids.filter(|_| random.one_in(25)).collect(),
            sides,
            peers,
            addresses,
            lease: lease(random, now_ns),
            line_entrance,
            wire_entrance: 0,
            now_ns,
        }
    }

    /// The hook of a direction.
    pub(crate) fn key(&self, direction: Direction) -> HookKey {
        self.sides[direction as usize].key
    }

    /// What packets on a hook find.
    pub(crate) fn on_hook(&self, key: HookKey) -> OnHook<'_> {
        match self.sides.iter().find(|side| side.key == key) {
            Some(Side { wiring: Wiring::Right, set, .. }) => OnHook::Rules(set),
            Some(Side { wiring: Wiring::NoSet | Wiring::SetOfAnother, .. }) => OnHook::Stale,
            Some(Side { wiring: Wiring::NoHook, .. }) | None => OnHook::Nothing,
        }
    }

    /// The rules that have counters.
    pub(crate) fn counted_rules(&self) -> Vec<Rule> {
        let all = self.sides.iter().flat_map(|side| side.set.used());
        all.filter(|rule| !self.uncounted.contains(&rule.id)).copied().collect()
    }

    /// Writes everything into the kernel's maps.
    pub(crate) fn install(&self, object: &mut Object) -> Result<()> {
        for rule in self.counted_rules() {
            object.set_state(rule.id, Some(RuleState::ZERO))?;
        }
        object.add_peers(&self.peers)?;
        object.set_lease(self.lease)?;
        object.set_line(self.line_entrance)?;
        object.set_wire(self.wire_entrance)?;
        for side in &self.sides {
            let mut set = side.set;
            if side.wiring == Wiring::SetOfAnother {
                set.hook.ifindex += 1;
            }
            let set = (side.wiring != Wiring::NoSet).then_some(&set);
            object.set_set(side.number, set)?;
            let hook = Hook { set: side.number, slot: slot(side.key) };
            let hook = (side.wiring != Wiring::NoHook).then_some(hook);
            object.set_hook(side.key, hook)?;
        }
        Ok(())
    }

    /// Takes everything out again.
    pub(crate) fn remove(&self, object: &mut Object) -> Result<()> {
        for side in &self.sides {
            object.set_hook(side.key, None)?;
            object.set_set(side.number, None)?;
        }
        for rule in self.counted_rules() {
            object.set_state(rule.id, None)?;
        }
        object.remove_peers(&self.peers)
    }
}

fn side(random: &mut Random, key: HookKey, rules: &[Rule]) -> Side {
    let wiring = match random.below(30) {
        0 => Wiring::NoHook,
        1 => Wiring::NoSet,
        2 => Wiring::SetOfAnother,
        _ => Wiring::Right,
    };
    let mut all = [Rule::NONE; MAX_RULES];
    all[..rules.len()].copy_from_slice(rules);
    // What lies behind the rules in use must not matter.
    for unused in &mut all[rules.len()..] {
        *unused = Rule { partition: Partition::CUT, id: random.bits() as u32, ..Rule::NONE };
    }
    // In a quarter of the scenes; what lies behind those in use must not matter either.
    let shield_count = if random.one_in(4) { random.between(1, MAX_SHIELDS as u64) } else { 0 };
    let shields = std::array::from_fn(|index| {
        if index < shield_count as usize { shield(random) } else { Match::ALL }
    });
    let (count, shield_count) = (rules.len() as u32, shield_count as u32);
    let set = RuleSet { hook: key, count, shield_count, rules: all, shields };
    Side { key, wiring, set, number: random.bits() as u32 & !1 | key.direction }
}

/// Narrow enough for some packets to meet the rules.
fn shield(random: &mut Random) -> Match {
    let port = random.pick(&PORTS);
    match random.below(3) {
        0 => Match { remote_first: port, remote_last: port, ..Match::ALL },
        1 => Match { peer_group: random.between(1, GROUPS) as u32, ..Match::ALL },
        _ => Match { protocol: 6, ..matcher(random) },
    }
}

fn rule(random: &mut Random, id: u32, now_ns: u64, timed: Timed) -> Rule {
    let (active_from_ns, active_until_ns) = match random.below(12) {
        0 => (0, now_ns - 1),
        1 => (now_ns + DAY_NS, u64::MAX),
        2 => (now_ns + DAY_NS, now_ns - 1),
        3 => (now_ns - 1, now_ns + DAY_NS),
        _ => (0, u64::MAX),
    };
    let (seed, matcher) = (random.bits(), matcher(random));
    let bare = Rule { active_from_ns, active_until_ns, seed, id, matcher, ..Rule::NONE };
    faults(random, bare, timed)
}

fn lease(random: &mut Random, now_ns: u64) -> Lease {
    match random.below(20) {
        0 => Lease::EXPIRED,
        1 => Lease { until_ns: now_ns - 1 },
        2 => Lease { until_ns: u64::MAX },
        _ => Lease { until_ns: now_ns + DAY_NS },
    }
}

fn address(random: &mut Random) -> IpAddr {
    if random.one_in(2) {
        IpAddr::from(random.bytes::<4>())
    } else {
        IpAddr::from(random.bytes::<16>())
    }
}

/// A network around an address that packets have, or around another one.
fn peer(random: &mut Random, addresses: &[IpAddr]) -> (PeerKey, u32) {
    let network = if random.one_in(4) { address(random) } else { random.pick(addresses) };
    let whole = if network.is_ipv4() { 32 } else { 128 };
    let length = if random.one_in(2) { whole } else { random.between(0, whole) };
    PeerKey::network(random.between(1, GROUPS) as u32, network, length as u8)
}
