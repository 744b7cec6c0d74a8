//! The datapath, from one version of the daemon to the next: what is in force stays in force, what was
//! counted stays counted.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use aya::{
    Pod,
    maps::{HashMap, MapData},
};
use entropy_common::{names, peer::PeerEntry};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::{Kernel, Options, keeper::Keeper, load};
use crate::{
    datapath::{
        Lock,
        attach::{self, Attached, Attachment, Mode},
        cleanup::{self, Report},
        maps::{Maps, network},
        pins,
        recovered::{Contents, Recovered},
        retired::Retired,
        slots::Slots,
    },
    handover::Descriptor,
    netlink::Netlink,
    runtime::Runtime,
};

/// What the next version of the daemon has to be given, as it cannot be found in the maps.
#[derive(Debug, Serialize, Deserialize)]
pub struct Handed {
    /// Directory of the pinned maps, which has their layout's number in its name.
    layout: PathBuf,
    /// Everything that is pinned, for a version that has another layout.
    pins: Vec<PathBuf>,
    lock: Descriptor,
    mode: Mode,
    interfaces: Vec<Attached>,
    /// Interfaces whose clsact qdisc the daemon made: another layout may note that in another way.
    clsacts: BTreeSet<u32>,
}

impl Handed {
    /// The descriptors that have to stay open.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = &Descriptor> {
        [&self.lock].into_iter().chain(self.interfaces.iter().flat_map(Attached::descriptors))
    }

    /// Removes everything that is handed over, for want of somebody who goes on with it.
    pub(crate) async fn remove(self, netlink: &Netlink) -> Report {
        let Self { pins, lock: _lock, interfaces, clsacts, .. } = self;
        // Programs end with their links.
        drop(interfaces);
        cleanup::remove_handed(netlink, &clsacts, &pins).await
    }
}

impl Kernel {
    /// What the next version needs to go on where this one is. Its descriptors are copies.
    ///
    /// # Errors
    /// When there are too many open descriptors.
    pub fn hand_over(&self) -> Result<Handed> {
        let interfaces = self.attachments.values().map(Attached::new).collect::<Result<_>>();
        Ok(Handed {
            layout: names::PIN_DIR.into(),
            pins: pins::all(),
            lock: self.lock.copy().context("copy the lock of the pins")?,
            mode: self.mode,
            interfaces: interfaces.context("copy the links of programs")?,
            clsacts: keys(&self.maps.owned, names::MAP_OWNED)?.into_iter().collect(),
        })
    }

    /// Goes on where the version before is: on its maps, with new programs in the places of its own. For
    /// as long as that takes the lease is renewed by `lease`, unless a halt is noted there; without one,
    /// everything stays halted.
    ///
    /// What it returns besides tells what is in force. Where one cannot go on, as with maps of another
    /// layout, the log says why, what is there is removed, and everything begins anew.
    ///
    /// # Errors
    /// When beginning anew fails, too.
    pub async fn resume(
        netlink: Netlink,
        options: Options,
        lease: Option<(Duration, Runtime)>,
        handed: Handed,
    ) -> Result<(Self, Option<Recovered>)> {
        let Handed { layout, pins, lock, mode, interfaces, clsacts } = handed;
        let lock = Lock::handed(lock)?;
        let spare = lock.try_clone().context("copy the lock of the pins")?;
        let adopted = if layout.as_os_str() == names::PIN_DIR {
            Self::adopt(&netlink, options, lease, lock, (mode, interfaces)).await
        } else {
            // Programs end with their links.
            drop(interfaces);
            let (theirs, ours) = (layout.display(), names::PIN_DIR);
            Err(anyhow!("its maps are in {theirs}, those of this version belong in {ours}"))
        };
        match adopted {
            Ok((kernel, recovered)) => Ok((kernel, Some(recovered))),
            Err(error) => {
                warn!("cannot go on where the version before was, beginning anew: {error:#}");
                cleanup::remove_handed(&netlink, &clsacts, &pins).await.log();
                Ok((Self::begin(netlink, options, spare).await?, None))
            }
        }
    }

    async fn adopt(
        netlink: &Netlink,
        options: Options,
        lease: Option<(Duration, Runtime)>,
        lock: Lock,
        (mode, interfaces): (Mode, Vec<Attached>),
    ) -> Result<(Self, Recovered)> {
        pins::check_all()?;
        let keeper = lease.map(|(length, runtime)| Keeper::start(length, runtime));
        let _keeper = keeper.transpose()?;
        let mut ebpf = load(options)?;
        attach::load(&mut ebpf)?;
        let mut kernel = Self::set_up(ebpf, netlink.clone(), options, lock, Some(mode)).await?;
        for attached in interfaces {
            let Self { ebpf, maps, netlink, .. } = &mut kernel;
            let attachment = attached.take_over(ebpf, maps, netlink, mode).await?;
            kernel.attachments.insert(attachment.interface().index, attachment);
        }
        let recovered = kernel.recover()?;
        let (rules, interfaces) = (recovered.rules(), kernel.attachments.len());
        info!(mode = ?mode, "going on with {rules} rules on {interfaces} interfaces");
        Ok((kernel, recovered))
    }

    /// Reads from the maps what this process would know if it had written them.
    fn recover(&mut self) -> Result<Recovered> {
        let (mut recovered, books) = contents(&self.maps)?.recover();
        for number in recovered.tables_in_use() {
            let table = self.maps.tables.get(&number, 0);
            let table = table.with_context(|| format!("read distribution {number}"))?;
            recovered.tables.insert(number, table.to_vec());
        }
        recovered.attached = self.attachments.values().flat_map(Attachment::hooks).collect();
        let left = books.retired.iter().filter_map(|retired| match retired {
            Retired::Slot(slot) => Some(*slot),
            Retired::Set(_) | Retired::Rule(_) => None,
        });
        self.slots = Slots::recovered(books.slots, left);
        self.hooks = books.hooks;
        self.next_set = books.next_set;
        let now = Instant::now();
        for retired in books.retired {
            self.retirement.add(now, retired);
        }
        Ok(recovered)
    }
}

fn contents(maps: &Maps) -> Result<Contents> {
    let labels = entries(&maps.labels, names::MAP_LABELS)?;
    let text = |(name, subject): (&str, &str)| (name.to_owned(), subject.to_owned());
    let mut peers = Vec::new();
    for entry in &maps.peers {
        let (key, entry): (_, PeerEntry) = entry.context("read the peers")?;
        peers.push((key.data().group(), network(&key, entry)?));
    }
    Ok(Contents {
        hooks: entries(&maps.hooks, names::MAP_HOOKS)?.into_iter().collect(),
        sets: entries(&maps.rules, names::MAP_RULES)?.into_iter().collect(),
        states: keys(&maps.state, names::MAP_STATE)?.into_iter().collect(),
        labels: labels
            .into_iter()
            .map(|(key, label)| ((key.kind, key.number), text(label.texts())))
            .collect::<BTreeMap<_, _>>(),
        slots: entries(&maps.slots, names::MAP_SLOTS)?.into_iter().collect(),
        peers,
    })
}

/// All entries. While nobody but this process writes keys, a walk meets each of them once.
fn entries<K: Pod, V: Pod>(map: &HashMap<MapData, K, V>, name: &str) -> Result<Vec<(K, V)>> {
    map.iter().map(|entry| entry.with_context(|| format!("read map {name}"))).collect()
}

fn keys<K: Pod, V: Pod>(map: &HashMap<MapData, K, V>, name: &str) -> Result<Vec<K>> {
    map.keys().map(|key| key.with_context(|| format!("read map {name}"))).collect()
}
