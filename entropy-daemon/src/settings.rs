//! The daemon's settings file: what holds whatever the policies say.
//!
//! Read once, at the start. A file with a mistake is a reason not to start: a guard that an operator
//! relies on must not be missing because of a typing error.

mod keys;

use std::{
    fmt, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use crate::{
    network::Network,
    policy::{PortRange, Problems, Rate, Selector, Span},
};

/// Where the settings are if nobody says otherwise.
pub const DEFAULT_SETTINGS: &str = "/etc/entropy/entropyd.toml";

/// All settings; the default is that of a missing file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// What no policy can do.
    pub guard: Guard,
    /// Checks that must succeed, or the daemon halts.
    pub stop: Vec<StopRule>,
}

/// What no policy can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Containers that one of these picks are never hit.
    pub protect: Vec<Selector>,
    /// Packets from and to these networks are never hit. Of all that hold an address, the longest
    /// prefix decides.
    pub protect_peers: Vec<Network>,
    /// Packets between containers and these TCP ports of this host are never hit. At most
    /// [`MAX_HOST_PORTS`].
    pub host_ports: Vec<PortRange>,
    /// Only containers that this picks can be hit.
    pub opt_in: Option<Selector>,
    /// Share of the running containers that can be hit at once.
    pub max_share: Option<Rate>,
    /// How long a policy can be in force at a stretch.
    pub max_duration: Option<Span>,
}

/// Most entries of [`Guard::host_ports`]: each costs a look at every packet of a container that is hit.
pub const MAX_HOST_PORTS: usize = 3;

impl Default for Guard {
    fn default() -> Self {
        Self {
            protect: Vec::new(),
            protect_peers: Vec::new(),
            // SSH, and Docker's API without and with TLS.
            host_ports: vec![
                PortRange { first: 22, last: 22 },
                PortRange { first: 2375, last: 2376 },
            ],
            opt_in: None,
            max_share: None,
            max_duration: None,
        }
    }
}

/// A check of the steady state. When it fails so many times in a row, the daemon halts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopRule {
    /// For people; unique.
    pub name: String,
    /// What is looked at.
    pub check: Check,
    /// Time from the beginning of one check to that of the next; at least 100 ms.
    pub every: Span,
    /// How long one may take before it counts as failed.
    pub timeout: Span,
    /// So many failures in a row halt the daemon; at least 1.
    pub failures: u32,
}

/// What a stop rule looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// A GET request over plain HTTP, answered with a status in the range.
    Http {
        /// Host and port, as `lookup_host` takes them.
        authority: String,
        /// Path and query, from the slash on.
        target: String,
        /// Lowest and highest good status.
        status: (u16, u16),
    },
    /// A TCP connection that can be opened.
    Tcp(Address),
}

/// Where a TCP check connects to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An address.
    Numeric(SocketAddr),
    /// A name that is looked up each time, and a port.
    Named(String),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Numeric(address) => address.fmt(f),
            Self::Named(name) => f.write_str(name),
        }
    }
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("read {0}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is something wrong in it.
    #[error("{0}")]
    Wrong(Problems),
}

impl Settings {
    /// Reads the file that the operator named, or else the usual one if it is there.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn of(named: Option<&Path>) -> Result<Self, SettingsError> {
        match named {
            Some(path) => Self::load(path, true),
            None => Self::load(DEFAULT_SETTINGS.as_ref(), false),
        }
    }

    /// Reads a file. One that is missing holds the defaults, unless it was named by the operator.
    ///
    /// # Errors
    /// When it cannot be read, with every problem of the file.
    pub fn load(path: &Path, must_exist: bool) -> Result<Self, SettingsError> {
        match std::fs::read(path) {
            Ok(bytes) => Self::parse(path, &bytes).map_err(SettingsError::Wrong),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !must_exist => {
                Ok(Self::default())
            }
            Err(source) => Err(SettingsError::Unreadable { path: path.to_owned(), source }),
        }
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// Every problem of it.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, Problems> {
        keys::parse(path, bytes)
    }
}

#[cfg(test)]
mod tests;
