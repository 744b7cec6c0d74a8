//! CPUs and threads.

use std::io;

use anyhow::{Context as _, Result};

/// Ties the calling thread to one CPU.
///
/// # Errors
/// When there is no such CPU, or the thread may not use it.
pub fn pin(cpu: usize) -> Result<()> {
    // SAFETY: all zeros is an empty cpu_set_t.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: CPU_SET checks the bounds itself.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: 0 is the calling thread; the set lives during the call.
    if unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) } != 0 {
        return Err(io::Error::last_os_error()).with_context(|| format!("go to CPU {cpu}"));
    }
    Ok(())
}

/// The CPUs that the calling thread may use.
///
/// # Errors
/// When the kernel refuses.
pub fn allowed() -> Result<Vec<usize>> {
    // SAFETY: all zeros is an empty cpu_set_t.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: 0 is the calling thread; the set is as large as said.
    if unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) } != 0 {
        return Err(io::Error::last_os_error()).context("ask for the CPUs");
    }
    // SAFETY: CPU_ISSET checks the bounds itself.
    let is_allowed = |&cpu: &usize| unsafe { libc::CPU_ISSET(cpu, &set) };
    Ok((0..libc::CPU_SETSIZE as usize).filter(is_allowed).collect())
}
