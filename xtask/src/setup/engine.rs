//! A Docker engine for the tests and a static busybox for their images, unpacked and not installed:
//! nothing of them runs unless a test starts it.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::apt;
use crate::{exec, place};

/// The engine, and what images are made of.
const PACKAGES: [&str; 6] = ["docker.io", "containerd", "runc", "tini", "iptables", BUSYBOX];
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
    if busybox().is_file() {
        return Ok(());
    }
    exec::step("unpack a Docker engine into target/engine", || {
        let mut wanted = apt::closure(&PACKAGES)?;
        // What is installed here is unpacked all the same: the engine must not change under the
        // tests when somebody removes a package.
        wanted.extend(PACKAGES.iter().map(|&name| name.to_owned()));
        wanted.sort();
        wanted.dedup();
        let files = wanted
            .iter()
            .map(|name| apt::download(name).with_context(|| format!("download {name}")))
            .collect::<Result<Vec<_>>>()?;
        apt::unpack(&files, &folder, |_| Ok(()))
    })
}
