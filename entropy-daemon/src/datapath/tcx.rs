//! TCX links, by `bpf(2)` itself.
//!
//! aya 0.14 attaches by name, keeps the descriptor of a link to itself and takes over no descriptor that
//! it has not made. An upgrade hands descriptors on, and a name may mean another interface by the time it
//! is looked up.

use std::{
    ffi::CString,
    fs, io,
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
};

use crate::netlink::Hook;

// Commands, attach types and flags of linux/bpf.h.
const BPF_OBJ_PIN: libc::c_int = 6;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_LINK_UPDATE: libc::c_int = 29;
const BPF_TCX_INGRESS: u32 = 46;
const BPF_TCX_EGRESS: u32 = 47;
const BPF_F_BEFORE: u32 = 1 << 3;

/// `link_create` of `union bpf_attr`, as far as TCX needs it.
#[repr(C)]
struct LinkCreate {
    program: u32,
    ifindex: u32,
    attach_type: u32,
    flags: u32,
    relative: u32,
    padding: u32,
    expected_revision: u64,
}

/// `link_update` of `union bpf_attr`.
#[repr(C)]
struct LinkUpdate {
    link: u32,
    program: u32,
    flags: u32,
    old_program: u32,
}

/// What `union bpf_attr` has for pins.
#[repr(C)]
struct Object {
    path: u64,
    descriptor: u32,
    flags: u32,
}

/// `info` of `union bpf_attr`.
#[repr(C)]
struct GetInfo {
    descriptor: u32,
    length: u32,
    info: u64,
}

/// `struct bpf_link_info` of a TCX link, as far as we need it: the kernel writes no more.
#[derive(Default)]
#[repr(C)]
struct LinkInfo {
    kind: u32,
    number: u32,
    program: u32,
    padding: u32,
    ifindex: u32,
    attach_type: u32,
}

/// A program on a hook of an interface, for as long as somebody holds the link: this, a copy of its
/// descriptor, or a pin.
#[derive(Debug)]
pub(super) struct Link(OwnedFd);

impl Link {
    /// Puts a program first on a hook, so that no other ends the packet's way before it.
    ///
    /// # Errors
    /// `EINVAL` where the kernel has no TCX, `ENODEV` where there is no such interface.
    pub(super) fn create(program: BorrowedFd<'_>, ifindex: u32, hook: Hook) -> io::Result<Self> {
        let attach_type = match hook {
            Hook::Ingress => BPF_TCX_INGRESS,
            Hook::Egress => BPF_TCX_EGRESS,
        };
        let attributes = LinkCreate {
            program: number(program),
            ifindex,
            attach_type,
            flags: BPF_F_BEFORE,
            relative: 0,
            padding: 0,
            expected_revision: 0,
        };
        descriptor(bpf(BPF_LINK_CREATE, &attributes)?).map(Self)
    }

    /// Puts another program in the place of this one, in one step: each packet meets the one or the other.
    ///
    /// # Errors
    /// `ENOLINK` where the interface is gone.
    pub(super) fn update(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        let (link, program) = (number(self.as_fd()), number(program));
        bpf(BPF_LINK_UPDATE, &LinkUpdate { link, program, flags: 0, old_program: 0 }).map(drop)
    }

    /// Whether it is still on an interface: one that was detached by force, or whose interface is gone, is
    /// on none (`tcx_link_fill_info`, kernel/bpf/tcx.c).
    ///
    /// # Errors
    /// When the kernel does not say.
    pub(super) fn is_attached(&self) -> io::Result<bool> {
        let mut info = LinkInfo::default();
        let attributes = GetInfo {
            descriptor: number(self.as_fd()),
            length: size_of::<LinkInfo>() as u32,
            info: (&raw mut info) as u64,
        };
        bpf(BPF_OBJ_GET_INFO_BY_FD, &attributes)?;
        // SAFETY: it is ours, and initialised; the kernel has written to it behind the compiler's back.
        Ok(unsafe { (&raw const info.ifindex).read_volatile() } != 0)
    }

    /// Gives it a pin.
    ///
    /// # Errors
    /// When there is something at `path` already, or that is not in a bpffs.
    pub(super) fn pin(self, path: PathBuf) -> io::Result<Pinned> {
        with_path(&path, |path| Object { path, descriptor: number(self.as_fd()), flags: 0 })
            .and_then(|(attributes, _path)| bpf(BPF_OBJ_PIN, &attributes))?;
        Ok(Pinned { link: self, path })
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Link {
    /// Takes over a descriptor that is one of a link.
    fn from(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }
}

/// A link with a pin, which outlives the process.
#[derive(Debug)]
pub(super) struct Pinned {
    link: Link,
    path: PathBuf,
}

impl Pinned {
    /// Puts another program in the place of a pinned link's.
    ///
    /// # Errors
    /// `ENOENT` where there is no such pin, `ENOLINK` where the interface is gone.
    pub(super) fn update(path: PathBuf, program: BorrowedFd<'_>) -> io::Result<Self> {
        let (attributes, _path) =
            with_path(&path, |path| Object { path, descriptor: 0, flags: 0 })?;
        let link = Link(descriptor(bpf(BPF_OBJ_GET, &attributes)?)?);
        link.update(program)?;
        Ok(Self { link, path })
    }

    /// Whether it is still on an interface.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub(super) fn is_attached(&self) -> io::Result<bool> {
        self.link.is_attached()
    }

    /// Removes the pin; the link closes with the last who holds it.
    pub(super) fn unpin(self) -> io::Result<()> {
        fs::remove_file(self.path)
    }
}

/// Attributes with the address of a path, and the path, which has to live as long.
fn with_path(path: &Path, attributes: impl Fn(u64) -> Object) -> io::Result<(Object, CString)> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    Ok((attributes(path.as_ptr() as u64), path))
}

fn number(descriptor: BorrowedFd<'_>) -> u32 {
    descriptor.as_raw_fd().cast_unsigned()
}

fn descriptor(result: libc::c_long) -> io::Result<OwnedFd> {
    let number = libc::c_int::try_from(result).map_err(io::Error::other)?;
    // SAFETY: the kernel has just opened it for us, close-on-exec as all of bpf(2).
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<libc::c_long> {
    // SAFETY: the kernel reads as many bytes of the attributes as it is told there are.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>() as u32) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
