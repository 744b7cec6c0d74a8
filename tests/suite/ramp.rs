//! Policies move, and their rules stay the same ones.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use entropy_common::rule::{Direction, Rule};
use entropy_daemon::datapath::inspect::RuleEntry;
use entropy_tests::{
    daemon::Daemon,
    stats::Binomial,
    wait::{patience, until},
};

use crate::stage::{
    Cast, Running, Stage,
    flows::{Kind, through},
    stage,
};

/// Frames for each measurement.
const MANY: u64 = 5_000;
/// What is lost at first, in the middle and at last, in percent.
const STEPS: [u32; 3] = [10, 35, 60];
/// How often a machine may be too busy to measure before the first step is over.
const ATTEMPTS: usize = 5;

fn policy(peer: &Running) -> String {
    // Named by address, so that multicast of the kernel's own does not count.
    format!(
        "target = 'app=web'\ndirection = 'egress'\nmatch = {{ peer = '{}' }}\nseed = 2\n\
         loss = '{}%'\nramp = {{ over = '8s', step = '4s', from = {{ loss = '{}%' }} }}",
        peer.at.v4, STEPS[2], STEPS[0]
    )
}

fn rule(daemon: &Daemon, web: &Running) -> Result<RuleEntry> {
    daemon.rule("moving", &web.at, Direction::Egress).context("no rule of the policy")
}

/// How much the rule lost of what was sent through it, if it was one rule with one rate all the while.
fn lost(daemon: &Daemon, cast: &Cast) -> Result<Option<(RuleEntry, u64)>> {
    let before = rule(daemon, &cast.web)?;
    let arrived = through(&cast.web, &cast.client, Kind::default(), MANY)?;
    let after = rule(daemon, &cast.web)?;
    if before.rule != after.rule {
        return Ok(None);
    }
    let lost = after.state.lost - before.state.lost;
    ensure!(lost == MANY - arrived, "{lost} lost, and {arrived} of {MANY} arrived");
    Ok(Some((after, lost)))
}

/// Begins the policy, and measures before its first step.
fn first(stage: &Stage, daemon: &Daemon, cast: &Cast) -> Result<(RuleEntry, u64)> {
    for _ in 0..ATTEMPTS {
        stage.policy("moving", &policy(&cast.client))?;
        daemon.await_on("moving", &cast.web.at)?;
        if let Some(measured) = lost(daemon, cast)? {
            return Ok(measured);
        }
        stage.end_policy("moving")?;
        daemon.await_off(&cast.web.at)?;
    }
    bail!("{MANY} frames take longer than a step")
}

#[test]
fn loss_rises_step_by_step_and_counters_and_random_numbers_go_on() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let daemon = stage.installation.start(&[])?;
    let (entry, count) = first(&stage, &daemon, &cast)?;
    let mut measured = vec![(STEPS[0], count)];
    let mut last = entry;
    for percent in &STEPS[1..] {
        let next = until("the policy moves", patience(20), || {
            let now = rule(&daemon, &cast.web)?;
            Ok((now.rule.loss != last.rule.loss).then_some(now))
        })?;
        let (was, is) = (last.rule, next.rule);
        ensure!(is == Rule { loss: is.loss, ..was }, "more than the loss moved: {is:?}, {was:?}");
        ensure!(next.state.matched >= last.state.matched, "the counters began anew");
        // The step in the middle may be over too early.
        let during = lost(&daemon, &cast)?;
        measured.extend(during.map(|(_, count)| (*percent, count)));
        last = next;
    }
    println!("lost of {MANY}, at how many percent: {measured:?}");
    for (percent, count) in &measured {
        let interval = Binomial::new(MANY, f64::from(*percent) / 100.0).interval(0.001);
        ensure!(interval.contains(count), "{count} lost at {percent} %, expected {interval:?}");
    }
    ensure!(measured.last().is_some_and(|(percent, _)| *percent == STEPS[2]), "it never arrives");
    // It has arrived, and stays.
    thread::sleep(Duration::from_secs(1));
    ensure!(rule(&daemon, &cast.web)?.rule == last.rule, "it goes on moving");
    daemon.stop()
}
