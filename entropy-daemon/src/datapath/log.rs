//! What the programs say, on to `tracing`.

use anyhow::{Context, Result};
use aya::Ebpf;
use aya_log::EbpfLogger;
use tokio::io::{Interest, unix::AsyncFd};

/// Reads the programs' log until the returned task is aborted.
///
/// # Errors
/// When the ring buffer cannot be opened.
pub(super) fn follow(ebpf: &mut Ebpf) -> Result<tokio::task::JoinHandle<()>> {
    let logger = EbpfLogger::init(ebpf).context("open the programs' log")?;
    // SAFETY: the descriptor is the ring buffer map's, which the logger owns and never changes.
    let logger = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) };
    let mut logger = logger.context("wait for the programs' log")?;
    Ok(tokio::spawn(async move {
        while let Ok(mut guard) = logger.readable_mut().await {
            guard.get_inner_mut().flush();
            guard.clear_ready();
        }
    }))
}
