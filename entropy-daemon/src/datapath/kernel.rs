//! The real datapath.

mod check;
mod hand_over;
mod keeper;

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use aya::{Ebpf, EbpfLoader};
use entropy_common::{
    fault::delay::{
        TABLE_ENTRIES,
        table::{Distribution, Table},
    },
    names,
    peer::PeerEntry,
    rule::{
        Direction, Hook, HookKey, Label, LabelKey, Labelled, MAX_RULES, MAX_SHIELDS, Match, RuleSet,
    },
    stats::RuleState,
};
use tokio::task::JoinHandle;
use tracing::{info, warn};

pub use self::hand_over::Handed;
use super::{
    Datapath, Error, Interface, Lock, NamedRule, Ownership,
    attach::{self, Attachment, Mode, Place},
    cleanup,
    line::Line,
    log,
    maps::{Maps, if_there, peer_key},
    object, pins,
    retired::{Retired, Retirement},
    slots::Slots,
    wire::Wire,
};
use crate::{netlink::Netlink, network::Network};

/// How the datapath is set up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Whether the programs log what they do. Costs nothing while off: the verifier removes the
    /// code.
    pub log: bool,
}

/// The kernel of this host.
pub struct Kernel {
    ebpf: Ebpf,
    maps: Maps,
    netlink: Netlink,
    mode: Mode,
    line: Line,
    exit: Attachment,
    /// Or why there is none.
    wire: Result<Wire, String>,
    attachments: HashMap<u32, Attachment>,
    /// Rule set and rules in force on each hook.
    hooks: HashMap<HookKey, (u32, BTreeSet<u32>)>,
    slots: Slots,
    next_set: u32,
    retirement: Retirement,
    log: Option<JoinHandle<()>>,
    lock: Lock,
}

impl Kernel {
    /// Removes what a killed daemon left, loads the object, pins its maps and sets up the line and
    /// the wire. The lease has run out.
    ///
    /// # Errors
    /// When another daemon runs, when bpffs or a right is missing, when the kernel refuses the
    /// object. What was done is undone then.
    pub async fn start(netlink: Netlink, options: Options) -> Result<Self> {
        match Lock::take()? {
            Ownership::Mine(lock) => Self::begin(netlink, options, lock).await,
            Ownership::Taken => bail!("another entropyd runs on this host"),
        }
    }

    async fn begin(netlink: Netlink, options: Options, lock: Lock) -> Result<Self> {
        // The cleanup removes the directory that the lock is on, so somebody may be faster with a new one.
        let leftovers = cleanup::remove(&netlink).await;
        leftovers.log();
        // With what is left over, one could not tell later what is whose.
        if !leftovers.problems.is_empty() {
            bail!("an earlier daemon's leftovers cannot be removed, see above");
        }
        drop(lock);
        let Ownership::Mine(lock) = Lock::take()? else {
            bail!("another entropyd runs on this host")
        };
        let begun = match lock.try_clone().context("copy the lock of the pins") {
            Ok(copy) => Self::build(netlink.clone(), options, copy).await,
            Err(error) => Err(error),
        };
        if begun.is_err() {
            // With the lock in hand: nobody else has begun meanwhile.
            cleanup::remove(&netlink).await.log();
        }
        begun
    }

    async fn build(netlink: Netlink, options: Options, lock: Lock) -> Result<Self> {
        pins::create_directory()?;
        let mut ebpf = load(options)?;
        attach::load(&mut ebpf)?;
        let kernel = Self::set_up(ebpf, netlink, options, lock, None).await?;
        info!(mode = ?kernel.mode, "datapath ready");
        Ok(kernel)
    }

    /// Everything around programs that are loaded. `mode` is known where an earlier version's programs
    /// are to be replaced.
    async fn set_up(
        mut ebpf: Ebpf,
        netlink: Netlink,
        options: Options,
        lock: Lock,
        mode: Option<Mode>,
    ) -> Result<Self> {
        let mut maps = Maps::take(&mut ebpf)?;
        for (number, distribution) in Distribution::ALL.into_iter().enumerate() {
            ensure_table(&mut maps, number as u32, &distribution.table())?;
        }
        let (line, exit, mode) = check::lay_line(&mut ebpf, &mut maps, &netlink, mode).await?;
        let wire = check::lay_wire(&mut ebpf, &mut maps, &netlink, mode).await;
        check::open(&mut maps, &line, &wire)?;
        let log = if options.log { Some(log::follow(&mut ebpf)?) } else { None };
        Ok(Self {
            ebpf,
            maps,
            netlink,
            mode,
            line,
            exit,
            wire,
            attachments: HashMap::new(),
            hooks: HashMap::new(),
            slots: Slots::default(),
            next_set: 1,
            retirement: Retirement::default(),
            log,
            lock,
        })
    }

