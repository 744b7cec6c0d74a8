//! Which maps are pinned, and how full they are.

use anyhow::{Context, Result};
use aya::{
    Pod,
    maps::{HashMap, LpmTrie, Map, MapData, MapError, MapType},
};
use entropy_common::{
    names,
    peer::{PeerEntry, PeerKey},
    rule::{Hook, HookKey, Label, LabelKey, Owned, RuleSet},
    stats::RuleState,
};

use super::super::pins;

/// One pinned map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedMap {
    /// Its name, one of [`names::MAPS`].
    pub name: &'static str,
    /// Its type, as `bpftool` calls it.
    pub kind: &'static str,
    /// Entries in use; all of them for an array.
    pub entries: u32,
    /// Most entries that it can hold.
    pub max_entries: u32,
    /// Size of a key in bytes.
    pub key_bytes: u32,
    /// Size of a value in bytes, on one CPU.
    pub value_bytes: u32,
}

/// Lists the maps that are pinned; empty when there are none.
///
/// # Errors
/// When a map cannot be read, or is not of the shape this program knows.
pub fn maps() -> Result<Vec<PinnedMap>> {
    let mut maps = Vec::new();
    for name in names::MAPS {
        if let Some(data) = pins::open(name)? {
            maps.push(describe(name, data)?);
        }
    }
    Ok(maps)
}

fn describe(name: &'static str, data: MapData) -> Result<PinnedMap> {
    let info = data.info().with_context(|| format!("look at map {name}"))?;
    let kind = match info.map_type().with_context(|| format!("type of {name}"))? {
        MapType::Hash => "hash",
        MapType::LpmTrie => "lpm_trie",
        MapType::Array => "array",
        MapType::PerCpuArray => "percpu_array",
        _ => "other",
    };
    let (max_entries, key_bytes, value_bytes) =
        (info.max_entries(), info.key_size(), info.value_size());
    let entries = entries_of(name, data)?.unwrap_or(max_entries);
    Ok(PinnedMap { name, kind, entries, max_entries, key_bytes, value_bytes })
}

/// Entries in use; `None` for an array.
fn entries_of(name: &str, data: MapData) -> Result<Option<u32>> {
    let count = match name {
        names::MAP_HOOKS => count::<HookKey, Hook>(data, name)?,
        names::MAP_RULES => count::<u32, RuleSet>(data, name)?,
        names::MAP_STATE => count::<u32, RuleState>(data, name)?,
        names::MAP_OWNED => count::<u32, Owned>(data, name)?,
        names::MAP_LABELS => count::<LabelKey, Label>(data, name)?,
        names::MAP_PEERS => {
            let map: LpmTrie<MapData, PeerKey, PeerEntry> = Map::LpmTrie(data).try_into()?;
            count_keys(map.keys(), name)?
        }
        _ => return Ok(None),
    };
    Ok(Some(count))
}

fn count<K: Pod, V: Pod>(data: MapData, name: &str) -> Result<u32> {
    let map: HashMap<MapData, K, V> = Map::HashMap(data).try_into()?;
    count_keys(map.keys(), name)
}

/// Bounded by what the map can hold: where keys come and go, a walk may begin anew.
fn count_keys<K>(keys: impl Iterator<Item = Result<K, MapError>>, name: &str) -> Result<u32> {
    let mut count = 0;
    for key in keys {
        key.with_context(|| format!("read map {name}"))?;
        count += 1;
    }
    Ok(count)
}
