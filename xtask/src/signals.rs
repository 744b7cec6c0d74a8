//! Being interrupted: whoever has started something asks here whether to end it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

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

/// Does `work` on what a child says, and asks the child to end when the user or the system wants an end: only
/// a terminal tells both.
pub(crate) fn while_alive<T>(child: u32, work: impl FnOnce() -> T) -> T {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                if caught() {
                    send(child, libc::SIGTERM);
                    return;
                }
                thread::sleep(Duration::from_millis(100));
            }
        });
        let result = work();
        is_over.store(true, Ordering::Relaxed);
        result
    })
}

/// Sends a signal to a child that has not been waited for.
fn send(child: u32, signal: libc::c_int) {
    let Ok(child) = libc::pid_t::try_from(child) else { return };
    // SAFETY: kill has no memory preconditions.
    unsafe { libc::kill(child, signal) };
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
