//! Notices that a policy directory may have changed.
//!
//! Arm first, then load, so that a change in between is not missed:
//! ```no_run
//! # async fn example(directory: &std::path::Path) {
//! use entropy_daemon::policy::{load_directory, watch::Watch};
//!
//! let mut watch = Watch::arm(directory);
//! loop {
//!     let policies = load_directory(directory);
//!     // ... put them in force, or say what is wrong with them ...
//!     watch.changed().await;
//! }
//! # }
//! ```

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior};

/// When a burst of changes is over.
#[derive(Clone, Copy, Debug)]
struct Timing {
    /// A change is reported when nothing more happened for this long ...
    quiet: Duration,
    /// ... or when this much time has passed since the first event.
    longest: Duration,
    /// How often the directory is compared with what it was.
    poll: Duration,
}

const TIMING: Timing = Timing {
    quiet: Duration::from_millis(100),
    longest: Duration::from_secs(1),
    poll: Duration::from_secs(5),
};

/// Reports that a policy directory may have changed.
///
/// inotify tells at once of files that are written, renamed over, linked, removed, and of the
/// directory being removed, created, renamed or, where it is a symbolic link, turned elsewhere
/// (Kubernetes publishes files by turning a link inside of the directory). Every five seconds the
/// directory is besides compared with what it was, which also finds what inotify does not see:
/// changes of files elsewhere that links lead to, of directories further up, on network file
/// systems, and everything on a machine whose inotify instances or watches are used up.
#[derive(Debug)]
pub struct Watch {
    directory: PathBuf,
    timing: Timing,
    /// `None` if there is no inotify: then only the comparison finds changes.
    watcher: Option<RecommendedWatcher>,
    events: mpsc::Receiver<()>,
    replaced: mpsc::Receiver<()>,
    poll: Interval,
    /// What the directory was like when it was last reported as changed, or armed.
    seen: Fingerprint,
    pending: Option<Pending>,
    /// Whether the log says that inotify does not work here.
    warned: bool,
}

/// A change that is not reported yet.
#[derive(Clone, Copy, Debug)]
struct Pending {
    first: Instant,
    last: Instant,
}

impl Watch {
    /// Starts to watch `directory`, which need not exist yet. From here on nothing is missed.
    ///
    /// Never fails: without inotify, which is logged, changes are found within five seconds.
    ///
    /// # Panics
    /// Outside of a tokio runtime with its time driver.
    pub fn arm(directory: &Path) -> Self {
        Self::arm_with(directory, TIMING, true)
    }

    fn arm_with(directory: &Path, timing: Timing, inotify: bool) -> Self {
        // Events come with absolute paths if what is watched has one.
        let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
        // One waiting event is as good as many.
        let (event, events) = mpsc::channel(1);
        let (replace, replaced) = mpsc::channel(1);
        let watcher = inotify.then(|| new_watcher(&directory, event, replace)).flatten();
        let mut poll = tokio::time::interval(timing.poll);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut watch = Self {
            directory,
            timing,
            watcher,
            events,
            replaced,
            poll,
            seen: Fingerprint::default(),
            pending: None,
            warned: false,
        };
        watch.watch_paths();
        watch.seen = Fingerprint::of(&watch.directory);
        watch
    }

    /// Waits until the directory may have changed since the last call returned, or since it was
    /// armed, and is quiet: nothing happened for 100 ms, or one second has passed.
    ///
    /// May come without a change. Can be dropped while it waits without anything being lost.
    pub async fn changed(&mut self) {
        loop {
            let due = self
                .pending
                .map(|p| (p.last + self.timing.quiet).min(p.first + self.timing.longest));
            // `biased`, and the deadline first: a stream of events must not put it off.
            tokio::select! {
                biased;
                () = sleep_until(due) => {
                    self.pending = None;
                    // Before the caller loads: what changes from here on is another change.
                    self.seen = Fingerprint::of(&self.directory);
                    return;
                }
                Some(()) = self.replaced.recv() => {
                    self.forget_directory();
                    self.watch_paths();
                    self.note();
                }
                Some(()) = self.events.recv() => self.note(),
                _ = self.poll.tick() => self.compare(),
            }
        }
    }

