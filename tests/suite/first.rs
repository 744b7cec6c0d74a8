//! A fault is in place before a container sends its first packet.

use std::{fs, thread, time::Duration};

use anyhow::{Context as _, Result};
use entropy_tests::{
    docker::Container,
    skip,
    stats::Binomial,
    threads::together,
    wait::{patience, until_true},
};

use crate::stage::{Cast, Running, Stage, stage};

/// Echo requests of a container.
const PACKETS: u32 = 20;
/// Containers that are started at the same time.
const TOGETHER: u32 = 5;

/// How often to start a container; a virtual machine needs half a minute for a start and a restart.
fn starts(machine: u32) -> u32 {
    match (skip::nothing(), skip::virtual_machine().is_some()) {
        (true, false) => 200,
        (true, true) => 100,
        (false, false) => machine,
        (false, true) => 1,
    }
}

/// A container whose first instruction sends [`PACKETS`] echo requests to the client.
fn pinging(stage: &Stage, cast: &Cast, number: u32, v6: bool) -> Result<Container> {
    let target = if v6 { cast.client.at.v6.to_string() } else { cast.client.at.v4.to_string() };
    let count = PACKETS.to_string();
    let command = ["/bin/ping", "-q", "-c", &count, "-i", "0.01", "-W", "1", &target];
    let name = format!("first-{number}");
    stage.docker.create_with(&name, "app=first", cast.network.name(), &command)
}

/// How many echo requests have come to a container, of both families.
fn requests(at: &Running) -> Result<u64> {
    let count = |file: &str, name: &str, header: Option<&str>| {
        let text = fs::read_to_string(format!("/proc/thread-self/net/{file}"))?;
        let mut lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let value = match header {
            // IPv4 has a line of names above the line of values.
            Some(header) => {
                let names = lines.find(|words| words.first() == Some(&header));
                let place = names.and_then(|names| names.iter().position(|word| *word == name));
                lines.next().zip(place).and_then(|(values, place)| values.get(place).copied())
            }
            None => lines.find(|words| words.first() == Some(&name)).map(|words| words[1]),
        };
        value.and_then(|value| value.parse::<u64>().ok()).with_context(|| format!("no {name}"))
    };
    at.container.netns()?.run(|| {
        anyhow::Ok(count("snmp", "InEchos", Some("Icmp:"))? + count("snmp6", "Icmp6InEchos", None)?)
    })?
}

/// What comes to the client of one start of a container.
fn arrivals(cast: &Cast, start: impl FnOnce() -> Result<()>) -> Result<u64> {
    let before = requests(&cast.client)?;
    start()?;
    Ok(requests(&cast.client)? - before)
}

/// Starts it and waits for its end.
fn run(container: &Container) -> Result<()> {
    container.start()?;
    container.wait().map(drop)
}

/// Starts the daemon with a policy and waits until it follows the engine.
fn daemon(stage: &Stage, policy: &str) -> Result<entropy_tests::daemon::Daemon> {
    stage.policy("cut", policy)?;
    let daemon = stage.installation.start(&[])?;
    daemon.await_log("connected to container engine")?;
    thread::sleep(patience(1) / 2);
    Ok(daemon)
}

