//! The queue of the line: `fq`, which holds each packet until its departure time, and before it a
//! `netem`, which takes packets from their owners.

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::{
    RouteNetlinkMessage,
    tc::{TcAttribute, TcHandle},
};

use super::{
    Netlink, Operation, Result,
    qdisc::{HEADER_LEN, TCA_KIND, message},
    wire::{self, Attribute},
};

const FQ: &str = "fq";
const NETEM: &str = "netem";

/// Handle of the netem, and where the fq below it hangs.
const OUTER: TcHandle = TcHandle { major: 1, minor: 0 };
const INNER: TcHandle = TcHandle { major: 1, minor: 1 };
/// `struct tc_netem_qopt`: latency in ticks, limit, loss, gap, duplicate, jitter.
const NETEM_OPTIONS: [u32; 6] = [0, u32::MAX, 0, 0, 0, 0];
const TCA_NETEM_LATENCY64: u16 = 10;
/// The shortest that there is, so that netem takes packets from their owners at all.
const NETEM_LATENCY_NS: i64 = 1;

// Attributes of linux/rtnetlink.h, linux/gen_stats.h and linux/pkt_sched.h.
const TCA_OPTIONS: u16 = 2;
const TCA_STATS2: u16 = 7;
const TCA_STATS_QUEUE: u16 = 3;
const TCA_STATS_APP: u16 = 4;
const TCA_FQ_PLIMIT: u16 = 1;
const TCA_FQ_FLOW_PLIMIT: u16 = 2;
const TCA_FQ_QUANTUM: u16 = 3;
const TCA_FQ_INITIAL_QUANTUM: u16 = 4;
const TCA_FQ_RATE_ENABLE: u16 = 5;
const TCA_FQ_BUCKETS_LOG: u16 = 8;
const TCA_FQ_ORPHAN_MASK: u16 = 10;
const TCA_FQ_TIMER_SLACK: u16 = 13;
const TCA_FQ_HORIZON: u16 = 14;
const TCA_FQ_HORIZON_DROP: u16 = 15;

/// Most bytes of credit that a flow can get at once (`fq_change`, net/sched/sch_fq.c).
const LARGEST_QUANTUM: u32 = 1 << 20;

/// Flows of packets without an owner are told apart by as many bits of their hash, less one, in a row.
/// All packets of a flow wait for the one that it last found too early, also for one of another
/// connection that happens to share it: with the kernel's 1024 flows that is often.
const ORPHAN_MASK: u32 = (1 << 20) - 1;
/// Binary logarithm of the number of trees that flows are found in.
const BUCKETS_LOG: u32 = 14;

/// How a fair queue is set up. The kernel's own defaults (10 000 packets, 100 of a flow, ten
/// seconds) lose packets that nobody asked to lose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FqOptions {
    /// Most packets that wait, over all flows.
    pub limit: u32,
    /// Most packets of one flow that wait.
    pub flow_limit: u32,
    /// Longest wait in microseconds; a packet that should wait longer leaves after this time.
    pub horizon_us: u32,
}

/// What a fair queue has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FqStatistics {
    /// Packets that wait now.
    pub waiting: u32,
    /// Bytes that wait now.
    pub waiting_bytes: u32,
    /// Packets dropped, for whatever reason.
    pub drops: u32,
    /// Of these: flows that had reached their limit.
    pub flow_limit_drops: u64,
    /// Packets that should have waited longer than the horizon.
    pub beyond_horizon: u64,
}

/// What takes the packets that wait from the sockets that sent them.
///
/// A packet in a queue counts as unsent for its TCP socket (TCP small queues), which brings a connection
/// behind a delay almost to a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disowner {
    /// The queue itself: a netem of one nanosecond before the `fq`, which does what netem does with
    /// every packet that is to wait (`skb_orphan_partial`). It leaves bare TCP acknowledgements their
    /// owner, which are not counted.
    Queue,
    /// Nothing: the kernel has no `sch_netem`. Whoever sends packets there takes copies, which have no
    /// owner.
    Nobody,
}

impl Netlink {
    /// Makes `fq` the queue of an interface, below a netem where the kernel has one, or changes the
    /// options of what is there. Packets that wait in it stay.
    ///
    /// # Errors
    ///
    /// `ENOENT` where the kernel has no `sch_fq` ([`super::Error::raw_os_error`]); then there is no
    /// queue. [`super::Error::LinkGone`] if the interface does not exist, else what the kernel says.
    pub async fn ensure_fq(&self, index: u32, options: FqOptions) -> Result<Disowner> {
        let qdiscs = self.qdiscs(index).await?;
        // To put a netem over an fq that is there would lose what waits in it.
        let has_fq = qdiscs.iter().any(|qdisc| qdisc.kind == FQ && qdisc.parent == u32::MAX);
        let is_disowned = !has_fq && self.ensure_netem(index).await?;
        let op = Operation::on("set up fq", index);
        let parent = if is_disowned { INNER } else { TcHandle::ROOT };
        match self.ensure_qdisc(&op, index, (parent, TcHandle::UNSPEC, FQ), encode(options)).await {
            Ok(()) => Ok(if is_disowned { Disowner::Queue } else { Disowner::Nobody }),
            Err(error) => {
                // Without the kind there is none below the netem, so nothing that waits in it.
                if is_disowned && error.raw_os_error() == Some(libc::ENOENT) {
                    self.delete_root_qdisc(index).await?;
                }
                Err(error)
            }
        }
    }

