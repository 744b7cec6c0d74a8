//! Reading the pinned maps, with the daemon alive or dead.

use std::collections::BTreeMap;

use super::{maps::network, pins};
use crate::{clock, network::Network};
use anyhow::{Context, Result};
use aya::maps::{Array, HashMap, LpmTrie, Map, MapData, MapError, PerCpuArray};
use entropy_common::{
    lease::Lease,
    names,
    peer::{PeerEntry, PeerKey},
    rule::{Direction, Hook, HookKey, Label, LabelKey, Labelled, Line, Owned, Rule, RuleSet},
    stats::{Event, RuleState},
};

mod holder;
mod pinned;
pub mod trial;

pub use self::{
    holder::lock_holder,
    pinned::{PinnedMap, maps},
};

/// What the pinned maps say.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Nanoseconds until the lease ends; 0 when it has.
    pub lease_left_ns: u64,
    /// The line's entrance; `None` while there is none.
    pub line: Option<u32>,
    /// The hooks that have rules, by interface and direction.
    pub hooks: Vec<HookEntry>,
    /// The peer groups, by number.
    pub groups: Vec<Group>,
    /// Event counters over all CPUs, in the order of [`Event::ALL`].
    pub events: Vec<(Event, u64)>,
    /// Interfaces whose clsact qdisc the daemon made.
    pub clsacts: Vec<u32>,
}

/// One direction of one interface.
#[derive(Clone, Debug)]
pub struct HookEntry {
    /// The host veth.
    pub ifindex: u32,
    /// As the container sees it.
    pub direction: Direction,
    /// The rules, in the order of their policies.
    pub rules: Vec<RuleEntry>,
}

/// One rule.
#[derive(Clone, Debug)]
pub struct RuleEntry {
    /// The rule as the kernel has it.
    pub rule: Rule,
    /// What it has counted.
    pub state: RuleState,
    /// Name of the policy; empty if it is not known.
    pub policy: String,
    /// Name of the container; empty if it is not known.
    pub container: String,
}

/// One peer group.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its number in rules.
    pub number: u32,
    /// As the policy wrote it.
    pub description: String,
    /// Its addresses and networks now.
    pub networks: Vec<Network>,
}

/// Reads all pinned maps; `None` when nothing is pinned.
///
/// # Errors
/// When a map cannot be read, or is not of the shape this program knows.
pub fn read() -> Result<Option<Snapshot>> {
    let Some(hooks) = pins::open(names::MAP_HOOKS)? else { return Ok(None) };
    let labels = labels()?;
    Ok(Some(Snapshot {
        lease_left_ns: lease_left_ns()?,
        line: line()?,
        hooks: read_hooks(hooks, &labels)?,
        groups: groups(&labels)?,
        events: events()?,
        clsacts: clsacts()?,
    }))
}

type Labels = BTreeMap<(u32, u32), (String, String)>;

fn required(map: &str) -> Result<MapData> {
    pins::open(map)?.with_context(|| format!("pinned map {map} is missing"))
}

/// Reads all entries. One that vanishes while we look is skipped: the maps are in use.
fn entries<K, V>(
    iterator: impl Iterator<Item = Result<(K, V), MapError>>,
    map: &str,
) -> Result<Vec<(K, V)>> {
    iterator
        .filter(|entry| !matches!(entry, Err(MapError::KeyNotFound)))
        .map(|entry| entry.with_context(|| format!("read map {map}")))
        .collect()
}

fn labels() -> Result<Labels> {
    let map: HashMap<MapData, LabelKey, Label> =
        Map::HashMap(required(names::MAP_LABELS)?).try_into()?;
    let labels = entries(map.iter(), names::MAP_LABELS)?;
    Ok(labels
        .into_iter()
        .map(|(key, label)| {
            let (name, subject) = label.texts();
            ((key.kind, key.number), (name.to_owned(), subject.to_owned()))
        })
        .collect())
}

fn lease_left_ns() -> Result<u64> {
    let map: Array<MapData, Lease> = Map::Array(required(names::MAP_LEASE)?).try_into()?;
    let lease = map.get(&0, 0).context("read the lease")?;
    Ok(lease.until_ns.saturating_sub(clock::monotonic_ns().context("read the clock")?))
}

fn line() -> Result<Option<u32>> {
    let map: Array<MapData, Line> = Map::Array(required(names::MAP_LINE)?).try_into()?;
    let line = map.get(&0, 0).context("read the line's entrance")?;
    Ok((line.entrance != 0).then_some(line.entrance))
}

fn read_hooks(hooks: MapData, labels: &Labels) -> Result<Vec<HookEntry>> {
    let hooks: HashMap<MapData, HookKey, Hook> = Map::HashMap(hooks).try_into()?;
    let rules: HashMap<MapData, u32, RuleSet> =
        Map::HashMap(required(names::MAP_RULES)?).try_into()?;
    let states: HashMap<MapData, u32, RuleState> =
        Map::HashMap(required(names::MAP_STATE)?).try_into()?;
    let mut all: Vec<HookEntry> = Vec::new();
    for (key, hook) in entries(hooks.iter(), names::MAP_HOOKS)? {
        // Replaced between the two reads, or of a direction that this version does not know.
        let (Ok(set), Some(direction)) =
            (rules.get(&hook.set, 0), Direction::from_number(key.direction))
        else {
            continue;
        };
        let entry = |rule: &Rule| {
            let label = labels.get(&(Labelled::Rule as u32, rule.id));
            let (policy, container) = label.cloned().unwrap_or_default();
            let state = states.get(&rule.id, 0).unwrap_or(RuleState::ZERO);
            RuleEntry { rule: *rule, state, policy, container }
        };
        let rules = set.used().iter().map(entry).collect();
        all.push(HookEntry { ifindex: key.ifindex, direction, rules });
    }
    all.sort_by_key(|hook| (hook.ifindex, hook.direction));
    Ok(all)
}

fn groups(labels: &Labels) -> Result<Vec<Group>> {
    let map: LpmTrie<MapData, PeerKey, PeerEntry> =
        Map::LpmTrie(required(names::MAP_PEERS)?).try_into()?;
    let mut groups: BTreeMap<u32, Vec<Network>> = BTreeMap::new();
    for (kind, number) in labels.keys() {
        if *kind == Labelled::PeerGroup as u32 {
            groups.insert(*number, Vec::new());
        }
    }
    for (key, entry) in entries(map.iter(), names::MAP_PEERS)? {
        groups.entry(key.data().group()).or_default().push(network(&key, entry)?);
    }
    Ok(groups
        .into_iter()
        .map(|(number, mut networks)| {
            networks.sort_unstable();
            let label = labels.get(&(Labelled::PeerGroup as u32, number));
            let description = label.map(|(name, _)| name.clone()).unwrap_or_default();
            Group { number, description, networks }
        })
        .collect())
}

fn events() -> Result<Vec<(Event, u64)>> {
    let map: PerCpuArray<MapData, u64> =
        Map::PerCpuArray(required(names::MAP_EVENTS)?).try_into()?;
    Event::ALL
        .iter()
        .map(|&event| {
            let values = map.get(&event.index(), 0).context("read an event counter")?;
            Ok((event, values.iter().sum()))
        })
        .collect()
}

fn clsacts() -> Result<Vec<u32>> {
    let map: HashMap<MapData, u32, Owned> = Map::HashMap(required(names::MAP_OWNED)?).try_into()?;
    let mut indexes: Vec<u32> =
        entries(map.iter(), names::MAP_OWNED)?.into_iter().map(|(index, _)| index).collect();
    indexes.sort_unstable();
    Ok(indexes)
}
