//! What no policy can do, and what stops all of them.

use std::{
    fs,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use anyhow::{Result, bail, ensure};
use entropy_common::rule::Direction;
use entropy_tests::{
    daemon::Daemon,
    netns::Netns,
    wait::{patience, until_true},
};

use crate::stage::{Running, Stage, pass, stage};

/// Datagrams for one look.
const FEW: u64 = 20;
/// How long a connection that must not come about is waited for.
const SOON: Duration = Duration::from_millis(300);

/// A daemon with settings beside its policies.
fn start(stage: &Stage, settings: &str) -> Result<Daemon> {
    let file = stage.installation.directory().join("entropyd.toml");
    fs::write(&file, settings)?;
    stage.installation.start(&["--config", &file.to_string_lossy()])
}

fn connects(from: &Netns, to: IpAddr, port: u16) -> Result<bool> {
    let target = SocketAddr::new(to, port);
    Ok(from.run(|| TcpStream::connect_timeout(&target, SOON))?.is_ok())
}

/// The host's address on a container's network: the first one of it.
fn host_address(container: &Running) -> [IpAddr; 2] {
    let mut v4 = container.at.v4.octets();
    v4[3] = 1;
    let mut v6 = container.at.v6.segments();
    v6[7] = 1;
    [v4.into(), v6.into()]
}

#[test]
fn a_port_of_the_host_stays_reachable_and_a_protected_container_untouched() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let host = Netns::host()?;
    let addresses = host_address(&cast.web);
    // A dual-stack listener each: one on the port that is guarded, one on another.
    let listen = || host.run(|| TcpListener::bind("[::]:0"));
    let (guarded, other) = (listen()??, listen()??);
    let (guarded, other) = (guarded.local_addr()?.port(), other.local_addr()?.port());
    let inside = cast.web.container.netns()?;
    cast.web.ways_from_host()?;
    for address in addresses {
        ensure!(connects(&inside, address, guarded)? && connects(&inside, address, other)?);
    }
    let settings = format!("[guard]\nhost_ports = [{guarded}]\nprotect = \"app=db\"\n");
    let daemon = start(&stage, &settings)?;
    stage.policy("all", "target = \"app\"\npartition = true")?;
    daemon.await_on("all", &cast.web.at)?;
    for address in addresses {
        ensure!(connects(&inside, address, guarded)?, "{address}: the guarded port");
        ensure!(!connects(&inside, address, other)?, "{address}: another port");
    }
    ensure!(pass(&cast.web.ways_to(&cast.client)?, FEW)? == [0; 2], "between containers");
    ensure!(pass(&cast.db.ways_from_host()?, FEW)? == [FEW; 2], "the protected container");
    daemon.await_log("policy all on container entropy-test")?;
    ensure!(daemon.log().contains("unsupported: the guard protects containers with app=db"));
    ensure!(daemon.rule("all", &cast.db.at, Direction::Egress).is_none(), "a rule for db");
    daemon.stop()
}

#[test]
fn a_stop_rule_that_breaks_ends_every_fault() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let service = TcpListener::bind("127.0.0.1:0")?;
    let settings = format!(
        "[[stop]]\nname = \"the service\"\ntcp = \"{}\"\nevery = \"100ms\"\nfailures = 2\n",
        service.local_addr()?
    );
    let daemon = start(&stage, &settings)?;
    stage.policy("cut", "target = \"app=web\"\npartition = true")?;
    daemon.await_on("cut", &cast.web.at)?;
    let ways = cast.web.ways_to(&cast.db)?;
    ensure!(pass(&ways, FEW)? == [0; 2], "while the service is there");
    drop(service);
    until_true("the faults end", patience(10), || Ok(pass(&ways, FEW)? == [FEW; 2]))?;
    daemon.await_log("halted: stop rule the service, 2 failures in a row")?;
    // What comes later has no effect either.
    stage.policy("more", "target = \"app=web\"\nloss = \"100%\"")?;
    daemon.await_log("policy more is on container")?;
    ensure!(pass(&ways, FEW)? == [FEW; 2], "after the halt");
    daemon.stop()
}

#[test]
fn settings_with_a_mistake_are_a_reason_not_to_start() -> Result<()> {
    let stage = stage!();
    let error = match start(&stage, "[guard]\nprotekt = \"app=db\"\n") {
        Ok(_) => bail!("it runs"),
        Err(error) => format!("{error:#}"),
    };
    ensure!(error.contains("guard.protekt: unknown key"), "{error}");
    ensure!(error.contains("exit status: 64"), "{error}");
    Ok(())
}
