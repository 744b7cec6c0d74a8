//! systemd, which a virtual machine boots from this machine's files. Nothing of it runs here.

use anyhow::Result;

use super::apt;

/// What the tests of the package need: systemd, and what package scripts call.
const PACKAGES: [&str; 3] = ["dpkg", "init-system-helpers", "systemd"];

/// Installs it.
///
/// # Errors
/// When it is not there and cannot be installed.
pub(crate) fn ensure() -> Result<()> {
    apt::install("tests of the package", &PACKAGES)
}
