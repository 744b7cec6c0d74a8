//! Where there is something that another version cannot go on with, or must not.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _, path::Path};

use anyhow::{Context as _, Result, ensure};
use entropy_common::{names, rule::Direction};
use entropy_tests::{
    daemon::{self, Daemon},
    snapshot::Snapshot,
    wait::{patience, until_true},
};

use super::{FEW, cut, cut_by_copy, lease};
use crate::stage::{Stage, pass, stage};

#[test]
fn maps_that_do_not_fit_are_removed_and_everything_begins_anew() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let before = Snapshot::take()?;
    let daemon = cut(&stage, &cast)?;
    let ways = cast.web.ways_to(&cast.db)?;
    assert_eq!(pass(&ways, FEW)?, [0; 2]);
    fs::remove_file(Path::new(names::PIN_DIR).join(names::MAP_TABLES)).context("remove a pin")?;
    daemon.upgrade()?;
    let reason = "beginning anew: pinned map ENTROPY_TABLES is missing";
    daemon.await_log(reason)?;
    daemon.await_on("cut", &cast.web.at)?;
    let rule = daemon.rule("cut", &cast.web.at, Direction::Egress).context("no rule")?;
    ensure!(rule.state.lost < FEW, "it has counted since before: {rule:?}");
    assert_eq!(pass(&ways, FEW)?, [0; 2]);
    daemon.stop()?;
    before.assert_restored()
}

#[test]
fn without_a_program_to_take_over_the_daemon_goes_on() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let (daemon, program) = cut_by_copy(&stage, &cast)?;
    let descriptors = daemon.descriptors()?;
    let away = program.with_extension("away");
    for failure in 1..=5 {
        fs::rename(&program, &away)?;
        daemon.signal(libc::SIGUSR2)?;
        let said = "not upgraded, going on as before: execute ";
        until_true("it says so", patience(10), || Ok(daemon.count_log(said) == failure))?;
        fs::rename(&away, &program)?;
    }
    until_true("descriptors are closed", patience(10), || {
        Ok(daemon.descriptors()? <= descriptors + 1)
    })?;
    assert_eq!(pass(&cast.web.ways_to(&cast.db)?, FEW)?, [0; 2], "it goes on");
    daemon.upgrade()?;
    assert_eq!(pass(&cast.web.ways_to(&cast.db)?, FEW)?, [0; 2], "and now it is another");
    daemon.stop()
}

/// A daemon whose program is a script by the time of the upgrade.
fn upgraded_to(stage: &Stage, script: impl Fn(&str) -> String) -> Result<Daemon> {
    let real = daemon::entropyd()?;
    let (daemon, program) = cut_by_copy(stage, &*stage.cast()?)?;
    let new = program.with_extension("new");
    fs::write(&new, format!("#!/bin/sh\n{}\n", script(&real.to_string_lossy())))?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
    fs::rename(&new, &program)?;
    Ok(daemon)
}

#[test]
fn a_program_that_does_not_start_leaves_nothing() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let before = Snapshot::take()?;
    let daemon = upgraded_to(&stage, |real| format!("exec {real} --no-such-option"))?;
    let (status, log) = daemon.end(libc::SIGUSR2)?;
    ensure!(status.code() == Some(2) && log.contains("--no-such-option"), "{status}: {log}");
    before.assert_restored()?;
    assert_eq!(pass(&cast.web.ways_to(&cast.db)?, FEW)?, [FEW; 2]);
    Ok(())
}

#[test]
fn what_cannot_be_read_is_closed_and_everything_begins_anew() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let before = Snapshot::take()?;
    let daemon = upgraded_to(&stage, |real| {
        // Its standard input, which is not what it was told to read.
        format!("ENTROPY_HANDOVER=$$:0 exec {real} \"$@\"")
    })?;
    let kept = daemon.descriptors()?;
    daemon.signal(libc::SIGUSR2)?;
    daemon
        .await_log("what the version before has left cannot be read: descriptor 0 is /dev/null")?;
    until_true("it has begun anew", patience(20), || Ok(daemon.count_log("datapath ready") == 2))?;
    daemon.await_on("cut", &cast.web.at)?;
    assert_eq!(pass(&cast.web.ways_to(&cast.db)?, FEW)?, [0; 2]);
    until_true("descriptors are closed", patience(10), || Ok(daemon.descriptors()? <= kept + 2))?;
    daemon.stop()?;
    before.assert_restored()
}

#[test]
fn with_a_mistake_in_the_settings_there_is_no_upgrade() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    stage.policy("cut", "target = 'app=web'\npartition = true")?;
    let file = stage.installation.directory().join("entropyd.toml");
    fs::write(&file, "[guard]\nhost_ports = []\n")?;
    let daemon = stage.installation.start(&["--config", &file.to_string_lossy()])?;
    daemon.await_on("cut", &cast.web.at)?;
    fs::write(&file, "[guard]\nhost_prots = []\n")?;
    daemon.signal(libc::SIGUSR2)?;
    daemon.await_log("not upgraded, going on as before: settings: ")?;
    ensure!(daemon.log().contains("guard.host_prots: unknown key"), "{}", daemon.log());
    assert_eq!(pass(&cast.web.ways_to(&cast.db)?, FEW)?, [0; 2]);
    daemon.stop()
}

#[test]
fn with_a_mistake_in_a_policy_what_is_in_force_stays() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let daemon = cut(&stage, &cast)?;
    stage.installation.write("wrong.toml", "[[policy]]\ntarget = 'app=db'\nlos = '1%'\n")?;
    daemon.await_log("policies not loaded")?;
    let kept = daemon.rule("cut", &cast.web.at, Direction::Egress).context("no rule")?;
    daemon.upgrade()?;
    until_true("the mistake is named again", patience(10), || {
        Ok(daemon.count_log("policies not loaded") >= 2)
    })?;
    // Its events lead to rounds.
    let late = stage.run("late", "app=web", &cast.network)?;
    assert_eq!(pass(&cast.web.ways_to(&cast.db)?, FEW)?, [0; 2]);
    stage.installation.remove("wrong.toml")?;
    daemon.await_on("cut", &late.at)?;
    let now = daemon.rule("cut", &cast.web.at, Direction::Egress).context("no rule")?;
    assert_eq!(now.rule, kept.rule);
    daemon.stop()
}

#[test]
fn a_halted_daemon_stays_halted() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let service = TcpListener::bind("127.0.0.1:0")?;
    let address = service.local_addr()?;
    let settings = format!("[[stop]]\nname = 's'\ntcp = '{address}'\nevery = '100ms'\n");
    let file = stage.installation.directory().join("entropyd.toml");
    fs::write(&file, settings)?;
    stage.policy("cut", "target = 'app=web'\npartition = true")?;
    let [option, seconds] = lease();
    let daemon =
        stage.installation.start(&["--config", &file.to_string_lossy(), option, seconds])?;
    daemon.await_on("cut", &cast.web.at)?;
    drop(service);
    daemon.await_log("halted: stop rule s, ")?;
    // What broke is whole again: it is the halt that is handed over.
    let _service = TcpListener::bind(address)?;
    daemon.upgrade()?;
    daemon.await_log("going on with")?;
    assert_eq!(pass(&cast.web.ways_to(&cast.db)?, FEW)?, [FEW; 2]);
    daemon.stop()
}
