//! Killed at any moment, again and again.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use entropy_tests::{
    random::{Random, seed},
    skip,
    snapshot::Snapshot,
};

use super::Cut;
use crate::{
    foreign::{Shared, harmless},
    stage::stage,
};

/// Kills, and the longest life before one: some starts get to the end of their first round by then.
fn kills() -> (u32, Duration) {
    match (std::env::var_os("ENTROPY_FULL").is_some(), skip::virtual_machine().is_some()) {
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

/// Each time a daemon is killed in the middle of a fault.
#[test]
fn a_kill_ends_the_faults_every_time() -> Result<()> {
    let stage = stage!();
    let cut = Cut::new(&stage)?;
    let times = if std::env::var_os("ENTROPY_FULL").is_some() { 200 } else { 5 };
    let mut took = Vec::new();
    for _ in 0..times {
        let daemon = cut.start(&stage, &[])?;
        let start = Instant::now();
        daemon.kill()?;
        cut.time_until_it_flows()?;
        took.push(start.elapsed());
    }
    took.sort_unstable();
    // How long it takes is told and not asserted. Without links it would be the lease, 5 s.
    let within = took.iter().filter(|took| **took <= Duration::from_millis(250)).count();
    println!("{within} of {times} within 250 ms of the kill, the longest {:?}", took.last());
    Ok(())
}
