//! A Docker engine and a Podman for the tests and a static busybox for their images, unpacked and not
//! installed: nothing of them runs unless a test starts it.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::apt;
use crate::{exec, place};

/// The engine, and what images are made of.
const PACKAGES: [&str; 6] = ["docker.io", "containerd", "runc", "tini", "iptables", BUSYBOX];
/// Podman and what sets up its networks, where the distribution has both.
const PODMAN: [&str; 2] = ["podman", "netavark"];
/// One static program that is a whole user land.
const BUSYBOX: &str = "busybox-static";

/// The static busybox.
pub(crate) fn busybox() -> PathBuf {
    let folder = place::engine();
    let usual = folder.join("bin/busybox");
    if usual.is_file() { usual } else { folder.join("usr/bin/busybox") }
}

/// Downloads and unpacks the engine with those of its libraries that this machine lacks.
///
/// # Errors
/// When a package cannot be downloaded or unpacked.
pub(crate) fn ensure() -> Result<()> {
    let folder = place::engine();
    let has_podman = folder.join("usr/bin/podman").is_file();
    let can_have_podman = has_podman || apt::available(&PODMAN);
    if busybox().is_file() && has_podman == can_have_podman {
        return Ok(());
    }
    exec::step("unpack a Docker engine and Podman into target/engine", || {
        let mut named = PACKAGES.to_vec();
        if can_have_podman {
            named.extend(PODMAN);
        }
        let mut wanted = apt::closure(&named)?;
        // What is installed here is unpacked all the same: the engine must not change under the
        // tests when somebody removes a package.
        wanted.extend(named.into_iter().map(str::to_owned));
        wanted.sort();
        wanted.dedup();
        let files = wanted
            .iter()
            .map(|name| apt::download(name).with_context(|| format!("download {name}")))
            .collect::<Result<Vec<_>>>()?;
        apt::unpack(&files, &folder, |_| Ok(()))
    })
}
