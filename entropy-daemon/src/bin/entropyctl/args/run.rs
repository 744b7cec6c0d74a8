//! The command line of `run`: a policy in flags.

use clap::Args;
use entropy_daemon::policy::Span;

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Run {
    /// Label selector of the containers: app=db, or app=db,tier!=test.
    #[arg(long, value_name = "SELECTOR", required_unless_present = "container")]
    pub(crate) target: Option<String>,

    /// Pattern of the containers' names: shop-*. May be given several times.
    #[arg(long, value_name = "PATTERN")]
    pub(crate) container: Vec<String>,

    /// So many of them, 1, or each with this probability, 50%.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) pick: Option<String>,

    /// egress (what the containers send), ingress (what they receive) or both.
    #[arg(long, value_name = "DIRECTION")]
    pub(crate) direction: Option<String>,

    /// The other end: a label selector, an address or a network. Networks may be given several times.
    #[arg(long, value_name = "PEER", help_heading = "Which packets")]
    pub(crate) peer: Vec<String>,

    /// tcp, udp, icmp, sctp or a protocol number.
    #[arg(long, value_name = "PROTOCOL", help_heading = "Which packets")]
    pub(crate) protocol: Option<String>,

    /// A port, or a range 8000-8100, of either end.
    #[arg(long, value_name = "PORT", help_heading = "Which packets")]
    pub(crate) port: Option<String>,

    /// The same for the container's own port.
    #[arg(long, value_name = "PORT", help_heading = "Which packets")]
    pub(crate) local_port: Option<String>,

    /// The same for the peer's port.
    #[arg(long, value_name = "PORT", help_heading = "Which packets")]
    pub(crate) remote_port: Option<String>,

    /// Flags that must be set, and with ! those that must not: syn,!ack.
    #[arg(long, value_name = "FLAGS", help_heading = "Which packets")]
    pub(crate) tcp_flags: Option<String>,

    /// Share of the connections: 20%.
    #[arg(long, value_name = "SHARE", help_heading = "Which packets")]
    pub(crate) flows: Option<String>,

    /// Share of the packets that vanish: 2%.
    #[arg(long, value_name = "SHARE", help_heading = "Faults")]
    pub(crate) loss: Option<String>,

    /// Mean length of the runs in which they vanish, in packets.
    #[arg(long, value_name = "PACKETS", requires = "loss", help_heading = "Faults")]
    pub(crate) burst: Option<String>,

    /// Time by which packets arrive later: 200ms.
    #[arg(long, value_name = "TIME", help_heading = "Faults")]
    pub(crate) delay: Option<String>,

    /// By how much that varies: 20ms.
    #[arg(long, value_name = "TIME", requires = "delay", help_heading = "Faults")]
    pub(crate) jitter: Option<String>,

    /// How it varies: uniform, normal, pareto or paretonormal.
    #[arg(long, value_name = "NAME", requires = "jitter", help_heading = "Faults")]
    pub(crate) distribution: Option<String>,

    /// Share of the packets that overtake others: 25%.
    #[arg(long, value_name = "SHARE", help_heading = "Faults")]
    pub(crate) reorder: Option<String>,

    /// Share of the packets that arrive twice: 1%.
    #[arg(long, value_name = "SHARE", help_heading = "Faults")]
    pub(crate) duplicate: Option<String>,

    /// Share of the frames that arrive damaged: 0.1%.
    #[arg(long, value_name = "SHARE", help_heading = "Faults")]
    pub(crate) corrupt: Option<String>,

    /// Bandwidth of the link: 10mbit.
    #[arg(long, value_name = "BANDWIDTH", help_heading = "Faults")]
    pub(crate) rate: Option<String>,

    /// How much may wait for the link, as time or size: 200ms, 64KiB.
    #[arg(long, value_name = "ROOM", requires = "rate", help_heading = "Faults")]
    pub(crate) queue: Option<String>,

    /// Time from one slot of a shared medium to the next: 20ms.
    #[arg(long, value_name = "TIME", help_heading = "Faults")]
    pub(crate) slot: Option<String>,

    /// Cut off everything, or =new-connections.
    #[arg(
        long,
        value_name = "WHAT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "everything",
        value_parser = ["everything", "new-connections"],
        help_heading = "Faults"
    )]
    pub(crate) partition: Option<String>,

    /// Start of the random decisions: the same one repeats them.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) seed: Option<u64>,

    /// How long, 30s; without it, until Ctrl-C.
    #[arg(long = "for", value_name = "TIME")]
    pub(crate) length: Option<Span>,

    /// What the policy is called meanwhile [default: run- and the process id].
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
}
