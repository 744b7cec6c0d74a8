//! Which containers a policy hits, and when.

mod loss;
mod overlay;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Context as _, Result, ensure};
use entropy_common::rule::Direction;
use entropy_tests::{
    daemon::Daemon,
    datagrams::Way,
    threads::outcome,
    wait::{patience, until_true},
};

use crate::stage::{
    Cast, Running, Stage,
    flows::{Kind, through},
    pass, stage,
};

/// Datagrams for one look.
const FEW: u64 = 20;

const LOSE_ALL: &str = "target = \"app=web\"\nloss = \"100%\"";

#[test]
fn a_policy_hits_who_ran_before_who_comes_later_and_who_restarts_and_nobody_else() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let Cast { web: other, client, network, .. } = &*cast;
    let mut early = stage.run("early", "app=shop", network)?;
    let (to_early, to_other) = (client.ways_to(&early)?, client.ways_to(other)?);
    assert_eq!(pass(&to_early, FEW)?, [FEW; 2], "control");
    assert_eq!(pass(&to_other, FEW)?, [FEW; 2], "control");

    stage.policy("cut", "target = \"app=shop\"\nloss = \"100%\"")?;
    let daemon = stage.installation.start(&[])?;
    daemon.await_on("cut", &early.at)?;
    let late = stage.run("late", "app=shop", network)?;
    daemon.await_on("cut", &late.at)?;
    early.container.restart()?;
    early.refresh(network)?;
    daemon.await_on("cut", &early.at)?;
    let (to_early, to_late) = (client.ways_to(&early)?, client.ways_to(&late)?);
    assert_eq!(pass(&to_early, FEW)?, [0; 2], "restarted");
    assert_eq!(pass(&to_late, FEW)?, [0; 2], "started later");
    assert_eq!(pass(&early.ways_to(client)?, FEW)?, [0; 2], "the other direction");
    assert_eq!(pass(&to_other, FEW)?, [FEW; 2], "no target");

    stage.end_policy("cut")?;
    daemon.await_off(&early.at)?;
    daemon.await_off(&late.at)?;
    assert_eq!(pass(&to_early, FEW)?, [FEW; 2], "without the file");
    assert_eq!(pass(&to_late, FEW)?, [FEW; 2], "without the file");
    daemon.stop()
}

/// Sends on a way without a pause while `work` goes on; every datagram must arrive.
fn undisturbed<T>(ways: &[Way; 2], work: impl FnOnce() -> Result<T>) -> Result<T> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let stream = scope.spawn(|| {
            let mut sent = 0;
            while !done.load(Ordering::Relaxed) {
                sent += FEW;
                let arrived = pass(ways, FEW)?;
                ensure!(arrived == [FEW; 2], "{arrived:?} of {FEW} after {sent}");
            }
            Ok(sent)
        });
        let worked = work();
        done.store(true, Ordering::Relaxed);
        let sent = outcome(stream.join()).context("somebody else's datagrams got lost")?;
        ensure!(sent > FEW, "too few datagrams to tell");
        worked
    })
}

#[test]
fn an_edited_rate_takes_effect_and_no_other_packet_is_ever_lost() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let Cast { web, client, .. } = &*cast;
    let (free, hit) = (client.ways_to(web)?, client.ways_to(web)?);
    let policy = |rate: &str| {
        let port = hit[0].port()?;
        assert_eq!((port, port), (hit[1].port()?, free[0].port()? + 1));
        let text = format!("target = 'app=web'\nmatch = {{ port = {port} }}\nloss = '{rate}'");
        stage.policy("lossy", &text)
    };
    policy("100%")?;
    let daemon = stage.installation.start(&[])?;
    daemon.await_on("lossy", &web.at)?;
    undisturbed(&free, || {
        for (rate, expected) in [("100%", 0), ("0%", FEW)].repeat(3) {
            policy(rate)?;
            until_true(rate, patience(20), || Ok(pass(&hit, FEW)? == [expected; 2]))?;
        }
        Ok(())
    })?;
    daemon.stop()
}

