//! Tests of the Debian package and the unit, in a virtual machine: `cargo xtask test --only dist`. The
//! package is `ENTROPY_PACKAGE`.

mod machine;
mod root;
mod service;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use entropy_tests::skip::virtual_machine;

use root::Root;

/// The package file.
fn package() -> Result<PathBuf> {
    std::env::var_os("ENTROPY_PACKAGE").map(PathBuf::from).context("ENTROPY_PACKAGE is not set")
}

#[test]
fn without_systemd_the_package_is_installed_and_purged_without_a_trace() -> Result<()> {
    if virtual_machine().is_none() {
        entropy_tests::skip!("needs the VM: packages are installed");
    }
    let root = Root::new("plain")?;
    root.mount_devices()?;
    let package = package()?;
    let before = root.changes()?;
    // The machine's own triggers, above all the index of manual pages, take minutes here.
    root.run(&["dpkg", "--no-triggers", "--install", &package.to_string_lossy()])?;
    assert_eq!(root.run(&["stat", "-c", "%a %U %G", "/etc/entropy/policies"])?, "755 root root");
    root.run(&["getent", "group", "entropy"])?;
    let version = root.run(&["entropyd", "--version"])?;
    assert_eq!(version, format!("entropyd {}", env!("CARGO_PKG_VERSION")));
    root.run(&["dpkg", "--verify", "entropy"])?;
    assert!(root.assert_changes(&before).is_err(), "what was installed is seen");
    let examples = root.run(&["ls", "/usr/share/doc/entropy/examples"])?;
    assert!(examples.contains("loss.toml"), "{examples}");
    root.run(&["entropyctl", "validate", "/usr/share/doc/entropy/examples"])?;
    root.write("etc/entropy/policies/own.toml", "")?;
    root.run(&["dpkg", "--no-triggers", "--remove", "entropy"])?;
    root.run(&["test", "-e", "/etc/entropy/policies/own.toml"])?;
    root.run(&["dpkg", "--no-triggers", "--purge", "entropy"])?;
    root.assert_changes(&before)?;
    Ok(())
}
