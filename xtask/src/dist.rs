//! `dist`: a Debian package of the optimised programs, in `target/dist`.

mod content;
mod control;
mod deb;
mod needs;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

use crate::{build, exec, place};

/// What is built: the workspace's version, which all packages share.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The package's name.
const NAME: &str = "entropy";

/// Builds the programs and the package.
///
/// # Errors
/// When a build step fails, or the machine's architecture has no name in Debian.
pub(crate) fn run() -> Result<()> {
    build::all(true)?;
    let file = package(&place::binaries(true))?;
    exec::out(&file.display().to_string());
    Ok(())
}

/// Makes a package of the programs in a folder and returns its file.
///
/// # Errors
/// When the programs cannot be read or run, or the package not be written.
pub(crate) fn package(programs: &Path) -> Result<PathBuf> {
    let folder = place::target().join("dist");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let architecture = architecture()?;
    let file = folder.join(format!("{NAME}_{VERSION}_{architecture}.deb"));
    exec::step(&format!("make {}", file.display()), || {
        let programs = stripped(programs, &folder)?;
        let content = content::all(&programs)?;
        let needs = needs::of(&programs)?;
        let about = control::About { architecture, needs, size: deb::size(&content) };
        let bytes = deb::write(&control::all(&about, &content)?, &content, time())?;
        fs::write(&file, bytes).with_context(|| format!("write {}", file.display()))
    })?;
    Ok(file)
}

/// The two programs, without what only debuggers read.
struct Programs {
    daemon: PathBuf,
    control: PathBuf,
}

fn stripped(programs: &Path, folder: &Path) -> Result<Programs> {
    let strip = |name: &str| {
        let to = folder.join(name);
        let mut command = Command::new("strip");
        command.arg("--strip-all").arg("-o").arg(&to).arg(programs.join(name));
        // It comes with the linker that every build needs.
        exec::output(&mut command).context("strip (package binutils)")?;
        anyhow::Ok(to)
    };
    Ok(Programs { daemon: strip("entropyd")?, control: strip("entropyctl")? })
}

/// Debian's name for this machine's architecture.
fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("no Debian package for {other}"),
    }
}

/// The time that everything in the package carries, in seconds since 1970: the last commit's, so
/// that the same source makes the same package.
fn time() -> u64 {
    let set = std::env::var("SOURCE_DATE_EPOCH").ok();
    let committed = || {
        let mut git = Command::new("git");
        exec::output(git.current_dir(place::root()).args(["log", "-1", "--format=%ct"])).ok()
    };
    let known = set.or_else(committed).and_then(|text| text.trim().parse().ok());
    let now = || SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
    known.unwrap_or_else(now)
}
