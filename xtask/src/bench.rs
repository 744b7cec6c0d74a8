//! `bench`: what a packet costs, on this machine's kernel.

use anyhow::{Result, bail};

use crate::test::{as_root, lab};
use crate::{build, exec};

/// Builds the object and measures; returns the exit code.
///
/// # Errors
/// When something cannot be built, or this is not root and there is no sudo.
pub(crate) fn run() -> Result<u8> {
    build::all(false)?;
    let lab = lab()?;
    let Some(mut command) = as_root() else { bail!("needs root, and there is no sudo") };
    exec::shown(command.arg(lab).arg("bench"))?;
    Ok(0)
}
