//! Loaded objects that one test leaves to the next: the verifier takes seconds for each program under
//! emulation, and nearly every test of the suite wants two of them.

use std::{
    mem::ManuallyDrop,
    sync::{Mutex, PoisonError},
    thread,
};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{PerCpuArray, PerCpuValues},
    util::nr_cpus,
};
use entropy_common::{
    fault::delay::{MAX_TABLES, TABLE_ENTRIES},
    names,
    peer::PeerKey,
    rule::{Hook, HookKey, Label, LabelKey, Line, Owned, RuleSet},
    stats::{Event, RuleState},
};

use super::{Object, path, timing};

/// Objects that nobody uses, with empty maps. Tests on several threads have one each.
static FREE: Mutex<Vec<Ebpf>> = Mutex::new(Vec::new());

/// One that nobody uses, or a new one.
pub(super) fn take() -> Result<Ebpf> {
    if let Some(ebpf) = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop() {
        return Ok(ebpf);
    }
    let path = path();
    EbpfLoader::new()
        .override_global("AYA_LOG_LEVEL", &0_u8, true)
        .load_file(&path)
        .with_context(|| format!("load {} (built by cargo xtask build)", path.display()))
}

impl Drop for Object {
    fn drop(&mut self) {
        let is_detached = self.detach().is_ok();
        // After a failure nobody knows what it would pass on.
        let is_usable = !thread::panicking() && is_detached && self.empty().is_ok();
        // SAFETY: nobody uses the object after this.
        let ebpf = unsafe { ManuallyDrop::take(&mut self.ebpf) };
        if is_usable {
            FREE.lock().unwrap_or_else(PoisonError::into_inner).push(ebpf);
        }
    }
}

impl Object {
    /// Takes the programs off their devices, each in its namespace: a filter is found by the number of its
    /// device, which means another one elsewhere.
    fn detach(&mut self) -> Result<()> {
        for (namespace, link) in self.attached.drain(..) {
            namespace.run(|| drop(link))?;
        }
        Ok(())
    }

    /// Makes every map as it was when it was loaded.
    fn empty(&mut self) -> Result<()> {
        self.forget::<HookKey, Hook>(names::MAP_HOOKS)?;
        self.forget::<u32, RuleSet>(names::MAP_RULES)?;
        self.forget::<u32, RuleState>(names::MAP_STATE)?;
        self.forget::<u32, HookKey>(names::MAP_SLOTS)?;
        self.forget::<u32, Owned>(names::MAP_OWNED)?;
        self.forget::<LabelKey, Label>(names::MAP_LABELS)?;
        let peers: Vec<(PeerKey, u32)> = {
            let trie = self.peers()?;
            let keys =
                trie.iter().map(|entry| entry.map(|(key, _)| (key.data(), key.prefix_len())));
            keys.collect::<Result<_, _>>()?
        };
        self.remove_peers(&peers)?;
        self.array(names::MAP_LINE)?.set(0, Line { entrance: 0, wire: 0, disowns: 0 }, 0)?;
        let mut tables = self.array::<timing::Entries>(names::MAP_TABLES)?;
        for number in timing::named().len() as u32..MAX_TABLES {
            tables.set(number, [0; TABLE_ENTRIES as usize], 0)?;
        }
        let processors = nr_cpus().map_err(|(_, error)| error).context("count processors")?;
        let map = self.ebpf().map_mut(names::MAP_EVENTS).context("no map of events")?;
        let mut events: PerCpuArray<_, u64> = map.try_into()?;
        for event in Event::ALL {
            let zero = PerCpuValues::try_from(vec![0; processors])?;
            events.set(event.index(), zero, 0)?;
        }
        Ok(())
    }

    fn forget<K: Pod, V: Pod>(&mut self, name: &str) -> Result<()> {
        let mut map = self.hash::<K, V>(name)?;
        let keys: Vec<K> = map.keys().collect::<Result<_, _>>()?;
        for key in keys {
            map.remove(&key)?;
        }
        Ok(())
    }
}
