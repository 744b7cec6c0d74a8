//! A fault is in place before a container sends its first packet.

use std::thread;

use anyhow::Result;
use entropy_tests::{docker::Container, skip, wait::patience};

use crate::stage::{Cast, Stage, stage};

/// Containers that are started one after the other; a tenth of them in a virtual machine.
fn starts() -> u32 {
    match (std::env::var_os("ENTROPY_FULL").is_some(), skip::virtual_machine().is_some()) {
        (true, _) => 200,
        (false, false) => 20,
        (false, true) => 3,
    }
}

/// A container whose first instruction pings, in a network; its exit code is 0 if anything came back.
fn pinging(stage: &Stage, cast: &Cast, number: u32, v6: bool) -> Result<Container> {
    let target = if v6 { cast.client.at.v6.to_string() } else { cast.client.at.v4.to_string() };
    let command = ["/bin/ping", "-q", "-c", "5", "-i", "0.01", "-W", "1", &target];
    stage.docker.create_with(&format!("first-{number}"), "app=first", cast.network.name(), &command)
}

#[test]
fn no_packet_of_a_container_that_starts_escapes() -> Result<()> {
    let stage = stage!(every kernel);
    let cast = stage.cast()?;
    let control = pinging(&stage, &cast, 0, false)?;
    control.start()?;
    assert_eq!(control.wait()?, 0, "without a policy something comes back");
    control.remove()?;

    stage.policy("cut", "target = 'app=first'\ndirection = 'egress'\nloss = '100%'")?;
    let daemon = stage.installation.start(&[])?;
    daemon.await_log("connected to container engine")?;
    thread::sleep(patience(1) / 2);
    let mut escaped = Vec::new();
    for number in 1..=starts() {
        let container = pinging(&stage, &cast, number, number % 2 == 0)?;
        container.start()?;
        if container.wait()? == 0 {
            escaped.push(number);
        }
        // The second time it has been seen before.
        container.restart()?;
        if container.wait()? == 0 {
            escaped.push(1000 + number);
        }
        container.remove()?;
    }
    println!("{} starts and as many restarts", starts());
    assert!(escaped.is_empty(), "packets of {escaped:?} escaped");
    daemon.stop()
}
