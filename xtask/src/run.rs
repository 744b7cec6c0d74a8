//! `run`: the daemon from the tree.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{build, exec, place};

/// Builds the daemon and becomes it, so that signals reach it as they are.
///
/// # Errors
/// When building fails or the daemon cannot be started; otherwise it does not return.
pub(crate) fn run(arguments: &[String]) -> Result<u8> {
    build::all(false)?;
    let mut daemon = Command::new(place::binaries(false).join("entropyd"));
    if arguments.is_empty() {
        daemon.arg("--policies").arg(place::root().join("policies"));
    } else {
        daemon.args(arguments);
    }
    exec::say(&exec::display(&daemon));
    let error = daemon.exec();
    Err(error).context("start entropyd")
}