    fn note(&mut self) {
        let now = Instant::now();
        self.pending = Some(Pending { first: self.pending.map_or(now, |p| p.first), last: now });
    }

    fn compare(&mut self) {
        let now = Fingerprint::of(&self.directory);
        if now.directory != self.seen.directory {
            self.forget_directory();
        }
        // Anew every time: it does nothing to a watch that is in place, and mends one that is not.
        self.watch_paths();
        if now != self.seen {
            // Compared with from now on, so that only what changes later puts off the report.
            self.seen = now;
            self.note();
        }
    }

    /// Watches the directory, and the one above it for what becomes of the directory.
    fn watch_paths(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        let above = self.directory.file_name().and(self.directory.parent());
        for path in above.into_iter().chain([&*self.directory]) {
            let Err(error) = watcher.watch(path, RecursiveMode::NonRecursive) else { continue };
            // A directory that does not exist is waited for.
            if !is_not_found(&error) && !std::mem::replace(&mut self.warned, true) {
                let path = path.display();
                tracing::warn!(%path, %error, "no inotify: policy changes are noticed within seconds");
            }
        }
    }

    /// Gives up the watch on what was the directory, whose path is now another one or none.
    fn forget_directory(&mut self) {
        if let Some(watcher) = &mut self.watcher
            && let Err(error) = watcher.unwatch(&self.directory)
        {
            tracing::debug!(%error, "was not watched with inotify");
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

fn is_not_found(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::PathNotFound => true,
        notify::ErrorKind::Io(error) => error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

fn new_watcher(
    directory: &Path,
    event: mpsc::Sender<()>,
    replace: mpsc::Sender<()>,
) -> Option<RecommendedWatcher> {
    let path = directory.to_owned();
    let handler = move |result: notify::Result<Event>| {
        let what = result.map_or(What::Content, |event| classify(&event, &path));
        // A full channel holds an event that is not handled yet: that one is enough.
        match what {
            What::Nothing => {}
            What::Content => drop(event.try_send(())),
            What::Replaced => drop(replace.try_send(())),
        }
    };
    notify::recommended_watcher(handler)
        .inspect_err(|error| {
            tracing::warn!(%error, "no inotify: policy changes are noticed within seconds");
        })
        .ok()
}

/// What an event of inotify means for the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Nothing,
    Content,
    /// The path leads to another directory, or to none.
    Replaced,
}

fn classify(event: &Event, directory: &Path) -> What {
    if event.need_rescan() {
        return What::Content;
    }
    // Reading the files opens and closes them: that must not lead to reading them again.
    if let EventKind::Access(kind) = event.kind
        && kind != AccessKind::Close(AccessMode::Write)
    {
        return What::Nothing;
    }
    if event.paths.iter().any(|path| path == directory) {
        return match event.kind {
            EventKind::Create(_) | EventKind::Remove(_) => What::Replaced,
            EventKind::Modify(ModifyKind::Name(_)) => What::Replaced,
            _ => What::Content,
        };
    }
    let inside = event.paths.iter().any(|path| path.starts_with(directory));
    if inside { What::Content } else { What::Nothing }
}

/// What can be seen of a directory without reading its files. Two states of a directory with the
/// same fingerprint may differ in files changed twice within one tick of the file system's clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Fingerprint {
    directory: Option<Identity>,
    /// What the names lead to, links followed; `None` if nowhere.
    files: BTreeMap<OsString, Option<(Identity, State)>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    length: u64,
    modified_ns: (i64, i64),
    changed_ns: (i64, i64),
}

impl Fingerprint {
    fn of(directory: &Path) -> Self {
        let stat = |path: &Path| fs::metadata(path).ok();
        let identity = |m: &fs::Metadata| Identity { device: m.dev(), inode: m.ino() };
        let state = |m: &fs::Metadata| State {
            length: m.len(),
            modified_ns: (m.mtime(), m.mtime_nsec()),
            changed_ns: (m.ctime(), m.ctime_nsec()),
        };
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let files = entries
            .map(|entry| {
                (entry.file_name(), stat(&entry.path()).map(|m| (identity(&m), state(&m))))
            })
            .collect();
        Self { directory: stat(directory).as_ref().map(identity), files }
    }
}

#[cfg(test)]
mod tests;
