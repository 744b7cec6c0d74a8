//! Signals, read from a descriptor.
//!
//! They are blocked in every thread and wait in the kernel until they are read. So none is lost, and
//! none ends the process, while one version of the daemon hands over to the next: signals that wait stay
//! through `execve`, handlers do not.

use std::{
    io, mem,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    ptr,
};

use anyhow::{Context as _, Result};
use tokio::io::{Interest, unix::AsyncFd};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// To end.
    Stop,
    /// To load the policies anew.
    Reload,
    /// To hand over to the program as it is installed now.
    Upgrade,
}

const SIGNALS: [(libc::c_int, Request); 4] = [
    (libc::SIGTERM, Request::Stop),
    (libc::SIGINT, Request::Stop),
    (libc::SIGHUP, Request::Reload),
    (libc::SIGUSR2, Request::Upgrade),
];

/// Keeps the daemon's signals for [`Signals`]. To be called before the first thread is made: threads
/// inherit it.
///
/// # Errors
/// Never on Linux.
pub fn block() -> io::Result<()> {
    let set = set()?;
    // SAFETY: the set lives through the call, and no old set is asked for.
    match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

fn set() -> io::Result<libc::sigset_t> {
    // SAFETY: a set of signals is plain data, which sigemptyset makes a valid one.
    let mut set: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: the set lives through the call.
    unsafe { libc::sigemptyset(&raw mut set) };
    for (signal, _) in SIGNALS {
        // SAFETY: as above.
        if unsafe { libc::sigaddset(&raw mut set, signal) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(set)
}

/// The signals that came, in the order in which the kernel gives them.
#[derive(Debug)]
pub(crate) struct Signals(AsyncFd<OwnedFd>);

impl Signals {
    /// Starts to read them. [`block`] comes first.
    pub(crate) fn new() -> Result<Self> {
        let set = set().context("listen for signals")?;
        // SAFETY: the set lives through the call.
        let descriptor =
            unsafe { libc::signalfd(-1, &raw const set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error()).context("listen for signals");
        }
        // SAFETY: it was just opened, and is nobody else's.
        let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
        // SAFETY: the descriptor is owned by the value that is registered, and never exchanged.
        let signals = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
        signals.context("listen for signals").map(Self)
    }

    /// Waits for the next one. What was not waited for to the end is not lost.
    pub(crate) async fn next(&mut self) -> Request {
        loop {
            let signal = match self.0.readable().await {
                Ok(mut guard) => match guard.try_io(|descriptor| read(descriptor.get_ref())) {
                    Ok(result) => result,
                    Err(_would_block) => continue,
                },
                Err(error) => Err(error),
            };
            match signal {
                Ok(signal) => {
                    if let Some((_, request)) = SIGNALS.iter().find(|(number, _)| *number == signal)
                    {
                        return *request;
                    }
                }
                // Who cannot be told to end has to.
                Err(error) => {
                    tracing::error!("signals cannot be read: {error}");
                    return Request::Stop;
                }
            }
        }
    }
}

/// The number of a signal that waits.
fn read(descriptor: &OwnedFd) -> io::Result<libc::c_int> {
    // SAFETY: the kernel's record is plain data; all zeros is a valid value.
    let mut record: libc::signalfd_siginfo = unsafe { mem::zeroed() };
    let (place, size) = (&raw mut record, size_of_val(&record));
    // SAFETY: the buffer is as long as it is said to be, and lives through the call.
    let length = unsafe { libc::read(descriptor.as_raw_fd(), place.cast(), size) };
    if length < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(record.ssi_signo.cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_is_kept_until_it_is_read() {
        // All threads of the runtime are this one: a signal to it is nobody else's.
        block().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut signals = Signals::new().unwrap();
            for (signal, request) in SIGNALS {
                // SAFETY: pthread_self has no conditions.
                let this = unsafe { libc::pthread_self() };
                // SAFETY: the thread is running.
                assert_eq!(unsafe { libc::pthread_kill(this, signal) }, 0);
                assert_eq!(signals.next().await, request, "signal {signal}");
            }
        });
    }
}
