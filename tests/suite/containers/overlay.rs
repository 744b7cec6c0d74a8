//! Overlay networks, as Swarm has them: their veths are in a namespace of the network's own, where a
//! packet cannot be redirected to the line. What leaves them goes by a bridge of the host's.

use anyhow::{Context as _, Result};
use entropy_tests::{
    daemon::Installation,
    docker::{Container, Docker},
    engine::Engine,
};
use serde_json::{Value, json};

use crate::stage::machine_only;

const NETWORK: &str = "entropy-test-mesh";

/// Whether an echo request from a container is answered.
fn answers(from: &Container, address: &str) -> Result<bool> {
    let said = from.exec(&["/bin/ping", "-c", "2", "-W", "1", address])?;
    Ok(!said.contains("100% packet loss"))
}

#[test]
fn an_overlay_network_is_named_as_out_of_reach_and_the_way_out_of_it_is_hit() -> Result<()> {
    machine_only!(daemon);
    let mut installation = Installation::new()?;
    let engine = Engine::start()?;
    let _inside = engine.enter_network()?;
    let docker = Docker::of(&engine)?;
    installation.follow(docker.host());
    let api = engine.api();
    let swarm = json!({ "ListenAddr": "127.0.0.1:2377", "AdvertiseAddr": "127.0.0.1" });
    api.call("POST", "/swarm/init", &swarm)?;
    let network = json!({ "Name": NETWORK, "Driver": "overlay", "Attachable": true });
    api.call("POST", "/networks/create", &network)?;
    let task = docker.create("task", "app=web", NETWORK)?;
    task.start()?;
    let peer = docker.create("peer", "app=db", NETWORK)?;
    peer.start()?;
    let about = api.call("GET", &format!("/containers/{}/json", peer.id()), &Value::Null)?;
    let address = about["NetworkSettings"]["Networks"][NETWORK]["IPAddress"].as_str();
    let address = address.context("the peer has no address")?;
    let gateway = api.call("GET", "/networks/docker_gwbridge", &Value::Null)?;
    let gateway = gateway["IPAM"]["Config"][0]["Gateway"].as_str().context("no gateway")?;
    assert!(answers(&task, address)? && answers(&task, gateway)?, "before any policy");

    installation.write("a.toml", "[[policy]]\nname='cut'\ntarget='app=web'\nloss='100%'\n")?;
    let mut command = installation.command()?;
    engine.enter(&mut command)?;
    let daemon = installation.spawn(command)?;
    daemon.await_log(&format!(
        "policy cut on container {}: unsupported: network {NETWORK} (overlay): no host veth leads",
        task.name()
    ))?;
    daemon.await_log(&format!("policy cut is on container {} (", task.name()))?;
    assert!(!answers(&task, gateway)?, "the way out is hit");
    assert!(answers(&task, address)?, "the overlay is not");
    daemon.stop()
}
