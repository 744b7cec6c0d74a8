//! Podman's containers, over its Docker-compatible socket.

use anyhow::Result;
use entropy_tests::{engine::Podman, skip, wait::patience, wait::until_true};

use crate::stage::{Running, pass, stage};

/// Datagrams of each family.
const COUNT: u64 = 20;

#[test]
fn containers_of_podman_are_hit_as_those_of_docker_are() -> Result<()> {
    let mut stage = stage!();
    let Some(mut podman) = Podman::start()? else {
        skip!("needs podman, conmon, netavark, runc and a working iptables")
    };
    let docker = podman.docker()?;
    stage.installation.follow(docker.host());
    let network = docker.network("podman", 91)?;
    let other = docker.network("podman-other", 92)?;
    let run = |name, label| Running::new(docker.run(name, label, &network)?, &network);
    let (mut web, db) = (run("web", "app=web")?, run("db", "app=db")?);
    assert_eq!(pass(&web.ways_to(&db)?, COUNT)?, [COUNT; 2], "before");
    stage.policy("cut", "target = 'app=web'\ndirection = 'egress'\nloss = '100%'")?;
    let daemon = stage.installation.start(&[])?;
    let is_cut = |from: &Running, to: &Running| {
        let ways = from.ways_to(to)?;
        // The first packets of a container are ahead of the daemon: Podman tells of it when it runs.
        until_true("no packet comes out", patience(10), || Ok(pass(&ways, COUNT)? == [0; 2]))
    };
    is_cut(&web, &db)?;
    assert_eq!(pass(&db.ways_to(&web)?, COUNT)?, [COUNT; 2], "nothing is for those of db");

    let late = run("late", "app=web")?;
    is_cut(&late, &db)?;
    other.connect(&late.container)?;
    other.connect(&db.container)?;
    let (from, to) = (Running::at(&late.container, &other)?, Running::at(&db.container, &other)?);
    daemon.await_log(&format!("is on container {} ({})", late.container.name(), from.veth.name))?;
    let ways = late.ways_into(&db.container, &to)?;
    assert_eq!(pass(&ways, COUNT)?, [0; 2], "in a network that came later");
    web.container.restart()?;
    web.refresh(&network)?;
    is_cut(&web, &db)?;

    let ways = web.ways_to(&db)?;
    podman.kill()?;
    daemon.await_log("known containers keep their policies")?;
    assert_eq!(pass(&ways, COUNT)?, [0; 2], "without the service");
    podman.launch()?;
    let after = run("after", "app=web")?;
    is_cut(&after, &db)?;

    let veth = after.at.veth.name.clone();
    after.container.remove()?;
    daemon.await_log(&format!("is off container entropy-test-after ({veth})"))?;
    assert!(!daemon.log().contains("WARN container"), "{}", daemon.log());
    daemon.stop()
}
