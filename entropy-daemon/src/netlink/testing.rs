//! Namespaces, devices and programs for tests. Everything lives in namespaces of test threads and
//! vanishes with them.

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
    path::PathBuf,
    sync::mpsc,
    thread::JoinHandle,
};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
    tc::{TcAttribute, TcHandle},
};

use super::{Netlink, Operation, link, qdisc};

/// Runs `test` on a thread of its own in a fresh network namespace, on a runtime of that thread.
/// Without the right to make namespaces it says so and runs nothing.
pub(crate) fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let thread = std::thread::spawn(move || {
        if let Err(error) = unshare_network() {
            eprintln!("skipped: cannot make a network namespace (needs root): {error}");
            return;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn unshare_network() -> io::Result<()> {
    // SAFETY: unshare takes a number and changes the calling thread only.
    match unsafe { libc::unshare(libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A second namespace, kept by a thread that waits in it.
pub(crate) struct OtherNamespace {
    /// Its namespace file.
    pub(crate) file: File,
    /// The waiting thread, which netlink takes for a process id too.
    pub(crate) tid: i32,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl OtherNamespace {
    pub(crate) fn new() -> Self {
        let (stop, stopped) = mpsc::channel::<()>();
        let (report, reported) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            unshare_network().unwrap();
            let file = File::open("/proc/thread-self/ns/net").unwrap();
            report.send((file, gettid())).unwrap();
            // Ends with an error when the sender is dropped.
            let _ = stopped.recv();
        });
        let (file, tid) = reported.recv().unwrap();
        Self { file, tid, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }
}

impl Drop for OtherNamespace {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub(crate) fn gettid() -> i32 {
    // SAFETY: gettid has no arguments and cannot fail.
    unsafe { libc::gettid() }
}

/// What a test does that the daemon never does.
impl Netlink {
    /// Makes a veth pair; the peer gets index `peer_index` in the namespace `peer_namespace`.
    pub(crate) async fn add_veth(
        &self,
        name: &str,
        peer_name: &str,
        peer: Option<(RawFd, u32)>,
    ) -> u32 {
        let mut other = named(peer_name);
        if let Some((namespace, index)) = peer {
            other.header.index = index;
            other.attributes.push(LinkAttribute::NetNsFd(namespace));
        }
        let mut message = named(name);
        // The kernel heeds the peer's index only if the other end asks for one too.
        message.header.index = peer.map_or(0, |(_, index)| index + 1000);
        let data = InfoData::Veth(InfoVeth::Peer(other));
        self.add(message, vec![LinkInfo::Kind(InfoKind::Veth), LinkInfo::Data(data)]).await;
        self.index_of(name).await
    }

    pub(crate) async fn add_bridge(&self, name: &str) -> u32 {
        self.add_link(name, InfoKind::Bridge).await
    }

    pub(crate) async fn add_link(&self, name: &str, kind: InfoKind) -> u32 {
        self.add(named(name), vec![LinkInfo::Kind(kind)]).await;
        self.index_of(name).await
    }

    async fn add(&self, mut message: LinkMessage, info: Vec<LinkInfo>) {
        message.attributes.push(LinkAttribute::LinkInfo(info));
        let request = RouteNetlinkMessage::NewLink(message);
        self.request(&Operation::new("add link"), request, NLM_F_CREATE | NLM_F_EXCL)
            .await
            .unwrap();
    }

    pub(crate) async fn index_of(&self, name: &str) -> u32 {
        let links = self.links().await.unwrap();
        links.iter().find(|link| link.name == name).unwrap().index
    }

    pub(crate) async fn set_master(&self, index: u32, master: u32) {
        let mut message = link::message(index);
        message.attributes.push(LinkAttribute::Controller(master));
        let request = RouteNetlinkMessage::SetLink(message);
        self.request(&Operation::on("set master", index), request, 0).await.unwrap();
    }

    pub(crate) async fn move_link(&self, index: u32, namespace: &File) {
        let mut message = link::message(index);
        message.attributes.push(LinkAttribute::NetNsFd(namespace.as_raw_fd()));
        let request = RouteNetlinkMessage::SetLink(message);
        self.request(&Operation::on("move", index), request, 0).await.unwrap();
    }

    pub(crate) async fn set_up(&self, index: u32) {
        let mut message = link::message(index);
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        let request = RouteNetlinkMessage::SetLink(message);
        self.request(&Operation::on("set up", index), request, 0).await.unwrap();
    }

    pub(crate) async fn add_ingress_qdisc(&self, index: u32) {
        let mut message = qdisc::message(index);
        message.header.handle = TcHandle { major: 0xffff, minor: 0 };
        message.header.parent = TcHandle::INGRESS;
        message.attributes.push(TcAttribute::Kind("ingress".into()));
        let request = RouteNetlinkMessage::NewQueueDiscipline(message);
        self.request(&Operation::on("add ingress", index), request, NLM_F_CREATE | NLM_F_EXCL)
            .await
            .unwrap();
    }
}

fn named(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.into()));
    message
}

/// The start of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

/// Loads a classifier that returns `TC_ACT_UNSPEC`, so that the next filter decides.
pub(crate) fn load_passing_classifier() -> OwnedFd {
    const BPF_PROG_LOAD: libc::c_long = 5;
    const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
    // r0 = -1; exit
    let code: [u64; 2] = [0xffff_ffff_0000_00b7, 0x95];
    let load = ProgLoad {
        prog_type: BPF_PROG_TYPE_SCHED_CLS,
        insn_cnt: 2,
        insns: code.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        ..ProgLoad::default()
    };
    // SAFETY: `load` and what it points to live during the call, and its size is passed.
    let fd = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const load, size_of::<ProgLoad>())
    };
    assert!(fd >= 0, "load a classifier: {}", io::Error::last_os_error());
    // SAFETY: the kernel just gave this descriptor to us alone.
    unsafe { OwnedFd::from_raw_fd(fd.try_into().unwrap()) }
}
