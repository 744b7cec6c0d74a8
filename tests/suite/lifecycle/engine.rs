//! The engine goes away, hangs or talks nonsense, and comes back.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use entropy_tests::{
    daemon::Installation,
    docker::Docker,
    engine::{
        Engine, Options,
        between::{Between, Manner},
    },
    wait::{patience, until_true},
};

use crate::stage::{Cast, Running, Stage, machine_only, pass, stage};

use super::FEW;

#[test]
fn faults_outlive_the_engine_and_containers_are_found_whenever_it_comes() -> Result<()> {
    machine_only!(daemon);
    let mut installation = Installation::new()?;
    let mut engine = Engine::start_with(Options { live_restore: true })?;
    // From here on this thread is where the engine's bridges are.
    let _inside = engine.enter_network()?;
    let docker = Docker::of(&engine)?;
    installation.follow(docker.host());
    installation.write("a.toml", "[[policy]]\nname='cut'\ntarget='app=web'\nloss='100%'\n")?;
    let network = docker.network("net", 2)?;
    let web = Running::new(docker.run("web", "app=web", &network)?, &network)?;
    let db = Running::new(docker.run("db", "app=db", &network)?, &network)?;
    let ways = db.ways_to(&web)?;
    assert_eq!(pass(&ways, FEW)?, [FEW; 2], "before any policy");

    engine.stop()?;
    let mut command = installation.command()?;
    command.args(["--lease", "1"]);
    engine.enter(&mut command)?;
    let daemon = installation.spawn(command)?;
    daemon.await_log("no container engine")?;
    assert_eq!(pass(&ways, FEW)?, [FEW; 2], "without an engine no container is known");
    engine.launch()?;
    daemon.await_on("cut", &web.at)?;
    assert_eq!(pass(&ways, FEW)?, [0; 2], "found when the engine came");

    engine.kill()?;
    until_true("the daemon notices", patience(30), || {
        Ok(daemon.log().matches("no container engine").count() >= 2)
    })?;
    assert_eq!(pass(&ways, FEW)?, [0; 2], "in force without an engine");
    engine.launch()?;
    let late = Running::new(docker.run("late", "app=web", &network)?, &network)?;
    daemon.await_on("cut", &late.at)?;
    assert_eq!(pass(&db.ways_to(&late)?, FEW)?, [0; 2], "started after the engine's return");
    assert_eq!(pass(&ways, FEW)?, [0; 2], "still in force");
    daemon.stop()?;
    assert_eq!(pass(&ways, FEW)?, [FEW; 2], "after the end");
    Ok(())
}

/// What the daemon's status says, as people see it.
fn status(stage: &Stage) -> Result<String> {
    let output = stage.installation.entropyctl(&["status"])?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn an_engine_that_hangs_or_talks_nonsense_is_named_and_the_faults_go_on() -> Result<()> {
    let mut stage = stage!();
    let cast = stage.cast()?;
    let Cast { web, db, .. } = &*cast;
    let engine = stage.docker.host().strip_prefix("unix://").context("a socket")?.to_owned();
    let path = stage.installation.directory().join("between.sock");
    let between = Between::new(&path, Path::new(&engine))?;
    stage.installation.follow(&between.docker_host());
    stage.policy("cut", "target = 'app=web'\nloss = '100%'")?;
    let daemon = stage.installation.start(&[])?;
    daemon.await_on("cut", &web.at)?;
    let ways = db.ways_to(web)?;
    for manner in [Manner::Silent, Manner::Garbled, Manner::Absent] {
        let before = daemon.count_log("no container engine");
        between.behave(manner);
        until_true(&format!("{manner:?}: the daemon notices"), patience(60), || {
            Ok(daemon.count_log("no container engine") > before)
        })?;
        let said = status(&stage)?;
        ensure!(said.contains("no container engine"), "{manner:?}: {said}");
        assert_eq!(pass(&ways, FEW)?, [0; 2], "{manner:?}: in force all the same");
        let name = format!("late{}", manner as u8);
        let late = stage.run(&name, "app=web", &cast.network)?;
        assert_eq!(pass(&db.ways_to(&late)?, FEW)?, [FEW; 2], "{manner:?}: nobody knows of it yet");
        between.behave(Manner::Faithful);
        daemon.await_on("cut", &late.at)?;
        assert_eq!(pass(&db.ways_to(&late)?, FEW)?, [0; 2], "{manner:?}: known afterwards");
        let said = status(&stage)?;
        ensure!(!said.contains("no container engine"), "{manner:?}, afterwards: {said}");
    }
    daemon.stop()
}
