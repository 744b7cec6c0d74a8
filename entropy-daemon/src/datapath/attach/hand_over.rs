//! Programs on interfaces, from one version of the daemon to the next: the new programs take the places
//! of the old ones, each in one step.

use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context, Result, anyhow, bail};
use aya::Ebpf;
use entropy_common::rule::Direction;
use serde::{Deserialize, Serialize};

use super::{Attachment, Error, Hold, Interface, Mode, Place, attach, descriptor};
use crate::{datapath::maps::Maps, handover::Descriptor, netlink::Netlink};

/// The programs on one interface, as they are handed over.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::datapath) struct Attached {
    ifindex: u32,
    name: String,
    programs: Vec<Program>,
}

/// One of them.
#[derive(Debug, Serialize, Deserialize)]
struct Program {
    name: String,
    /// The link that holds it; none for a filter.
    link: Option<Descriptor>,
}

impl Attached {
    /// What is on an interface, with copies of the descriptors.
    pub(in crate::datapath) fn new(attachment: &Attachment) -> Result<Self> {
        let Interface { index, name } = attachment.interface.clone();
        let programs = attachment.holds.iter().map(|(place, hold)| {
            let link = match hold {
                Hold::Tcx(link) => Some(Descriptor::copy(link.as_fd())?),
                Hold::Clsact => None,
                Hold::Pinned(_) => bail!("the link of {} has a pin", place.program),
            };
            Ok(Program { name: place.program.to_owned(), link })
        });
        Ok(Self { ifindex: index, name, programs: programs.collect::<Result<_>>()? })
    }

    /// The descriptors.
    pub(in crate::datapath) fn descriptors(&self) -> impl Iterator<Item = &Descriptor> {
        self.programs.iter().filter_map(|program| program.link.as_ref())
    }

    /// Puts the new programs in the places of the old ones. An interface that is gone by now is held
    /// on to, for the round that takes the programs off it.
    ///
    /// # Errors
    /// When one of them cannot be replaced, or is none that this version knows.
    pub(in crate::datapath) async fn take_over(
        self,
        ebpf: &mut Ebpf,
        maps: &mut Maps,
        netlink: &Netlink,
        mode: Mode,
    ) -> Result<Attachment> {
        let interface = Interface { index: self.ifindex, name: self.name };
        let mut attachment = Attachment::none(&interface);
        for program in self.programs {
            let place = Direction::ALL
                .map(Place::of)
                .into_iter()
                .find(|place| place.program == program.name);
            let place = place.ok_or_else(|| anyhow!("there is no program {}", program.name))?;
            let replaced = match program.link {
                Some(link) => replace(ebpf, place, link.into())
                    .map(|hold| attachment.holds.push((place, hold)))
                    .map_err(Error::from),
                None => attach(ebpf, maps, netlink, mode, &mut attachment, place).await,
            };
            match replaced {
                Err(Error::Gone(_)) => attachment.holds.push((place, Hold::Clsact)),
                result => result
                    .with_context(|| format!("replace {} on {}", place.program, interface.name))?,
            }
        }
        Ok(attachment)
    }
}

fn replace(ebpf: &mut Ebpf, place: Place, link: OwnedFd) -> Result<Hold> {
    let program = descriptor(ebpf, place)?;
    let link = super::Link::from(link);
    match link.update(program.as_fd()) {
        Err(error) if error.raw_os_error() != Some(libc::ENOLINK) => Err(error.into()),
        // Without its interface it holds nothing any more.
        _ => Ok(Hold::Tcx(link)),
    }
}
