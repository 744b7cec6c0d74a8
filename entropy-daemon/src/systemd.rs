//! What the service manager is told of the daemon, and what it hands over to it (`sd_notify(3)`,
//! `sd_listen_fds(3)`). Without a service manager nothing happens.

use std::{
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
        unix::net::UnixListener,
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use sd_notify::NotifyState;
use tracing::debug;

use crate::handover::stay_open;

/// Tells the service manager how the daemon is. That it cannot be told is no reason to fail: who
/// waits for news in vain acts on that.
#[derive(Debug)]
pub(crate) struct Manager {
    watchdog: Option<Watchdog>,
    status: String,
}

impl Manager {
    /// The one that has started this process, if one has.
    pub(crate) fn of_environment() -> Self {
        let watchdog = sd_notify::watchdog_enabled().map(Watchdog::new);
        Self { watchdog, status: String::new() }
    }

    /// The datapath is ready and the policies are loaded.
    pub(crate) fn ready(&self) {
        tell(&[NotifyState::Ready]);
    }

    /// Does the work of a reload, and says when it begins and ends.
    pub(crate) fn reload(&self, work: impl FnOnce()) {
        self.reloading();
        work();
        self.ready();
    }

    /// The daemon is busy with itself until it is [`Self::ready`], under another version perhaps.
    pub(crate) fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(error) => debug!("the service manager is not told of the reload: {error}"),
        }
    }

    /// The daemon gets on with its work. To be called on every turn of the main loop and on every
    /// step of a long one, and nowhere else.
    pub(crate) fn alive(&mut self, now: Instant) {
        if let Some(watchdog) = &mut self.watchdog
            && watchdog.is_due(now)
        {
            tell(&[NotifyState::Watchdog]);
        }
    }

    /// One line for `systemctl status`.
    pub(crate) fn status(&mut self, status: String) {
        if status != self.status {
            tell(&[NotifyState::Status(&status)]);
            self.status = status;
        }
    }

    /// The daemon has begun to undo what it did.
    pub(crate) fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }
}

fn tell(news: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(news) {
        debug!("the service manager is not told: {error}");
    }
}

/// When the service manager's watchdog wants to hear from us.
#[derive(Debug)]
struct Watchdog {
    /// Twice as often as it has to be, less the second that a turn of the main loop may take.
    every: Duration,
    fed: Option<Instant>,
}

impl Watchdog {
    fn new(patience: Duration) -> Self {
        let half = patience / 2;
        let every = half.checked_sub(Duration::from_secs(1)).unwrap_or_default();
        Self { every, fed: None }
    }

    fn is_due(&mut self, now: Instant) -> bool {
        let due = self.fed.is_none_or(|fed| now.saturating_duration_since(fed) >= self.every);
        if due {
            self.fed = Some(now);
        }
        due
    }
}

/// The control socket, if the service manager listens for the daemon (`entropyd.socket`). It does
/// not block. To be asked once, early.
///
/// # Errors
/// When what was handed over is not exactly one listening unix socket.
pub fn control_socket() -> Result<Option<UnixListener>> {
    let sockets = sd_notify::listen_fds().context("sockets from the service manager")?;
    listener_of(sockets.collect())
}

/// Whether what the service manager has handed over stays open for a program that takes over this process.
/// The variables that tell of it name the process, and so hold for that program, too.
///
/// # Errors
/// When the variables make no sense.
pub(crate) fn keep_sockets(keep: bool) -> io::Result<()> {
    sd_notify::listen_fds()?.try_for_each(|socket| stay_open(socket, keep))
}

fn listener_of(sockets: Vec<RawFd>) -> Result<Option<UnixListener>> {
    // SAFETY: the service manager opened them for this process, and nobody else takes them.
    let own = |socket: RawFd| unsafe { OwnedFd::from_raw_fd(socket) };
    let mut sockets = sockets.into_iter().map(own).collect::<Vec<_>>();
    let Some(socket) = sockets.pop() else { return Ok(None) };
    ensure!(sockets.is_empty(), "the service manager hands over several sockets, one is wanted");
    if !listens(&socket).context("look at the socket of the service manager")? {
        bail!("the service manager hands over a socket that does not listen");
    }
    let listener = UnixListener::from(socket);
    listener.local_addr().context("the service manager hands over a socket that is not unix")?;
    listener.set_nonblocking(true).context("prepare the socket of the service manager")?;
    Ok(Some(listener))
}

/// Whether a descriptor is a socket that accepts connections.
fn listens(socket: &OwnedFd) -> io::Result<bool> {
    let mut value: libc::c_int = 0;
    let mut length = libc::socklen_t::try_from(size_of_val(&value)).unwrap_or_default();
    // SAFETY: both pointers are to variables that live through the call, the length is right.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ACCEPTCONN,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(value != 0) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        net::TcpListener,
        os::{fd::IntoRawFd as _, unix::net::UnixStream},
    };

    use super::*;

    #[test]
    fn the_watchdog_is_fed_well_before_it_bites() {
        let mut watchdog = Watchdog::new(Duration::from_secs(30));
        let start = Instant::now();
        // The main loop turns once a second.
        let turns = (0..=60).filter(|&second| watchdog.is_due(start + Duration::from_secs(second)));
        assert_eq!(turns.collect::<Vec<_>>(), [0, 14, 28, 42, 56]);
    }

    #[test]
    fn an_impatient_watchdog_is_fed_on_every_turn() {
        let mut watchdog = Watchdog::new(Duration::from_secs(2));
        let start = Instant::now();
        assert!((0..5).all(|second| watchdog.is_due(start + Duration::from_secs(second))));
    }

    #[test]
    fn a_listening_socket_is_taken_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let handed = UnixListener::bind(&path).unwrap().into_raw_fd();
        let listener = listener_of(vec![handed]).unwrap().unwrap();
        let kind = listener.accept().unwrap_err().kind();
        assert_eq!(kind, io::ErrorKind::WouldBlock, "it does not block");
        let _client = UnixStream::connect(&path).unwrap();
        listener.accept().unwrap();
        assert!(listener_of(Vec::new()).unwrap().is_none());
    }

    #[test]
    fn anything_else_is_refused() {
        let (one, _other) = UnixStream::pair().unwrap();
        let connected = one.into_raw_fd();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap().into_raw_fd();
        let file = File::open("/dev/null").unwrap().into_raw_fd();
        let (one, other) = UnixStream::pair().unwrap();
        let several = vec![one.into_raw_fd(), other.into_raw_fd()];
        for handed in [vec![connected], vec![tcp], vec![file], several] {
            assert!(listener_of(handed.clone()).is_err(), "{handed:?}");
        }
    }
}
