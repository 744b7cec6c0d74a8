//! A network and a bpffs of a test's own, so that neither the host nor another test is touched.

use std::{
    fs::OpenOptions,
    io::{self, Write as _, stderr},
    ptr, thread,
};

/// Runs `test` on a thread in a fresh network namespace with an empty bpffs, which the commands that
/// it starts are in too. Without root it says so and runs nothing.
pub(crate) fn in_sandbox(name: &str, test: impl FnOnce() + Send + 'static) {
    if !is_root() {
        return skipped(name, "needs root");
    }
    let thread = thread::spawn(move || {
        enter()?;
        test();
        io::Result::Ok(())
    });
    match thread.join() {
        Ok(Ok(())) => {}
        Ok(Err(error)) => skipped(name, &format!("cannot make a sandbox: {error}")),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Says past the harness's capture that a test was skipped, and writes it down where `ENTROPY_SKIPS`
/// says, as the test suite does.
pub(crate) fn skipped(name: &str, reason: &str) {
    let _ = writeln!(stderr(), "SKIPPED {name}: {reason}");
    if let Some(list) = std::env::var_os("ENTROPY_SKIPS") {
        let mut list = OpenOptions::new().create(true).append(true).open(list).unwrap();
        list.write_all(format!("{name}\t{reason}\n").as_bytes()).unwrap();
    }
}

pub(crate) fn is_root() -> bool {
    // SAFETY: geteuid has no arguments and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Moves the calling thread.
fn enter() -> io::Result<()> {
    // SAFETY: unshare takes a number and changes the calling thread only.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) })?;
    // What is mounted from here on stays in here.
    let private = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: the strings end with zeros, the others may be null.
    check(unsafe { libc::mount(ptr::null(), c"/".as_ptr(), ptr::null(), private, ptr::null()) })?;
    let (kind, place) = (c"bpf".as_ptr(), c"/sys/fs/bpf".as_ptr());
    // SAFETY: as above.
    check(unsafe { libc::mount(kind, place, kind, 0, ptr::null()) })
}

fn check(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
