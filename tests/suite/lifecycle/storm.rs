//! Killed at any moment, and containers that change all the time.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use entropy_tests::{
    docker::Network,
    random::{Random, seed},
    skip,
    snapshot::Snapshot,
    threads::together,
    wait::{patience, until_true},
};

use super::{Cut, FEW};
use crate::{
    foreign::{Shared, harmless},
    stage::{Stage, pass, stage},
};

/// The shortest lease.
const SHORT_LEASE: [&str; 2] = ["--lease", "1"];
/// What may pass until faults without a daemon are over.
const LEASE_AND_MARGIN: Duration = Duration::from_millis(1100);

/// Kills, and the longest life before one: some starts get to the end of their first round by then.
fn kills() -> (u32, Duration) {
    match (skip::nothing(), skip::virtual_machine().is_some()) {
        (true, false) => (1000, Duration::from_millis(1500)),
        (false, false) => (100, Duration::from_millis(700)),
        (_, true) => (5, Duration::from_secs(20)),
    }
}

#[test]
fn whenever_it_is_killed_the_next_start_mends_what_is_left_and_touches_nothing_else() -> Result<()>
{
    let stage = stage!();
    let shared = Shared::new(&stage)?;
    stage.policy("harmless", &harmless(100))?;
    let before = Snapshot::take()?;
    let mut random = Random::new(seed());
    let (kills, longest) = kills();
    let mut begun = 0;
    for _ in 0..kills {
        let daemon = stage.installation.launch(stage.installation.command()?)?;
        thread::sleep(Duration::from_micros(random.below(longest.as_micros() as u64)));
        begun += u32::from(daemon.log().contains("datapath ready"));
        daemon.kill()?;
    }
    println!("{kills} kills, {begun} of them with the datapath ready");
    shared.foreign_things_work()?;
    let daemon = stage.installation.start(&[])?;
    daemon.await_on("harmless", &shared.web.at)?;
    daemon.stop()?;
    before.assert_restored()?;
    shared.foreign_things_work()
}

/// How often faults have to end by themselves.
fn ends() -> usize {
    if skip::nothing() { 200 } else { 5 }
}

/// Tells how long faults went on, which is not asserted.
fn tell(what: &str, limit: Duration, mut took: Vec<Duration>) {
    took.sort_unstable();
    let within = took.iter().filter(|took| **took <= limit).count();
    println!("{what}: {within} of {} within {limit:?}, the longest {:?}", took.len(), took.last());
}

/// Each time a daemon is killed in the middle of a fault.
#[test]
fn a_kill_ends_the_faults_every_time() -> Result<()> {
    let stage = stage!();
    let cut = Cut::new(&stage)?;
    // Where the kernel has no links it takes the lease, too.
    for (what, limit) in [("links", Duration::from_millis(250)), ("filters", LEASE_AND_MARGIN)] {
        let mut took = Vec::new();
        for _ in 0..ends() {
            let daemon = cut.holds(if what == "filters" {
                stage.installation.start_without_tcx(&SHORT_LEASE)?
            } else {
                stage.installation.start(&SHORT_LEASE)?
            })?;
            let start = Instant::now();
            daemon.kill()?;
            cut.time_until_it_flows()?;
            took.push(start.elapsed());
        }
        tell(&format!("killed, with {what}"), limit, took);
    }
    Ok(())
}

/// Each time a daemon hangs in the middle of a fault.
#[test]
fn a_hang_ends_the_faults_every_time() -> Result<()> {
    let stage = stage!();
    let cut = Cut::new(&stage)?;
    let daemon = cut.start(&stage, &SHORT_LEASE)?;
    let mut took = Vec::new();
    for _ in 0..ends() {
        let start = Instant::now();
        daemon.signal(libc::SIGSTOP)?;
        let flows = cut.time_until_it_flows();
        took.push(start.elapsed());
        daemon.signal(libc::SIGCONT)?;
        flows?;
        until_true("the fault is back", patience(10), || Ok(pass(&cut.ways, FEW)? == [0; 2]))?;
    }
    tell("stopped", LEASE_AND_MARGIN, took);
    daemon.stop()
}

/// Containers that change at the same time, and how often each does.
fn changes() -> (usize, usize) {
    if skip::nothing() { (4, 250) } else { (4, 5) }
}

/// One container through its changes.
fn churn(
    stage: &Stage,
    networks: [&Network; 2],
    name: &str,
    times: usize,
    mut random: Random,
) -> Result<()> {
    let make = |name: &str| stage.docker.run(name, "app=churn", networks[0]);
    let mut container = make(name)?;
    let mut is_connected = false;
    for time in 0..times {
        match random.below(4) {
            0 => {
                container.stop()?;
                container.start()?;
            }
            1 => container.restart()?,
            2 if is_connected => {
                networks[1].disconnect(&container)?;
                is_connected = false;
            }
            2 => {
                networks[1].connect(&container)?;
                is_connected = true;
            }
            _ => {
                container.remove()?;
                container = make(&format!("{name}-{time}"))?;
                is_connected = false;
            }
        }
    }
    container.remove()
}

#[test]
fn whatever_containers_go_through_nothing_of_it_stays() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let second = stage.docker.network("churn", 8)?;
    let before = Snapshot::take()?;
    stage.policy("churn", "target = 'app=churn'\nloss = '10%'\ndelay = '1ms'")?;
    stage.policy("stays", "target = 'app=web'\nmatch = { port = 9 }\nloss = '100%'")?;
    let daemon = stage.installation.start(&[])?;
    daemon.await_on("stays", &cast.web.at)?;
    let seed = seed();
    let (containers, times) = changes();
    let round = |number: usize| {
        together(0..containers, |place| {
            let random = Random::new(seed ^ (number * containers + place) as u64);
            let name = format!("churn-{number}-{place}");
            churn(&stage, [&cast.network, &second], &name, times, random)
        })?;
        // Only what does not change is left then.
        until_true("the others are forgotten", patience(20), || {
            Ok(daemon.maps().is_some_and(|maps| maps.hooks.len() == 2))
        })
    };
    // The first one fills caches and pools.
    round(0)?;
    let (descriptors, memory) = (daemon.descriptors()?, resident_bytes(daemon.pid())?);
    round(1)?;
    let now = resident_bytes(daemon.pid())?;
    println!("{} changes a round; resident: {memory} bytes, then {now}", containers * times);
    until_true("descriptors are closed", patience(10), || {
        Ok(daemon.descriptors()? <= descriptors + 5)
    })?;
    assert!(now < memory + (8 << 20), "{memory} bytes, then {now}");
    assert!(!daemon.log().contains("ERROR"), "{}", daemon.log());
    daemon.stop()?;
    before.assert_restored()
}

/// Memory that a process has in use.
fn resident_bytes(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024)
}
