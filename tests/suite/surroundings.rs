//! What the daemon says where something that it needs is missing, and that it leaves nothing and starts
//! as soon as that is there; and what becomes of it when something goes later.

mod later;
mod memory;

use std::{
    ops::RangeInclusive,
    process::{Command, ExitStatus},
};

use anyhow::{Context as _, Result, ensure};
use entropy_tests::{
    daemon::Installation,
    snapshot::Snapshot,
    wait::{patience, until},
};

use crate::stage::machine_only;

/// What goes wrong, how (a shell's words, in a mount namespace of the daemon's own; `$RUN` is its runtime
/// directory), and what it says then.
const FAILURES: [(&str, &str, &str); 6] = [
    ("no bpffs", "umount -l /sys/fs/bpf", "bpffs is not mounted at /sys/fs/bpf: run `mount -t bpf"),
    (
        "a bpffs that cannot be written to",
        "mount -o remount,ro,bind /sys/fs/bpf",
        "create /sys/fs/bpf/entropy: Read-only file system",
    ),
    (
        "a disk that is full",
        "mkdir -p $RUN && mount -t tmpfs -o size=4k,nr_inodes=2 none $RUN",
        "make the runtime directory: create",
    ),
    (
        "a disk that cannot be written to",
        "mkdir -p $RUN && mount -t tmpfs -o ro none $RUN",
        "Read-only file system",
    ),
    ("nothing that is known of the kernel", "mount -t tmpfs none /sys", "bpffs is not mounted"),
    (
        "a runtime directory that is a file",
        "rm -rf $RUN && touch $RUN",
        "make the runtime directory",
    ),
];

/// Numbers of descriptors that no start can do with.
const TOO_FEW: RangeInclusive<u32> = 8..=32;
/// An installation whose engine is not there, and what the machine looks like before its first start.
fn without_an_engine() -> Result<(Installation, Snapshot)> {
    let mut installation = Installation::new()?;
    installation.follow("unix:///nowhere/docker.sock");
    Ok((installation, Snapshot::take()?))
}

/// The daemon after these words of a shell.
fn after(installation: &Installation, script: &str) -> Result<Command> {
    let usual = installation.command()?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--", "sh", "-ec", &format!("{script}\nexec \"$@\""), "sh"]);
    command.arg(usual.get_program()).args(usual.get_args());
    command.env("RUN", installation.runtime());
    Ok(command)
}

#[test]
fn what_is_missing_at_the_start_is_named_and_nothing_stays() -> Result<()> {
    machine_only!(daemon);
    let (installation, before) = without_an_engine()?;
    for (what, script, says) in FAILURES {
        let log = refused(&installation, what, script)?;
        ensure!(log.contains(says), "{what}: it does not say `{says}`:\n{log}");
        before.assert_restored().context(what)?;
        let runtime = installation.runtime();
        if runtime.is_file() {
            std::fs::remove_file(runtime)?;
        }
    }
    installation.start(&[])?.stop()?;
    before.assert_restored()
}

/// The log of a daemon that ends by itself after these words of a shell, and not well.
fn refused(installation: &Installation, what: &str, script: &str) -> Result<String> {
    let (status, log) = ended(installation, what, script)?;
    ensure!(!status.success(), "{what}: it ended well:\n{log}");
    Ok(log)
}

/// How a daemon ends by itself after these words of a shell, and its log.
fn ended(installation: &Installation, what: &str, script: &str) -> Result<(ExitStatus, String)> {
    let mut daemon = installation.launch(after(installation, script)?)?;
    let status = until(what, patience(30), || daemon.poll())?;
    Ok((status, daemon.log()))
}

/// Where a shell gives few that can be more.
#[test]
fn a_soft_limit_of_descriptors_is_raised() -> Result<()> {
    machine_only!(daemon);
    let (installation, before) = without_an_engine()?;
    let daemon = installation.spawn(after(&installation, "ulimit -S -n 16")?)?;
    assert!(daemon.descriptors()? > 16);
    daemon.stop()?;
    before.assert_restored()
}

/// From too few for the runtime to one less than enough: each of them ends at another step.
#[test]
fn at_whatever_step_the_descriptors_end_nothing_stays() -> Result<()> {
    machine_only!(daemon);
    let (installation, before) = without_an_engine()?;
    for number in TOO_FEW {
        let what = format!("{number} descriptors");
        let log = refused(&installation, &what, &format!("ulimit -n {number}"))?;
        ensure!(log.contains("Too many open files"), "{what}: it does not say so:\n{log}");
        before.assert_restored().context(what)?;
    }
    Ok(())
}
