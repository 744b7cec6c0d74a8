//! Trying the programs of this binary on the kernel, without pins and without a trace: everything
//! ends with the [`Trial`].

use anyhow::{Context, Result};
use aya::{Ebpf, EbpfLoader};
use entropy_common::{
    names,
    rule::{Direction, MAX_RULES},
};

use super::super::{
    Interface,
    attach::{self, Attachment, Mode, Place},
    maps::Maps,
    object,
};
use crate::netlink::{Hook, Netlink};

/// Enough for a trial; at their full size the maps would cost memory while it lasts.
const ENTRIES: u32 = MAX_RULES as u32;

/// Size in bytes of the eBPF object in this binary.
///
/// # Errors
/// When the binary was built without it.
pub fn object_bytes() -> Result<usize> {
    object::bytes().map(<[u8]>::len)
}

/// The programs of this binary in the kernel, on no interface.
#[derive(Debug)]
pub struct Trial {
    ebpf: Ebpf,
}

impl Trial {
    /// Makes the maps and reads the programs. What the kernel thinks of these says
    /// [`Trial::verify`].
    ///
    /// # Errors
    /// When there is no object in this binary, or the kernel does not take its maps.
    pub fn new() -> Result<Self> {
        let bytes = object::bytes()?;
        let mut loader = EbpfLoader::new();
        let growing = [names::MAP_HOOKS, names::MAP_RULES, names::MAP_STATE, names::MAP_PEERS];
        for map in growing.into_iter().chain([names::MAP_OWNED, names::MAP_LABELS]) {
            loader.map_max_entries(map, ENTRIES);
        }
        let ebpf = loader
            .override_global(aya_log::LEVEL, &0_u8, true)
            .load(bytes)
            .context("load the eBPF object")?;
        Ok(Self { ebpf })
    }

    /// Lets the verifier look at every program.
    ///
    /// # Errors
    /// The first program that it refuses, and why.
    pub fn verify(&mut self) -> Result<()> {
        attach::load(&mut self.ebpf)
    }

    /// Whether the kernel attaches with TCX links. To be asked after [`Trial::verify`]; the interface
    /// should be the caller's own, as a link is put there and taken off again.
    ///
    /// # Errors
    /// When the kernel refuses for another reason than not knowing TCX.
    pub fn has_tcx(&mut self, interface: &Interface) -> Result<bool> {
        let place = attach::exit(Hook::Ingress);
        let mode = attach::probe(&mut self.ebpf, &mut Attachment::none(interface), place)?;
        Ok(mode == Mode::Tcx)
    }

    /// Attaches with clsact filters to an interface of the caller's own, and takes them off again.
    ///
    /// # Errors
    /// When the kernel has no clsact or no `bpf` filters.
    pub async fn clsact(mut self, netlink: &Netlink, interface: &Interface) -> Result<()> {
        let mut maps = Maps::take(&mut self.ebpf)?;
        let (ebpf, maps) = (&mut self.ebpf, &mut maps);
        let mut attachment = Attachment::none(interface);
        let places = Direction::ALL.map(Place::of);
        for place in places {
            attach::attach(ebpf, maps, netlink, Mode::Clsact, &mut attachment, place).await?;
        }
        for place in places {
            attach::detach(maps, netlink, &mut attachment, place).await?;
        }
        Ok(())
    }
}
