//! An upgrade in place: what a running daemon gives to the next version of itself, which takes over its
//! process.
//!
//! Links of programs and the lock of the pins are descriptors. They stay open across `execve`, so that
//! nothing is ever taken off an interface, and a process that is killed still ends its faults. All else
//! is in the maps, but for a few things that nobody can tell from them; these are written to a file in
//! memory, whose descriptor the environment names.

mod descriptor;
mod exec;

use std::{
    collections::BTreeMap,
    ffi::CStr,
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::fd::{FromRawFd as _, OwnedFd, RawFd},
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use tracing::warn;

pub use self::descriptor::Descriptor;
pub(crate) use self::descriptor::stay_open;
use crate::{datapath, schedule::Since};

/// Names the process and the descriptor of the file: `4711:12`. A process that inherits it from another
/// one has another id.
const VARIABLE: &str = "ENTROPY_HANDOVER";
/// Name of the file, which tells it from any other that the number may mean.
const FILE: &CStr = c"entropy-handover";
/// Descriptors below this one are not ours to close.
const FIRST: RawFd = 3;

/// What the next version is given.
#[derive(Debug, Serialize, Deserialize)]
pub struct Handover {
    /// Version of the daemon that gives it.
    pub(crate) version: String,
    pub(crate) datapath: datapath::Handed,
    pub(crate) state: State,
}

/// What the daemon knows besides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Stands in for the seed of policies without one.
    pub(crate) seed: u64,
    /// Whether nothing is to be in force any more.
    pub(crate) halted: bool,
    /// Since when each policy has been there.
    pub(crate) policies: Vec<Since>,
    pub(crate) numbers: Numbers,
}

/// Which numbers of rules and peer groups were given already.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Numbers {
    pub(crate) last_rule: u32,
    pub(crate) last_group: u32,
    /// What policies call the groups; a label in the kernel may be cut.
    pub(crate) groups: BTreeMap<u32, String>,
}

impl Handover {
    /// What an earlier version has left for this process. To be asked once, before anything else is
    /// opened: where it cannot be read, all descriptors are closed that it may have left, as with them
    /// its faults would go on.
    #[must_use]
    pub fn of_environment() -> Option<Self> {
        let value = std::env::var(VARIABLE).ok()?;
        let (process, file) = value.split_once(':')?;
        if process != std::process::id().to_string() {
            return None;
        }
        match file.parse().context("no number").and_then(Self::read) {
            Ok(handover) => Some(handover),
            Err(error) => {
                warn!("what the version before has left cannot be read: {error:#}");
                close_all(FIRST);
                None
            }
        }
    }

    fn read(file: RawFd) -> Result<Self> {
        let link = fs::read_link(format!("/proc/self/fd/{file}")).context("look for it")?;
        let is_it = link.to_string_lossy().contains(&*FILE.to_string_lossy());
        ensure!(is_it, "descriptor {file} is {}", link.display());
        // SAFETY: it is the file that was made for this process, and nobody else reads it.
        let mut file = unsafe { File::from_raw_fd(file) };
        file.seek(SeekFrom::Start(0)).context("read from its beginning")?;
        let mut text = String::new();
        file.read_to_string(&mut text).context("read it")?;
        serde_json::from_str(&text).context("understand it")
    }

    /// Whether it is from a daemon of this version, so that both write the same things in the same way.
    pub(crate) fn is_from_same_version(&self) -> bool {
        self.version == env!("CARGO_PKG_VERSION")
    }

    fn descriptors(&self) -> impl Iterator<Item = &Descriptor> {
        self.datapath.descriptors()
    }
}

/// Closes every descriptor from `first` on but those of the service manager, which it passes before all
/// others.
fn close_all(first: RawFd) {
    let passed = std::env::var("LISTEN_FDS").ok().and_then(|count| count.parse().ok());
    let first = first.saturating_add(passed.unwrap_or_default()).cast_unsigned();
    // SAFETY: at the start of the process nothing owns a descriptor in this range.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
    if done != 0 {
        warn!("close what was left open: {}", io::Error::last_os_error());
    }
}

/// An anonymous file in memory.
fn memory_file() -> io::Result<OwnedFd> {
    // SAFETY: the name lives through the call.
    let file = unsafe { libc::memfd_create(FILE.as_ptr(), libc::MFD_CLOEXEC) };
    if file < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was just opened, and is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(file) })
}
