//! `lint`: formatting, clippy for both sides, documentation, and the rules of the house.

mod house;
mod source;

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::setup::{linker, toolchain};
use crate::{build, exec, place};

/// The packages for the host: everything but the eBPF side.
const HOST: [&str; 4] = ["entropy-common", "entropy-daemon", "entropy-tests", "xtask"];

/// One of the checks.
type Check = fn() -> Result<()>;

/// Runs every check, all of them even if one fails.
///
/// # Errors
/// When a check cannot run or finds something.
pub(crate) fn run() -> Result<()> {
    let checks: [(&str, Check); 5] = [
        ("formatting", formatting),
        ("rules of the house", house_rules),
        ("clippy", clippy),
        ("clippy for the eBPF side", ebpf_clippy),
        ("documentation", documentation),
    ];
    let mut failed = Vec::new();
    for (name, check) in checks {
        exec::say(&format!("lint: {name}"));
        if let Err(error) = check() {
            exec::say(&format!("lint: {name}: {error:#}"));
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("lint: {} failed", failed.join(", "));
    }
    Ok(())
}

/// A cargo command in the repository's root.
fn cargo(verb: &str) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(place::root()).arg(verb);
    cargo
}

/// The options that name the host's packages.
fn host_packages() -> impl Iterator<Item = &'static str> {
    HOST.into_iter().flat_map(|name| ["--package", name])
}

/// rustfmt changes nothing.
fn formatting() -> Result<()> {
    exec::shown(cargo("fmt").args(["--all", "--check"]))
}

/// clippy finds nothing on the host side, tests included.
fn clippy() -> Result<()> {
    let mut cargo = cargo("clippy");
    exec::shown(cargo.args(host_packages()).args(["--all-targets", "--", "-D", "warnings"]))
}

/// clippy finds nothing on the eBPF side, for the target it is built for.
fn ebpf_clippy() -> Result<()> {
    let toolchain = toolchain::ensure()?;
    toolchain::ensure_clippy(&toolchain)?;
    linker::ensure()?;
    exec::shown(build::ebpf_cargo(&toolchain, "clippy").args(["--", "-D", "warnings"]))
}

/// rustdoc finds nothing, private items included.
fn documentation() -> Result<()> {
    let mut cargo = cargo("doc");
    cargo.args(host_packages()).args(["--no-deps", "--document-private-items", "--quiet"]);
    // Private items are documented too, so that links to them lead somewhere.
    let flags = "-D warnings -A rustdoc::private_intra_doc_links";
    exec::shown(cargo.env("RUSTDOCFLAGS", flags))
}

/// The rules of the house hold.
fn house_rules() -> Result<()> {
    let violations = house::check(place::root()).context("read the sources")?;
    for violation in &violations {
        eprintln!("{violation}");
    }
    if !violations.is_empty() {
        bail!("{} violations", violations.len());
    }
    Ok(())
}