    /// False where the kernel has none.
    async fn ensure_netem(&self, index: u32) -> Result<bool> {
        let op = Operation::on("set up netem", index);
        let mut options: Vec<u8> =
            NETEM_OPTIONS.iter().flat_map(|word| word.to_ne_bytes()).collect();
        options.extend(12_u16.to_ne_bytes());
        options.extend(TCA_NETEM_LATENCY64.to_ne_bytes());
        options.extend(NETEM_LATENCY_NS.to_ne_bytes());
        match self.ensure_qdisc(&op, index, (TcHandle::ROOT, OUTER, NETEM), options).await {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn ensure_qdisc(
        &self,
        op: &Operation<'_>,
        index: u32,
        (parent, handle, kind): (TcHandle, TcHandle, &str),
        options: Vec<u8>,
    ) -> Result<()> {
        let mut request = message(index);
        request.header.parent = parent;
        request.header.handle = handle;
        request.attributes.push(TcAttribute::Kind(kind.into()));
        request.attributes.push(TcAttribute::Other(DefaultNla::new(TCA_OPTIONS, options)));
        // Without NLM_F_EXCL one of the kind that is there is changed, not replaced (tc_modify_qdisc).
        let request = RouteNetlinkMessage::NewQueueDiscipline(request);
        self.request(op, request, NLM_F_CREATE | NLM_F_REPLACE).await
    }

    async fn delete_root_qdisc(&self, index: u32) -> Result<()> {
        let mut request = message(index);
        request.header.parent = TcHandle::ROOT;
        let op = Operation::on("remove the root qdisc", index);
        self.request(&op, RouteNetlinkMessage::DelQueueDiscipline(request), 0).await
    }

    /// Reads the counters of an interface's fair queue; `None` if it has none.
    ///
    /// # Errors
    ///
    /// Fails if the kernel cannot be asked.
    pub async fn fq_statistics(&self, index: u32) -> Result<Option<FqStatistics>> {
        let op = Operation::on("read fq statistics", index);
        let request = RouteNetlinkMessage::GetQueueDiscipline(message(index));
        let answers = self.dump(&op, request).await?;
        let fq = answers.iter().find(|raw| {
            raw.word(4) == Some(index)
                && raw
                    .attributes(HEADER_LEN)
                    .any(|(kind, name)| kind == TCA_KIND && wire::as_string(name) == FQ)
        });
        Ok(fq.map(|raw| decode(raw.attributes(HEADER_LEN))))
    }
}

fn encode(options: FqOptions) -> Vec<u8> {
    let attributes = [
        (TCA_FQ_PLIMIT, options.limit),
        (TCA_FQ_FLOW_PLIMIT, options.flow_limit),
        // Who may leave is a matter of time here, not of turns: with the kernel's two frames of credit a
        // super-packet of 64 KB that is due would be passed over twenty times.
        (TCA_FQ_QUANTUM, LARGEST_QUANTUM),
        (TCA_FQ_INITIAL_QUANTUM, LARGEST_QUANTUM),
        // Departure times are honoured all the same; what is off is pacing by socket, which would
        // slow down a container's own TCP.
        (TCA_FQ_RATE_ENABLE, 0),
        (TCA_FQ_ORPHAN_MASK, ORPHAN_MASK),
        (TCA_FQ_BUCKETS_LOG, BUCKETS_LOG),
        // The kernel's 10 us would make every packet late by as much: a timer with slack fires at its end.
        (TCA_FQ_TIMER_SLACK, 0),
        (TCA_FQ_HORIZON, options.horizon_us),
    ];
    let mut bytes = Vec::with_capacity(8 * (attributes.len() + 1));
    for (kind, value) in attributes {
        bytes.extend(8_u16.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value.to_ne_bytes());
    }
    // One byte, padded: cap at the horizon instead of dropping.
    bytes.extend(5_u16.to_ne_bytes());
    bytes.extend(TCA_FQ_HORIZON_DROP.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes
}

/// Reads `TCA_STATS2`: `struct gnet_stats_queue` (qlen, backlog, drops, ...) and the head of
/// `struct tc_fq_qd_stats`, which grew at its end only.
fn decode<'a>(mut attributes: impl Iterator<Item = Attribute<'a>>) -> FqStatistics {
    let mut statistics = FqStatistics::default();
    let Some((_, nested)) = attributes.find(|(kind, _)| *kind == TCA_STATS2) else {
        return statistics;
    };
    for (kind, value) in wire::attributes(nested) {
        let word = |index: usize| value.get(index * 4..).and_then(wire::as_u32).unwrap_or_default();
        let long = |index: usize| value.get(index * 8..).and_then(wire::as_u64).unwrap_or_default();
        match kind {
            TCA_STATS_QUEUE => {
                statistics.waiting = word(0);
                statistics.waiting_bytes = word(1);
                statistics.drops = word(2);
            }
            TCA_STATS_APP => {
                // gc_flows, highprio_packets, tcp_retrans (obsolete), throttled, flows_plimit,
                // pkts_too_long, allocation_errors, time_next_delayed_flow, then five u32 (flows,
                // inactive_flows, throttled_flows, unthrottle_latency_ns), ce_mark, horizon_drops,
                // horizon_caps.
                statistics.flow_limit_drops = long(4);
                statistics.beyond_horizon = long(11).saturating_add(long(12));
            }
            _ => {}
        }
    }
    statistics
}
