//! Wires the rooms together: start-up order, main loop, shutdown.

mod control;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tokio::{
    sync::mpsc,
    time::{Interval, MissedTickBehavior, interval, sleep_until},
};
use tracing::{error, info, warn};

use crate::{
    api::{self, Desk},
    brake::Brake,
    clock,
    datapath::{Datapath, Kernel, LeaseMap},
    docker::{Endpoint, Timing, Update, Watcher},
    handover::{Handover, State},
    netlink::{LinkEvent, LinkMonitor, Netlink},
    plan::{self, Plan, Target},
    policies::Policies,
    policy::Records,
    reconcile::{Outcome, Reconciler},
    report::Reporter,
    runtime::Runtime,
    schedule::{Timetable, Window, Windows},
    settings::{Guard, Settings},
    signals::{Request, Signals},
    stop::Checks,
    systemd::Manager,
    upgrade::{self, Inherited},
    world::World,
};

/// Shortest lease that is accepted: below it, a busy host would end faults by accident.
pub const SHORTEST_LEASE: Duration = Duration::from_secs(1);
/// How often replaced rules are freed.
const PURGE_PERIOD: Duration = Duration::from_secs(1);
/// How often it is looked whether all that was put into the kernel is still there.
const CHECK_PERIOD: Duration = Duration::from_secs(10);
/// How long after the end of a window the next one is looked for: late enough to be after it by any
/// clock.
const SETTLE: Duration = Duration::from_millis(1);
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
    /// Where what survives a restart is kept.
    pub runtime: PathBuf,
    /// Where the control socket is.
    pub socket: PathBuf,
}

