//! Wires the rooms together: start-up order, main loop, shutdown.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{Interval, MissedTickBehavior, interval, sleep_until},
};
use tracing::{error, info, warn};

use crate::{
    datapath::{Datapath, Kernel, Options},
    docker::{Endpoint, Timing, Update, Watcher},
    netlink::{LinkMonitor, Netlink},
    plan::{self, Plan},
    policies::Policies,
    reconcile::{Outcome, Reconciler},
    report::Reporter,
    settings::{Guard, Settings},
    stop::{Checks, Tripped},
    systemd::Manager,
    world::World,
};

/// Shortest lease that is accepted: below it, a busy host would end faults by accident.
pub const SHORTEST_LEASE: Duration = Duration::from_secs(1);
/// How often replaced rules are freed.
const PURGE_PERIOD: Duration = Duration::from_secs(1);
/// First and longest wait before a failed change is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// What the daemon is told to do.
#[derive(Clone, Debug)]
pub struct Config {
    /// Directory of the policy files.
    pub policies: PathBuf,
    /// What no policy can do, and what stops all of them.
    pub settings: Settings,
    /// Where the container engine listens.
    pub docker: Endpoint,
    /// How long the kernel goes on injecting without hearing from the daemon; at least
    /// [`SHORTEST_LEASE`].
    pub lease: Duration,
    /// Whether the eBPF programs log every packet they lose.
    pub ebpf_log: bool,
}

/// Runs the daemon until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start, or when something could not be undone at the end.
pub async fn run(config: Config) -> Result<()> {
    let mut signals = Signals::new()?;
    let netlink = Netlink::new().context("open netlink")?;
    let links = netlink.monitor().context("follow interfaces")?;
    let mut kernel = Kernel::start(netlink.clone(), Options { log: config.ebpf_log }).await?;
    // From here on there is something to undo, whatever happens.
    let (watcher, updates) = Watcher::spawn(config.docker.clone(), Timing::default());
    let result = match Daemon::new(&config, netlink) {
        Ok(mut daemon) => {
            let (_checks, trips) = Checks::start(&config.settings.stop);
            daemon.run(&mut kernel, &mut signals, links, updates, trips).await
        }
        Err(error) => Err(error),
    };
    drop(watcher);
    let problems = kernel.stop().await;
    for problem in &problems {
        error!("could not be undone: {problem:#}");
    }
    result?;
    if !problems.is_empty() {
        bail!("{} things could not be undone: run `entropyctl cleanup`", problems.len());
    }
    info!("stopped, nothing left behind");
    Ok(())
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    Stop,
    Reload,
}

impl Signals {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("listen for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.terminate.recv() => Request::Stop,
            _ = self.interrupt.recv() => Request::Stop,
            _ = self.hangup.recv() => Request::Reload,
        }
    }
}

/// Renews the lease when it is due.
struct LeaseKeeper {
    length: Duration,
    renewed: Option<Instant>,
    /// Nothing is to be in force any more.
    halted: bool,
}

impl LeaseKeeper {
    fn renew_if_due<D: Datapath>(&mut self, datapath: &mut D) {
        if self.halted || self.renewed.is_some_and(|renewed| renewed.elapsed() < self.length / 3) {
            return;
        }
        match datapath.renew_lease(self.length) {
            Ok(()) => self.renewed = Some(Instant::now()),
            Err(error) => error!("the lease could not be renewed, faults will end: {error:#}"),
        }
    }
}

struct Daemon {
    netlink: Netlink,
    guard: Guard,
    policies: Policies,
    world: World,
    reconciler: Reconciler,
    lease: LeaseKeeper,
    seed: u64,
    reporter: Reporter,
    manager: Manager,
    retry: Option<Duration>,
}

impl Daemon {
    fn new(config: &Config, netlink: Netlink) -> Result<Self> {
        Ok(Self {
            netlink,
            guard: config.settings.guard.clone(),
            policies: Policies::watch(&config.policies),
            world: World::default(),
            reconciler: Reconciler::default(),
            lease: LeaseKeeper { length: config.lease, renewed: None, halted: false },
            seed: getrandom::u64().context("draw a seed for policies without one")?,
            reporter: Reporter::default(),
            manager: Manager::of_environment(),
            retry: None,
        })
    }

