//! Notifications about interfaces that come, change and go.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{Stream, StreamExt as _};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::{
    MulticastGroup, proto,
    sys::{AsyncSocket as _, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE},
};
use tokio::{sync::mpsc, task::JoinHandle};

use super::{Error, Netlink, Result, wire::Raw};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
/// What is subscribed to: interfaces, and the addresses of this namespace.
const GROUPS: [MulticastGroup; 3] =
    [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];

/// Room for notifications in the kernel. One is about 1.5 KiB, a burst of containers thousands.
const RECEIVE_BUFFER_BYTES: u32 = 4 << 20;

/// Changes that may wait for the reader; beyond, the reader is told to list again instead.
const QUEUE_LEN: usize = 1024;

const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LONGEST: Duration = Duration::from_secs(5);

/// Something happened to interfaces of this namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkEvent {
    /// One interface appeared, changed (`removed` false) or vanished (`removed` true).
    Changed {
        /// Interface index.
        index: u32,
        /// It does not exist in this namespace any more.
        removed: bool,
    },
    /// An interface got or lost an address.
    Addresses,
    /// Notifications were lost: list the interfaces again.
    Overrun,
}

/// A subscription to interface notifications. It never ends: after a failure it subscribes again
/// and reports [`LinkEvent::Overrun`].
#[derive(Debug)]
pub struct LinkMonitor {
    events: mpsc::Receiver<LinkEvent>,
    lost: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Netlink {
    /// Subscribes to interface notifications. What happens after this call is reported, so
    /// subscribe first and list then.
    ///
    /// # Errors
    ///
    /// Fails if the first subscription does.
    pub fn monitor(&self) -> Result<LinkMonitor> {
        LinkMonitor::new(RECEIVE_BUFFER_BYTES)
    }
}

impl LinkMonitor {
    pub(super) fn new(receive_buffer_bytes: u32) -> Result<Self> {
        let first = Subscription::new(receive_buffer_bytes)
            .map_err(|e| Error::io("subscribe to interface notifications", e))?;
        let (sender, events) = mpsc::channel(QUEUE_LEN);
        let lost = Arc::new(AtomicBool::new(false));
        let queue = Queue { sender, lost: Arc::clone(&lost) };
        let task = tokio::spawn(follow(first, queue, receive_buffer_bytes));
        Ok(Self { events, lost, task })
    }

    /// Waits for the next event. Cancelling the wait loses nothing.
    pub async fn next(&mut self) -> LinkEvent {
        if self.lost.swap(false, Ordering::AcqRel) {
            return LinkEvent::Overrun;
        }
        match self.events.recv().await {
            Some(event) => event,
            // The task ends with the runtime only, and the reader with it.
            None => std::future::pending().await,
        }
    }
}

impl LinkMonitor {
    /// Takes the events that have come by now, so that one look at what there is does for all of them.
    pub fn drain(&mut self) -> impl Iterator<Item = LinkEvent> + '_ {
        std::iter::from_fn(|| self.events.try_recv().ok())
    }
}

impl Drop for LinkMonitor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The way to the reader. A slow reader loses single changes, never the fact that some were lost.
#[derive(Debug)]
struct Queue {
    sender: mpsc::Sender<LinkEvent>,
    lost: Arc<AtomicBool>,
}

impl Queue {
    fn push(&self, event: LinkEvent) {
        if self.sender.try_send(event).is_err() {
            // The queue is full, so the reader comes by and sees the flag.
            self.lost.store(true, Ordering::Release);
        }
    }
}

async fn follow(first: Subscription, queue: Queue, receive_buffer_bytes: u32) {
    let mut subscription = first;
    loop {
        while let Some(message) = subscription.messages.next().await {
            if let Some(event) = interpret(&message) {
                queue.push(event);
            }
        }
        tracing::warn!("the subscription to interface notifications ended, subscribing again");
        subscription = resubscribe(receive_buffer_bytes).await;
        queue.push(LinkEvent::Overrun);
    }
}

