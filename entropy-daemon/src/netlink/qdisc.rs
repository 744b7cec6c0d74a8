//! Queueing disciplines, and the one that carries tc filters: clsact.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    tc::{TcAttribute, TcHandle, TcMessage},
};

use super::{Netlink, Operation, Result, wire};

/// Length of `struct tcmsg`.
pub(super) const HEADER_LEN: usize = 20;

// Attributes of linux/rtnetlink.h.
pub(super) const TCA_KIND: u16 = 1;

const CLSACT: &str = "clsact";

/// The two hooks of an interface, named from the interface's point of view: what comes in and what
/// goes out. For a container they are the other way round, as the host sees its veth's far side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hook {
    /// Packets that the interface receives.
    Ingress,
    /// Packets that the interface is about to send.
    Egress,
}

impl Hook {
    /// The parent of filters on this hook of a clsact qdisc (`linux/pkt_sched.h`).
    pub(super) fn parent(self) -> TcHandle {
        let minor = match self {
            Self::Ingress => TcHandle::MIN_INGRESS,
            Self::Egress => TcHandle::MIN_EGRESS,
        };
        TcHandle { major: TcHandle::CLSACT.major, minor }
    }

    /// The name, as `tc` says it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

/// What became of the wish for a clsact qdisc.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClsactAdd {
    /// It was added, so it is ours to delete.
    Created,
    /// One was there already. Somebody else may depend on it: it stays.
    Existed,
    /// An `ingress` qdisc sits in its place. It is somebody else's, and it has no egress hook.
    BlockedByIngress,
}

/// One queueing discipline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qdisc {
    /// `fq`, `clsact`, `noqueue`, ...
    pub kind: String,
    /// Major number in the upper, zero in the lower 16 bits.
    pub handle: u32,
    /// Where it hangs: `u32::MAX` is the root, `0xffff_fff1` the place of clsact and ingress.
    pub parent: u32,
}

impl Netlink {
    /// Lists the queueing disciplines of an interface; none if the interface does not exist.
    ///
    /// # Errors
    ///
    /// Fails if the kernel cannot be asked.
    pub async fn qdiscs(&self, index: u32) -> Result<Vec<Qdisc>> {
        let op = Operation::on("list qdiscs", index);
        let request = RouteNetlinkMessage::GetQueueDiscipline(message(index));
        let answers = self.dump(&op, request).await?;
        // The kernel lists those of all interfaces, whatever is asked.
        let of_this = answers.iter().filter(|raw| raw.word(4) == Some(index));
        of_this.map(|raw| parse(raw).ok_or_else(|| op.invalid("truncated qdisc message"))).collect()
    }

    /// Adds a clsact qdisc, the place for filters on both hooks.
    ///
    /// # Errors
    ///
    /// [`super::Error::LinkGone`] if the interface does not exist, else what the kernel says.
    pub async fn add_clsact(&self, index: u32) -> Result<ClsactAdd> {
        let op = Operation::on("add clsact", index);
        let request = RouteNetlinkMessage::NewQueueDiscipline(clsact(index));
        match self.request(&op, request, NLM_F_CREATE | NLM_F_EXCL).await {
            Ok(()) => Ok(ClsactAdd::Created),
            // The kernel says the same to both qdiscs that may live there.
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {
                let kinds = self.qdiscs(index).await?;
                if kinds.iter().any(|qdisc| qdisc.kind == CLSACT) {
                    Ok(ClsactAdd::Existed)
                } else if kinds.iter().any(|qdisc| qdisc.kind == "ingress") {
                    Ok(ClsactAdd::BlockedByIngress)
                } else {
                    Err(error)
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the interface has a clsact qdisc, whoever added it.
    ///
    /// # Errors
    ///
    /// Fails if the kernel cannot be asked.
    pub async fn has_clsact(&self, index: u32) -> Result<bool> {
        Ok(self.qdiscs(index).await?.iter().any(|qdisc| qdisc.kind == CLSACT))
    }

    /// Deletes the clsact qdisc with **all** filters on it; returns whether there was one. Only for
    /// one that [`ClsactAdd::Created`] was said about, and that nobody else has put filters on.
    ///
    /// # Errors
    ///
    /// [`super::Error::LinkGone`] if the interface vanishes meanwhile, else what the kernel says.
    pub async fn delete_clsact(&self, index: u32) -> Result<bool> {
        if !self.has_clsact(index).await? {
            return Ok(false);
        }
        let op = Operation::on("delete clsact", index);
        // The kind in the request keeps the kernel from deleting an `ingress` qdisc instead.
        let request = RouteNetlinkMessage::DelQueueDiscipline(clsact(index));
        self.request(&op, request, 0).await.map(|()| true)
    }
}

/// A request about one interface's qdiscs or filters.
pub(super) fn message(index: u32) -> TcMessage {
    TcMessage::with_index(index.cast_signed())
}

fn clsact(index: u32) -> TcMessage {
    let mut message = message(index);
    message.header.handle = TcHandle { major: TcHandle::CLSACT.major, minor: 0 };
    message.header.parent = TcHandle::CLSACT;
    message.attributes.push(TcAttribute::Kind(CLSACT.into()));
    message
}

fn parse(raw: &wire::Raw) -> Option<Qdisc> {
    let kind = raw
        .attributes(HEADER_LEN)
        .find(|(kind, _)| *kind == TCA_KIND)
        .map(|(_, name)| wire::as_string(name))?;
    Some(Qdisc { kind, handle: raw.word(8)?, parent: raw.word(12)? })
}
