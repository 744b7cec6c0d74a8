//! A kernel without TCX for one process, on a machine whose kernel has it: what filters of clsact do
//! can be tried a hundred times here, where a start takes a second and not ten as under emulation.

use std::{env::consts::ARCH, io, os::unix::process::CommandExt, process::Command};

use anyhow::{Context as _, Result};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};

/// `BPF_LINK_CREATE` of `enum bpf_cmd`, see bpf(2).
const LINK_CREATE: u64 = 28;

/// Has the kernel refuse BPF links to the command's process and all that come of it, with `EINVAL`:
/// what Linux before 6.6 answers to the attach types of TCX.
///
/// # Errors
/// When seccomp filters cannot be made for this architecture.
pub fn without_tcx(command: &mut Command) -> Result<()> {
    let filter = filter().context("make a seccomp filter")?;
    let apply = move || apply_filter(&filter).map_err(io::Error::other);
    // SAFETY: the filter has been made; after the fork there are two system calls only, and an
    // allocation where one of them fails, which ends the child.
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