async fn resubscribe(receive_buffer_bytes: u32) -> Subscription {
    let mut pause = RETRY_FIRST;
    loop {
        tokio::time::sleep(pause).await;
        match Subscription::new(receive_buffer_bytes) {
            Ok(subscription) => return subscription,
            Err(error) => tracing::warn!(%error, "cannot subscribe to interface notifications"),
        }
        pause = (pause * 2).min(RETRY_LONGEST);
    }
}

fn interpret(message: &NetlinkMessage<Raw>) -> Option<LinkEvent> {
    let raw = match &message.payload {
        NetlinkPayload::Overrun(_) => {
            tracing::warn!(
                "notifications about interfaces were lost (overrun), all are listed again"
            );
            return Some(LinkEvent::Overrun);
        }
        NetlinkPayload::InnerMessage(raw) => raw,
        _ => return None,
    };
    // A bridge says RTM_DELLINK of its own family when a port leaves it; the port lives on.
    let of_bridge = raw.body.first().copied() == u8::try_from(libc::AF_BRIDGE).ok();
    let index = raw.word(4)?;
    match raw.kind {
        RTM_NEWLINK => Some(LinkEvent::Changed { index, removed: false }),
        RTM_DELLINK => Some(LinkEvent::Changed { index, removed: !of_bridge }),
        RTM_NEWADDR | RTM_DELADDR => Some(LinkEvent::Addresses),
        _ => None,
    }
}

/// A socket in the notification group, served by a task of its own.
struct Subscription {
    messages: std::pin::Pin<Box<dyn Stream<Item = NetlinkMessage<Raw>> + Send>>,
    connection: JoinHandle<()>,
    /// The connection ends by itself once nobody can send requests any more.
    _handle: proto::ConnectionHandle<Raw>,
}

impl Subscription {
    fn new(receive_buffer_bytes: u32) -> io::Result<Self> {
        let (mut connection, handle, messages) =
            proto::new_connection_with_socket::<Raw, TokioSocket>(NETLINK_ROUTE)?;
        let socket = connection.socket_mut().socket_mut();
        socket.set_rx_buf_sz(receive_buffer_bytes)?;
        let groups = GROUPS.into_iter().fold(0, |all, group| all | 1 << (group as u32 - 1));
        socket.bind(&SocketAddr::new(0, groups))?;
        Ok(Self {
            messages: Box::pin(messages.map(|(message, _)| message)),
            connection: tokio::spawn(connection),
            _handle: handle,
        })
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(capacity: usize) -> (Queue, mpsc::Receiver<LinkEvent>, Arc<AtomicBool>) {
        let (sender, events) = mpsc::channel(capacity);
        let lost = Arc::new(AtomicBool::new(false));
        (Queue { sender, lost: Arc::clone(&lost) }, events, lost)
    }

    #[tokio::test]
    async fn ended_subscription_is_renewed_and_reported() {
        let first = Subscription::new(4096).unwrap();
        first.connection.abort();
        let (queue, mut events, _lost) = queue(8);
        let task = tokio::spawn(follow(first, queue, 4096));
        let event = tokio::time::timeout(Duration::from_secs(10), events.recv()).await.unwrap();
        assert_eq!(event, Some(LinkEvent::Overrun));
        task.abort();
    }

    #[tokio::test]
    async fn slow_reader_is_told_that_it_missed_something() {
        let (queue, events, lost) = queue(2);
        let mut monitor = LinkMonitor { events, lost, task: tokio::spawn(async {}) };
        let change = |index| LinkEvent::Changed { index, removed: false };
        for index in 0..3 {
            queue.push(change(index));
        }
        assert_eq!(monitor.next().await, LinkEvent::Overrun);
        assert_eq!(monitor.next().await, change(0));
        assert_eq!(monitor.next().await, change(1));
        queue.push(change(3));
        assert_eq!(monitor.next().await, change(3));
    }
}
