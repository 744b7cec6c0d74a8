//! What the daemon says where something that it needs is missing, and that it leaves nothing and starts
//! as soon as that is there.

use std::process::Command;

use anyhow::{Result, ensure};
use entropy_tests::{
    daemon::{self, Installation},
    snapshot::Snapshot,
    wait::{patience, until},
};

use crate::stage::machine_only;

/// What goes wrong, how (a shell's words, in a mount namespace of the daemon's own; `$RUN` is its runtime
/// directory), and what it says then.
const FAILURES: [(&str, &str, &str); 8] = [
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
    ("few descriptors", "ulimit -n 12", "Too many open files"),
    ("descriptors that end later", "ulimit -n 30", "Too many open files"),
    ("nothing that is known of the kernel", "mount -t tmpfs none /sys", "bpffs is not mounted"),
    (
        "a runtime directory that is a file",
        "rm -rf $RUN && touch $RUN",
        "make the runtime directory",
    ),
];

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
    machine_only!();
    if let Some(reason) = daemon::obstacle() {
        entropy_tests::skip!("{reason}");
    }
    let mut installation = Installation::new()?;
    installation.follow("unix:///nowhere/docker.sock");
    let before = Snapshot::take()?;
    for (what, script, says) in FAILURES {
        let mut daemon = installation.launch(after(&installation, script)?)?;
        let ended = until(what, patience(30), || daemon.poll())?;
        let log = daemon.log();
        ensure!(!ended.success(), "{what}: it ended well:\n{log}");
        ensure!(log.contains(says), "{what}: it does not say `{says}`:\n{log}");
        before.assert_restored()?;
        let runtime = installation.runtime();
        if runtime.is_file() {
            std::fs::remove_file(runtime)?;
        }
    }
    installation.start(&[])?.stop()?;
    before.assert_restored()
}
