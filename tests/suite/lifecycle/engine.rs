//! The engine goes away and comes back.

use anyhow::Result;
use entropy_tests::{
    daemon::{self, Installation},
    docker::Docker,
    engine::{Engine, Options},
    skip,
    wait::{patience, until_true},
};

use crate::stage::{Running, machine_only, pass};

use super::FEW;

#[test]
fn faults_outlive_the_engine_and_containers_are_found_whenever_it_comes() -> Result<()> {
    machine_only!();
    if let Some(reason) = daemon::obstacle() {
        skip!("{reason}");
    }
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