    /// Why no packet can wait (for a delay, a rate, a slot) on this host; `None` if it can.
    #[must_use]
    pub fn untimed(&self) -> Option<&str> {
        self.line.untimed.as_deref()
    }

    /// Why nothing can be damaged, and no loss be by segment, on this host; `None` if it can.
    #[must_use]
    pub fn unwired(&self) -> Option<&str> {
        self.wire.as_ref().err().map(String::as_str)
    }

    /// Halts, detaches everything, removes the wire, the line and the pins. Goes on after an error and returns
    /// what it could not undo.
    pub async fn stop(mut self) -> Vec<anyhow::Error> {
        let mut problems = Vec::new();
        if let Err(error) = self.halt() {
            problems.push(anyhow!(error).context("halt"));
        }
        // All directions: an interface without programs may still have a qdisc of ours.
        let indexes: Vec<u32> = self.attachments.keys().copied().collect();
        let both = |index| Direction::ALL.map(|direction| HookKey::new(index, direction));
        for hook in indexes.into_iter().flat_map(both) {
            if let Err(error) = self.detach(hook).await {
                let context = format!("detach from interface {}", hook.ifindex);
                problems.push(anyhow!(error).context(context));
            }
        }
        let Self { mut maps, netlink, mut exit, line, wire, log, .. } = self;
        if let Ok(wire) = wire {
            wire.remove(&mut maps, &mut problems).await;
        }
        // While the exit is attached, what waits still arrives.
        let place = line.place;
        line.remove(&mut problems).await;
        if let Err(error) = attach::detach(&mut maps, &netlink, &mut exit, place).await {
            problems.push(anyhow!(error).context("detach from the line"));
        }
        if let Some(log) = log {
            log.abort();
        }
        problems.extend(pins::remove_all());
        problems
    }

    fn retire(&mut self, set: u32, rules: impl IntoIterator<Item = u32>) {
        let now = Instant::now();
        self.retirement.add(now, Retired::Set(set));
        for rule in rules {
            self.retirement.add(now, Retired::Rule(rule));
        }
    }

    fn add_counters(&mut self, named: &NamedRule) -> Result<(), Error> {
        let id = named.rule.id;
        self.retirement.recall_rule(id);
        if self.maps.state.get(&id, 0).is_ok() {
            return Ok(());
        }
        let key = LabelKey { kind: Labelled::Rule as u32, number: id };
        self.maps
            .labels
            .insert(key, Label::new(&named.policy, &named.container), 0)
            .context("write a rule's label")?;
        self.maps.state.insert(id, RuleState::ZERO, 0).context("make a rule's counters")?;
        Ok(())
    }

    fn write_set(
        &mut self,
        hook: HookKey,
        number: u32,
        set: RuleSet,
        rules: &[NamedRule],
    ) -> Result<(), Error> {
        for named in rules {
            self.add_counters(named)?;
        }
        self.maps.rules.insert(number, set, 0).context("write a rule set")?;
        let slot = self.slots.of(hook)?;
        self.maps.slots.insert(slot, hook, 0).context("write the number of a hook")?;
        self.maps
            .hooks
            .insert(hook, Hook { set: number, slot }, 0)
            .context("point a hook to its rules")?;
        Ok(())
    }

    fn free(&mut self, retired: Retired) -> Result<()> {
        match retired {
            Retired::Set(set) => if_there(self.maps.rules.remove(&set))?,
            Retired::Rule(number) => {
                if_there(self.maps.state.remove(&number))?;
                let key = LabelKey { kind: Labelled::Rule as u32, number };
                if_there(self.maps.labels.remove(&key))?;
            }
            Retired::Slot(slot) => {
                if_there(self.maps.slots.remove(&slot))?;
                self.slots.free(slot);
            }
        }
        Ok(())
    }
}

fn write_table(maps: &mut Maps, number: u32, table: &Table) -> Result<()> {
    let entries: &[i32; TABLE_ENTRIES as usize] =
        table.entries().try_into().context("a distribution has another number of entries")?;
    maps.tables.set(number, entries, 0).with_context(|| format!("write distribution {number}"))
}

/// Leaves a table alone that is what it should be: programs may be reading it.
fn ensure_table(maps: &mut Maps, number: u32, table: &Table) -> Result<()> {
    let there =
        maps.tables.get(&number, 0).with_context(|| format!("read distribution {number}"))?;
    if there == table.entries() { Ok(()) } else { write_table(maps, number, table) }
}

fn load(options: Options) -> Result<Ebpf> {
    /// `aya_log::Level::Debug`; 0 is below every level.
    const DEBUG: u8 = aya_log::Level::Debug as u8;
    let level = if options.log { DEBUG } else { 0 };
    let paths = names::MAPS.map(|map| (map, pins::path(map)));
    let mut loader = EbpfLoader::new();
    for (map, path) in &paths {
        loader.map_pin_path(map, path.as_path());
    }
    loader
        .override_global(aya_log::LEVEL, &level, true)
        .load(object::bytes()?)
        .context("load the eBPF object (needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON)")
}

