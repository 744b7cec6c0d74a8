//! The built eBPF object in the kernel, without pins, devices or daemon: its maps set by hand, its
//! programs run on given bytes (`BPF_PROG_TEST_RUN`).

mod attach;
mod pool;
mod run;
mod timing;

use std::{
    mem::ManuallyDrop,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{Array, HashMap, LpmTrie, MapData, PerCpuArray, lpm_trie::Key},
    programs::{ProgramError, SchedClassifier, tc::SchedClassifierLink},
};
use entropy_common::{
    lease::Lease,
    names,
    peer::{PeerEntry, PeerKey},
    rule::{Direction, Hook, HookKey, Line, Match, Rule, RuleSet},
    stats::{Event, RuleState},
};

use crate::netns::Netns;

pub use run::{Program, Skb, longest_test_frame};
pub use timing::slot;

/// ifindex of the loopback device, on which test runs take place unless they ask for another.
pub const LOOPBACK: u32 = 1;

/// Where the build puts the object.
#[must_use]
pub fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bpf/entropy.o")
}

/// The loaded object, with empty maps and on no device. What was done with it vanishes with it.
#[derive(Debug)]
pub struct Object {
    /// Given back when this is dropped.
    ebpf: ManuallyDrop<Ebpf>,
    attached: Vec<(Netns, SchedClassifierLink)>,
}

/// Name of the program for a direction.
#[must_use]
pub const fn program_of(direction: Direction) -> &'static str {
    match direction {
        Direction::Egress => names::PROGRAM_FROM,
        Direction::Ingress => names::PROGRAM_TO,
    }
}

impl Object {
    /// Loads the object, with logging off, a lease that never ends, and the tables of the
    /// distributions that have a name. A program is loaded when it is first asked for: the verifier
    /// needs seconds for each under emulation.
    ///
    /// # Errors
    /// When the object is not there or the kernel refuses its maps.
    pub fn load() -> Result<Self> {
        let mut object = Self { ebpf: ManuallyDrop::new(pool::take()?), attached: Vec::new() };
        object.set_lease(Lease { until_ns: u64::MAX })?;
        object.set_tables(timing::named())?;
        Ok(object)
    }

