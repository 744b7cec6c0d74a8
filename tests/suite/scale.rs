//! Many endpoints and many rules.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use entropy_daemon::api::Method;
use entropy_tests::{
    clock::now_ns,
    daemon::Daemon,
    docker::Network,
    skip,
    snapshot::Snapshot,
    threads::outcome,
    wait::{patience, until_true},
};

use crate::{
    stage::{Running, Stage, pass, stage},
    watch::{PAUSE, Watch},
};

/// The first network's number.
const FIRST: u8 = 100;
/// Policies, each with a rule in both directions of every endpoint.
const POLICIES: usize = 2;

/// How long datagrams are sent before a halt, and after it.
const LEAD: Duration = Duration::from_millis(100);

/// Containers, and the networks that each of them is in.
fn size() -> (usize, u8) {
    if skip::nothing() { (16, 16) } else { (3, 4) }
}

/// Containers in all of the networks.
fn crowd(stage: &Stage) -> Result<(Vec<Network>, Vec<Running>)> {
    let (containers, networks) = size();
    let networks = (0..networks)
        .map(|number| stage.docker.network(&format!("scale-{number}"), FIRST + number))
        .collect::<Result<Vec<_>>>()?;
    let (first, others) = networks.split_first().context("no networks")?;
    let containers = (0..containers).map(|number| {
        let running = stage.run(&format!("scale-{number}"), "app=scale", first)?;
        others.iter().try_for_each(|network| network.connect(&running.container))?;
        Ok(running)
    });
    let containers = containers.collect::<Result<Vec<_>>>()?;
    Ok((networks, containers))
}

/// Cuts everybody off, by every policy.
fn cut_off(stage: &Stage, seed: usize) -> Result<()> {
    for policy in 0..POLICIES {
        let loss = format!("target = \"app=scale\"\nloss = \"100%\"\nseed = {seed}");
        stage.policy(&format!("cut-{policy}"), &loss)?;
    }
    Ok(())
}

/// Waits until all rules are there.
fn await_rules(daemon: &Daemon, rules: usize) -> Result<()> {
    until_true(&format!("{rules} rules are there"), patience(120), || {
        let hooks = daemon.maps().map(|maps| maps.hooks).unwrap_or_default();
        Ok(hooks.iter().map(|hook| hook.rules.len()).sum::<usize>() == rules)
    })
}

/// Asks for something that must be done. Returns when it was asked for.
fn ask(stage: &Stage, path: &str) -> Result<u64> {
    let asked = now_ns();
    let (status, body) = stage.ask(Method::POST, path, None)?;
    ensure!(status == 200, "{path}: {status} {body}");
    Ok(asked)
}

/// How long after a halt was asked for the first datagram was sent that got through.
fn halt(stage: &Stage, watch: &mut Watch) -> Result<Duration> {
    let is_over = AtomicBool::new(false);
    let asked = thread::scope(|scope| {
        let halting = scope.spawn(|| {
            thread::sleep(LEAD);
            let asked = ask(stage, "/v1/halt");
            thread::sleep(LEAD);
            is_over.store(true, Ordering::Relaxed);
            asked
        });
        while !is_over.load(Ordering::Relaxed) {
            watch.send()?;
            thread::sleep(PAUSE / 4);
        }
        outcome(halting.join())
    })?;
    let sent = std::mem::take(&mut watch.sent);
    let first = watch.arrived().first().copied().context("nothing gets through")?;
    let (before, _) = *sent.get(first).context("a datagram of nobody")?;
    Ok(Duration::from_nanos(before.saturating_sub(asked)))
}

#[test]
fn a_halt_ends_the_faults_of_many_endpoints_at_once_also_while_rules_change() -> Result<()> {
    let stage = stage!();
    let before = Snapshot::take()?;
    let (networks, containers) = crowd(&stage)?;
    let rules = containers.len() * networks.len() * 2 * POLICIES;
    let daemon = stage.installation.start(&[])?;
    cut_off(&stage, 1)?;
    let start = Instant::now();
    await_rules(&daemon, rules)?;
    println!(
        "{rules} rules on {} endpoints after {:.1} s",
        containers.len() * networks.len(),
        start.elapsed().as_secs_f64()
    );
    let mut watch = Watch::new(&containers[0], &containers[1])?;
    let idle = halt(&stage, &mut watch)?;
    ask(&stage, "/v1/resume")?;
    let ways = containers[0].ways_to(&containers[1])?;
    until_true("the faults are back", patience(20), || Ok(pass(&ways, 5)? == [0; 2]))?;
    // The main loop has all the rules to write anew.
    cut_off(&stage, 2)?;
    let busy = halt(&stage, &mut watch)?;
    println!("a halt took {idle:?}, and {busy:?} while all rules were written");
    ensure!(pass(&ways, 5)? == [5; 2], "after the halt");
    daemon.stop()?;
    drop((containers, networks));
    before.assert_restored()
}
