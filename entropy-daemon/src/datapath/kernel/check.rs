//! What was put into the kernel is looked at again: whoever is root on the host can take it away.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use aya::Ebpf;
use entropy_common::rule::{self, HookKey};
use tracing::{info, warn};

use super::Kernel;
use crate::{
    datapath::{
        attach::{self, Attachment, Mode},
        line::Line,
        maps::{Maps, if_there},
        wire::Wire,
    },
    netlink::{Disowner, Link, Netlink},
};

/// Nothing goes into line or wire.
const CLOSED: rule::Line = rule::Line { entrance: 0, wire: 0, disowns: 0 };

impl Kernel {
    /// Whether an interface is one of the line's or the wire's.
    #[must_use]
    pub fn owns(&self, index: u32) -> bool {
        self.passages().any(|own| own == index)
    }

    fn passages(&self) -> impl Iterator<Item = u32> {
        let wire = self.wire.iter().flat_map(|wire| [wire.entrance, wire.exit()]);
        [self.line.entrance, self.line.exit.index].into_iter().chain(wire)
    }

    /// Looks whether line, wire and programs are where they were put. A line or a wire that is damaged is
    /// not used from then on, so that every packet passes, and is made anew if that can be; so is a wire that
    /// could not be made before. Returns the hooks whose program somebody has taken off: it has to be
    /// attached again.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub async fn check(&mut self) -> Result<BTreeSet<HookKey>> {
        let links = self.netlink.links().await.context("list interfaces")?;
        match self.damage(&links).await? {
            Some(damage) => self.mend(&damage, &links).await?,
            None if self.wire.is_err() => self.try_wire().await?,
            None => {}
        }
        let is_there = |attachment: &Attachment| {
            links.iter().any(|link| link.index == attachment.interface().index)
        };
        let mut lost = BTreeSet::new();
        for attachment in self.attachments.values_mut().filter(|one| is_there(one)) {
            let before: BTreeSet<HookKey> = attachment.hooks().collect();
            attach::drop_lost(&self.netlink, attachment).await;
            let after: BTreeSet<HookKey> = attachment.hooks().collect();
            if before != after {
                warn!("somebody has taken our programs off {}", attachment.interface().name);
                lost.extend(before.difference(&after).copied());
            }
        }
        Ok(lost)
    }

    /// What is wrong with the line or the wire.
    async fn damage(&mut self, links: &[Link]) -> Result<Option<String>> {
        let is_up = |index| links.iter().any(|link: &Link| link.index == index && link.up);
        if !self.passages().all(is_up) {
            return Ok(Some(
                "somebody has removed a device of the daemon's, or set it down".into(),
            ));
        }
        if self.is_broken() {
            return Ok(Some("line or wire could not be made anew before".into()));
        }
        if self.line.untimed.is_none()
            && self.netlink.fq_statistics(self.line.entrance).await?.is_none()
        {
            return Ok(Some("somebody has removed the line's queue".into()));
        }
        attach::drop_lost(&self.netlink, &mut self.exit).await;
        let has_wire = match &mut self.wire {
            Ok(wire) => wire.is_whole().await,
            Err(_) => true,
        };
        let is_whole = has_wire && !self.exit.is_empty();
        Ok((!is_whole).then(|| "somebody has taken a program off the daemon's devices".into()))
    }

    /// Whether it was left closed.
    fn is_broken(&self) -> bool {
        self.maps.line.get(&0, 0).is_ok_and(|line| line.entrance == 0)
    }

    async fn mend(&mut self, damage: &str, links: &[Link]) -> Result<()> {
        warn!("{damage}: nothing waits and nothing is damaged until it is made anew");
        self.maps.line.set(0, CLOSED, 0).context("close line and wire")?;
        match (self.lay_anew(links).await, &self.wire) {
            (Ok(()), Ok(_)) => info!("line and wire were made anew"),
            (Ok(()), Err(reason)) => {
                warn!("the line was made anew, the wire could not be: {reason}");
            }
            (Err(error), _) => {
                warn!("line and wire could not be made anew: {error:#}");
                self.line.untimed = Some(format!("{damage}: {error:#}"));
                self.wire = Err(format!("{damage}: {error:#}"));
            }
        }
        Ok(())
    }

    /// Makes the wire that could not be made before. What is in its way may have gone.
    async fn try_wire(&mut self) -> Result<()> {
        let before = self.unwired().map(str::to_owned);
        self.lay_wire_anew().await?;
        match &self.wire {
            Ok(_) => info!("the wire could be made now"),
            Err(reason) if before.as_ref() != Some(reason) => {
                warn!("the wire still cannot be made: {reason}");
            }
            Err(_) => {}
        }
        Ok(())
    }

    /// Makes the wire, if that can be, and lets packets into it and into the line.
    async fn lay_wire_anew(&mut self) -> Result<()> {
        let Self { ebpf, maps, netlink, mode, line, .. } = self;
        self.wire = lay_wire(ebpf, maps, netlink, *mode).await;
        open(maps, line, &self.wire)
    }

    async fn lay_anew(&mut self, links: &[Link]) -> Result<()> {
        // The note may outlive the device: another one could get its number.
        for index in self.passages().collect::<Vec<_>>() {
            if links.iter().all(|link| link.index != index) {
                if_there(self.maps.owned.remove(&index)).context("forget a clsact qdisc")?;
            }
        }
        let Self { ebpf, maps, netlink, mode, .. } = self;
        let (line, exit, _) = lay_line(ebpf, maps, netlink, Some(*mode)).await?;
        (self.line, self.exit) = (line, exit);
        self.lay_wire_anew().await
    }
}

/// The line and what goes on its exit. `mode` is not known before the first program is attached.
pub(super) async fn lay_line(
    ebpf: &mut Ebpf,
    maps: &mut Maps,
    netlink: &Netlink,
    mode: Option<Mode>,
) -> Result<(Line, Attachment, Mode)> {
    let line = Line::ensure(netlink).await?;
    let (mode, mut exit) = match mode {
        Some(mode) => (mode, attach::take_over_exit(ebpf, &line.exit, line.place, mode)?),
        None => {
            let mut exit = Attachment::none(&line.exit);
            (attach::probe(ebpf, &mut exit, line.place)?, exit)
        }
    };
    attach::attach(ebpf, maps, netlink, mode, &mut exit, line.place).await?;
    attach::pin_exit(&mut exit)?;
    Ok((line, exit, mode))
}

/// The wire, or why there is none.
pub(super) async fn lay_wire(
    ebpf: &mut Ebpf,
    maps: &mut Maps,
    netlink: &Netlink,
    mode: Mode,
) -> Result<Wire, String> {
    let wire = Wire::ensure(ebpf, maps, netlink, mode).await;
    wire.map_err(|error| format!("{error:#}"))
}

/// Lets packets into line and wire.
pub(super) fn open(maps: &mut Maps, line: &Line, wire: &Result<Wire, String>) -> Result<()> {
    let entrances = rule::Line {
        entrance: line.entrance,
        wire: wire.as_ref().map_or(0, |wire| wire.entrance),
        disowns: u32::from(line.disowner == Disowner::Queue),
    };
    maps.line.set(0, entrances, 0).context("write the entrances of line and wire")
}
