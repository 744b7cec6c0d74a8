//! Damage and delay together: over the wire first, then each frame waits in the line.

use anyhow::{Result, ensure};
use entropy_common::{fault::delay::Delay, rule::Rule, stats::Event};
use entropy_tests::{
    clocked::{COUNT, Clocked, shortest},
    needs_root,
    netns::{Line, Netns},
    numbered,
    wait::{patience, until_true},
};

use super::{TCP, UDP, damaging, ways};
use crate::{
    bridged::{Bridged, addresses},
    waiting::needs_fq,
};

const MILLISECOND: u64 = 1_000_000;

/// Departure and number survive the wire: every frame that is to wait goes into the line behind it, and
/// on from there. Without `fq` the line holds nothing up, but that is not the question here.
#[test]
fn frames_find_their_way_through_wire_and_line() -> Result<()> {
    needs_root!();
    let mut host = Bridged::new()?.with_line(Line::SHORT)?.with_wire()?;
    let delay = Delay::constant(MILLISECOND);
    host.rule(UDP, Rule { delay, ..damaging(1, 1, 0) })?;
    for (direction, v6) in ways() {
        let [from, to] = host.ends(direction);
        let received = numbered::send(from, to, Bridged::target(direction, v6), 500)?;
        ensure!(received.len() == 500, "{} came, {direction:?}, IPv6 {v6}", received.len());
    }
    // From the host: its originals end in the line.
    let address = addresses(1)[0];
    ensure!(numbered::send(&host.host, &host.container, address, 500)?.len() == 500);
    for (event, count) in [
        (Event::Wired, 2_500),
        (Event::Frame, 2_500),
        (Event::Waited, 2_500),
        (Event::Released, 2_500),
        (Event::Sunk, 500),
        (Event::Freed, 500),
        (Event::Stray, 0),
        (Event::NotHeld, 0),
        (Event::NotWired, 0),
    ] {
        assert_eq!(host.object.event(event)?, count, "{}", event.name());
    }
    Ok(())
}

/// The time that TCP of this host notes on its packets, or the kernel on those that come in while
/// somebody asks for time stamps, is no departure.
#[test]
fn a_time_of_somebody_else_is_no_reason_to_wait() -> Result<()> {
    needs_root!();
    let mut host = Bridged::new()?.with_line(Line::SHORT)?.with_wire()?;
    for protocol in [TCP, UDP] {
        host.rule(protocol, damaging(1, 1, 0))?;
        let (from, to, address) = (&host.host, &host.container, addresses(1)[0]);
        let _clock = stamping(&host.host)?;
        if protocol == TCP {
            entropy_tests::stream::send(from, to, address, 1_000_000)?;
        } else {
            numbered::send(from, to, address, 100)?;
        }
    }
    ensure!(host.object.event(Event::Frame)? > 100);
    assert_eq!(host.object.event(Event::Waited)?, 0);
    Ok(())
}

/// A socket that makes the kernel note the time of every packet that comes in (socket(7)).
fn stamping(namespace: &Netns) -> Result<std::net::UdpSocket> {
    use std::os::fd::AsRawFd as _;
    let socket = namespace.run(|| std::net::UdpSocket::bind("127.0.0.1:0"))??;
    let on: libc::c_int = 1;
    let size = size_of_val(&on) as libc::socklen_t;
    // SAFETY: the option's value is one int, which lives during the call.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMP,
            (&raw const on).cast(),
            size,
        )
    };
    ensure!(done == 0, "{}", std::io::Error::last_os_error());
    Ok(socket)
}

#[test]
fn damaged_and_whole_frames_wait_as_long_as_their_rule_says() -> Result<()> {
    needs_fq!();
    let mut host = Bridged::new()?.with_line(Line::WHOLE)?.with_wire()?;
    let delay = Delay::constant(50 * MILLISECOND);
    host.rule(UDP, Rule { delay, ..damaging(1, 1, 0) })?;
    for (direction, v6) in ways() {
        let [from, to] = host.ends(direction);
        let delays = Clocked::new(from, to, Bridged::target(direction, v6))?.delays()?;
        ensure!(shortest(&delays) >= 50 * MILLISECOND, "{delays:?}");
        ensure!(delays.iter().map(|(number, _)| *number).eq(0..COUNT as u64), "{delays:?}");
    }
    until_true("all that waited comes out", patience(10), || {
        Ok(host.object.event(Event::Released)? == host.object.event(Event::Waited)?)
    })
}

/// The hash of its own that a packet with jitter gets at the hook survives the wire: else it would wait
/// for the packet before it.
#[test]
fn frames_with_jitter_overtake_one_another_behind_the_wire() -> Result<()> {
    needs_fq!();
    let mut host = Bridged::new()?.with_line(Line::WHOLE)?.with_wire()?;
    let delay = Delay::uniform(100 * MILLISECOND, 90 * MILLISECOND).unwrap_or(Delay::NONE);
    host.rule(UDP, Rule { delay, ..damaging(1, 1, 0) })?;
    for (direction, v6) in ways() {
        let [from, to] = host.ends(direction);
        let delays = Clocked::new(from, to, Bridged::target(direction, v6))?.delays()?;
        ensure!(!delays.is_sorted_by_key(|(number, _)| *number), "{delays:?}");
    }
    Ok(())
}
