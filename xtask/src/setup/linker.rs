//! bpf-linker, built into `target/tools` so that the user's own cargo folder stays as it is.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::apt;
use crate::{exec, place};

/// The LLVM that the linker is built with: it reads what compilers with this one or an older one
/// write.
pub(crate) const LLVM: u32 = 22;
/// The linker's version.
const VERSION: &str = "0.13.0";

/// The linker's program, whether it is there yet or not.
pub(crate) fn program() -> PathBuf {
    place::tools().join("bin/bpf-linker")
}

/// Builds the linker unless it is there in the right version.
///
/// # Errors
/// When LLVM cannot be installed or the build fails.
pub(crate) fn ensure() -> Result<()> {
    if is_built() {
        return Ok(());
    }
    install_packages()?;
    build()
}

/// Whether it is there in the version that is wanted.
pub(crate) fn is_built() -> bool {
    let about = exec::output(Command::new(program()).arg("--version"));
    about.is_ok_and(|text| text.trim().ends_with(VERSION))
}

/// Installs what it is built with.
///
/// # Errors
/// When the packages cannot be installed.
pub(crate) fn install_packages() -> Result<()> {
    let packages = [format!("llvm-{LLVM}-dev"), format!("libpolly-{LLVM}-dev")];
    // LLVM is C++: its runtime library comes with the compiler.
    apt::install("LLVM for bpf-linker", &[&packages[0], &packages[1], "g++"])
}

/// Builds it. Asks nothing of the package manager.
///
/// # Errors
/// When it cannot be built.
pub(crate) fn build() -> Result<()> {
    let scratch = place::target().join("linker-build");
    exec::step(&format!("build bpf-linker {VERSION}"), || {
        let mut cargo = Command::new("cargo");
        cargo
            .args(["install", "bpf-linker", "--version", VERSION, "--locked", "--force"])
            .args(["--no-default-features", "--features", &format!("llvm-{LLVM}")])
            .arg("--root")
            .arg(place::tools())
            .env("LLVM_PREFIX", format!("/usr/lib/llvm-{LLVM}"))
            .env("CARGO_TARGET_DIR", &scratch)
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .current_dir(place::root());
        exec::quiet(&mut cargo)?;
        fs::remove_dir_all(&scratch).with_context(|| format!("remove {}", scratch.display()))
    })
}
