//! Datagrams that carry the time at which they were sent: how long does each take?

use std::net::{IpAddr, SocketAddr, UdpSocket};

use anyhow::{Context as _, Result};

use crate::{clock::now_ns, netns::Netns, wait::patience};

/// Datagrams of one look.
pub const COUNT: usize = 40;

/// Two sockets, of which the sender puts the time into what it sends.
#[derive(Debug)]
pub struct Clocked {
    sender: UdpSocket,
    receiver: UdpSocket,
}

impl Clocked {
    /// Opens the sockets.
    ///
    /// # Errors
    /// When the address is not in the receiver's namespace.
    pub fn new(from: &Netns, to: &Netns, address: impl Into<IpAddr>) -> Result<Self> {
        let address = address.into();
        let any: SocketAddr =
            if address.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
        let receiver = to.run(|| UdpSocket::bind((address, 0)))??;
        receiver.set_read_timeout(Some(patience(10)))?;
        let target = receiver.local_addr()?;
        let sender = from.run(|| UdpSocket::bind(any))??;
        sender.connect(target)?;
        Ok(Self { sender, receiver })
    }

    /// Sends [`COUNT`] datagrams.
    ///
    /// # Errors
    /// When the kernel refuses one.
    pub fn send(&self) -> Result<()> {
        (0..COUNT as u64).try_for_each(|number| self.send_one(number))
    }

    /// Sends one of a number.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn send_one(&self, number: u64) -> Result<()> {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&now_ns().to_ne_bytes());
        bytes[8..].copy_from_slice(&number.to_ne_bytes());
        self.sender.send(&bytes).context("send a datagram").map(drop)
    }

    /// Numbers and delays in nanoseconds of `count` datagrams, in the order of their arrival.
    ///
    /// # Errors
    /// When one does not come.
    pub fn receive(&self, count: usize) -> Result<Vec<(u64, u64)>> {
        (0..count)
            .map(|index| {
                let mut bytes = [0; 16];
                self.receiver.recv(&mut bytes).with_context(|| format!("datagram {index}"))?;
                let [sent, number] = [0, 8].map(|at| {
                    let mut word = [0; 8];
                    word.copy_from_slice(&bytes[at..at + 8]);
                    u64::from_ne_bytes(word)
                });
                Ok((number, now_ns().saturating_sub(sent)))
            })
            .collect()
    }

    /// Sends and receives [`COUNT`] datagrams.
    ///
    /// # Errors
    /// When one does not come.
    pub fn delays(&self) -> Result<Vec<(u64, u64)>> {
        self.send()?;
        self.receive(COUNT)
    }

    /// Whether nothing more comes.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn is_silent(&self) -> Result<bool> {
        self.receiver.set_read_timeout(Some(patience(1) / 2))?;
        let silent = self.receiver.recv(&mut [0; 16]).is_err();
        self.receiver.set_read_timeout(Some(patience(10)))?;
        Ok(silent)
    }
}

/// The shortest delay of each, which the fault alone explains.
#[must_use]
pub fn shortest(delays: &[(u64, u64)]) -> u64 {
    delays.iter().map(|(_, delay)| *delay).min().unwrap_or(0)
}
