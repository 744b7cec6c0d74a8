//! A start that the memory does not suffice for.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use entropy_tests::daemon;

use super::{refused, without_an_engine};
use crate::stage::machine_only;

/// Mebibytes that no start can do with: from less than the program takes to less than its maps take.
const TOO_FEW: [u64; 5] = [8, 12, 16, 20, 24];

/// A control group whose processes have so much memory together, the kernel's for them included.
struct Group(PathBuf);

impl Group {
    /// None where this machine limits no memory.
    fn new() -> Result<Option<Self>> {
        let name = format!("entropy-test-{}", std::process::id());
        let root = Path::new("/sys/fs/cgroup");
        let controllers = fs::read_to_string(root.join("cgroup.subtree_control"));
        let place = if root.join("memory/memory.limit_in_bytes").exists() {
            root.join("memory").join(name)
        } else if controllers.is_ok_and(|list| list.split_whitespace().any(|one| one == "memory")) {
            root.join(name)
        } else {
            return Ok(None);
        };
        fs::create_dir(&place).with_context(|| format!("make {}", place.display()))?;
        Ok(Some(Self(place)))
    }

    fn limit(&self, mebibytes: u64) -> Result<()> {
        let bytes = (mebibytes << 20).to_string();
        let write = |file: &str, text: &str| fs::write(self.0.join(file), text);
        match write("memory.limit_in_bytes", &bytes) {
            // The second version of control groups.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                write("memory.max", &bytes).and_then(|()| write("memory.swap.max", "0"))
            }
            result => result,
        }
        .with_context(|| format!("limit {}", self.0.display()))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.0) {
            eprintln!("remove {}: {error}", self.0.display());
        }
    }
}

/// The kernel kills a process that has no memory left, at whatever it is doing then.
#[test]
fn what_a_start_without_enough_memory_leaves_goes_with_the_next() -> Result<()> {
    machine_only!();
    if let Some(reason) = daemon::obstacle() {
        entropy_tests::skip!("{reason}");
    }
    let Some(group) = Group::new()? else {
        entropy_tests::skip!("needs a machine whose control groups limit memory");
    };
    let (installation, before) = without_an_engine()?;
    for mebibytes in TOO_FEW {
        group.limit(mebibytes)?;
        let enter = format!("echo $$ > {}/cgroup.procs", group.0.display());
        refused(&installation, &format!("{mebibytes} MiB"), &enter)?;
    }
    installation.start(&[])?.stop()?;
    before.assert_restored()
}
