//! The line: two devices of the daemon's own, where packets wait in `fq` and lost packets are freed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use entropy_common::{fault::delay::MAX_DELAY_NS, names};
use tracing::warn;

use super::{
    Interface,
    attach::{self, Place},
};
use crate::netlink::{Disowner, FqOptions, Netlink, Passage};

/// How `fq` is set up. A gigabit of the smallest packets for 200 ms is 300 000 packets; they may
/// belong to one flow. The horizon lies behind the longest delay.
pub const QUEUE: FqOptions = FqOptions {
    limit: 1 << 20,
    flow_limit: 1 << 20,
    horizon_us: (MAX_DELAY_NS / 1000) as u32 + 2_000_000,
};

/// Longest wait at the end for packets that are still in the line.
const DRAIN: Duration = Duration::from_secs(5);

/// The line, ready.
#[derive(Debug)]
pub(super) struct Line {
    netlink: Netlink,
    /// ifindex of the entrance.
    pub(super) entrance: u32,
    /// The exit.
    pub(super) exit: Interface,
    /// What goes on the exit, and where.
    pub(super) place: Place,
    /// What takes packets that wait from their owners.
    pub(super) disowner: Disowner,
    /// Why packets cannot wait in it; `None` if they can.
    pub(super) untimed: Option<String>,
}

impl Line {
    /// Makes the devices and their queue. Without `sch_fq` there is a line all the same: lost packets
    /// need no queue.
    pub(super) async fn ensure(netlink: &Netlink) -> Result<Self> {
        let Passage { entrance, exit, hook } = netlink
            .ensure_line(names::LINE_ENTRANCE, names::LINE_EXIT)
            .await
            .context("set up the line")?;
        let (disowner, untimed) = match netlink.ensure_fq(entrance, QUEUE).await {
            Ok(disowner) => (disowner, None),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                let reason = "sch_fq missing: the kernel has no fair queue (CONFIG_NET_SCH_FQ), which \
                              delays, reordering, rates and slots need; install your distribution's \
                              package with all kernel modules";
                (Disowner::Nobody, Some(reason.to_owned()))
            }
            Err(error) => return Err(error).context("set up the line's queue"),
        };
        let exit = Interface { index: exit, name: names::LINE_EXIT.to_owned() };
        let place = attach::exit(hook);
        Ok(Self { netlink: netlink.clone(), entrance, exit, place, disowner, untimed })
    }

    /// Lets waiting packets arrive, for a while, and removes the line. Adds what went wrong to
    /// `problems`.
    pub(super) async fn remove(self, problems: &mut Vec<anyhow::Error>) {
        let lost = self.drain().await;
        if lost > 0 {
            warn!("{lost} packets had longer than {DRAIN:?} to wait and are lost");
        }
        // The entrance goes with it.
        match self.netlink.delete_link(self.exit.index).await {
            Err(error) if !error.is_gone() => {
                problems.push(anyhow!(error).context("remove the line"));
            }
            _ => {}
        }
    }

    /// How many packets still wait in the end.
    async fn drain(&self) -> u32 {
        let start = Instant::now();
        loop {
            // A line that cannot be asked, or is gone, holds nothing that could be waited for.
            let waiting = match self.netlink.fq_statistics(self.entrance).await {
                Ok(Some(queue)) => queue.waiting,
                _ => 0,
            };
            if waiting == 0 || start.elapsed() >= DRAIN {
                return waiting;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
