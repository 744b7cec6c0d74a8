//! The daemon's command line.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::Parser;

use crate::{
    app::{Config, SHORTEST_LEASE},
    docker::Endpoint,
    runtime::DEFAULT_DIRECTORY,
    settings::Settings,
};

/// Name of the control socket.
const SOCKET: &str = "entropyd.sock";

/// Injects network failures into Docker containers from inside the kernel.
///
/// Runs in the foreground until SIGTERM or SIGINT, then leaves nothing behind. SIGHUP loads the
/// policies anew, which also happens by itself when they change. SIGUSR2 hands over to the program as it
/// is installed now, without a gap in what is in force. RUST_LOG sets what is logged (default: info).
#[derive(Debug, Parser)]
#[command(name = "entropyd", version)]
pub struct Arguments {
    /// Directory of the policy files (*.toml).
    #[arg(long, value_name = "DIR", default_value = "/etc/entropy/policies")]
    policies: PathBuf,

    /// Settings of the daemon: what no policy can do, and what stops all of them [default:
    /// /etc/entropy/entropyd.toml, if it is there].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Container engine: unix://PATH, tcp://HOST:PORT or http://HOST:PORT [default: $DOCKER_HOST,
    /// else the local Docker socket].
    #[arg(long, value_name = "ADDRESS")]
    docker: Option<String>,

    /// Seconds that the kernel goes on injecting when it does not hear from the daemon any more.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    lease: u64,

    /// Directory of what survives a restart of the daemon and not one of the machine: policies that
    /// came over the API, what is paused, and whether everything is halted.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DIRECTORY)]
    runtime_dir: PathBuf,

    /// Socket of the control API [default: entropyd.sock in the runtime directory]. Not used where
    /// the service manager hands one over.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,

    /// Let the eBPF programs log every packet that they lose. For debugging: it is slow.
    #[arg(long)]
    ebpf_log: bool,
}

impl Arguments {
    /// The configuration that they ask for.
    ///
    /// # Errors
    /// When an argument, or the environment, makes no sense.
    pub fn into_config(self) -> Result<Config> {
        let lease = Duration::from_secs(self.lease);
        ensure!(lease >= SHORTEST_LEASE, "a lease of less than a second is too short");
        let docker = match &self.docker {
            Some(address) => Endpoint::parse(address),
            None => Endpoint::from_env(),
        };
        Ok(Config {
            policies: self.policies,
            settings: Settings::of(self.config.as_deref()).context("settings")?,
            docker: docker.context("container engine")?,
            lease,
            ebpf_log: self.ebpf_log,
            socket: self.socket.unwrap_or_else(|| self.runtime_dir.join(SOCKET)),
            runtime: self.runtime_dir,
        })
    }
}
