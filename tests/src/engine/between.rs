//! Somebody between a daemon and its container engine, who spoils what they say to each other.

use std::{
    io::{self, Read as _, Write as _},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};

/// How often everybody looks at how to behave.
const PAUSE: Duration = Duration::from_millis(20);
/// No answer to anything.
const GARBAGE: &[u8] = b"\x16\x03\xff %n HTTP/9 -1 \xe2\x80\xae\0\r\n{]\r\n\r\n";

/// What becomes of what the two say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It is handed on.
    Faithful,
    /// Nothing is, until that changes: the engine seems to hang.
    Silent,
    /// The engine seems to answer with what makes no sense.
    Garbled,
    /// Connections end as soon as they are made.
    Absent,
}

impl Manner {
    const ALL: [Self; 4] = [Self::Faithful, Self::Silent, Self::Garbled, Self::Absent];
}

/// Listens on a socket of its own for as long as it lives.
#[derive(Debug)]
pub struct Between {
    path: PathBuf,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    engine: PathBuf,
    manner: AtomicU8,
    ended: AtomicBool,
}

impl Between {
    /// Listens at `path`, faithful at first.
    ///
    /// # Errors
    /// When there is something at `path`.
    pub fn new(path: &Path, engine: &Path) -> Result<Self> {
        let listener =
            UnixListener::bind(path).with_context(|| format!("listen at {}", path.display()))?;
        listener.set_nonblocking(true)?;
        let shared = Arc::new(Shared {
            engine: engine.to_owned(),
            manner: AtomicU8::new(Manner::Faithful as u8),
            ended: AtomicBool::new(false),
        });
        let own = Arc::clone(&shared);
        let listener = thread::spawn(move || own.listen(&listener));
        Ok(Self { path: path.to_owned(), shared, listener: Some(listener) })
    }

    /// What a daemon is told where its engine is.
    #[must_use]
    pub fn docker_host(&self) -> String {
        format!("unix://{}", self.path.display())
    }

    /// Changes it, also for the connections that there are.
    pub fn behave(&self, manner: Manner) {
        self.shared.manner.store(manner as u8, Ordering::Relaxed);
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        if let Some(listener) = self.listener.take() {
            // It has nothing to say.
            let _ = listener.join();
        }
    }
}

impl Shared {
    fn manner(&self) -> Manner {
        let number = self.manner.load(Ordering::Relaxed);
        Manner::ALL.into_iter().find(|manner| *manner as u8 == number).unwrap_or(Manner::Faithful)
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    fn listen(self: &Arc<Self>, listener: &UnixListener) {
        while !self.has_ended() {
            match listener.accept() {
                Ok((daemon, _)) => {
                    let own = Arc::clone(self);
                    // A connection that breaks is what the daemon has to cope with.
                    thread::spawn(move || own.connection(&daemon));
                }
                Err(_) => thread::sleep(PAUSE),
            }
        }
    }

    fn connection(&self, daemon: &UnixStream) -> io::Result<()> {
        daemon.set_nonblocking(false)?;
        let engine = UnixStream::connect(&self.engine)?;
        thread::scope(|scope| {
            scope.spawn(|| self.hand_on(daemon, &engine, false));
            self.hand_on(&engine, daemon, true)
        })
    }

    /// From one to the other, until one of them ends.
    fn hand_on(&self, mut from: &UnixStream, mut to: &UnixStream, spoils: bool) -> io::Result<()> {
        from.set_read_timeout(Some(PAUSE))?;
        let mut bytes = [0; 4096];
        while !self.has_ended() {
            match self.manner() {
                Manner::Faithful => match from.read(&mut bytes) {
                    Ok(0) => break,
                    Ok(count) => to.write_all(&bytes[..count])?,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => break,
                },
                Manner::Silent => thread::sleep(PAUSE),
                Manner::Garbled => {
                    if spoils {
                        // Whoever asks has to have asked: an answer before that is another mistake.
                        thread::sleep(PAUSE);
                        to.write_all(GARBAGE)?;
                    }
                    break;
                }
                Manner::Absent => break,
            }
        }
        for end in [from, to] {
            // It may have ended already.
            let _ = end.shutdown(Shutdown::Both);
        }
        Ok(())
    }
}