    /// All of it, for what has no method here.
    pub fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// A program that can be run on bytes, loaded if it was not.
    ///
    /// # Errors
    /// When there is none of this name, or the kernel refuses it; then with the verifier's words.
    pub fn program(&mut self, name: &str) -> Result<Program<'_>> {
        Ok(Program::new(self.classifier(name)?))
    }

    fn classifier(&mut self, name: &str) -> Result<&mut SchedClassifier> {
        let program = self.ebpf.program_mut(name).with_context(|| format!("no program {name}"))?;
        let program: &mut SchedClassifier = program.try_into()?;
        match program.load() {
            Ok(()) | Err(ProgramError::AlreadyLoaded) => Ok(program),
            Err(error) => Err(error).with_context(|| format!("load program {name}")),
        }
    }

    /// The program for a direction.
    ///
    /// # Errors
    /// When the object has none.
    pub fn hook(&mut self, direction: Direction) -> Result<Program<'_>> {
        self.program(program_of(direction))
    }

    /// Puts rules on a hook, under a set number and a slot of its own, with fresh counters for each.
    ///
    /// # Errors
    /// With too many rules, or when the kernel refuses.
    pub fn set_rules(&mut self, hook: HookKey, rules: &[Rule]) -> Result<()> {
        for rule in rules {
            self.set_state(rule.id, Some(RuleState::ZERO))?;
        }
        let set = RuleSet::new(hook, rules).context("too many rules")?;
        let number = hook.ifindex * 2 + hook.direction;
        self.set_set(number, Some(&set))?;
        self.set_hook(hook, Some(Hook { set: number, slot: slot(hook) }))
    }

    /// Puts shields before the rules that are on a hook.
    ///
    /// # Errors
    /// With too many of them, or when the kernel refuses.
    pub fn set_shields(&mut self, hook: HookKey, rules: &[Rule], shields: &[Match]) -> Result<()> {
        let set = RuleSet::new(hook, rules).context("too many rules")?;
        let set = set.with_shields(shields).context("too many shields")?;
        self.set_set(hook.ifindex * 2 + hook.direction, Some(&set))
    }

    /// Writes or removes what is on a hook, and where its packets go on to behind the line.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_hook(&mut self, key: HookKey, hook: Option<Hook>) -> Result<()> {
        set(&mut self.hash(names::MAP_SLOTS)?, slot(key), hook.map(|_| key).as_ref())?;
        set(&mut self.hash(names::MAP_HOOKS)?, key, hook.as_ref())
    }

    /// Writes or removes a rule set.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_set(&mut self, number: u32, rules: Option<&RuleSet>) -> Result<()> {
        set(&mut self.hash(names::MAP_RULES)?, number, rules)
    }

    /// Writes or removes the counters of a rule.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_state(&mut self, rule: u32, state: Option<RuleState>) -> Result<()> {
        set(&mut self.hash(names::MAP_STATE)?, rule, state.as_ref())
    }

    /// What a rule has counted.
    ///
    /// # Errors
    /// When the rule has no counters.
    pub fn state(&mut self, rule: u32) -> Result<RuleState> {
        let states: HashMap<_, u32, RuleState> = self.hash(names::MAP_STATE)?;
        states.get(&rule, 0).with_context(|| format!("read the counters of rule {rule}"))
    }

    /// Adds networks to the peer groups.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn add_peers(&mut self, peers: &[(PeerKey, u32)]) -> Result<()> {
        let mut trie = self.peers()?;
        for (key, bits) in peers {
            trie.insert(&Key::new(*bits, *key), PeerEntry::MEMBER, 0).context("add a peer")?;
        }
        Ok(())
    }

    /// Takes networks out of the peer groups.
    ///
    /// # Errors
    /// When the kernel refuses. A network that is not there is no error.
    pub fn remove_peers(&mut self, peers: &[(PeerKey, u32)]) -> Result<()> {
        let mut trie = self.peers()?;
        for (key, bits) in peers {
            match trie.remove(&Key::new(*bits, *key)) {
                Ok(()) => {}
                Err(error) if is_missing(&error) => {}
                Err(error) => return Err(error).context("remove a peer"),
            }
        }
        Ok(())
    }

    /// Writes the lease.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_lease(&mut self, lease: Lease) -> Result<()> {
        Ok(self.array(names::MAP_LEASE)?.set(0, lease, 0)?)
    }

    /// Says what the entrance of the line is; 0 for none.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_line(&mut self, entrance: u32) -> Result<()> {
        let line = Line { entrance, ..self.line()? };
        Ok(self.array(names::MAP_LINE)?.set(0, line, 0)?)
    }

    /// Says what the entrance of the wire is; 0 for none.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_wire(&mut self, wire: u32) -> Result<()> {
        let line = Line { wire, ..self.line()? };
        Ok(self.array(names::MAP_LINE)?.set(0, line, 0)?)
    }

    /// Says whether the line's queue takes packets from their owners.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_disowns(&mut self, disowns: bool) -> Result<()> {
        let line = Line { disowns: disowns.into(), ..self.line()? };
        Ok(self.array(names::MAP_LINE)?.set(0, line, 0)?)
    }

    fn line(&mut self) -> Result<Line> {
        Ok(self.array(names::MAP_LINE)?.get(&0, 0)?)
    }

    /// How often an event was counted, on all CPUs together.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn event(&self, event: Event) -> Result<u64> {
        let map = self.ebpf.map(names::MAP_EVENTS).context("no map of events")?;
        let counters: PerCpuArray<_, u64> = map.try_into()?;
        Ok(counters.get(&event.index(), 0)?.iter().sum())
    }

    /// All events, in the order of their index.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn events(&self) -> Result<[u64; Event::ALL.len()]> {
        let mut counts = [0; Event::ALL.len()];
        for event in Event::ALL {
            counts[event.index() as usize] = self.event(event)?;
        }
        Ok(counts)
    }

    fn hash<K: aya::Pod, V: aya::Pod>(
        &mut self,
        name: &str,
    ) -> Result<HashMap<&mut MapData, K, V>> {
        let map = self.ebpf.map_mut(name).with_context(|| format!("no map {name}"))?;
        Ok(map.try_into()?)
    }

    fn array<V: aya::Pod>(&mut self, name: &str) -> Result<Array<&mut MapData, V>> {
        let map = self.ebpf.map_mut(name).with_context(|| format!("no map {name}"))?;
        Ok(map.try_into()?)
    }

    fn peers(&mut self) -> Result<LpmTrie<&mut MapData, PeerKey, PeerEntry>> {
        Ok(self.ebpf.map_mut(names::MAP_PEERS).context("no map of peers")?.try_into()?)
    }
}

fn set<K: aya::Pod, V: aya::Pod>(
    map: &mut HashMap<&mut MapData, K, V>,
    key: K,
    value: Option<&V>,
) -> Result<()> {
    match value {
        Some(value) => Ok(map.insert(key, value, 0)?),
        None => match map.remove(&key) {
            Err(error) if !is_missing(&error) => Err(error.into()),
            _ => Ok(()),
        },
    }
}

fn is_missing(error: &aya::maps::MapError) -> bool {
    use aya::maps::MapError;
    match error {
        MapError::KeyNotFound | MapError::ElementNotFound => true,
        MapError::SyscallError(error) => error.io_error.raw_os_error() == Some(libc::ENOENT),
        _ => false,
    }
}
