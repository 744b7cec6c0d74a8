//! What is lost on its way from the host to a container is lost as on a wire: nobody is told.

mod tcp;

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
};

use anyhow::{Result, ensure};
use entropy_common::rule::Direction;
use entropy_tests::wait::{patience, until_true};

use crate::stage::{Running, Stage, stage};

/// Datagrams on each way.
const COUNT: u64 = 100;
const PORT: u16 = 5300;

/// A socket that hears of every error (ip(7), ipv6(7)): without the option the kernel hides `ENOBUFS`
/// from senders of datagrams, and the test could not fail.
fn told_of_errors(peer: IpAddr) -> Result<UdpSocket> {
    let (any, level, option): (SocketAddr, _, _) = match peer {
        IpAddr::V4(_) => (([0; 4], 0).into(), libc::IPPROTO_IP, libc::IP_RECVERR),
        IpAddr::V6(_) => (([0_u16; 8], 0).into(), libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
    };
    let socket = UdpSocket::bind(any)?;
    let on: libc::c_int = 1;
    let size = size_of_val(&on) as libc::socklen_t;
    // SAFETY: the option's value is one int, which lives during the call.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), size)
    };
    ensure!(done == 0, "ask for errors: {}", io::Error::last_os_error());
    Ok(socket)
}

/// Sends from the host on a connected and an unconnected socket; no call may fail.
fn send(peer: IpAddr) -> Result<()> {
    let target = SocketAddr::new(peer, PORT);
    let (connected, free) = (told_of_errors(peer)?, told_of_errors(peer)?);
    connected.connect(target)?;
    for number in 0..COUNT / 2 {
        let sent = [connected.send(b"entropy"), free.send_to(b"entropy", target)];
        for result in sent {
            ensure!(result.is_ok(), "datagram {number} to {peer}: {result:?}");
        }
    }
    Ok(())
}

/// How many datagrams wait at a container.
fn waiting(socket: &UdpSocket) -> u64 {
    (0..).take_while(|_| socket.recv(&mut [0; 8]).is_ok()).count() as u64
}

#[test]
fn the_host_is_told_nothing_of_datagrams_lost_on_the_way_to_a_container() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let web = &cast.web;
    web.ways_from_host()?;
    for peer in [IpAddr::from(web.at.v4), web.at.v6.into()] {
        hidden_from_the_host(&stage, web, peer)?;
    }
    Ok(())
}

fn hidden_from_the_host(stage: &Stage, web: &Running, peer: IpAddr) -> Result<()> {
    let receiver = web.container.netns()?.run(|| UdpSocket::bind((peer, PORT)))??;
    receiver.set_nonblocking(true)?;
    let mut arrived = 0;
    send(peer)?;
    until_true("control", patience(5), || {
        arrived += waiting(&receiver);
        Ok(arrived == COUNT)
    })?;
    stage.policy(
        "cut",
        &format!("target = 'app=web'\nmatch = {{ port = {PORT} }}\nloss = '100%'"),
    )?;
    let daemon = stage.installation.start(&[])?;
    daemon.await_on("cut", &web.at)?;
    send(peer)?;
    assert_eq!(daemon.lost("cut", &web.at, Direction::Ingress), COUNT);
    assert_eq!(waiting(&receiver), 0);
    daemon.stop()
}
