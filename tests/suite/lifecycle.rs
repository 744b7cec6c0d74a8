//! Start, end, crash: what stays in force, and that nothing stays behind.

use std::{
    fs, io,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use entropy_common::rule::Direction;
use entropy_tests::{
    daemon::Daemon,
    datagrams::Way,
    skip,
    snapshot::Snapshot,
    threads::together,
    wait::{patience, until_true},
};

use crate::stage::{Cast, Running, Stage, pass, stage};

mod engine;
mod storm;

/// Datagrams for one look.
const FEW: u64 = 20;

/// Two containers that talk, and a daemon that cuts off one of them.
struct Cut {
    cast: Arc<Cast>,
    ways: [Way; 2],
}

impl Cut {
    /// Without a policy everything gets through.
    fn new(stage: &Stage) -> Result<Self> {
        let cast = stage.cast()?;
        let ways = cast.db.ways_to(&cast.web)?;
        assert_eq!(pass(&ways, FEW)?, [FEW; 2], "before any policy");
        stage.policy("cut", "target = \"app=web\"\nloss = \"100%\"")?;
        Ok(Self { cast, ways })
    }

    /// Starts a daemon; nothing gets through then.
    fn start(&self, stage: &Stage, arguments: &[&str]) -> Result<Daemon> {
        self.holds(stage.installation.start(arguments)?)
    }

    /// Waits until nothing gets through a daemon that has been started.
    fn holds(&self, daemon: Daemon) -> Result<Daemon> {
        daemon.await_on("cut", &self.cast.web.at)?;
        assert_eq!(pass(&self.ways, FEW)?, [0; 2], "under a loss of 100 %");
        Ok(daemon)
    }

    /// How long it takes until something gets through again.
    fn time_until_it_flows(&self) -> Result<Duration> {
        let start = Instant::now();
        for way in &self.ways {
            until_true("traffic flows", patience(30), || {
                way.send()?;
                Ok(way.arrived(1)? > 0)
            })?;
        }
        Ok(start.elapsed())
    }
}

#[test]
fn sigterm_and_sigint_end_the_daemon_with_0_and_leave_nothing() -> Result<()> {
    let stage = stage!(every kernel);
    let cut = Cut::new(&stage)?;
    let before = Snapshot::take()?;
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let daemon = cut.start(&stage, &[])?;
        let during = Snapshot::take()?;
        assert!(during.has(&["pin", "ENTROPY_HOOKS"]) && during.has(&["process", "entropyd"]));
        let (status, log) = daemon.end(signal)?;
        assert_eq!(status.code(), Some(0), "signal {signal}:\n{log}");
        before.assert_restored()?;
        assert_eq!(pass(&cut.ways, FEW)?, [FEW; 2], "after signal {signal}");
    }
    Ok(())
}

#[test]
fn after_kill_9_entropyctl_cleanup_leaves_nothing() -> Result<()> {
    let stage = stage!(every kernel);
    let cut = Cut::new(&stage)?;
    let before = Snapshot::take()?;
    cut.start(&stage, &[])?.kill()?;
    let left = Snapshot::take()?;
    assert!(left.has(&["pin", "ENTROPY_HOOKS"]), "there is something to clean up");
    let output = stage.installation.entropyctl(&["cleanup"])?;
    assert!(output.status.success(), "{output:?}");
    before.assert_restored()?;
    let again = stage.installation.entropyctl(&["cleanup"])?;
    assert!(again.status.success(), "nothing to do is fine: {again:?}");
    Ok(())
}

#[test]
fn after_kill_9_a_new_daemon_puts_the_policy_back_and_leaves_nothing_in_the_end() -> Result<()> {
    let stage = stage!();
    let cut = Cut::new(&stage)?;
    let before = Snapshot::take()?;
    cut.start(&stage, &[])?.kill()?;
    cut.start(&stage, &[])?.stop()?;
    before.assert_restored()?;
    assert_eq!(pass(&cut.ways, FEW)?, [FEW; 2], "after the end");
    Ok(())
}

#[test]
fn cleanup_beside_a_running_daemon_is_refused() -> Result<()> {
    let stage = stage!();
    let cut = Cut::new(&stage)?;
    let daemon = cut.start(&stage, &[])?;
    let output = stage.installation.entropyctl(&["cleanup"])?;
    assert!(!output.status.success(), "{output:?}");
    assert_eq!(pass(&cut.ways, FEW)?, [0; 2], "the daemon goes on");
    daemon.stop()
}