#[test]
fn networks_that_are_connected_and_disconnected_are_followed() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let (one, two) = (&cast.network, stage.docker.network("two", 2)?);
    let web = stage.run("traveller", "app=traveller", one)?;
    let far = stage.run("far", "app=far", &two)?;
    let to_web = cast.client.ways_to(&web)?;
    assert_eq!(pass(&to_web, FEW)?, [FEW; 2], "control");
    stage.policy("cut", "target = \"app=traveller\"\nloss = \"100%\"")?;
    let daemon = stage.installation.start(&[])?;
    daemon.await_on("cut", &web.at)?;

    two.connect(&web.container)?;
    let second = Running::at(&web.container, &two)?;
    daemon.await_on("cut", &second)?;
    assert_eq!(pass(&to_web, FEW)?, [0; 2], "the first network");
    let from_far = far.ways_into(&web.container, &second)?;
    assert_eq!(pass(&from_far, FEW)?, [0; 2], "the second network");

    one.disconnect(&web.container)?;
    await_hooks(&daemon, 2)?;
    assert_eq!(pass(&from_far, FEW)?, [0; 2], "the one that is left");
    stage.end_policy("cut")?;
    daemon.await_off(&second)?;
    assert_eq!(pass(&from_far, FEW)?, [FEW; 2], "control of the second network");
    daemon.stop()
}

/// Waits until this many hooks have rules.
fn await_hooks(daemon: &Daemon, count: usize) -> Result<()> {
    until_true(&format!("{count} hooks have rules"), patience(20), || {
        Ok(daemon.maps().is_some_and(|maps| maps.hooks.len() == count))
    })
}

#[test]
fn a_renamed_container_stays_hit_under_its_new_name() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let web = stage.run("spinner", "app=web", &cast.network)?;
    let ways = cast.client.ways_to(&web)?;
    assert_eq!(pass(&ways, FEW)?, [FEW; 2], "control");
    stage.policy("cut", LOSE_ALL)?;
    let daemon = stage.installation.start(&[])?;
    daemon.await_on("cut", &web.at)?;
    let name = web.container.rename("spider")?;
    until_true("the maps know the new name", patience(20), || {
        ways.iter().try_for_each(Way::send)?;
        let rule = daemon.rule("cut", &web.at, Direction::Ingress);
        Ok(rule.is_some_and(|rule| rule.container == name))
    })?;
    assert_eq!([ways[0].arrived(1)?, ways[1].arrived(1)?], [0; 2], "passed meanwhile");
    assert_eq!(pass(&ways, FEW)?, [0; 2]);
    daemon.stop()
}

#[test]
fn a_container_without_a_veth_is_reported_and_others_are_hit() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let host = stage.docker.create("host", "app=web", "host")?;
    host.start()?;
    let none = stage.docker.create("none", "app=web", "none")?;
    none.start()?;
    stage.policy("cut", LOSE_ALL)?;
    let daemon = stage.installation.start(&[])?;
    daemon.await_on("cut", &cast.web.at)?;
    for (container, reason) in [(&host, "host network"), (&none, "network none")] {
        let name = container.name();
        daemon.await_log(&format!("policy cut on container {name}: unsupported: {reason}"))?;
    }
    await_hooks(&daemon, 2)?;
    daemon.stop()
}

#[test]
fn two_policies_on_one_container_compose_and_both_count() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    compose(&stage, &cast.web, &cast.client)
}

/// Both look at every packet, whatever the other does to it.
fn compose(stage: &Stage, web: &Running, client: &Running) -> Result<()> {
    let peer = format!("match = {{ peer = ['{}'], protocol = 'udp' }}", client.at.v4);
    for (name, rest) in [("third", "seed = 1\nloss = '30%'"), ("half", "seed = 2\nloss = '50%'")] {
        stage
            .policy(name, &format!("target = 'app=web'\ndirection = 'ingress'\n{peer}\n{rest}"))?;
    }
    let daemon = stage.installation.start(&[])?;
    for name in ["third", "half"] {
        daemon.await_on(name, &web.at)?;
    }
    let sent = 4000;
    let arrived = through(client, web, Kind::default(), sent)?;
    for (name, rate) in [("third", 0.3), ("half", 0.5)] {
        let rule = daemon.rule(name, &web.at, Direction::Ingress).context("no rule")?;
        assert_eq!(rule.state.matched, sent, "{name} did not see all");
        loss::assert_likely(name, rule.state.lost, sent, rate);
    }
    loss::assert_likely("neither", arrived, sent, 0.7 * 0.5);
    daemon.stop()
}
