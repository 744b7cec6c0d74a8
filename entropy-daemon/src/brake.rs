//! The end of all faults at once, whatever the main loop is doing: it would have to wait there while
//! programs are attached to interfaces, each of which takes tens of milliseconds.
//!
//! Whoever renews the lease does so through [`Brake::unless_halted`], under the same lock as
//! [`Brake::halt`] ends it, so that a renewal never undoes a halt.

use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use tokio::sync::Notify;
use tracing::{error, info, warn};

use crate::{
    datapath::LeaseMap,
    runtime::{Halted, Runtime},
};

/// Ends all faults, and says whether they have ended.
#[derive(Debug)]
pub struct Brake {
    runtime: Runtime,
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Debug)]
struct Inner {
    lease: Option<LeaseMap>,
    halted: Option<Halted>,
}

impl Inner {
    fn end_lease(&mut self) {
        if let Some(Err(error)) = self.lease.as_mut().map(LeaseMap::end) {
            error!("the lease could not be ended, it runs out by itself: {error:#}");
        }
    }
}

impl Brake {
    /// The brake of a kernel whose lease this is; pulled if it was when an earlier daemon ended.
    /// Without a lease it only remembers.
    #[must_use]
    pub fn new(runtime: Runtime, lease: Option<LeaseMap>) -> Self {
        let mut inner = Inner { lease, halted: recall(&runtime) };
        if let Some(Halted { reason, since }) = &inner.halted {
            warn!("halted since {since}: {reason}; `entropyctl resume` undoes it");
            // It may have been noted while a version handed over to the next one.
            inner.end_lease();
        }
        Self { runtime, inner: Mutex::new(inner), changed: Notify::new() }
    }

    /// Ends all faults now, and keeps them from beginning again, also after a restart.
    ///
    /// # Errors
    /// When the lease could not be ended, or it could not be noted: the next daemon would not know.
    /// What can be done is done.
    pub fn halt(&self, reason: &str) -> Result<Halted> {
        let halted = Halted::now(reason);
        let mut inner = self.lock();
        let ended = inner.lease.as_mut().map_or(Ok(()), LeaseMap::end);
        inner.halted = Some(halted.clone());
        let noted = self.runtime.halt(&halted).context("the next start will not know of this");
        drop(inner);
        self.changed.notify_one();
        let reason = &halted.reason;
        error!("halted: {reason}; all faults have ended, `entropyctl resume` undoes it");
        ended.context("the lease runs out by itself")?;
        noted?;
        Ok(halted)
    }

    /// Lets faults begin again. Returns whether they were halted.
    ///
    /// # Errors
    /// When it cannot be noted: everything stays halted.
    pub fn release(&self) -> Result<bool> {
        let mut inner = self.lock();
        self.runtime.release()?;
        let was = inner.halted.take();
        if was.is_some() {
            info!("resumed, no longer halted");
        }
        Ok(was.is_some())
    }

    /// Why everything is halted; `None` if it is not.
    #[must_use]
    pub fn halted(&self) -> Option<Halted> {
        self.lock().halted.clone()
    }

    /// Renews the lease, unless all faults are halted. Looks whether somebody has noted a halt who
    /// could not reach this daemon.
    pub(crate) fn unless_halted(&self, renew: impl FnOnce()) {
        let mut inner = self.lock();
        if inner.halted.is_some() {
            return;
        }
        inner.halted = recall(&self.runtime);
        if inner.halted.is_none() {
            renew();
            // It may have been noted, and the lease ended, just before that.
            inner.halted = recall(&self.runtime);
        }
        if let Some(Halted { reason, .. }) = &inner.halted {
            error!("halted from outside: {reason}");
            inner.end_lease();
            self.changed.notify_one();
        }
    }

    /// Waits until everything was halted.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was noted. A note that cannot be read counts.
fn recall(runtime: &Runtime) -> Option<Halted> {
    runtime.halted().unwrap_or_else(|error| Some(Halted::now(&format!("{error:#}"))))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn renewed(brake: &Brake) -> bool {
        let renewed = Cell::new(false);
        brake.unless_halted(|| renewed.set(true));
        renewed.get()
    }

    #[test]
    fn what_is_halted_is_not_renewed_also_by_the_next_daemon() {
        let directory = tempfile::tempdir().unwrap();
        let runtime = Runtime::at(directory.path());
        let brake = Brake::new(runtime.clone(), None);
        assert!(renewed(&brake));
        brake.halt("enough").unwrap();
        assert!(!renewed(&brake));
        let next = Brake::new(runtime, None);
        assert!(!renewed(&next));
        assert_eq!(next.halted().unwrap().reason, "enough");
        assert!(next.release().unwrap());
        assert!(renewed(&next) && !next.release().unwrap());
    }

    #[test]
    fn a_halt_that_others_have_noted_holds_even_if_the_note_is_damaged() {
        let directory = tempfile::tempdir().unwrap();
        let brake = Brake::new(Runtime::at(directory.path()), None);
        std::fs::write(directory.path().join("halted"), "?").unwrap();
        assert!(!renewed(&brake));
        assert!(brake.halted().unwrap().reason.contains("halted is not as entropyd writes it"));
    }

    #[test]
    fn what_cannot_be_noted_is_halted_all_the_same() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let brake = Brake::new(Runtime::at(file.path()), None);
        // A file is no directory, so even the look is an error.
        assert!(!renewed(&brake));
        assert!(brake.halt("enough").is_err());
        assert!(!renewed(&brake));
    }
}
