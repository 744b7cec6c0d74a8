//! The command lines of what asks a running daemon.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use entropy_daemon::{api::DEFAULT_SOCKET, runtime::DEFAULT_DIRECTORY};

/// Where the daemon is.
#[derive(Debug, Args)]
pub(crate) struct Socket {
    /// The daemon's control socket.
    #[arg(
        long = "socket",
        global = true,
        env = "ENTROPY_SOCKET",
        value_name = "PATH",
        default_value = DEFAULT_SOCKET
    )]
    pub(crate) path: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// Policy files, or directories of them; - for standard input.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) paths: Vec<PathBuf>,

    /// Say what would happen, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// What to list.
    #[arg(value_enum, default_value_t, value_name = "WHAT")]
    pub(crate) what: What,
}

/// What can be listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// Policies, of files and of the API.
    #[default]
    #[value(alias = "policy")]
    Policies,
    /// Each policy on each direction of each interface, with its counters.
    #[value(alias = "injection")]
    Injections,
    /// Containers, and what can be hit of them.
    #[value(alias = "container")]
    Containers,
}

#[derive(Debug, Args)]
pub(crate) struct Describe {
    /// Name of the policy.
    #[arg(value_name = "POLICY")]
    pub(crate) policy: String,
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Names of policies.
    #[arg(required = true, value_name = "POLICY")]
    pub(crate) policies: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// Names of policies that are paused. Without one, what `halt` did is undone.
    #[arg(value_name = "POLICY")]
    pub(crate) policies: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Halt {
    /// Why, for whoever wonders; it is shown until everything is resumed.
    #[arg(long, value_name = "TEXT", default_value = "entropyctl halt")]
    pub(crate) reason: String,

    /// The daemon's runtime directory, for when it does not answer.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DIRECTORY)]
    pub(crate) runtime_dir: PathBuf,
}
