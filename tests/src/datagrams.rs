//! Datagrams from one socket to another: does anything get through, and how much?

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::{clock::now_ns, netns::Netns, wait::patience};

/// More than one process holds unread in the default receive buffer is lost: far below that.
const BURST: u64 = 50;
/// Where the receivers listen.
const PORT: u16 = 4000;

/// A way for datagrams from one namespace to an address in another one.
#[derive(Debug)]
pub struct Way {
    sender: UdpSocket,
    receiver: UdpSocket,
    /// When the last datagram was sent, in nanoseconds of the kernel's clock.
    sent_ns: AtomicU64,
}

impl Way {
    /// Opens the sockets. They stay where they are when a container stops.
    ///
    /// # Errors
    /// When the address is not in the receiver's namespace.
    pub fn new(from: &Netns, to: &Netns, address: impl Into<IpAddr>) -> Result<Self> {
        let address = address.into();
        let any: SocketAddr = match address {
            IpAddr::V4(_) => ([0; 4], 0).into(),
            IpAddr::V6(_) => ([0_u16; 8], 0).into(),
        };
        let receiver = to.run(|| bind(SocketAddr::new(address, PORT)))??;
        receiver.set_read_timeout(Some(Duration::from_millis(20)))?;
        let target = receiver.local_addr()?;
        let sender =
            from.run(|| UdpSocket::bind(any).and_then(|socket| connected(socket, target)))??;
        Ok(Self { sender, receiver, sent_ns: AtomicU64::new(0) })
    }

    /// The port that the datagrams go to.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn port(&self) -> Result<u16> {
        Ok(self.receiver.local_addr()?.port())
    }

    /// Sends `count` datagrams, 50 at most, and returns how many arrive.
    ///
    /// # Errors
    /// When the kernel refuses one.
    pub fn pass(&self, count: u64) -> Result<u64> {
        self.send_burst(count)?;
        self.arrived(count)
    }

    /// Sends `count` datagrams, 50 at most, before [`Way::arrived`] takes any.
    ///
    /// # Errors
    /// When the kernel refuses one, or the receiver's buffer may be too small.
    pub fn send_burst(&self, count: u64) -> Result<()> {
        ensure!(count <= BURST, "{count} datagrams at once");
        (0..count).try_for_each(|_| self.send())
    }

    /// Sends one.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn send(&self) -> Result<()> {
        self.sender.send(b"entropy").context("send a datagram")?;
        self.sent_ns.store(now_ns(), Ordering::Relaxed);
        Ok(())
    }

    /// Waits for `expected` datagrams, or until none has been sent or has come for a while.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn arrived(&self, expected: u64) -> Result<u64> {
        let quiet_ns = patience(1).as_nanos() as u64 / 5;
        let (mut count, mut last) = (0, self.sent_ns.load(Ordering::Relaxed));
        while count < expected {
            match self.receiver.recv(&mut [0; 16]) {
                Ok(_) => (count, last) = (count + 1, now_ns()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if now_ns().saturating_sub(last) > quiet_ns {
                        break;
                    }
                }
                Err(error) => return Err(error).context("receive a datagram"),
            }
        }
        Ok(count)
    }
}

/// Several ways may end at one address, one after the other.
fn bind(mut address: SocketAddr) -> io::Result<UdpSocket> {
    loop {
        match UdpSocket::bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && address.port() < 65_000 => {
                address.set_port(address.port() + 1);
            }
            result => return result,
        }
    }
}

fn connected(socket: UdpSocket, target: SocketAddr) -> io::Result<UdpSocket> {
    socket.connect(target)?;
    Ok(socket)
}
