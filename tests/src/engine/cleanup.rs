//! Ending what an engine started, also when it was killed: by cgroup and by namespace, both of
//! which are the engine's own, so that nothing else can be hit.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use super::namespace::Namespaces;

/// How long killed processes may take to be gone.
const GONE_LIMIT: Duration = Duration::from_secs(10);

/// Sends a signal to a process; one that is gone is ignored.
pub(super) fn signal(pid: u32, signal: libc::c_int) {
    let Ok(pid) = libc::pid_t::try_from(pid) else { return };
    // SAFETY: kill has no memory preconditions.
    unsafe { libc::kill(pid, signal) };
}

/// Waits for a child; `None` when it still runs after `limit`.
pub(super) fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
            _ => return None,
        }
    }
}

/// Kills every process in the engine's cgroup: its containers.
pub(super) fn kill_cgroup(cgroup: &str) {
    until_none(|| {
        let folders = cgroup_folders(cgroup).into_iter().flat_map(|folder| subtree(&folder));
        folders
            .filter_map(|folder| fs::read_to_string(folder.join("cgroup.procs")).ok())
            .flat_map(|list| list.lines().filter_map(|line| line.parse().ok()).collect::<Vec<_>>())
            .collect()
    });
}

/// Kills every process in the engine's mount namespace: the daemon's helpers and whatever a
/// command left running there.
pub(super) fn kill_inside(namespaces: &Namespaces) {
    until_none(|| {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|&pid| namespaces.holds(pid)).filter_map(|pid| pid.try_into().ok()).collect()
    });
}

/// Removes the engine's empty cgroups, innermost first.
pub(super) fn remove_cgroup(cgroup: &str) {
    for folder in cgroup_folders(cgroup) {
        for inner in subtree(&folder).into_iter().rev() {
            if let Err(error) = fs::remove_dir(&inner) {
                eprintln!("entropy-lab: remove the cgroup {}: {error}", inner.display());
            }
        }
    }
}

/// Kills what `list` finds until it finds nothing more.
fn until_none(list: impl Fn() -> Vec<u32>) {
    let deadline = Instant::now() + GONE_LIMIT;
    loop {
        let pids = list();
        if pids.is_empty() {
            return;
        }
        if Instant::now() > deadline {
            eprintln!("entropy-lab: processes {pids:?} do not end");
            return;
        }
        pids.into_iter().for_each(|pid| signal(pid, libc::SIGKILL));
        thread::sleep(Duration::from_millis(20));
    }
}

/// The cgroup's folder in every hierarchy that has it: one with version 2, many with version 1.
pub(super) fn cgroup_folders(cgroup: &str) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut folders: Vec<_> = hierarchies
        .chain([root.to_owned()])
        .map(|hierarchy| hierarchy.join(cgroup.trim_start_matches('/')))
        .filter(|folder| folder.is_dir())
        .collect();
    // The same hierarchy may have two names (`cpu` and `cpuacct`).
    folders.sort();
    folders
}

/// A folder and all folders below it, outer ones first.
fn subtree(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_owned()];
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        found.extend(subtree(&entry.path()));
    }
    found
}
