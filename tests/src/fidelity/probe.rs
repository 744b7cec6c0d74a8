//! Small packets that carry the time at which they were sent.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{FromRawFd as _, OwnedFd},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use super::nanoseconds;
use crate::{clock::now_ns, netns::Netns, numbered::make_large, threads::outcome};

/// Bytes of a packet's payload: time and number.
const LENGTH: usize = 16;
/// Bytes of an ICMP header.
const ICMP_HEADER: usize = 8;
/// Nothing comes any more after this long without a packet.
const QUIET: Duration = Duration::from_secs(2);

/// What the packets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Datagrams.
    Udp,
    /// Messages on one connection, which is made with the fault in force.
    Tcp,
    /// Echo requests: the time until the reply is here.
    Icmp,
}

/// How many, and how often.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) count: u64,
    pub(super) gap: Duration,
}

/// A packet that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Its number, from 0.
    pub(super) number: u64,
    /// How long it took, in nanoseconds.
    pub(super) delay_ns: u64,
    /// When it came, in nanoseconds of the kernel's clock.
    pub(super) at_ns: u64,
}

/// Sends packets of a kind and returns those that came, in their order.
pub(super) fn probe(kind: Kind, ends: (&Netns, &Netns, IpAddr), pace: Pace) -> Result<Vec<Seen>> {
    match kind {
        Kind::Udp => udp(ends, pace, 0),
        Kind::Tcp => tcp(ends, pace),
        Kind::Icmp => icmp(ends, pace),
    }
}

/// Sends datagrams with `filling` bytes more.
pub(super) fn udp(
    (from, to, address): (&Netns, &Netns, IpAddr),
    pace: Pace,
    filling: usize,
) -> Result<Vec<Seen>> {
    let receiver = to.run(|| UdpSocket::bind((address, 0)))??;
    receiver.set_read_timeout(Some(QUIET))?;
    make_large(&receiver)?;
    let target = receiver.local_addr()?;
    let any: SocketAddr =
        if address.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
    let sender = from.run(|| UdpSocket::bind(any))??;
    sender.connect(target)?;
    exchange(
        pace,
        |number| {
            let mut bytes = vec![0; LENGTH + filling];
            bytes[..LENGTH].copy_from_slice(&stamp(number));
            sender.send(&bytes).context("send a datagram").map(drop)
        },
        |bytes| receiver.recv(bytes).ok(),
    )
}

fn tcp((from, to, address): (&Netns, &Netns, IpAddr), pace: Pace) -> Result<Vec<Seen>> {
    let listener = to.run(|| TcpListener::bind((address, 0)))??;
    let target = listener.local_addr()?;
    let mut sender = from.run(|| TcpStream::connect(target))??;
    sender.set_nodelay(true)?;
    let (mut receiver, _) = listener.accept()?;
    receiver.set_read_timeout(Some(QUIET))?;
    exchange(
        pace,
        |number| sender.write_all(&stamp(number)).context("send a message"),
        |bytes| receiver.read_exact(&mut bytes[..LENGTH]).ok().map(|()| LENGTH),
    )
}

fn icmp((from, _, address): (&Netns, &Netns, IpAddr), pace: Pace) -> Result<Vec<Seen>> {
    ensure!(address.is_ipv4(), "echo requests are for IPv4 here");
    let socket = from.run(echo_socket)??;
    socket.connect((address, 0))?;
    socket.set_read_timeout(Some(QUIET))?;
    exchange(
        pace,
        |number| {
            // Type 8 is an echo request; the kernel fills in checksum and identifier.
            let mut bytes = [0; ICMP_HEADER + LENGTH];
            bytes[0] = 8;
            bytes[6..8].copy_from_slice(&(number as u16).to_be_bytes());
            bytes[ICMP_HEADER..].copy_from_slice(&stamp(number));
            socket.send(&bytes).context("send an echo request").map(drop)
        },
        |bytes| {
            let length = socket.recv(bytes).ok()?;
            bytes.copy_within(ICMP_HEADER..length, 0);
            Some(length - ICMP_HEADER)
        },
    )
}

/// A ping socket (icmp(7)), which std's type for datagrams fits.
fn echo_socket() -> Result<UdpSocket> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
    // SAFETY: socket takes numbers only.
    let fd = unsafe { libc::socket(libc::AF_INET, kind, libc::IPPROTO_ICMP) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error()).context("open a ping socket");
    }
    // SAFETY: the kernel just gave this descriptor to us alone.
    Ok(UdpSocket::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

fn stamp(number: u64) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes[..8].copy_from_slice(&now_ns().to_ne_bytes());
    bytes[8..].copy_from_slice(&number.to_ne_bytes());
    bytes
}

/// Sends at a pace and receives on a thread of its own until all came or none comes any more.
fn exchange(
    pace: Pace,
    mut send: impl FnMut(u64) -> Result<()>,
    mut receive: impl FnMut(&mut [u8]) -> Option<usize> + Send,
) -> Result<Vec<Seen>> {
    thread::scope(|scope| {
        let receiver = scope.spawn(move || {
            let mut seen = Vec::new();
            let mut bytes = [0; 2048];
            while (seen.len() as u64) < pace.count
                && let Some(length) = receive(&mut bytes)
            {
                let now = now_ns();
                if length >= LENGTH {
                    let word = |at: usize| {
                        u64::from_ne_bytes(std::array::from_fn(|index| bytes[at + index]))
                    };
                    let delay_ns = now.saturating_sub(word(0));
                    seen.push(Seen { number: word(8), delay_ns, at_ns: now });
                }
            }
            seen
        });
        let start = now_ns();
        for number in 0..pace.count {
            let due = start + number * nanoseconds(pace.gap);
            thread::sleep(Duration::from_nanos(due.saturating_sub(now_ns())));
            send(number)?;
        }
        Ok(outcome(receiver.join()))
    })
}