#[test]
fn no_packet_of_a_container_that_starts_escapes() -> Result<()> {
    let stage = stage!(every kernel);
    let cast = stage.cast()?;
    // Of the families that come below.
    let families = if starts(10) > 1 { &[false, true][..] } else { &[false] };
    for &v6 in families {
        let control = pinging(&stage, &cast, 0, v6)?;
        let came = arrivals(&cast, || run(&control))?;
        assert!(came > 0, "without a policy they come, IPv6: {v6}");
        control.remove()?;
    }
    let daemon = daemon(&stage, "target = 'app=first'\ndirection = 'egress'\nloss = '100%'")?;
    let mut escaped = Vec::new();
    for number in 1..=starts(10) {
        let container = pinging(&stage, &cast, number, number % 2 == 0)?;
        let first = arrivals(&cast, || run(&container))?;
        // The second time it has been seen before.
        let again = arrivals(&cast, || {
            container.restart()?;
            container.wait().map(drop)
        })?;
        if first + again > 0 {
            escaped.push((number, first, again));
        }
        container.remove()?;
        // Who ends this early, as it takes a virtual machine hours, wants to know what there was.
        if number % 10 == 0 || number == starts(10) {
            println!("{number} starts and as many restarts of {PACKETS} packets: {escaped:?}");
        }
    }
    assert!(escaped.is_empty(), "packets of (start, first, again) {escaped:?} escaped");
    daemon.stop()
}

#[test]
fn no_packet_escapes_when_several_containers_start_at_once() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let daemon = daemon(&stage, "target = 'app=first'\nloss = '100%'")?;
    for round in 0..starts(10) / TOGETHER {
        let containers: Vec<Container> = (1..=TOGETHER)
            .map(|number| pinging(&stage, &cast, round * TOGETHER + number, number % 2 == 0))
            .collect::<Result<_>>()?;
        let came = arrivals(&cast, || together(&containers, run))?;
        assert_eq!(came, 0, "round {round} of {TOGETHER} containers");
        containers.into_iter().try_for_each(Container::remove)?;
    }
    daemon.stop()
}

#[test]
fn the_first_packets_follow_the_rate() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let daemon =
        daemon(&stage, "target = 'app=first'\ndirection = 'egress'\nloss = '50%'\nseed = 3")?;
    let mut came = 0;
    // A virtual machine takes its time for each.
    let starts = starts(10).min(if skip::virtual_machine().is_some() { 20 } else { u32::MAX });
    for number in 1..=starts {
        let container = pinging(&stage, &cast, number, number % 2 == 0)?;
        came += arrivals(&cast, || run(&container))?;
        container.remove()?;
    }
    let sent = u64::from(starts * PACKETS);
    println!("{came} of {sent} packets came");
    let interval = Binomial::new(sent, 0.5).interval(0.001);
    assert!(interval.contains(&came), "{came} of {sent}, expected {interval:?}");
    daemon.stop()
}

#[test]
fn a_network_that_is_connected_at_run_time_is_covered_at_once() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let second = stage.docker.network("second", 9)?;
    let peer = stage.run("peer", "app=peer", &second)?;
    let target = peer.at.v4.to_string();
    let command = ["/bin/ping", "-q", "-i", "0.002", "-c", "100000", &target];
    let joins = |container: &Container| {
        let before = requests(&peer)?;
        second.connect(container)?;
        thread::sleep(Duration::from_millis(500));
        anyhow::Ok(requests(&peer)? - before)
    };
    let busy = |name: &str| {
        let network = cast.network.name();
        let container = stage.docker.create_with(name, "app=busy", network, &command)?;
        container.start()?;
        anyhow::Ok(container)
    };
    let control = busy("control")?;
    assert!(joins(&control)? > 0, "without a policy they come");
    control.remove()?;
    let daemon = daemon(&stage, "target = 'app=busy'\ndirection = 'egress'\nloss = '100%'")?;
    let mut escaped = Vec::new();
    for number in 1..=starts(5) {
        let container = busy(&format!("busy-{number}"))?;
        until_true("the policy is in force", patience(10), || {
            Ok(daemon.maps().is_some_and(|maps| !maps.hooks.is_empty()))
        })?;
        escaped.push(joins(&container)?);
        container.remove()?;
    }
    println!("escaped at each connect: {escaped:?}");
    // The process runs already: nothing holds it back until the daemon has heard of the interface. None
    // escapes on a machine that is not overloaded; more than a few milliseconds is a defect anywhere.
    assert!(escaped.iter().all(|count| *count <= 5), "packets escaped: {escaped:?}");
    daemon.stop()
}
