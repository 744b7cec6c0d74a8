//! The lease while nobody in the main loop can renew it.

use std::{
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use tracing::warn;

use crate::{datapath::LeaseMap, runtime::Runtime};

/// For how long at most. The verifier takes half a second, on a busy machine a few, and who is in there
/// for longer hangs.
const LONGEST: Duration = Duration::from_secs(30);

/// Renews the lease of pinned maps until it is dropped.
#[derive(Debug)]
pub(super) struct Keeper {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Renews it now, and every third of its length, unless somebody has noted a halt.
    pub(super) fn start(length: Duration, runtime: Runtime) -> Result<Self> {
        let mut lease = LeaseMap::open()?.context("there is no lease")?;
        let mut renew = move || {
            if is_halted(&runtime) {
                return Ok(());
            }
            lease.renew(length)?;
            // It may have been noted, and the lease ended, just before that.
            if is_halted(&runtime) { lease.end() } else { Ok(()) }
        };
        renew()?;
        let work = move || {
            if let Err(error) = renew() {
                warn!("the lease could not be renewed, faults may end for a moment: {error:#}");
            }
        };
        let (stop, thread) =
            every(length / 3, LONGEST, work).context("start to renew the lease")?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // The thread waits for this to go.
        self.stop = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            warn!("the thread that renewed the lease has panicked");
        }
    }
}

/// Whether nothing is to be injected. Not to know counts.
fn is_halted(runtime: &Runtime) -> bool {
    !matches!(runtime.halted(), Ok(None))
}

/// Does something again and again in a thread of its own, until the sender is dropped, but not for longer
/// than `longest`; and at that end once more, as what comes next takes its time, too.
fn every(
    period: Duration,
    longest: Duration,
    mut work: impl FnMut() + Send + 'static,
) -> std::io::Result<(Sender<()>, JoinHandle<()>)> {
    let (stop, stopped) = channel();
    let thread = thread::Builder::new().name("lease".to_owned()).spawn(move || {
        let start = Instant::now();
        while start.elapsed() < longest {
            let waited = stopped.recv_timeout(period);
            work();
            if waited != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    })?;
    Ok((stop, thread))
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use super::*;

    fn counting() -> (Arc<AtomicU32>, impl FnMut() + Send + 'static) {
        let count = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&count);
        (count, move || {
            counted.fetch_add(1, Ordering::Relaxed);
        })
    }

    #[test]
    fn it_is_renewed_at_the_end_and_not_after_it() {
        let (count, work) = counting();
        let (stop, thread) = every(Duration::from_secs(3600), LONGEST, work).unwrap();
        drop(stop);
        thread.join().unwrap();
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn it_is_renewed_again_and_again_but_not_for_ever() {
        let (count, work) = counting();
        let (stop, thread) =
            every(Duration::from_millis(1), Duration::from_millis(500), work).unwrap();
        thread.join().unwrap();
        drop(stop);
        assert!((2..=500).contains(&count.load(Ordering::Relaxed)), "{count:?}");
    }
}
