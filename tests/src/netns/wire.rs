//! A line and a wire in a namespace, made as the daemon makes them.

use anyhow::{Context as _, Result};
use aya::programs::TcAttachType;
use entropy_common::names;
use entropy_daemon::{
    datapath::QUEUE,
    netlink::{Disowner, Netlink},
};

use super::Netns;
use crate::object::Object;

impl Netns {
    /// Makes the wire by the daemon's own code, with the program at its exit, and tells the programs of
    /// it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn wire(&self, object: &mut Object) -> Result<()> {
        let (entrance, _) = self.as_daemon(async |netlink| {
            let pair = netlink.ensure_wire(names::WIRE_ENTRANCE, names::WIRE_EXIT).await;
            pair.context("make the wire")
        })?;
        object.attach(names::PROGRAM_WIRE, self, names::WIRE_EXIT, TcAttachType::Ingress)?;
        object.set_wire(entrance)
    }

    /// Gives the entrance of a line its queue, by the daemon's own code.
    ///
    /// # Errors
    /// When there is no such device, or the kernel has no `fq`.
    pub fn line_queue(&self) -> Result<Disowner> {
        let entrance = self.index(names::LINE_ENTRANCE)?;
        self.as_daemon(async |netlink| {
            netlink.ensure_fq(entrance, QUEUE).await.context("make the line's queue")
        })
    }

    fn as_daemon<T: Send>(&self, work: impl AsyncFnOnce(Netlink) -> Result<T> + Send) -> Result<T> {
        self.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async { work(Netlink::new()?).await })
        })?
    }
}
