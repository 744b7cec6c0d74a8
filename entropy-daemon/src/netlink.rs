//! The kernel's network devices and traffic control, over rtnetlink. The only user of `rtnetlink`.
//!
//! Everything is addressed by interface index, in the network namespace of the thread that opened
//! the [`Netlink`] handle. No other namespace is ever entered: what lies behind a veth is known
//! from the peer index and namespace id that the kernel reports on this side.
//!
//! Requests are built with `netlink-packet-route`. Answers are read attribute by attribute, only
//! those needed ([`wire`]): its parsers reject a whole message for one attribute of a newer kernel,
//! and a rejected message is an interface or a filter that silently does not exist.

mod address;
mod error;
mod filter;
mod fq;
mod line;
mod link;
mod monitor;
mod netns;
mod offload;
mod probe;
mod qdisc;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod wire;

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{Stream, StreamExt as _};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use rtnetlink::{
    proto,
    sys::{AsyncSocket as _, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE},
};

pub use self::{
    error::{Error, Result},
    filter::{AttachMode, Filter, FilterId},
    fq::{Disowner, FqOptions, FqStatistics},
    line::{Occupied, Passage},
    link::Link,
    monitor::{LinkEvent, LinkMonitor},
    netns::{NetnsId, NetnsRef},
    qdisc::{ClsactAdd, Hook, Qdisc},
};
use self::{netns::NetnsFile, wire::Raw};

/// Longest wait for an answer. The kernel answers as part of the request, at the latest after
/// somebody else's hold on the rtnl lock; beyond this an answer got lost.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A dump that changes under the reader is repeated this often before it is reported as an error.
const DUMP_ATTEMPTS: usize = 16;

/// A connection to the kernel's routing netlink, shared by cloning.
#[derive(Debug, Clone)]
pub struct Netlink {
    /// A connection ends at an error of its socket, for instance for want of memory; the next request opens
    /// another one.
    handle: Arc<Mutex<proto::ConnectionHandle<Raw>>>,
    /// The network namespace that the socket belongs to.
    namespace: NetnsFile,
}

impl Netlink {
    /// Opens a connection in the network namespace of the calling thread and serves it on the
    /// current tokio runtime.
    ///
    /// # Errors
    ///
    /// Fails if the socket cannot be made or `/proc` cannot be read.
    pub fn new() -> Result<Self> {
        let operation = "open a netlink socket";
        let namespace = NetnsFile::of_this_thread().map_err(|e| Error::io(operation, e))?;
        let handle = connect().map_err(|e| Error::io(operation, e))?;
        Ok(Self { handle: Arc::new(Mutex::new(handle)), namespace })
    }

    /// Sends a request and waits for its acknowledgement.
    async fn request(
        &self,
        op: &Operation<'_>,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<()> {
        self.exchange(op, message, flags | NLM_F_ACK).await.map(drop)
    }

    /// Sends a request that has one answer, and returns that.
    async fn query(&self, op: &Operation<'_>, message: RouteNetlinkMessage) -> Result<Raw> {
        let answers = self.exchange(op, message, NLM_F_ACK).await?;
        answers.messages.into_iter().next().ok_or_else(|| op.invalid("no answer"))
    }

    /// Reads a whole list, again if it changed meanwhile.
    async fn dump(&self, op: &Operation<'_>, message: RouteNetlinkMessage) -> Result<Vec<Raw>> {
        until_consistent(op, || self.exchange(op, message.clone(), NLM_F_DUMP)).await
    }

    fn send(
        &self,
        request: NetlinkMessage<Raw>,
    ) -> io::Result<impl Stream<Item = NetlinkMessage<Raw>> + use<>> {
        let mut handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(stream) = handle.request(request.clone(), SocketAddr::new(0, 0)) {
            return Ok(stream);
        }
        // A socket belongs to the namespace of who opens it.
        if NetnsFile::of_this_thread()? != self.namespace {
            return Err(io::ErrorKind::NotConnected.into());
        }
        *handle = connect()?;
        tracing::warn!("the connection to the kernel's netlink had ended, opened another one");
        handle
            .request(request, SocketAddr::new(0, 0))
            .map_err(|_| io::ErrorKind::NotConnected.into())
    }

