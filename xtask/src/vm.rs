//! `vm`: runs a command under another kernel, in a virtual machine that shares this machine's
//! files. Only `target/vm/share` can be written to for good.

mod boot;
mod guest;

use std::fs::{File, TryLockError};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::{exec, place, setup};

/// The kernels that the tests run under besides this machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kernel {
    /// Debian 12's: classifiers attach through clsact only
    #[value(name = "6.1")]
    V6_1,
    /// Classifiers attach through TCX
    #[value(name = "6.12")]
    V6_12,
}

impl Kernel {
    /// Every one of them.
    pub(crate) const ALL: [Self; 2] = [Self::V6_1, Self::V6_12];

    /// The version as users write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
        }
    }

    /// What the names of its packages begin with.
    pub(crate) fn package_prefix(self) -> &'static str {
        match self {
            Self::V6_1 => "linux-image-6.1.0-",
            Self::V6_12 => "linux-image-6.12.",
        }
    }
}

/// The size of a machine and how long it may live.
#[derive(Args, Clone)]
pub(crate) struct Machine {
    /// Memory, with unit
    #[arg(long, default_value = "3G")]
    pub(crate) memory: String,
    /// Number of processors
    #[arg(long, default_value_t = 2)]
    pub(crate) cpus: u32,
    /// Seconds after which the machine is ended and the command counts as failed
    #[arg(long, default_value_t = 1200)]
    pub(crate) timeout: u64,
    /// Let time pass by the instructions that are executed, one every four nanoseconds, and skip the
    /// idle rest: what else this machine does changes no measurement
    #[arg(long)]
    pub(crate) counted: bool,
}

impl Default for Machine {
    fn default() -> Self {
        Self { memory: "3G".to_owned(), cpus: 2, timeout: 1200, counted: false }
    }
}

impl Machine {
    /// How long the machine may live.
    fn lifetime(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

/// Runs `command` under `kernel`, gives each line of its output to `line` and returns its exit
/// code. Waits while another machine runs.
///
/// # Errors
/// When setting up fails, or the machine does not start, panics, stalls, hangs or dies.
pub(crate) fn run(
    kernel: Kernel,
    machine: &Machine,
    command: &[String],
    line: impl FnMut(&str),
) -> Result<u8> {
    let image = setup::vm::ensure(kernel)?;
    let _lock = only_one()?;
    boot::run(&boot::Plan { kernel, image, machine, command }, line)
        .with_context(|| format!("virtual machine with Linux {}", kernel.name()))
}

/// Takes the lock that every machine holds while it runs.
fn only_one() -> Result<File> {
    std::fs::create_dir_all(place::vm_share()).context("create target/vm/share")?;
    let path = place::vm().join("lock");
    let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => exec::say("waiting for another virtual machine to end"),
        Err(TryLockError::Error(error)) => return Err(error).context("lock target/vm/lock"),
    }
    file.lock().context("lock target/vm/lock")?;
    Ok(file)
}
