//! Policies after validation: what cannot be wrong any more has types that say so.

mod fault;
mod ramp;

use std::fmt;
use std::path::PathBuf;

pub use self::fault::{
    Chance, Corrupt, Delay, DelayTime, Distribution, Faults, Link, Loss, LossModel, Partition,
    Percentiles, Queue, Reorder, Slot, SlotTime,
};
pub use self::ramp::{Ramp, Start};
use super::selector::Selector;
use super::target::Target;
use super::text;
use super::units::Rate;
use crate::network::Network;
use crate::schedule::Schedule;

/// One policy: which containers, which of their packets, what happens to these.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Unique among all loaded policies: 1 to 63 characters of `[A-Za-z0-9._-]`, the first of them
    /// alphanumeric. Made of the file's name and the policy's number in it if it was left out.
    pub name: String,
    /// Where the policy stands.
    pub origin: Origin,
    /// The containers whose packets are hit.
    pub target: Target,
    /// Packets from the container, to it, or both; as the container sees it.
    pub direction: Direction,
    /// The packets that are hit; empty for all of them.
    pub matcher: Match,
    /// Start of the random decisions, 0..=`i64::MAX`; `None` leaves the choice to the daemon.
    pub seed: Option<u64>,
    /// When it is in force; `None` for always.
    pub schedule: Option<Schedule>,
    /// How it becomes what it is; `None` for at once.
    pub ramp: Option<Ramp>,
    /// What happens to the packets; at least one fault.
    pub faults: Faults,
}

/// Where a policy stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The file, as it was named to the loader.
    pub file: PathBuf,
    /// Line of its `[[policy]]`, from 1.
    pub line: usize,
    /// Its table as JSON, times as text; without the name if that was made up.
    pub written: serde_json::Value,
    /// Since when it has been there, by the monotonic clock, if somebody has noted that.
    pub since_ns: Option<u64>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", text::path(&self.file), self.line)
    }
}

/// Which way packets go, as the container sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the container.
    Egress,
    /// To the container.
    Ingress,
    /// Both ways.
    #[default]
    Both,
}

impl Direction {
    /// Whether packets from the container are meant.
    pub fn has_egress(self) -> bool {
        self != Self::Ingress
    }

    /// Whether packets to the container are meant.
    pub fn has_ingress(self) -> bool {
        self != Self::Egress
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Egress => "egress",
            Self::Ingress => "ingress",
            Self::Both => "both",
        })
    }
}

/// What a packet must be to be hit: everything that is set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Match {
    /// The other end: destination of what the container sends, source of what it receives.
    pub peer: Option<Peer>,
    /// The protocol above IP.
    pub protocol: Option<Protocol>,
    /// A port at either end of a TCP or UDP packet. Without `protocol`, both have ports.
    pub port: Option<PortRange>,
    /// The container's own port.
    pub local_port: Option<PortRange>,
    /// The port of the other end.
    pub remote_port: Option<PortRange>,
    /// The flags of a TCP segment.
    pub tcp_flags: Option<TcpFlags>,
    /// Length of the frame in bytes, Ethernet header included.
    pub length: Option<LengthRange>,
    /// Whether there is a payload.
    pub payload: Option<bool>,
    /// Share of the connections.
    pub flows: Option<Rate>,
}

impl Match {
    /// The conditions on ports, by key.
    pub(crate) fn ports(&self) -> [(&'static str, Option<PortRange>); 3] {
        [("port", self.port), ("local_port", self.local_port), ("remote_port", self.remote_port)]
    }
}

/// The other end of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// The present addresses, IPv4 and IPv6, of the containers that the selector picks.
    Containers(Selector),
    /// Networks; an address is a network of its full length. Of all that hold an address, the
    /// longest prefix decides.
    Networks(Vec<Network>),
}

/// The protocol above IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// TCP, number 6.
    Tcp,
    /// UDP, number 17.
    Udp,
    /// ICMP on IPv4 (number 1) and ICMPv6 on IPv6 (number 58).
    Icmp,
    /// This number, on IPv4 and IPv6; never 6 or 17.
    Other(u8),
}

impl Protocol {
    /// The protocol of this number in the IP header. 1 and 58 are taken as they are: one of the
    /// two ICMPs only.
    pub fn from_number(number: u8) -> Self {
        match number {
            6 => Self::Tcp,
            17 => Self::Udp,
            other => Self::Other(other),
        }
    }

    /// Whether packets of this protocol have ports that can be matched.
    pub fn has_ports(self) -> bool {
        matches!(self, Self::Tcp | Self::Udp)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp => f.write_str("tcp"),
            Self::Udp => f.write_str("udp"),
            Self::Icmp => f.write_str("icmp"),
            Self::Other(number) => write!(f, "{number}"),
        }
    }
}

/// Ports from `first` to `last`, both included; 1 <= first <= last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortRange {
    /// The lowest port.
    pub first: u16,
    /// The highest port.
    pub last: u16,
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.first, self.last) {
            (first, last) if first == last => write!(f, "{first}"),
            (first, last) => write!(f, "{first}-{last}"),
        }
    }
}

/// Flags of a TCP header that must be set and that must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TcpFlags {
    /// Flags that are looked at, as bits of the header's byte.
    pub mask: u8,
    /// Those of them that must be set.
    pub set: u8,
}

/// The flags with their names, from the lowest bit.
pub(crate) const TCP_FLAGS: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];

impl fmt::Display for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for (bit, name) in TCP_FLAGS.iter().enumerate().filter(|(bit, _)| self.mask >> bit & 1 != 0)
        {
            let not = if self.set >> bit & 1 == 0 { "!" } else { "" };
            write!(f, "{comma}{not}{name}")?;
            comma = ",";
        }
        Ok(())
    }
}

/// Lengths from `first` to `last` bytes, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LengthRange {
    /// The shortest.
    pub first: u32,
    /// The longest; `u32::MAX` for any.
    pub last: u32,
}

impl fmt::Display for LengthRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.first, self.last) {
            (first, u32::MAX) => write!(f, "{first}-"),
            (first, last) if first == last => write!(f, "{first}"),
            (first, last) => write!(f, "{first}-{last}"),
        }
    }
}