    async fn exchange(
        &self,
        op: &Operation<'_>,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Answers> {
        let mut request = NetlinkMessage::from(Raw::from(message));
        request.header.flags = NLM_F_REQUEST | flags;
        let stream = self.send(request).map_err(|error| op.failed(error))?;
        tokio::time::timeout(ANSWER_TIMEOUT, collect(op, stream))
            .await
            .map_err(|_| op.failed(io::ErrorKind::TimedOut.into()))?
    }
}

/// Opens a socket in the network namespace of this thread, served on the current tokio runtime.
fn connect() -> io::Result<proto::ConnectionHandle<Raw>> {
    let (mut connection, handle, _unsolicited) =
        proto::new_connection_with_socket::<Raw, TokioSocket>(NETLINK_ROUTE)?;
    // An acknowledgement or end of dump that is seen tells an answer from a dead connection.
    connection.set_forward_ack(true);
    connection.set_forward_done(true);
    // The kernel's own words for an error; kernels without them are fine too.
    if let Err(error) = connection.socket_mut().socket_mut().set_ext_ack(true) {
        tracing::debug!(%error, "netlink: no extended acknowledgements");
    }
    tokio::spawn(connection);
    Ok(handle)
}

/// What is being done to what, for error messages and for telling "gone" from "failed".
#[derive(Debug, Clone, Copy)]
struct Operation<'a> {
    what: &'a str,
    index: Option<u32>,
}

impl<'a> Operation<'a> {
    fn new(what: &'a str) -> Self {
        Self { what, index: None }
    }

    fn on(what: &'a str, index: u32) -> Self {
        Self { what, index: Some(index) }
    }

    fn describe(&self) -> String {
        match self.index {
            Some(index) => format!("{} on interface {index}", self.what),
            None => self.what.to_owned(),
        }
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::io(&self.describe(), source)
    }

    fn invalid(&self, reason: &'static str) -> Error {
        self.failed(io::Error::new(io::ErrorKind::InvalidData, reason))
    }

    fn kernel(&self, errno: i32, message: Option<String>) -> Error {
        match (errno, self.index) {
            (libc::ENODEV, Some(index)) => Error::LinkGone { operation: self.what.into(), index },
            _ => Error::Kernel {
                operation: self.describe(),
                message,
                source: io::Error::from_raw_os_error(errno),
            },
        }
    }
}

/// The answers to one request.
#[derive(Debug, Default)]
struct Answers {
    messages: Vec<Raw>,
    /// The list changed while it was dumped: entries may be missing or twice in it.
    interrupted: bool,
}

/// Repeats a dump until it was not interrupted.
async fn until_consistent<F: Future<Output = Result<Answers>>>(
    op: &Operation<'_>,
    mut dump: impl FnMut() -> F,
) -> Result<Vec<Raw>> {
    for _ in 0..DUMP_ATTEMPTS {
        let answers = dump().await?;
        if !answers.interrupted {
            return Ok(answers.messages);
        }
    }
    Err(op.kernel(libc::EAGAIN, Some("the list kept changing while it was read".into())))
}

/// Reads the answers up to the acknowledgement or the end of the dump.
async fn collect(
    op: &Operation<'_>,
    mut stream: impl Stream<Item = NetlinkMessage<Raw>> + Unpin,
) -> Result<Answers> {
    let mut answers = Answers::default();
    while let Some(message) = stream.next().await {
        answers.interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
        match message.payload {
            NetlinkPayload::InnerMessage(raw) => answers.messages.push(raw),
            NetlinkPayload::Error(error) => match error.raw_code() {
                0 => return Ok(answers),
                code => {
                    let text = wire::extended_ack(message.header.flags, &error.header);
                    return Err(op.kernel(code.saturating_neg(), text));
                }
            },
            NetlinkPayload::Done(done) => match done.code {
                0 => return Ok(answers),
                code => return Err(op.kernel(code.saturating_neg(), None)),
            },
            _ => {}
        }
    }
    Err(op.failed(io::ErrorKind::ConnectionAborted.into()))
}
