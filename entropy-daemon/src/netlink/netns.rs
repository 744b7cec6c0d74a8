//! Network namespaces without entering them: the ids that the kernel gives to its neighbours.

use std::{
    fs::{File, Metadata, OpenOptions},
    io,
    os::{
        fd::AsRawFd as _,
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::Path,
};

use netlink_packet_route::{
    RouteNetlinkMessage,
    nsid::{NsidAttribute, NsidMessage},
};

use super::{Error, Netlink, Operation, Result, wire};

/// Length of `struct rtgenmsg`, padded.
const HEADER_LEN: usize = 4;

/// `NETNSA_NSID` of `linux/net_namespace.h`.
const NETNSA_NSID: u16 = 1;

/// How a network namespace is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetnsRef<'a> {
    /// A namespace file, such as Docker's `/run/docker/netns/<id>`.
    Path(&'a Path),
    /// The namespace of a process.
    Pid(i32),
}

/// What the kernel calls a namespace, seen from the daemon's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetnsId {
    /// Its id, the same as in [`super::Link::peer_netns`]. The kernel gives it to another namespace
    /// once this one is gone (a restarted container gets the same id as before, at once), so compare
    /// it only with links listed about the same time.
    Id(i32),
    /// No id yet: nothing here has its other end there. The kernel gives an id when such an
    /// interface is reported, so list the links and ask again.
    Unassigned,
    /// It is the namespace that the daemon itself works in.
    SameNamespace,
}

/// Identity of a namespace: device and inode of its file, as `stat(2)` sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NetnsFile {
    device: u64,
    inode: u64,
}

impl NetnsFile {
    /// The namespace of the calling thread, in which a netlink socket opened by it will live.
    pub(super) fn of_this_thread() -> io::Result<Self> {
        std::fs::metadata("/proc/thread-self/ns/net").map(|metadata| Self::from(&metadata))
    }
}

impl From<&Metadata> for NetnsFile {
    fn from(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

impl Netlink {
    /// Finds the id of a namespace.
    ///
    /// That a process shares the daemon's namespace can be told only with the right to look at the
    /// process (the same capabilities at least, or `CAP_SYS_PTRACE`); without it such a process is
    /// [`NetnsId::Unassigned`]. Paths need no such right.
    ///
    /// # Errors
    ///
    /// [`Error::NetnsGone`] if the path or process does not exist or is no namespace any more.
    pub async fn netns_id(&self, netns: NetnsRef<'_>) -> Result<NetnsId> {
        match netns {
            NetnsRef::Path(path) => self.netns_id_of_path(path).await,
            NetnsRef::Pid(pid) => self.netns_id_of_process(pid).await,
        }
    }

    async fn netns_id_of_path(&self, path: &Path) -> Result<NetnsId> {
        let what = format!("look up network namespace {}", path.display());
        let (file, identity) = open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::NetnsGone { operation: what.clone() },
            _ => Error::io(&what, error),
        })?;
        if identity == self.namespace {
            return Ok(NetnsId::SameNamespace);
        }
        let netlink = self.clone();
        // A task of its own keeps the descriptor open until the kernel has seen it, even if the
        // caller stops waiting: its number must not mean another file by then.
        let lookup = tokio::spawn(async move {
            let fd = file.as_raw_fd().cast_unsigned();
            netlink.query_nsid(&what, NsidAttribute::Fd(fd)).await
        });
        lookup.await.map_err(|e| Error::io("look up network namespace", io::Error::other(e)))?
    }

    async fn netns_id_of_process(&self, pid: i32) -> Result<NetnsId> {
        let what = format!("look up network namespace of process {pid}");
        let Some(id) = u32::try_from(pid).ok().filter(|pid| *pid != 0) else {
            return Err(Error::NetnsGone { operation: what });
        };
        // Without the right to look, the kernel still answers the question below.
        if let Ok(metadata) = std::fs::metadata(format!("/proc/{pid}/ns/net"))
            && NetnsFile::from(&metadata) == self.namespace
        {
            return Ok(NetnsId::SameNamespace);
        }
        self.query_nsid(&what, NsidAttribute::Pid(id)).await
    }

    async fn query_nsid(&self, what: &str, netns: NsidAttribute) -> Result<NetnsId> {
        let op = Operation::new(what);
        let mut message = NsidMessage::default();
        message.attributes.push(netns);
        let answer = match self.query(&op, RouteNetlinkMessage::GetNsId(message)).await {
            // EINVAL: an open file that is no network namespace (a mount that has been undone).
            Err(error) if matches!(error.raw_os_error(), Some(libc::ESRCH | libc::EINVAL)) => {
                return Err(Error::NetnsGone { operation: what.to_owned() });
            }
            answer => answer?,
        };
        let id = answer
            .attributes(HEADER_LEN)
            .find(|(kind, _)| *kind == NETNSA_NSID)
            .and_then(|(_, value)| wire::as_i32(value))
            .ok_or_else(|| op.invalid("answer without an id"))?;
        // NETNSA_NSID_NOT_ASSIGNED is -1.
        Ok(if id < 0 { NetnsId::Unassigned } else { NetnsId::Id(id) })
    }
}

/// Opens a namespace file without ever blocking on something else (a pipe) in its place.
fn open(path: &Path) -> io::Result<(File, NetnsFile)> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let identity = NetnsFile::from(&file.metadata()?);
    Ok((file, identity))
}
