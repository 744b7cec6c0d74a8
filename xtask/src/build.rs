//! `build`: the eBPF object first, then the daemon that carries it.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::setup::linker;
use crate::setup::toolchain::{self, Toolchain};
use crate::{exec, place};

/// The eBPF target: this machine's byte order.
pub(crate) const TARGET: &str = "bpfel-unknown-none";
/// The instruction set: a Linux 6.1 verifier refuses what came after it.
const CPU: &str = "v3";

/// Builds the object and the host programs.
///
/// # Errors
/// When a setup step or a compiler fails.
pub(crate) fn all(release: bool) -> Result<()> {
    object()?;
    let mut cargo = Command::new("cargo");
    cargo.current_dir(place::root()).args(["build", "--package", "entropy-daemon"]);
    if release {
        cargo.arg("--release");
    }
    exec::shown(&mut cargo)
}

/// Builds the eBPF object and puts it where the daemon's build script looks.
///
/// # Errors
/// When a setup step or the compiler fails.
pub(crate) fn object() -> Result<()> {
    let toolchain = toolchain::ensure()?;
    linker::ensure()?;
    let mut cargo = ebpf_cargo(&toolchain, "build");
    cargo.args(["--bin", "entropy"]);
    exec::shown(&mut cargo).context("build the eBPF object")?;
    let built = place::bpf_build().join(TARGET).join("bpf").join("entropy");
    install_if_changed(&built, &place::object())
}

/// A cargo command for the package `entropy-ebpf` on the eBPF target: `verb` and the options that
/// every such command needs.
pub(crate) fn ebpf_cargo(toolchain: &Toolchain, verb: &str) -> Command {
    let mut cargo = toolchain.cargo();
    let flags = [
        "-Cdebuginfo=2".to_owned(),
        format!("-Clinker={}", linker::program().display()),
        "-Clink-arg=--btf".to_owned(),
        // The compiler hands it on to the linker, which generates the code.
        format!("-Ctarget-cpu={CPU}"),
    ];
    cargo
        .args([verb, "--package", "entropy-ebpf", "--target", TARGET])
        .args(["--profile", "bpf", "-Z", "build-std=core", "--target-dir"])
        .arg(place::bpf_build())
        // Unit separators instead of spaces: the path of the repository may hold some.
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    cargo
}

/// Copies `from` to `to` in one instant, and only when the content differs: cargo rebuilds the
/// daemon whenever the file is touched.
fn install_if_changed(from: &Path, to: &Path) -> Result<()> {
    let new = fs::read(from).with_context(|| format!("read {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    let partial = to.with_extension("partial");
    fs::write(&partial, new).with_context(|| format!("write {}", partial.display()))?;
    fs::rename(&partial, to).with_context(|| format!("rename {}", partial.display()))
}
