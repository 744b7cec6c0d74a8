//! A start that the memory does not suffice for.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

use super::{ended, without_an_engine};
use crate::stage::machine_only;

/// Mebibytes that no start can do with: from less than the program takes to less than its maps take.
const TOO_FEW: [u64; 5] = [8, 12, 16, 20, 24];

/// A control group whose processes have so much memory together, the kernel's for them included.
struct Group {
    place: PathBuf,
    /// The file of the limit, in the words of the first or the second version of control groups.
    limit: &'static str,
}

impl Group {
    /// None where this machine limits no memory.
    fn new() -> Result<Option<Self>> {
        let root = Path::new("/sys/fs/cgroup");
        let controllers = fs::read_to_string(root.join("cgroup.subtree_control"));
        let (root, limit) = if root.join("memory/memory.limit_in_bytes").exists() {
            (root.join("memory"), "memory.limit_in_bytes")
        } else if controllers.is_ok_and(|list| list.split_whitespace().any(|one| one == "memory")) {
            (root.to_owned(), "memory.max")
        } else {
            return Ok(None);
        };
        let place = root.join(format!("entropy-test-{}", std::process::id()));
        fs::create_dir(&place).with_context(|| format!("make {}", place.display()))?;
        Ok(Some(Self { place, limit }))
    }

    fn limit(&self, mebibytes: u64) -> Result<()> {
        let file = self.place.join(self.limit);
        fs::write(&file, (mebibytes << 20).to_string())
            .with_context(|| format!("write {}", file.display()))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.place) {
            eprintln!("remove {}: {error}", self.place.display());
        }
    }
}

/// The kernel refuses a map, or kills the process at whatever it is doing then.
#[test]
fn what_a_start_without_enough_memory_leaves_goes_with_the_next() -> Result<()> {
    machine_only!(daemon);
    let Some(group) = Group::new()? else {
        entropy_tests::skip!("needs a machine whose control groups limit memory");
    };
    let (installation, before) = without_an_engine()?;
    for mebibytes in TOO_FEW {
        group.limit(mebibytes)?;
        let enter = format!("echo $$ > {}/cgroup.procs", group.place.display());
        let (status, log) = ended(&installation, &format!("{mebibytes} MiB"), &enter)?;
        let is_killed = status.signal() == Some(libc::SIGKILL);
        let is_refused = !status.success() && log.contains("Cannot allocate memory");
        ensure!(is_killed || is_refused, "{mebibytes} MiB: {status}:\n{log}");
    }
    installation.start(&[])?.stop()?;
    before.assert_restored()
}