impl Datapath for Kernel {
    async fn attach(&mut self, interface: &Interface, direction: Direction) -> Result<(), Error> {
        let Self { ebpf, maps, netlink, mode, attachments, .. } = self;
        let attachment =
            attachments.entry(interface.index).or_insert_with(|| Attachment::none(interface));
        let place = Place::of(direction);
        let result = attach::attach(ebpf, maps, netlink, *mode, attachment, place).await;
        if attachment.is_empty() {
            attachments.remove(&interface.index);
        }
        result
    }

    async fn detach(&mut self, hook: HookKey) -> Result<(), Error> {
        let Self { maps, netlink, attachments, .. } = self;
        let Some(attachment) = attachments.get_mut(&hook.ifindex) else { return Ok(()) };
        let direction = Direction::from_number(hook.direction).context("a hook's direction")?;
        attach::detach(maps, netlink, attachment, Place::of(direction)).await?;
        if attachment.is_empty() {
            attachments.remove(&hook.ifindex);
        }
        Ok(())
    }

    fn put_rules(
        &mut self,
        hook: HookKey,
        rules: &[NamedRule],
        shields: &[Match],
    ) -> Result<(), Error> {
        let plain: Vec<_> = rules.iter().map(|named| named.rule).collect();
        let Some(set) = RuleSet::new(hook, &plain) else {
            return Err(Error::Unsupported(format!(
                "{} policies apply to this interface and direction, at most {MAX_RULES} can",
                rules.len()
            )));
        };
        let Some(set) = set.with_shields(shields) else {
            return Err(anyhow!("{} shields, at most {MAX_SHIELDS} fit", shields.len()).into());
        };
        let ids: BTreeSet<u32> = plain.iter().map(|rule| rule.id).collect();
        let number = self.next_set;
        self.next_set = self.next_set.wrapping_add(1);
        if let Err(error) = self.write_set(hook, number, set, rules) {
            // Neither the set nor the new rules' counters are in use.
            let old = self.hooks.get(&hook).map(|(_, ids)| ids.clone()).unwrap_or_default();
            self.retire(number, ids.difference(&old).copied().collect::<Vec<_>>());
            return Err(error);
        }
        if let Some((old, old_ids)) = self.hooks.insert(hook, (number, ids.clone())) {
            self.retire(old, old_ids.difference(&ids).copied());
        }
        Ok(())
    }

    fn clear_rules(&mut self, hook: HookKey) -> Result<(), Error> {
        if_there(self.maps.hooks.remove(&hook)).context("take the rules off a hook")?;
        if let Some((set, rules)) = self.hooks.remove(&hook) {
            self.retire(set, rules);
        }
        if let Some(slot) = self.slots.leave(hook) {
            self.retirement.add(Instant::now(), Retired::Slot(slot));
        }
        Ok(())
    }

    fn put_table(&mut self, number: u32, table: &Table) -> Result<(), Error> {
        Ok(write_table(&mut self.maps, number, table)?)
    }

    fn add_peers(
        &mut self,
        group: u32,
        description: &str,
        networks: &BTreeSet<Network>,
    ) -> Result<(), Error> {
        for network in networks {
            let entry = PeerEntry { member: u32::from(!network.excluded) };
            let added = self.maps.peers.insert(&peer_key(group, &network.net), entry, 0);
            if let Err(error) = added {
                // All or nothing, so that nothing is in the map that nobody knows of.
                self.remove_peers(group, networks, false)?;
                let error = anyhow!(error).context(format!("add {network} to peer {description}"));
                return Err(error.into());
            }
        }
        let key = LabelKey { kind: Labelled::PeerGroup as u32, number: group };
        self.maps
            .labels
            .insert(key, Label::new(description, ""), 0)
            .context("write a peer group's label")?;
        Ok(())
    }

    fn remove_peers(
        &mut self,
        group: u32,
        networks: &BTreeSet<Network>,
        ends: bool,
    ) -> Result<(), Error> {
        for network in networks {
            if_there(self.maps.peers.remove(&peer_key(group, &network.net)))
                .with_context(|| format!("remove {network} from a peer group"))?;
        }
        if ends {
            let key = LabelKey { kind: Labelled::PeerGroup as u32, number: group };
            if_there(self.maps.labels.remove(&key)).context("remove a peer group's label")?;
        }
        Ok(())
    }

    fn renew_lease(&mut self, length: Duration) -> Result<(), Error> {
        Ok(self.maps.lease.renew(length)?)
    }

    fn halt(&mut self) -> Result<(), Error> {
        Ok(self.maps.lease.end()?)
    }

    fn purge(&mut self) {
        while let Some(retired) = self.retirement.next(Instant::now()) {
            if let Err(error) = self.free(retired) {
                warn!("free {retired:?}: {error:#}");
            }
        }
    }
}
