//! `bench`: what a packet costs, in nanoseconds of this machine or in instructions of another kernel.

use anyhow::{Result, bail};
use clap::Args;

use crate::test::{as_root, lab};
use crate::{build, exec, setup, vm};

/// Where to measure.
#[derive(Args)]
pub(crate) struct Arguments {
    /// In a virtual machine whose clock counts instructions, four nanoseconds for each
    #[arg(long, value_enum)]
    counted: Option<vm::Kernel>,
}

/// Builds the object and measures; returns the exit code.
///
/// # Errors
/// When something cannot be built, or this is not root and there is no sudo.
pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    build::all(false)?;
    let lab = lab()?;
    if let Some(kernel) = arguments.counted {
        setup::vm::ensure(kernel)?;
        let machine = vm::Machine { counted: true, ..vm::Machine::default() };
        // Once is enough where nothing else counts.
        let words = [&*lab.to_string_lossy(), "bench", "--packets=1000", "--looks=2"];
        return vm::run(kernel, &machine, &words.map(str::to_owned), exec::out);
    }
    let Some(mut command) = as_root() else { bail!("needs root, and there is no sudo") };
    exec::shown(command.arg(lab).arg("bench"))?;
    Ok(0)
}
