//! The same fault by two hands: Entropy's datapath and netem, in turns.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use entropy_common::{
    fault::delay::table::Table,
    rule::{Direction, HookKey, Rule},
};
use entropy_daemon::{
    datapath::{Datapath as _, Interface, Kernel, NamedRule, Options as KernelOptions},
    netlink::{FqStatistics, Netlink},
};
use tokio::runtime::Runtime;

use super::{
    Options,
    site::{INSIDE, Site, VETH, tool},
};

/// Far longer than anything here takes; renewed before each.
const LEASE: Duration = Duration::from_secs(600);

/// Who makes the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Without,
    Entropy,
    Netem,
}

impl Side {
    pub(super) const ALL: [Self; 3] = [Self::Without, Self::Entropy, Self::Netem];
}

/// A fault, as both sides need it.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    /// Entropy's; number and seed are filled in.
    pub(super) rule: Rule,
    /// What comes after `tc qdisc add dev DEVICE root`.
    pub(super) tc: String,
}

/// Devices, datapath and the faults on them.
pub(super) struct Bench {
    pub(super) site: Site,
    pub(super) seed: u64,
    pub(super) quick: bool,
    /// Runs of each side of a case of the throughput.
    pub(super) runs: usize,
    matching: Option<String>,
    runtime: Runtime,
    netlink: Netlink,
    kernel: Kernel,
    interface: Interface,
    entrance: u32,
    next_rule: u32,
}

impl Bench {
    /// Makes the site and starts the datapath.
    pub(super) fn new(options: &Options) -> Result<Self> {
        let site = Site::new()?;
        // After the site: its threads belong to the host's namespace.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("start the runtime")?;
        let (netlink, kernel) = runtime.block_on(async {
            let netlink = Netlink::new()?;
            let kernel = Kernel::start(netlink.clone(), KernelOptions::default()).await?;
            anyhow::Ok((netlink, kernel))
        })?;
        if let Some(reason) = kernel.untimed() {
            bail!("{reason}");
        }
        let interface = Interface { index: site.host.index(VETH)?, name: VETH.to_owned() };
        let entrance = site.host.index(entropy_common::names::LINE_ENTRANCE)?;
        let (seed, quick, matching) = (options.seed, options.quick, options.matching.clone());
        Ok(Self {
            site,
            seed,
            quick,
            runs: if quick { 2 } else { options.runs.max(1) },
            matching,
            runtime,
            netlink,
            kernel,
            interface,
            entrance,
            next_rule: 1,
        })
    }

    /// Whether a case of this name is to be measured.
    pub(super) fn wants(&self, case: &str) -> bool {
        self.matching.as_ref().is_none_or(|text| case.contains(text))
    }

    /// Does `work` with a fault that one side makes, in one direction. Waits afterwards until nothing
    /// waits any more.
    pub(super) fn with<T>(
        &mut self,
        side: Side,
        direction: Direction,
        fault: &Fault,
        work: impl FnOnce(&Self) -> Result<T>,
    ) -> Result<T> {
        match side {
            Side::Without => work(self),
            Side::Entropy => {
                self.put(direction, fault.rule)?;
                let result = work(self);
                self.clear(direction)?;
                result
            }
            Side::Netem => {
                let device = if direction == Direction::Egress { INSIDE } else { VETH };
                let mut words = vec!["qdisc", "add", "dev", device, "root"];
                words.extend(fault.tc.split_whitespace());
                tool(self.netem_site(direction), "tc", &words)?;
                let result = work(self);
                let words = ["qdisc", "del", "dev", device, "root"];
                tool(self.netem_site(direction), "tc", &words)?;
                result
            }
        }
    }

    const fn netem_site(&self, direction: Direction) -> &crate::netns::Netns {
        match direction {
            Direction::Egress => &self.site.container,
            Direction::Ingress => &self.site.host,
        }
    }

    fn put(&mut self, direction: Direction, rule: Rule) -> Result<()> {
        let Self { kernel, runtime, interface, .. } = self;
        let rule = Rule { id: self.next_rule, seed: self.seed, ..rule };
        self.next_rule += 1;
        runtime.block_on(kernel.attach(interface, direction))?;
        kernel.renew_lease(LEASE)?;
        let (policy, container) = ("fidelity".to_owned(), "container".to_owned());
        let hook = HookKey::new(interface.index, direction);
        kernel.put_rules(hook, &[NamedRule { rule, policy, container }], &[])?;
        Ok(())
    }

    /// Writes the table of a delay by percentiles.
    pub(super) fn put_table(&mut self, number: u32, table: &Table) -> Result<()> {
        Ok(self.kernel.put_table(number, table)?)
    }

    /// Packets that still wait come out before the programs go: a packet of the line belongs to its
    /// hook.
    fn clear(&mut self, direction: Direction) -> Result<()> {
        let hook = HookKey::new(self.interface.index, direction);
        crate::wait::until_true("the line is empty", Duration::from_secs(90), || {
            Ok(self.queue()?.waiting == 0)
        })?;
        self.kernel.clear_rules(hook)?;
        self.runtime.block_on(self.kernel.detach(hook))?;
        self.kernel.purge();
        Ok(())
    }

    /// What waits in the line.
    pub(super) fn queue(&self) -> Result<FqStatistics> {
        let queue = self.runtime.block_on(self.netlink.fq_statistics(self.entrance))?;
        queue.context("the line has no fq")
    }

    /// Stops the datapath and returns what it could not undo.
    pub(super) fn stop(self) -> Vec<anyhow::Error> {
        self.runtime.block_on(self.kernel.stop())
    }
}
