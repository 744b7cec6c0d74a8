//! The pinned lease, for whoever has to end it without the daemon's main loop.

use std::fmt;

use anyhow::{Context, Result};
use aya::maps::{Array, Map, MapData};
use entropy_common::{lease::Lease, names};

use super::pins;

/// The lease in the kernel. It can only be ended by this.
pub struct LeaseMap(Array<MapData, Lease>);

impl fmt::Debug for LeaseMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeaseMap")
    }
}

impl LeaseMap {
    /// Opens the pinned map; `None` when nothing is pinned, so that nothing can be injected either.
    ///
    /// # Errors
    /// When it may not be opened, or is not of the shape that this program gives it.
    pub fn open() -> Result<Option<Self>> {
        let Some(data) = pins::open(names::MAP_LEASE)? else { return Ok(None) };
        let map = Map::Array(data).try_into().context("open the lease")?;
        Ok(Some(Self(map)))
    }

    /// Ends the lease: from now on every packet passes, until somebody renews it.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn end(&mut self) -> Result<()> {
        self.0.set(0, Lease::EXPIRED, 0).context("end the lease")
    }
}
