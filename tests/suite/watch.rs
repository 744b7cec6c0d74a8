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

/// After how many datagrams those that have come are read.
const OFTEN: usize = 1000;

/// Datagrams from one container to another, one by one.
pub(crate) struct Watch {
    sender: UdpSocket,
    receiver: UdpSocket,
    /// When each was sent, before and after the call, by its number.
    pub(crate) sent: Vec<(u64, u64)>,
    /// The numbers of those that have come and been read.
    came: BTreeSet<usize>,
}

impl Watch {
    pub(crate) fn new(from: &Running, to: &Running) -> Result<Self> {
        let (inside, other) = (to.container.netns()?, from.container.netns()?);
        let receiver = inside.run(|| UdpSocket::bind((to.at.v4, 0)))??;
        // It is read now and then.
        numbered::make_large(&receiver)?;
        receiver.set_read_timeout(Some(patience(1) / 2))?;
        let sender = other.run(|| UdpSocket::bind(SocketAddr::from(([0; 4], 0))))??;
        sender.connect(receiver.local_addr()?)?;
        Ok(Self { sender, receiver, sent: Vec::new(), came: BTreeSet::new() })
    }

    pub(crate) fn send(&mut self) -> Result<()> {
        let number = u32::try_from(self.sent.len())?;
        let before = now_ns();
        self.sender.send(&number.to_be_bytes()).context("send a datagram")?;
        self.sent.push((before, now_ns()));
        if self.sent.len().is_multiple_of(OFTEN) {
            self.receiver.set_nonblocking(true)?;
            self.read();
            self.receiver.set_nonblocking(false)?;
        }
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

    fn read(&mut self) {
        let mut bytes = [0; 4];
        while self.receiver.recv(&mut bytes).is_ok() {
            self.came.insert(u32::from_be_bytes(bytes) as usize);
        }
    }

    /// The numbers of those that came.
    pub(crate) fn arrived(&mut self) -> BTreeSet<usize> {
        self.read();
        std::mem::take(&mut self.came)
    }
}
