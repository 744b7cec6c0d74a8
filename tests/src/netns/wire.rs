//! A line and a wire in a namespace, made as the daemon makes them.

use anyhow::{Context as _, Result};
use aya::programs::TcAttachType;
use entropy_common::names;
use entropy_daemon::netlink::Netlink;

use super::Netns;
use crate::object::Object;

impl Netns {
    /// Makes the wire by the daemon's own code, with the program at its exit, and tells the programs of
    /// it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn wire(&self, object: &mut Object) -> Result<()> {
        let (entrance, _) = self.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let netlink = Netlink::new()?;
                let pair = netlink.ensure_wire(names::WIRE_ENTRANCE, names::WIRE_EXIT).await;
                pair.context("make the wire")
            })
        })??;
        object.attach(names::PROGRAM_WIRE, self, names::WIRE_EXIT, TcAttachType::Ingress)?;
        object.set_wire(entrance)
    }
}
