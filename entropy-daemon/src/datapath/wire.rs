//! The wire: a second veth pair, where super-packets become frames with checksums, and frames can be
//! damaged and lost one by one.

use anyhow::{Context, Result, anyhow};
use aya::Ebpf;
use entropy_common::names;
use tracing::warn;

use super::{
    Interface,
    attach::{self, Attachment, Mode},
    maps::Maps,
};
use crate::netlink::{Netlink, Passage};

/// The wire, ready.
#[derive(Debug)]
pub(super) struct Wire {
    netlink: Netlink,
    /// ifindex of the entrance.
    pub(super) entrance: u32,
    exit: Attachment,
}

impl Wire {
    /// Makes the pair and puts the program at its exit, or in the place of another version's that is
    /// there. Fails whole: then nothing is left.
    pub(super) async fn ensure(
        ebpf: &mut Ebpf,
        maps: &mut Maps,
        netlink: &Netlink,
        mode: Mode,
    ) -> Result<Self> {
        let Passage { entrance, exit, .. } = netlink
            .ensure_wire(names::WIRE_ENTRANCE, names::WIRE_EXIT)
            .await
            .context("set up the wire")?;
        let interface = Interface { index: exit, name: names::WIRE_EXIT.to_owned() };
        let exit = attach::take_over_exit(ebpf, &interface, attach::WIRE, mode)?;
        let mut wire = Self { netlink: netlink.clone(), entrance, exit };
        match wire.connect(ebpf, maps, mode).await {
            Ok(()) => Ok(wire),
            Err(error) => {
                let mut problems = Vec::new();
                wire.remove(maps, &mut problems).await;
                for problem in problems {
                    warn!("undo a failed wire: {problem:#}");
                }
                Err(error)
            }
        }
    }

    /// ifindex of the exit.
    pub(super) fn exit(&self) -> u32 {
        self.exit.interface().index
    }

    /// Looks whether its program is still there.
    pub(super) async fn is_whole(&mut self) -> bool {
        attach::drop_lost(&self.netlink, &mut self.exit).await;
        !self.exit.is_empty()
    }

    async fn connect(&mut self, ebpf: &mut Ebpf, maps: &mut Maps, mode: Mode) -> Result<()> {
        attach::attach(ebpf, maps, &self.netlink, mode, &mut self.exit, attach::WIRE)
            .await
            .context("attach the wire's exit")?;
        attach::pin_exit(&mut self.exit)
    }

    /// Removes the wire. Frames are in it for microseconds, so none is waited for. Adds what went wrong
    /// to `problems`.
    pub(super) async fn remove(mut self, maps: &mut Maps, problems: &mut Vec<anyhow::Error>) {
        // The exit goes with its peer.
        match self.netlink.delete_link(self.entrance).await {
            Err(error) if !error.is_gone() => {
                problems.push(anyhow!(error).context("remove the wire"));
            }
            _ => {}
        }
        let detached = attach::detach(maps, &self.netlink, &mut self.exit, attach::WIRE).await;
        if let Err(error) = detached {
            problems.push(anyhow!(error).context("detach from the wire"));
        }
    }
}
