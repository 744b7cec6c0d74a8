//! A line and a wire in a namespace, made as the daemon makes them.

use anyhow::{Context as _, Result};
use aya::programs::TcAttachType;
use entropy_common::names;
use entropy_daemon::{
    datapath::QUEUE,
    netlink::{Disowner, Hook, Netlink, Passage},
};

use super::Netns;
use crate::object::Object;

/// What a line is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Devices {
    /// What the daemon makes it of on this kernel.
    Usual,
    /// A veth pair, as where the kernel has no macvlan.
    Veth,
}

/// A line to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// Its devices.
    pub of: Devices,
    /// Whether packets can wait in it.
    pub queue: bool,
}

impl Line {
    /// The daemon's, without a queue.
    pub const SHORT: Self = Self { of: Devices::Usual, queue: false };
    /// The daemon's.
    pub const WHOLE: Self = Self { of: Devices::Usual, queue: true };
}

impl Netns {
    /// Makes the wire by the daemon's own code, with the program at its exit, and tells the programs of
    /// it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn wire(&self, object: &mut Object) -> Result<()> {
        let Passage { entrance, .. } = self.as_daemon(async |netlink| {
            let pair = netlink.ensure_wire(names::WIRE_ENTRANCE, names::WIRE_EXIT).await;
            pair.context("make the wire")
        })?;
        object.attach(names::PROGRAM_WIRE, self, names::WIRE_EXIT, TcAttachType::Ingress)?;
        object.set_wire(entrance)
    }

    /// Makes the line by the daemon's own code, with the program at its exit, and tells the programs of
    /// it.
    ///
    /// # Errors
    /// When the kernel refuses, or has no `fq` and a queue is asked for.
    pub fn line(&self, object: &mut Object, line: Line) -> Result<()> {
        let (passage, disowner) = self.as_daemon(async |netlink| {
            let (entrance, exit) = (names::LINE_ENTRANCE, names::LINE_EXIT);
            let passage = match line.of {
                Devices::Usual => netlink.ensure_line(entrance, exit).await,
                Devices::Veth => netlink.ensure_veth_pair(entrance, exit).await,
            };
            let passage = passage.context("make the line")?;
            let disowner = match line.queue {
                true => {
                    netlink.ensure_fq(passage.entrance, QUEUE).await.context("make its queue")?
                }
                false => Disowner::Nobody,
            };
            Ok((passage, disowner))
        })?;
        object.set_disowns(disowner == Disowner::Queue)?;
        let hook = match passage.hook {
            Hook::Ingress => TcAttachType::Ingress,
            Hook::Egress => TcAttachType::Egress,
        };
        object.attach(names::PROGRAM_EXIT, self, names::LINE_EXIT, hook)?;
        object.set_line(passage.entrance)
    }

    /// Does something with the daemon's own netlink in this namespace.
    ///
    /// # Errors
    /// When it fails, or no runtime can be made for it.
    pub fn as_daemon<T: Send>(
        &self,
        work: impl AsyncFnOnce(Netlink) -> Result<T> + Send,
    ) -> Result<T> {
        self.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async { work(Netlink::new()?).await })
        })?
    }
}
