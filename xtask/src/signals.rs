//! Being interrupted: whoever has started something asks here whether to end it.

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether SIGINT or SIGTERM has come since `watch`.
static CAUGHT: AtomicBool = AtomicBool::new(false);

/// From now on SIGINT and SIGTERM are remembered instead of ending the process.
pub(crate) fn watch() {
    let handler = note as extern "C" fn(libc::c_int) as libc::sighandler_t;
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler only stores to an atomic, which is safe in a signal handler.
        unsafe { libc::signal(signal, handler) };
    }
}

/// Whether the user or the system wants an end.
pub(crate) fn caught() -> bool {
    CAUGHT.load(Ordering::Relaxed)
}

/// Sends a signal to a process group that this process made; one that is gone is ignored.
pub(crate) fn send_group(leader: u32, signal: libc::c_int) {
    let Ok(group) = libc::pid_t::try_from(leader) else { return };
    // SAFETY: kill has no memory preconditions.
    unsafe { libc::kill(-group, signal) };
}

/// The handler.
extern "C" fn note(_: libc::c_int) {
    CAUGHT.store(true, Ordering::Relaxed);
}
