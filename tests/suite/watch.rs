//! Datagrams that tell when they got through and when not.

use std::{
    collections::BTreeSet,
    net::{SocketAddr, UdpSocket},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use entropy_tests::{clock::now_ns, numbered, wait::patience};

use crate::stage::Running;

/// From one datagram to the next.
pub(crate) const PAUSE: Duration = Duration::from_millis(2);

/// Datagrams from one container to another, one by one.
pub(crate) struct Watch {
    sender: UdpSocket,
    receiver: UdpSocket,
    /// When each was sent, before and after the call, by its number.
    pub(crate) sent: Vec<(u64, u64)>,
}

impl Watch {
    pub(crate) fn new(from: &Running, to: &Running) -> Result<Self> {
        let (inside, other) = (to.container.netns()?, from.container.netns()?);
        let receiver = inside.run(|| UdpSocket::bind((to.at.v4, 0)))??;
        // It is read at the end only.
        numbered::make_large(&receiver)?;
        receiver.set_read_timeout(Some(patience(1) / 2))?;
        let sender = other.run(|| UdpSocket::bind(SocketAddr::from(([0; 4], 0))))??;
        sender.connect(receiver.local_addr()?)?;
        Ok(Self { sender, receiver, sent: Vec::new() })
    }

    pub(crate) fn send(&mut self) -> Result<()> {
        let number = u32::try_from(self.sent.len())?;
        let before = now_ns();
        self.sender.send(&number.to_be_bytes()).context("send a datagram")?;
        self.sent.push((before, now_ns()));
        Ok(())
    }

    /// Sends one after the other until a time of the monotonic clock, in nanoseconds.
    pub(crate) fn send_until(&mut self, until_ns: u64) -> Result<()> {
        while now_ns() < until_ns {
            self.send()?;
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// The numbers of those that came.
    pub(crate) fn arrived(&self) -> BTreeSet<usize> {
        let mut bytes = [0; 4];
        let mut next = || self.receiver.recv(&mut bytes).ok().map(|_| u32::from_be_bytes(bytes));
        std::iter::from_fn(&mut next).map(|number| number as usize).collect()
    }
}