    async fn run(
        &mut self,
        kernel: &mut Kernel,
        signals: &mut Signals,
        mut links: LinkMonitor,
        mut updates: mpsc::Receiver<Update>,
        mut trips: mpsc::Receiver<Tripped>,
    ) -> Result<()> {
        self.policies.load();
        self.manager.status("waiting for the container engine".to_owned());
        self.manager.ready();
        let mut renew = ticker(self.lease.length / 3);
        let mut purge = ticker(PURGE_PERIOD);
        loop {
            self.manager.alive(Instant::now());
            let retry_at = tokio::time::Instant::now() + self.retry.unwrap_or(RETRY.1);
            tokio::select! {
                request = signals.next() => match request {
                    Request::Stop => {
                        self.manager.stopping();
                        return Ok(());
                    }
                    Request::Reload => self.manager.reload(|| self.policies.load()),
                },
                () = self.policies.changed() => self.policies.load(),
                update = updates.recv() => {
                    let Some(update) = update else { bail!("the container watcher ended") };
                    if !self.note_all(update, &mut updates) {
                        continue;
                    }
                }
                _ = links.next() => {}
                Some(tripped) = trips.recv() => {
                    self.halt(&tripped, kernel);
                    continue;
                }
                _ = renew.tick() => {
                    self.lease.renew_if_due(kernel);
                    continue;
                }
                _ = purge.tick() => {
                    kernel.purge();
                    self.reporter.tick(Instant::now());
                    continue;
                }
                () = sleep_until(retry_at), if self.retry.is_some() => {}
            }
            self.reconcile(kernel).await;
        }
    }

    /// Takes note of an update and of all that wait behind it.
    fn note_all(&mut self, first: Update, updates: &mut mpsc::Receiver<Update>) -> bool {
        let mut changed = self.world.note(first);
        while let Ok(update) = updates.try_recv() {
            changed |= self.world.note(update);
        }
        changed
    }

    async fn reconcile(&mut self, kernel: &mut Kernel) {
        // Before the engine has spoken, no container known means nothing.
        if !self.world.complete {
            return;
        }
        let targets = match self.world.targets(&self.netlink).await {
            Ok(targets) => targets,
            Err(error) => {
                warn!("list interfaces: {error:#}");
                self.back_off();
                return;
            }
        };
        let addresses = match self.netlink.addresses().await {
            Ok(addresses) => addresses,
            Err(error) => {
                warn!("list addresses: {error:#}");
                self.back_off();
                return;
            }
        };
        let mut plan = plan::plan(self.policies.current(), &targets, self.seed, &self.guard);
        plan.shield(&self.guard, &addresses);
        if let Some(reason) = kernel.untimed() {
            plan.refuse_timed(reason);
        }
        if let Some(reason) = kernel.unwired() {
            plan.refuse_wired(reason);
        }
        let (lease, manager) = (&mut self.lease, &mut self.manager);
        let mut between = |kernel: &mut Kernel| {
            lease.renew_if_due(kernel);
            manager.alive(Instant::now());
        };
        between(kernel);
        let outcome = self.reconciler.apply(&plan, kernel, between).await;
        self.report(&plan, outcome);
    }

    /// The end of all faults, until the daemon is started anew.
    fn halt(&mut self, tripped: &Tripped, kernel: &mut Kernel) {
        self.lease.halted = true;
        self.manager.status(format!("halted by stop rule {}", tripped.rule));
        let Tripped { rule, reason, failures } = tripped;
        error!("halted by stop rule {rule}, {failures} failures in a row, the last one: {reason}");
        match kernel.halt() {
            Ok(()) => error!("all faults have ended; start entropyd anew to go on"),
            Err(error) => error!("the lease could not be ended, it runs out by itself: {error:#}"),
        }
    }

    fn back_off(&mut self) {
        let next = self.retry.map_or(RETRY.0, |wait| wait * 2);
        self.retry = Some(next.min(RETRY.1));
    }

    fn report(&mut self, plan: &Plan, outcome: Outcome) {
        if outcome.failed > 0 {
            self.back_off();
        } else {
            self.retry = None;
        }
        let reconciler = &self.reconciler;
        let in_force = |hook| reconciler.is_in_force(hook);
        self.reporter.round(plan, in_force, outcome.unsupported, Instant::now());
        if !self.lease.halted {
            self.manager.status(self.reporter.summary(self.policies.current().len()));
        }
    }
}

fn ticker(period: Duration) -> Interval {
    let mut ticker = interval(period);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticker
}
