//! What can go wrong, as far as callers tell it apart.

use std::io;

/// Result of a netlink operation.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed netlink operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The interface does not exist any more. Whoever was about to undo something is done.
    #[error("{operation}: interface {index} is gone")]
    LinkGone {
        /// What was tried.
        operation: String,
        /// The interface's index.
        index: u32,
    },
    /// The network namespace that a path or process id stands for does not exist any more.
    #[error("{operation}: the network namespace is gone")]
    NetnsGone {
        /// What was tried.
        operation: String,
    },
    /// Something of that name, priority or handle exists and is not ours, so it stays untouched.
    #[error("{operation}: {object} is not ours: {reason}")]
    Foreign {
        /// What was tried.
        operation: String,
        /// The object in the way.
        object: String,
        /// How that is known.
        reason: String,
    },
    /// The kernel refused.
    #[error("{operation}{}", message.as_ref().map(|m| format!(" ({m})")).unwrap_or_default())]
    Kernel {
        /// What was tried.
        operation: String,
        /// The kernel's own explanation, if it gave one.
        message: Option<String>,
        /// The error number.
        source: io::Error,
    },
    /// The exchange with the kernel failed, or a file that names a namespace could not be read.
    #[error("{operation}")]
    Io {
        /// What was tried.
        operation: String,
        /// The cause.
        source: io::Error,
    },
}

impl Error {
    pub(super) fn io(operation: &str, source: io::Error) -> Self {
        Self::Io { operation: operation.to_owned(), source }
    }

    /// The error number (`errno`) behind this error, where there is one.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::LinkGone { .. } => Some(libc::ENODEV),
            Self::Kernel { source, .. } | Self::Io { source, .. } => source.raw_os_error(),
            Self::NetnsGone { .. } | Self::Foreign { .. } => None,
        }
    }

    /// Whether the object of the operation vanished, which is what happens to containers.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::LinkGone { .. } | Self::NetnsGone { .. })
    }
}
