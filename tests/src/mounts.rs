//! Mounts that nobody else sees.

use std::{
    ffi::CString,
    io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    ptr,
};

use anyhow::{Context as _, Result};

/// Where the kernel shows devices without hardware.
const DEVICES: &str = "devices/virtual/net";

/// Gives the calling thread, and those that it starts from now on, mounts of their own: as they are now,
/// and none that is made from now on reaches the machine.
///
/// # Errors
/// Without the rights of root.
pub fn of_our_own() -> Result<()> {
    // SAFETY: unshare takes a number and changes the calling thread only.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) }).context("unshare the mounts")?;
    mount("none", Path::new("/"), "", libc::MS_REC | libc::MS_PRIVATE)
}

/// Shows the devices of the calling thread's network namespace in sysfs, where the daemon steers its own.
/// The thread must have mounts of its own. What else is mounted below `/sys` stays as it is.
///
/// # Errors
/// Without the rights of root.
pub fn show_own_devices() -> Result<()> {
    let whole = tempfile::tempdir().context("make a directory for sysfs")?;
    mount("sysfs", whole.path(), "sysfs", 0)?;
    let source = whole.path().join(DEVICES);
    let shown = source
        .to_str()
        .context("a path that is no text")
        .and_then(|source| mount(source, &PathBuf::from("/sys").join(DEVICES), "", libc::MS_BIND));
    unmount(whole.path()).and(shown)
}

/// Mounts a file system.
///
/// # Errors
/// When the kernel refuses.
pub fn mount(source: &str, on: &Path, kind: &str, flags: libc::c_ulong) -> Result<()> {
    let what = || format!("mount {source} on {}", on.display());
    let source = CString::new(source).with_context(what)?;
    let target = CString::new(on.as_os_str().as_bytes()).with_context(what)?;
    let kind = CString::new(kind).with_context(what)?;
    // SAFETY: the strings end with a zero and outlive the call; no data is passed.
    let result =
        unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, ptr::null()) };
    check(result).with_context(what)
}

fn unmount(from: &Path) -> Result<()> {
    let what = || format!("unmount {}", from.display());
    let target = CString::new(from.as_os_str().as_bytes()).with_context(what)?;
    // SAFETY: the string ends with a zero and outlives the call.
    check(unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) }).with_context(what)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
