//! Datagrams whose content is known, so that a receiver sees what became of each bit.

mod options;

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

pub use self::options::{send_marked, send_together};
use crate::{cpu, netns::Netns, random::Random, threads::outcome, wait::patience};

/// Bytes of a datagram. Its length is not one that a single wrong bit makes zero.
pub const LENGTH: usize = 100;
/// Datagrams that are sent without a pause.
const BURST: u32 = 32;
/// Time between two datagrams on average.
const APART: Duration = Duration::from_micros(50);
/// Bytes that the receiver may leave unread.
const RECEIVE_BUFFER: libc::c_int = 64 << 20;

/// Content of the datagram with this number, which stands at its beginning.
#[must_use]
pub fn content(number: u32) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    Random::new(number.into()).fill(&mut bytes);
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// The number that stands at the beginning of a datagram.
#[must_use]
pub fn number(datagram: &[u8]) -> Option<u32> {
    datagram.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// How many bits two datagrams differ in; `None` if they are of different lengths.
#[must_use]
pub fn wrong_bits(a: &[u8], b: &[u8]) -> Option<u32> {
    (a.len() == b.len()).then(|| a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones()).sum())
}

/// Sends `count` datagrams to an address in another namespace and returns what is received there, in
/// this order, until nothing comes any more.
///
/// # Errors
/// When the kernel refuses.
pub fn send(from: &Netns, to: &Netns, address: IpAddr, count: u32) -> Result<Vec<Vec<u8>>> {
    let (sender, receiver) = pair(from, to, address)?;
    thread::scope(|scope| {
        let sending = scope.spawn(|| send_all(&sender, count));
        let received = receive(&receiver, count);
        join(sending).and(received)
    })
}

/// Sends `count` datagrams, twenty thousand a second: no queue of the laboratory overflows.
fn send_all(sender: &UdpSocket, count: u32) -> Result<()> {
    stay_on_one_cpu()?;
    let start = Instant::now();
    for number in 0..count {
        sender.send(&content(number)).context("send a datagram")?;
        if number % BURST == 0 {
            let due = start + number * APART;
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
    Ok(())
}

/// For a sender whose datagrams must not overtake one another: where ksoftirqd is late on one CPU, those
/// that are sent on another one arrive first, without any fault.
fn stay_on_one_cpu() -> Result<()> {
    let cpus = cpu::allowed()?;
    cpu::pin(*cpus.first().context("no CPU")?)
}

fn join<T>(thread: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    outcome(thread.join())
}

/// Datagrams one by one over some time, each with its number.
#[derive(Debug)]
pub struct Stream {
    sender: UdpSocket,
    receiver: UdpSocket,
}

impl Stream {
    /// Opens the sockets.
    ///
    /// # Errors
    /// When the address is not in the receiver's namespace.
    pub fn new(from: &Netns, to: &Netns, address: IpAddr) -> Result<Self> {
        let (sender, receiver) = pair(from, to, address)?;
        Ok(Self { sender, receiver })
    }

    /// Sends one after each pause until it is over. Returns how many were sent, and the numbers of those
    /// that came, in this order.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn run(
        &self,
        pause: Duration,
        is_over: impl Fn() -> bool + Sync,
    ) -> Result<(u32, Vec<u32>)> {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let sending = scope.spawn(|| {
                let result = self.send(pause, &is_over);
                done.store(true, Ordering::Relaxed);
                result
            });
            let received = self.receive(&done);
            Ok((join(sending)?, received?))
        })
    }

    fn send(&self, pause: Duration, is_over: &impl Fn() -> bool) -> Result<u32> {
        stay_on_one_cpu()?;
        let mut sent = 0;
        while !is_over() {
            self.sender.send(&content(sent)).context("send a datagram")?;
            sent += 1;
            thread::sleep(pause);
        }
        Ok(sent)
    }

    /// What comes until it is done and nothing more does.
    fn receive(&self, done: &AtomicBool) -> Result<Vec<u32>> {
        let mut numbers = Vec::new();
        loop {
            let ends = done.load(Ordering::Relaxed);
            let mut bytes = [0; 2 * LENGTH];
            match self.receiver.recv(&mut bytes) {
                Ok(length) => numbers.extend(number(&bytes[..length])),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && ends => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("receive a datagram"),
            }
        }
        Ok(numbers)
    }
}

/// A socket that sends to another one, in another namespace.
fn pair(from: &Netns, to: &Netns, address: IpAddr) -> Result<(UdpSocket, UdpSocket)> {
    let receiver = to.run(|| UdpSocket::bind((address, 0)))??;
    make_large(&receiver)?;
    receiver.set_read_timeout(Some(patience(1) / 2))?;
    let any: SocketAddr =
        if address.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
    let sender = from.run(|| UdpSocket::bind(any))??;
    sender.connect(receiver.local_addr()?)?;
    Ok((sender, receiver))
}

/// Gives a socket that is read late room for what comes until then.
///
/// # Errors
/// When the kernel refuses: this needs CAP_NET_ADMIN.
pub fn make_large(socket: &UdpSocket) -> Result<()> {
    let name = libc::SO_RCVBUFFORCE;
    options::set(socket, libc::SOL_SOCKET, name, RECEIVE_BUFFER)
        .context("make the receive buffer large")
}

/// More than were sent is as wrong as fewer: twice as many are taken.
fn receive(socket: &UdpSocket, count: u32) -> Result<Vec<Vec<u8>>> {
    let mut received = Vec::new();
    while received.len() < 2 * count as usize {
        let mut bytes = [0; 2 * LENGTH];
        match socket.recv(&mut bytes) {
            Ok(length) => received.push(bytes[..length].to_vec()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error).context("receive a datagram"),
        }
    }
    Ok(received)
}
