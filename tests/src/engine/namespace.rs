//! The network and the mount namespace of an engine.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::ptr;
use std::thread;

use anyhow::{Context, Result, anyhow};

/// What `statfs` calls a BPF file system (`BPF_FS_MAGIC` in linux/magic.h).
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;
/// Where programs expect the BPF file system.
const BPF_FS: &str = "/sys/fs/bpf";

/// Two namespaces, kept alive by open handles: when the last process and this are gone, so are
/// every interface, rule and mount in them.
pub(super) struct Namespaces {
    net: File,
    mnt: File,
}

impl Namespaces {
    /// Creates the namespaces with `lo` up, an empty `/run`, a BPF file system, and a file system
    /// in memory on `scratch`.
    pub(super) fn new(scratch: &Path) -> Result<Self> {
        // Unsharing changes the calling thread only, so that a new one is changed and dropped.
        thread::scope(|scope| {
            let made = scope.spawn(|| {
                unshare().context("unshare")?;
                arrange(scratch)?;
                let open = |kind: &str| File::open(format!("/proc/thread-self/ns/{kind}"));
                Ok(Self { net: open("net")?, mnt: open("mnt")? })
            });
            made.join().map_err(|_| anyhow!("the thread that makes namespaces panicked"))?
        })
    }

    /// Makes `command` run in these namespaces.
    pub(super) fn enter(&self, command: &mut Command) -> Result<()> {
        let folder = match command.get_current_dir() {
            Some(folder) => folder.to_owned(),
            None => std::env::current_dir().context("determine the current directory")?,
        };
        let folder = CString::new(folder.as_os_str().as_bytes()).context("a path holds a zero")?;
        // The command must not outlive the handles, and may: so it gets its own.
        let net = self.net.try_clone().context("clone a namespace's handle")?;
        let mnt = self.mnt.try_clone().context("clone a namespace's handle")?;
        let change = move || {
            join(net.as_raw_fd(), libc::CLONE_NEWNET)?;
            join(mnt.as_raw_fd(), libc::CLONE_NEWNS)?;
            // Joining a mount namespace moves the process to its root.
            // SAFETY: the string ends with a zero and lives in the closure.
            check(unsafe { libc::chdir(folder.as_ptr()) })
        };
        // SAFETY: between fork and exec the closure makes system calls only; it allocates nothing
        // and takes no lock.
        unsafe { command.pre_exec(change) };
        Ok(())
    }

    /// Moves the calling thread into the network namespace until the guard is dropped.
    pub(super) fn enter_network(&self) -> Result<NetworkGuard> {
        let before = File::open("/proc/thread-self/ns/net").context("open the own namespace")?;
        join(self.net.as_raw_fd(), libc::CLONE_NEWNET).context("join the engine's namespace")?;
        Ok(NetworkGuard { before, not_send: std::marker::PhantomData })
    }

    /// Whether the process `pid` is in the mount namespace.
    pub(super) fn holds(&self, pid: i32) -> bool {
        let theirs = std::fs::metadata(format!("/proc/{pid}/ns/mnt"));
        let (Ok(theirs), Ok(ours)) = (theirs, self.mnt.metadata()) else { return false };
        (theirs.dev(), theirs.ino()) == (ours.dev(), ours.ino())
    }
}

/// While it lives the thread that made it is in the engine's network namespace.
pub struct NetworkGuard {
    before: File,
    /// Namespaces belong to threads: the guard must be dropped where it was made.
    not_send: std::marker::PhantomData<*const ()>,
}

impl Drop for NetworkGuard {
    fn drop(&mut self) {
        if let Err(error) = join(self.before.as_raw_fd(), libc::CLONE_NEWNET) {
            eprintln!("entropy-lab: return to the own network namespace: {error}");
        }
    }
}

/// Gives the calling thread a network and a mount namespace of its own.
fn unshare() -> io::Result<()> {
    // SAFETY: unshare has no memory preconditions.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) })
}

/// Makes the calling thread's new namespaces usable.
fn arrange(scratch: &Path) -> Result<()> {
    // Before anything else: no mount made here may reach the machine.
    mount("none", Path::new("/"), "", libc::MS_REC | libc::MS_PRIVATE)?;
    mount("tmpfs", scratch, "tmpfs", 0)?;
    // The machine's own engine and containerd have their sockets there, which dockerd would use.
    mount("tmpfs", Path::new("/run"), "tmpfs", 0)?;
    if !is_bpf_fs() {
        mount("bpf", Path::new(BPF_FS), "bpf", 0)?;
    }
    loopback_up().context("set the loopback interface up")
}

/// Mounts a file system.
fn mount(source: &str, on: &Path, kind: &str, flags: libc::c_ulong) -> Result<()> {
    let what = || format!("mount {source} on {}", on.display());
    let source = CString::new(source).with_context(what)?;
    let target = CString::new(on.as_os_str().as_bytes()).with_context(what)?;
    let kind = CString::new(kind).with_context(what)?;
    // SAFETY: the strings end with a zero and outlive the call; no data is passed.
    let result =
        unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, ptr::null()) };
    check(result).with_context(what)
}

/// Whether a BPF file system is where programs expect it.
fn is_bpf_fs() -> bool {
    let Ok(path) = CString::new(BPF_FS) else { return false };
    // SAFETY: all zeroes is a valid value of this plain structure of integers.
    let mut about: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends with a zero and the structure is valid for writing.
    let result = unsafe { libc::statfs(path.as_ptr(), &raw mut about) };
    result == 0 && about.f_type == BPF_FS_MAGIC
}

/// Sets `lo` up: in a new namespace it is down.
fn loopback_up() -> io::Result<()> {
    // SAFETY: socket has no memory preconditions.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    check(socket)?;
    // SAFETY: the descriptor was just made and belongs to nobody else.
    let socket: std::os::fd::OwnedFd = unsafe { std::os::fd::FromRawFd::from_raw_fd(socket) };
    // SAFETY: all zeroes is a valid value of this plain structure.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, letter) in request.ifr_name.iter_mut().zip(*b"lo") {
        *place = libc::c_char::from_ne_bytes([letter]);
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request is a valid ifreq, which is what this call reads.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) })
}

/// Joins a namespace.
fn join(handle: RawFd, kind: libc::c_int) -> io::Result<()> {
    // SAFETY: setns has no memory preconditions; a bad descriptor is an error.
    check(unsafe { libc::setns(handle, kind) })
}

/// Turns a system call's result into a `Result`.
fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
