//! The lease in the kernel, also for whoever has to end or renew it without the daemon's main loop.

use std::{fmt, time::Duration};

use anyhow::{Context, Result};
use aya::maps::{Array, Map, MapData};
use entropy_common::{lease::Lease, names};

use super::pins;
use crate::clock;

/// The map of the lease. Outside this room it can only be ended.
pub struct LeaseMap(pub(super) Array<MapData, Lease>);

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

    /// Lets the kernel inject for this long from now on.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub(super) fn renew(&mut self, length: Duration) -> Result<()> {
        let length = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        let now = clock::monotonic_ns().context("read the clock")?;
        let lease = Lease { until_ns: now.saturating_add(length) };
        self.0.set(0, lease, 0).context("renew the lease")
    }

    /// Ends the lease: from now on every packet passes, until somebody renews it.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn end(&mut self) -> Result<()> {
        self.0.set(0, Lease::EXPIRED, 0).context("end the lease")
    }
}