#[test]
fn after_kill_9_traffic_flows_within_the_lease_and_a_second() -> Result<()> {
    let stage = stage!(every kernel);
    let cut = Cut::new(&stage)?;
    let daemon = cut.start(&stage, &["--lease", "2"])?;
    daemon.kill()?;
    let took = cut.time_until_it_flows()?;
    assert!(took <= Duration::from_secs(2) + patience(1), "it took {took:?}");
    Ok(())
}

/// The lease alone: a stopped process keeps its links and filters.
#[test]
fn a_hung_daemon_stops_injecting_within_the_lease_and_goes_on_when_it_wakes() -> Result<()> {
    let stage = stage!();
    let cut = Cut::new(&stage)?;
    let daemon = cut.start(&stage, &["--lease", "2"])?;
    daemon.signal(libc::SIGSTOP)?;
    let took = cut.time_until_it_flows()?;
    assert!(took <= Duration::from_secs(2) + patience(1), "it took {took:?}");
    daemon.signal(libc::SIGCONT)?;
    until_true("the fault is back", patience(10), || Ok(pass(&cut.ways, FEW)? == [0; 2]))?;
    daemon.stop()
}

#[test]
fn a_second_daemon_is_refused_and_the_first_goes_on() -> Result<()> {
    let stage = stage!();
    let cut = Cut::new(&stage)?;
    let daemon = cut.start(&stage, &[])?;
    let with_one = Snapshot::take()?;
    let second =
        stage.installation.command()?.stdout(Stdio::null()).stderr(Stdio::piped()).output()?;
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains("another entropyd runs on this host"), "{said}");
    with_one.assert_restored().context("the second daemon changed something")?;
    let before = daemon.lost("cut", &cut.cast.web.at, Direction::Ingress);
    assert_eq!(pass(&cut.ways, FEW)?, [0; 2], "the first one's policy");
    let after = daemon.lost("cut", &cut.cast.web.at, Direction::Ingress);
    assert!(after >= before + 2 * FEW, "{before} {after}");
    daemon.stop()
}

#[test]
fn a_container_that_is_removed_under_a_fault_leaves_nothing() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let before = Snapshot::take()?;
    let web = stage.run("victim", "app=victim", &cast.network)?;
    let ways = cast.client.ways_to(&web)?;
    stage.policy("cut", "target = \"app=victim\"\nloss = \"100%\"")?;
    let daemon = stage.installation.start(&[])?;
    daemon.await_on("cut", &web.at)?;
    assert_eq!(pass(&ways, FEW)?, [0; 2]);
    drop(ways);
    web.container.remove()?;
    daemon.await_off(&web.at)?;
    daemon.await_log("policy cut matches no container")?;
    assert!(!daemon.log().contains("ERROR"), "{}", daemon.log());
    daemon.stop()?;
    before.assert_restored()
}

/// Containers that restart at the same time, and how often each does.
fn restarts() -> (usize, usize) {
    if skip::virtual_machine().is_some() { (2, 4) } else { (5, 10) }
}

#[test]
fn container_restarts_cost_the_daemon_no_descriptors_and_no_child_processes() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let network = &cast.network;
    let (containers, times) = restarts();
    let mut webs = (0..containers)
        .map(|number| stage.run(&format!("phoenix{number}"), "app=phoenix", network))
        .collect::<Result<Vec<_>>>()?;
    stage.policy("lossy", "target = \"app=phoenix\"\nloss = \"1%\"")?;
    let daemon = stage.installation.start(&[])?;
    webs.iter().try_for_each(|web| daemon.await_on("lossy", &web.at))?;
    let before = daemon.descriptors()?;
    let restart = |web: &mut Running| -> Result<()> {
        for _ in 0..times {
            web.container.restart()?;
            web.refresh(network)?;
            daemon.await_on("lossy", &web.at)?;
        }
        Ok(())
    };
    together(&mut webs, restart)?;
    assert_eq!(children(daemon.pid())?, "", "child processes");
    // Connections to the engine come and go; there must not be another descriptor for each restart.
    until_true("descriptors are closed", patience(10), || Ok(daemon.descriptors()? <= before + 5))
        .with_context(|| format!("{before} before, {} now", daemon.descriptors().unwrap_or(0)))?;
    let maps = daemon.maps().context("no maps")?;
    assert_eq!(maps.hooks.len(), 2 * containers, "old hooks stay: {:#?}", maps.hooks);
    daemon.stop()
}

/// Ids of the child processes of all threads of a process.
fn children(pid: u32) -> Result<String> {
    let mut all = String::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = thread?.path().join("children");
        match fs::read_to_string(&path) {
            Ok(children) => all += &children,
            // The thread has just ended.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !path.exists() => {}
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        }
    }
    Ok(all)
}
