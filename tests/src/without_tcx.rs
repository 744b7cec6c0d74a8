//! A kernel without TCX for one process, on a machine whose kernel has it: what filters of clsact do
//! can be tried a hundred times here, where a start takes a second and not ten as under emulation.

use std::{env::consts::ARCH, io, os::unix::process::CommandExt, process::Command};

use anyhow::{Context as _, Result, ensure};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};

use crate::daemon::{Daemon, Installation};

/// `BPF_LINK_CREATE` of `enum bpf_cmd`, see bpf(2).
const LINK_CREATE: u64 = 28;

impl Installation {
    /// Starts a daemon as on a kernel that has no TCX: it attaches filters of clsact.
    ///
    /// # Errors
    /// When it ends before that, or attaches otherwise.
    pub fn start_without_tcx(&self, arguments: &[&str]) -> Result<Daemon> {
        let mut command = self.command()?;
        refuse_links(command.args(arguments))?;
        let daemon = self.spawn(command)?;
        ensure!(daemon.log().contains("using clsact filters"), "{}", daemon.log());
        Ok(daemon)
    }
}

/// Has the kernel refuse BPF links to the command's process and all that come of it, with `EINVAL`:
/// what Linux before 6.6 answers to the attach types of TCX.
///
/// # Errors
/// When seccomp filters cannot be made for this architecture.
fn refuse_links(command: &mut Command) -> Result<()> {
    let filter = filter().context("make a seccomp filter")?;
    let apply = move || apply_filter(&filter).map_err(|_| io::Error::last_os_error());
    // SAFETY: the filter has been made; after the fork there are two system calls only.
    unsafe { command.pre_exec(apply) };
    Ok(())
}

fn filter() -> Result<BpfProgram> {
    let (command, equal) = (SeccompCmpArgLen::Dword, SeccompCmpOp::Eq);
    let links = SeccompRule::new(vec![SeccompCondition::new(0, command, equal, LINK_CREATE)?])?;
    let invalid = SeccompAction::Errno(libc::EINVAL.unsigned_abs());
    let rules = [(libc::SYS_bpf, vec![links])].into();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, invalid, ARCH.try_into()?)?;
    Ok(filter.try_into()?)
}
