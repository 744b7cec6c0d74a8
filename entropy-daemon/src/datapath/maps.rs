//! The maps of the running object, by name and type.

use anyhow::{Context, Result, anyhow};
use aya::{
    Ebpf,
    maps::{Array, HashMap, LpmTrie, Map, MapData, MapError, lpm_trie::Key},
    sys::SyscallError,
};
use entropy_common::{
    fault::delay::TABLE_ENTRIES,
    names,
    peer::{PeerEntry, PeerKey},
    rule::{Hook, HookKey, Label, LabelKey, Line, Owned, RuleSet},
    stats::RuleState,
};
use ipnet::IpNet;

use super::LeaseMap;
use crate::network::Network;

/// The maps that the daemon writes.
pub(super) struct Maps {
    pub(super) hooks: HashMap<MapData, HookKey, Hook>,
    pub(super) rules: HashMap<MapData, u32, RuleSet>,
    pub(super) state: HashMap<MapData, u32, RuleState>,
    pub(super) peers: LpmTrie<MapData, PeerKey, PeerEntry>,
    pub(super) lease: LeaseMap,
    pub(super) line: Array<MapData, Line>,
    pub(super) owned: HashMap<MapData, u32, Owned>,
    pub(super) labels: HashMap<MapData, LabelKey, Label>,
    pub(super) tables: Array<MapData, [i32; TABLE_ENTRIES as usize]>,
    pub(super) slots: HashMap<MapData, u32, HookKey>,
}

impl Maps {
    /// Takes the maps out of the object.
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self> {
        Ok(Self {
            hooks: typed(ebpf, names::MAP_HOOKS)?,
            rules: typed(ebpf, names::MAP_RULES)?,
            state: typed(ebpf, names::MAP_STATE)?,
            peers: typed(ebpf, names::MAP_PEERS)?,
            lease: LeaseMap(typed(ebpf, names::MAP_LEASE)?),
            line: typed(ebpf, names::MAP_LINE)?,
            owned: typed(ebpf, names::MAP_OWNED)?,
            labels: typed(ebpf, names::MAP_LABELS)?,
            tables: typed(ebpf, names::MAP_TABLES)?,
            slots: typed(ebpf, names::MAP_SLOTS)?,
        })
    }
}

fn typed<T: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &str) -> Result<T> {
    let map = ebpf.take_map(name).ok_or_else(|| anyhow!("the object has no map {name}"))?;
    T::try_from(map).with_context(|| format!("open map {name}"))
}

/// The trie key of a network in a peer group.
pub(super) fn peer_key(group: u32, network: &IpNet) -> Key<PeerKey> {
    let (key, bits) = PeerKey::network(group, network.network(), network.prefix_len());
    Key::new(bits, key)
}

/// The network that an entry of the trie is for.
pub(super) fn network(key: &Key<PeerKey>, entry: PeerEntry) -> Result<Network> {
    let bits = key.prefix_len().saturating_sub(PeerKey::SCOPE_BITS);
    let net = IpNet::new(key.data().ip(), u8::try_from(bits).unwrap_or(u8::MAX))
        .context("a prefix of the peer map is too long")?;
    Ok(Network { net, excluded: entry != PeerEntry::MEMBER })
}

/// Removing what is not there is done.
pub(super) fn if_there(result: std::result::Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(SyscallError { ref io_error, .. }))
            if io_error.raw_os_error() == Some(libc::ENOENT) =>
        {
            Ok(())
        }
        other => other,
    }
}
