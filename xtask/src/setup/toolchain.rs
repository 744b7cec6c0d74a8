//! The Rust toolchain of the eBPF side: one with the source of `core`, which has to be built for
//! the eBPF target. Nothing here makes rustup download.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use super::{apt, linker};
use crate::{exec, place};

/// The oldest compiler that the workspace takes (`rust-version`).
const OLDEST: (u32, u32) = (1, 95);
/// The distribution's compiler with the source of its standard library.
const PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// An installed toolchain, used by its path: rustup's settings are neither read nor changed.
pub(crate) struct Toolchain {
    /// Holds `bin/rustc`, `bin/cargo` and `lib/rustlib/src`.
    root: PathBuf,
    /// Major and minor version.
    version: (u32, u32),
}

impl Toolchain {
    /// A cargo command of this toolchain, allowed to use `-Z build-std`, in the repository's root.
    pub(crate) fn cargo(&self) -> Command {
        let bin = self.root.join("bin");
        let mut command = Command::new(bin.join("cargo"));
        // What the outer `cargo xtask` says about its own toolchain must not reach this one.
        for name in ["RUSTUP_TOOLCHAIN", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER"] {
            command.env_remove(name);
        }
        command
            .current_dir(place::root())
            .env("RUSTC", bin.join("rustc"))
            .env("RUSTDOC", bin.join("rustdoc"))
            .env("RUSTC_BOOTSTRAP", "1")
            .env("PATH", path_with(&bin));
        command
    }

    /// Whether the toolchain comes with clippy.
    fn has_clippy(&self) -> bool {
        self.root.join("bin/clippy-driver").is_file()
    }
}

/// PATH with `folder` in front.
pub(crate) fn path_with(folder: &Path) -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut whole = folder.as_os_str().to_owned();
    whole.push(":");
    whole.push(path);
    whole
}

/// Finds a toolchain that can build for the eBPF target or installs the distribution's.
///
/// # Errors
/// When there is none and the distribution has none: the message holds the command to run.
pub(crate) fn ensure() -> Result<Toolchain> {
    if let Some(toolchain) = find() {
        return Ok(toolchain);
    }
    let advice = "the eBPF side needs the source of `core` for Rust 1.95 or newer; run \
        `rustup toolchain install nightly --component rust-src`, then this command again";
    if !apt::available(&PACKAGES) {
        bail!("{advice}");
    }
    apt::install("source of `core` for the eBPF target", &PACKAGES)?;
    match find() {
        Some(toolchain) => Ok(toolchain),
        None => bail!("{} did not help: {advice}", PACKAGES.join(" ")),
    }
}

/// Makes sure that the toolchain has clippy, for `lint` only.
///
/// # Errors
/// When it has none and it is not the distribution's.
pub(crate) fn ensure_clippy(toolchain: &Toolchain) -> Result<()> {
    if toolchain.has_clippy() {
        return Ok(());
    }
    if toolchain.root != Path::new("/usr") {
        let root = toolchain.root.display();
        bail!("the toolchain {root} has no clippy; run `rustup component add clippy` for it");
    }
    apt::install("clippy for the eBPF target", &["rust-web-clippy"])
}

/// The newest installed toolchain that has the source of `core` and whose LLVM the linker reads.
fn find() -> Option<Toolchain> {
    let toolchains = rustup_home().join("toolchains");
    let installed = fs::read_dir(toolchains).into_iter().flatten().flatten();
    let mut roots: Vec<_> = installed.map(|entry| entry.path()).collect();
    roots.push(PathBuf::from("/usr"));
    roots.into_iter().filter_map(probe).max_by_key(|toolchain| toolchain.version)
}

/// Looks whether the toolchain at `root` will do.
fn probe(root: PathBuf) -> Option<Toolchain> {
    let tools = ["bin/cargo", "bin/rustc", "lib/rustlib/src/rust/library/core/Cargo.toml"];
    if !tools.iter().all(|file| root.join(file).exists()) {
        return None;
    }
    let about = exec::output(Command::new(root.join("bin/rustc")).arg("-vV")).ok()?;
    let (version, llvm) = versions(&about)?;
    (version >= OLDEST && llvm <= linker::LLVM).then_some(Toolchain { root, version })
}

/// Reads Rust's version and LLVM's major version out of `rustc -vV`.
fn versions(about: &str) -> Option<((u32, u32), u32)> {
    let field = |name: &str| about.lines().find_map(|line| line.strip_prefix(name));
    let mut release = field("release: ")?.split(['.', '-']);
    let version = (release.next()?.parse().ok()?, release.next()?.parse().ok()?);
    let llvm = field("LLVM version: ")?.split('.').next()?.parse().ok()?;
    Some((version, llvm))
}

/// Where rustup keeps its toolchains.
fn rustup_home() -> PathBuf {
    let path = |name| std::env::var_os(name).map(PathBuf::from);
    path("RUSTUP_HOME").unwrap_or_else(|| path("HOME").unwrap_or_default().join(".rustup"))
}

#[cfg(test)]
mod tests {
    use super::versions;

    #[test]
    fn versions_are_read_from_stable_and_nightly_compilers() {
        let stable = "rustc 1.96.0\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        assert_eq!(versions(stable), Some(((1, 96), 22)));
        let nightly = "release: 1.97.0-nightly\nLLVM version: 23.1\n";
        assert_eq!(versions(nightly), Some(((1, 97), 23)));
        assert_eq!(versions("release: 1.97.0\n"), None);
    }
}