/// Runs the daemon until SIGTERM or SIGINT, from where an earlier version has handed over to it.
///
/// # Errors
/// When it cannot start, or when something could not be undone at the end.
pub async fn run(config: Config, handover: Option<Handover>) -> Result<()> {
    let mut signals = Signals::new()?;
    let netlink = Netlink::new().context("open netlink")?;
    let links = netlink.monitor().context("follow interfaces")?;
    let (mut kernel, inherited) = upgrade::start(&config, &netlink, handover).await?;
    // From here on there is something to undo, whatever happens.
    let (watcher, updates) = Watcher::spawn(config.docker.clone(), Timing::default());
    let result =
        serve(&config, netlink, inherited, &mut kernel, &mut signals, (links, updates)).await;
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

/// What the main loop follows.
type Sources = (LinkMonitor, mpsc::Receiver<Update>);

/// Works until it is told to stop.
async fn serve(
    config: &Config,
    netlink: Netlink,
    inherited: Inherited,
    kernel: &mut Kernel,
    signals: &mut Signals,
    (links, updates): Sources,
) -> Result<()> {
    let runtime = Runtime::at(&config.runtime);
    runtime.make().context("make the runtime directory")?;
    let lease = LeaseMap::open().context("open the lease once more")?;
    let brake = Arc::new(Brake::new(runtime.clone(), lease));
    let mut daemon = Daemon::new(config, netlink, inherited, runtime, Arc::clone(&brake))?;
    let (_server, desk) = api::Server::start(&config.socket, brake).await?;
    daemon.run(kernel, signals, (links, updates), desk).await
}

/// Renews the lease when it is due.
struct LeaseKeeper {
    length: Duration,
    renewed: Option<Instant>,
    brake: Arc<Brake>,
}

impl LeaseKeeper {
    fn renew_if_due<D: Datapath>(&mut self, datapath: &mut D) {
        if self.renewed.is_none_or(|renewed| renewed.elapsed() >= self.length / 3) {
            self.renew(datapath);
        }
    }

    fn renew<D: Datapath>(&mut self, datapath: &mut D) {
        let Self { length, renewed, brake } = self;
        brake.unless_halted(|| match datapath.renew_lease(*length) {
            Ok(()) => *renewed = Some(Instant::now()),
            Err(error) => error!("the lease could not be renewed, faults will end: {error:#}"),
        });
    }
}

/// When a failed change is tried again.
#[derive(Clone, Copy, Debug)]
struct Retry {
    /// How long that is after it failed.
    wait: Duration,
    at: tokio::time::Instant,
}

struct Daemon {
    netlink: Netlink,
    guard: Arc<Guard>,
    policies: Policies,
    world: World,
    reconciler: Reconciler,
    /// Whether what is in force is an earlier version's, whose policies stand until ours are known.
    must_know_policies: bool,
    lease: LeaseKeeper,
    seed: u64,
    timetable: Timetable,
    /// When a window ends or a policy moves, so that rules have to be written.
    next_window: Option<tokio::time::Instant>,
    reporter: Reporter,
    manager: Manager,
    retry: Option<Retry>,
    /// Whether the last round has left something for the next one.
    has_more: bool,
    /// Whether something has happened to devices of the daemon's own.
    must_check: bool,
    /// Interfaces that have vanished since the last round.
    removed: BTreeSet<u32>,
    brake: Arc<Brake>,
    checks: Checks,
    /// What the last round came to.
    round: Option<Arc<api::Round>>,
    /// Why the last attempt at a round came to nothing.
    stuck: Option<String>,
}

impl Daemon {
    fn new(
        config: &Config,
        netlink: Netlink,
        inherited: Inherited,
        runtime: Runtime,
        brake: Arc<Brake>,
    ) -> Result<Self> {
        let drawn = || getrandom::u64().context("draw a seed for policies without one");
        let Inherited { seed, timetable, reconciler } = inherited;
        Ok(Self {
            netlink,
            guard: Arc::new(config.settings.guard.clone()),
            policies: Policies::watch(&config.policies, runtime),
            world: World::default(),
            must_know_policies: reconciler.is_some(),
            reconciler: reconciler.unwrap_or_default(),
            lease: LeaseKeeper { length: config.lease, renewed: None, brake: Arc::clone(&brake) },
            seed: seed.map_or_else(drawn, Ok)?,
            timetable,
            next_window: None,
            reporter: Reporter::default(),
            manager: Manager::of_environment(),
            retry: None,
            has_more: false,
            must_check: false,
            removed: BTreeSet::new(),
            checks: Checks::start(&config.settings.stop, &brake),
            brake,
            round: None,
            stuck: None,
        })
    }

    async fn run(
        &mut self,
        kernel: &mut Kernel,
        signals: &mut Signals,
        (mut links, mut updates): Sources,
        mut desk: Desk,
    ) -> Result<()> {
        self.policies.load();
        self.manager.status("waiting for the container engine".to_owned());
        self.manager.ready();
        let mut renew = ticker(self.lease.length / 3);
        let mut purge = ticker(PURGE_PERIOD);
        let mut check = ticker(CHECK_PERIOD);
        loop {
            self.manager.alive(Instant::now());
            self.publish(kernel, &desk);
            let end_at = self.next_end();
            let window_at = self.next_window.unwrap_or_else(tokio::time::Instant::now);
            let retry_at = self.retry.map_or_else(tokio::time::Instant::now, |retry| retry.at);
            tokio::select! {
                request = signals.next() => match request {
                    Request::Stop => {
                        self.manager.stopping();
                        return Ok(());
                    }
                    Request::Reload => self.manager.reload(|| self.policies.load()),
                    Request::Upgrade => {
                        self.upgrade(kernel);
                        continue;
                    }
                },
                () = self.policies.changed() => self.policies.load(),
                update = updates.recv() => {
                    let Some(update) = update else { bail!("the container watcher ended") };
                    if !self.note_all(update, &mut updates) {
                        continue;
                    }
                }
                Some(command) = desk.commands.recv() => {
                    let waiting = self.obey_all(Some(command), &mut desk);
                    if !waiting.is_empty() {
                        self.reconcile(kernel).await;
                    }
                    self.answer(waiting, kernel, &desk);
                    continue;
                }
                () = self.brake.changed() => {
                    self.say_halted();
                    continue;
                }
                () = sleep_until(end_at.unwrap_or_else(tokio::time::Instant::now)),
                    if end_at.is_some() =>
                {
                    // Whoever says just now that it lives may have waited for a long round.
                    let first = desk.commands.try_recv().ok();
                    let waiting = self.obey_all(first, &mut desk);
                    self.policies.end_leases(Instant::now());
                    self.reconcile(kernel).await;
                    self.answer(waiting, kernel, &desk);
                    continue;
                }
                event = links.next() => {
                    self.note_links(event, &mut links, kernel);
                    if self.must_check {
                        self.check(kernel).await;
                    }
                }
                _ = renew.tick() => {
                    self.lease.renew_if_due(kernel);
                    if !self.has_jumped() {
                        continue;
                    }
                }
                _ = purge.tick() => {
                    kernel.purge();
                    self.reporter.tick(Instant::now());
                    continue;
                }
                _ = check.tick() => {
                    if !self.check(kernel).await {
                        continue;
                    }
                }
                () = sleep_until(retry_at), if self.retry.is_some() => {}
                () = std::future::ready(()), if self.has_more => {}
                () = sleep_until(window_at), if self.next_window.is_some() => {}
            }
            self.reconcile(kernel).await;
        }
    }

    /// Takes note of an event of interfaces and of all that wait behind it: the next round lists them once.
    fn note_links(&mut self, first: LinkEvent, links: &mut LinkMonitor, kernel: &Kernel) {
        for event in std::iter::once(first).chain(links.drain()) {
            match event {
                LinkEvent::Changed { index, removed } => {
                    if removed {
                        self.removed.insert(index);
                    }
                    self.must_check |= kernel.owns(index);
                }
                LinkEvent::Overrun => self.must_check = true,
                LinkEvent::Addresses => {}
            }
        }
    }

    /// Looks whether what was put into the kernel is still there. Returns whether there is something to do.
    async fn check(&mut self, kernel: &mut Kernel) -> bool {
        self.must_check = false;
        let was = (kernel.untimed().is_none(), kernel.unwired().is_none());
        match kernel.check().await {
            Ok(lost) => {
                self.reconciler.lost(&lost);
                !lost.is_empty() || was != (kernel.untimed().is_none(), kernel.unwired().is_none())
            }
            Err(error) => {
                warn!("whether all is still in its place: {error:#}");
                false
            }
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
        self.has_more = false;
        // Before the engine has spoken, no container known means nothing.
        if !self.world.complete || self.must_know_policies && !self.policies.are_known() {
            self.withdraw(kernel).await;
            return;
        }
        let (mut plan, targets) = match self.look().await {
            Ok(seen) => seen,
            Err(error) => {
                warn!("{error:#}");
                self.stuck = Some(format!("{error:#}"));
                // The next attempt says when it is.
                self.next_window = None;
                self.back_off();
                return;
            }
        };
        self.stuck = None;
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
        self.reconciler.leave(&std::mem::take(&mut self.removed), kernel).await;
        let outcome = self.reconciler.apply(&plan, kernel, between).await;
        self.report(plan, targets, outcome);
    }

    /// Before we know what should be in force ourselves, what an earlier version has put there stays, but
    /// for what somebody has asked us to end.
    async fn withdraw(&mut self, kernel: &mut Kernel) {
        let policies = &self.policies;
        let outcome = self.reconciler.withdraw(|name| policies.is_unwanted(name), kernel).await;
        if outcome.failed > 0 {
            self.back_off();
        } else {
            self.retry = None;
        }
    }

    /// What there is on this host, and what should be done to it.
    async fn look(&mut self) -> Result<(Plan, Vec<Target>)> {
        let targets = self.world.targets(&self.netlink).await.context("list interfaces")?;
        let addresses = self.netlink.addresses().await.context("list addresses")?;
        let (windows, moving) = self.schedule()?;
        let is_over =
            |(name, window): (&String, &Window)| (*window == Window::NEVER).then(|| name.clone());
        let idle = windows.iter().filter_map(is_over).collect();
        let mut plan = plan::plan(self.policies.current(), &targets, self.seed, &self.guard, &idle);
        (plan.windows, plan.moving) = (windows, moving);
        plan.shield(&self.guard, &addresses);
        Ok((plan, targets))
    }

    /// When each policy is in force, and what those that move have come to. Notes when to look again.
    fn schedule(&mut self) -> Result<(BTreeMap<String, Window>, BTreeMap<String, Records>)> {
        let now = clock::now().context("read the clock")?;
        let longest = self.guard.max_duration;
        let Windows { of: mut windows, moving, until_ns } =
            self.timetable.windows(self.policies.current(), now, self.seed, longest);
        // Policies that are paused keep their rules, with all they have counted, and no window.
        let paused = self.policies.paused().iter().cloned();
        windows.extend(paused.map(|name| (name, Window::NEVER)));
        let wait = |until_ns: u64| Duration::from_nanos(until_ns.saturating_sub(now.monotonic_ns));
        self.next_window =
            until_ns.map(|until_ns| tokio::time::Instant::now() + wait(until_ns) + SETTLE);
        Ok((windows, moving))
    }

    /// Whether the windows in the kernel mean another time by now.
    fn has_jumped(&self) -> bool {
        clock::now().is_ok_and(|now| self.timetable.has_jumped(now))
    }

    /// Has the program as it is installed now take over. Returns only when that fails.
    fn upgrade(&mut self, kernel: &mut Kernel) {
        self.lease.renew(kernel);
        self.manager.reloading();
        let state = State {
            seed: self.seed,
            halted: self.brake.halted().is_some(),
            policies: self.timetable.hand_over(),
            numbers: self.reconciler.hand_over(),
        };
        let Err(error) = upgrade::hand_over(kernel, state);
        error!("not upgraded, going on as before: {error:#}");
        self.manager.ready();
    }

    fn back_off(&mut self) {
        let wait = self.retry.map_or(RETRY.0, |retry| (retry.wait * 2).min(RETRY.1));
        self.retry = Some(Retry { wait, at: tokio::time::Instant::now() + wait });
    }

    fn report(&mut self, plan: Plan, targets: Vec<Target>, outcome: Outcome) {
        if outcome.failed > 0 {
            self.back_off();
        } else {
            self.retry = None;
        }
        self.has_more = outcome.more;
        let reconciler = &self.reconciler;
        let in_force = |hook| reconciler.is_in_force(hook);
        let refused = outcome.unsupported.clone();
        self.reporter.round(&plan, in_force, outcome.unsupported, Instant::now());
        if self.brake.halted().is_none() {
            let policies = self.policies.current().len();
            self.manager.status(self.reporter.summary(policies, self.policies.paused()));
        }
        let in_force = plan.hooks.keys().filter(|hook| reconciler.is_in_force(**hook));
        let in_force = in_force.copied().collect();
        let failed = outcome.failed;
        let problem = (failed > 0).then(|| format!("{failed} changes failed and are tried again"));
        self.round = Some(Arc::new(api::Round { plan, in_force, refused, targets, problem }));
    }
}

fn ticker(period: Duration) -> Interval {
    let mut ticker = interval(period);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticker
}
