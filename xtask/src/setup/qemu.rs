//! QEMU for the virtual machines: the distribution's, or, where that is too old to emulate several
//! processors at once, a newer one from the distribution's backports, unpacked and not installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::apt;
use crate::{exec, place};

/// The program that is the machine.
const PROGRAM: &str = "qemu-system-x86_64";
/// The package with the program, and those with its data.
const PACKAGES: [&str; 4] =
    ["qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios"];

/// Installs the distribution's QEMU (a newer one needs its libraries too) and gets a newer one where
/// that can be had; without, everything works, only slower.
///
/// # Errors
/// When there is no QEMU and none can be installed.
pub(crate) fn ensure() -> Result<()> {
    // virtme-ng calls file(1) to look at a kernel image.
    let needed = [PROGRAM, "depmod", "dpkg", "ip", "file"];
    if needed.iter().any(|program| exec::find(program).is_none()) {
        let packages = ["qemu-system-x86", "kmod", "dpkg", "iproute2", "file"];
        apt::install("virtual machines", &packages)?;
    }
    let tried = place::vm().join("qemu-backports-tried");
    if emulates_patching() || tried.is_file() {
        return Ok(());
    }
    let result = exec::step("download and unpack a newer QEMU from the backports", backported);
    if let Err(error) = result {
        exec::say(&format!("going on with the installed QEMU, slower: {error:#}"));
        // Only a remark for the next run: without it that run tries again.
        let _ = fs::write(&tried, "");
    }
    Ok(())
}

/// The folder with the unpacked QEMU's program, for PATH; it may not exist.
pub(crate) fn folder() -> PathBuf {
    unpacked().join("usr/bin")
}

/// The folder with the unpacked QEMU's firmware, where there is one. Debian's older one hangs where
/// instructions are counted.
pub(crate) fn firmware() -> Option<PathBuf> {
    let folder = unpacked().join("usr/share/seabios");
    folder.is_dir().then_some(folder)
}

/// Whether QEMU can run several emulated processors at once. Before 8.1 one of them might go on
/// with code that another had just patched, which ended in an oops (`int3`) now and then; one
/// thread for all of them is safe.
pub(crate) fn emulates_patching() -> bool {
    let newer = folder().join(PROGRAM);
    let program = if newer.is_file() { newer } else { PathBuf::from(PROGRAM) };
    exec::output(Command::new(program).arg("--version")).is_ok_and(|about| is_new_enough(&about))
}

/// Reads what QEMU says about itself.
fn is_new_enough(about: &str) -> bool {
    let version = about.split("version ").nth(1).unwrap_or_default();
    let mut numbers = version.split(['.', ' ']).map_while(|number| number.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (8, 1)
}

/// Where the packages are unpacked.
fn unpacked() -> PathBuf {
    place::vm().join("qemu")
}

/// Gets the packages out of the backports.
fn backported() -> Result<()> {
    let suite = suite()?;
    let lists = apt::Lists::fetch(&suite, &place::vm().join("backports"))?;
    let files =
        PACKAGES.iter().map(|package| lists.download(package)).collect::<Result<Vec<_>>>()?;
    apt::unpack(&files, &unpacked(), |partial| {
        let program = partial.join("usr/bin").join(PROGRAM);
        let about = exec::output(Command::new(program).arg("--version"))
            .context("the unpacked QEMU does not run here")?;
        if !is_new_enough(&about) {
            bail!("{suite} has no newer one");
        }
        Ok(())
    })
}

/// The name of the distribution's backports.
fn suite() -> Result<String> {
    let about = fs::read_to_string(Path::new("/etc/os-release")).context("read os-release")?;
    let codename = about
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .context("the distribution's release has no code name")?;
    Ok(format!("{}-backports", codename.trim_matches('"')))
}

#[cfg(test)]
mod tests {
    use super::is_new_enough;

    #[test]
    fn several_processors_at_once_from_8_1_on() {
        assert!(is_new_enough("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright"));
        assert!(is_new_enough("QEMU emulator version 8.1.0"));
        assert!(!is_new_enough("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)"));
        assert!(!is_new_enough("something else"));
    }
}
