//! What the API speaks, for the daemon and for its clients. Times are in nanoseconds, sizes in bytes, as
//! the fields' names say; directions are as the container sees them.

use std::{collections::BTreeMap, fmt};

use entropy_common::stats::{RuleState, bucket_start_ns};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use crate::runtime::Halted;

/// What every answer is that is none of success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Why, and what to do about it.
    pub error: String,
}

/// What a change came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// The policy is new.
    Created,
    /// There was another of its name.
    Replaced,
    /// The same was there already.
    Unchanged,
    /// It was done.
    Done,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Replaced => "replaced",
            Self::Unchanged => "unchanged",
            Self::Done => "done",
        })
    }
}

/// How a policy or an injection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The kernel hits packets by it.
    InForce,
    /// Its next window has not begun.
    Waiting,
    /// Its schedule has ended.
    Over,
    /// Somebody has paused it.
    Paused,
    /// Everything is halted.
    Halted,
    /// It cannot be in force; the reasons say why.
    Refused,
    /// No running container matches.
    NoContainer,
    /// It is on its way: the container starts, or something failed and is tried again.
    Pending,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::InForce => "in force",
            Self::Waiting => "waiting",
            Self::Over => "over",
            Self::Paused => "paused",
            Self::Halted => "halted",
            Self::Refused => "refused",
            Self::NoContainer => "no container",
            Self::Pending => "pending",
        })
    }
}

/// Where a policy comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A file: it cannot be changed over the API, but for pausing it.
    File,
    /// The API.
    Api,
}

/// A policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// Where it comes from.
    pub source: Source,
    /// File and line; null for one of the API.
    pub origin: Option<String>,
    /// How it is.
    pub state: State,
    /// What is not as it should be with it, a line for each container and reason.
    pub reasons: Vec<String>,
    /// How many containers it picks.
    pub containers: u64,
    /// Time until its window begins; 0 when it has, null if no window is known to come.
    pub starts_in_ns: Option<u64>,
    /// Time until its window ends; null if it does not.
    pub ends_in_ns: Option<u64>,
    /// Its lease, if a client has to be heard of.
    pub lease: Option<Lease>,
    /// The policy itself, in the shape of the policy files.
    pub policy: Map<String, Value>,
    /// What the request that this answers came to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
}

/// How long a policy stays without hearing from its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// After each sign of life.
    pub ttl_ns: u64,
    /// By now.
    pub left_ns: u64,
}

/// All policies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policies {
    /// Those of files in their order, then those of the API by name.
    pub policies: Vec<Policy>,
}

/// A policy on one direction of one interface, or why it is not on a container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Injection {
    /// Name of the policy.
    pub policy: String,
    /// Name of the container.
    pub container: String,
    /// The host's end of the container's veth pair; null where there is none.
    pub interface: Option<String>,
    /// `egress` or `ingress`; null where it is not on an interface.
    pub direction: Option<String>,
    /// Which packets, in words; empty where it is not on an interface.
    pub r#match: String,
    /// What happens to them, in words; empty where it is not on an interface.
    pub fault: String,
    /// How it is.
    pub state: State,
    /// Why it is so, if there is something to say.
    pub reason: Option<String>,
    /// Whether it is in force and has matched no packet for a while.
    pub idle: bool,
    /// For how long it has matched no packet while it was in force; null where it is not in force.
    pub quiet_ns: Option<u64>,
    /// What it has counted; null where it is not on an interface.
    pub counters: Option<Counters>,
}

/// What an injection has counted since it was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    /// Packets that passed while it was in force.
    pub seen_packets: u64,
    /// Packets that it matched.
    pub matched_packets: u64,
    /// Their bytes, Ethernet header included.
    pub matched_bytes: u64,
    /// Packets that it lost; of a loss by segment the frames.
    pub lost_packets: u64,
    /// Their bytes, Ethernet header included.
    pub lost_bytes: u64,
    /// Lost of what the loss chose from; null before there was anything.
    pub realised_loss_percent: Option<f64>,
    /// Packets that would have waited too long for a link or a slot.
    pub queue_dropped_packets: u64,
    /// Packets that were delayed, or waited for a slot.
    pub delayed_packets: u64,
    /// Packets that were sent early.
    pub reordered_packets: u64,
    /// Packets that were sent twice.
    pub duplicated_packets: u64,
    /// Frames of matching packets that came out of the wire.
    pub frames: u64,
    /// Frames that were damaged.
    pub corrupted_frames: u64,
    /// Packets that waited for a link.
    pub shaped_packets: u64,
    /// Packets marked with congestion experienced.
    pub marked_packets: u64,
    /// How many packets were held back how long; only where there are any.
    pub delays: Vec<Bucket>,
}

impl Counters {
    /// What a rule has counted. `candidates` is how many packets or frames its loss chose from.
    #[must_use]
    pub fn new(state: &RuleState, candidates: u64) -> Self {
        let percent = state.lost as f64 / candidates as f64 * 100.0;
        let delays = (0..).zip(state.delays).filter(|(_, packets)| *packets > 0);
        Self {
            seen_packets: state.seen,
            matched_packets: state.matched,
            matched_bytes: state.matched_bytes,
            lost_packets: state.lost,
            lost_bytes: state.lost_bytes,
            realised_loss_percent: (candidates > 0).then_some(percent),
            queue_dropped_packets: state.queue_dropped,
            delayed_packets: state.delayed,
            reordered_packets: state.reordered,
            duplicated_packets: state.duplicated,
            frames: state.framed,
            corrupted_frames: state.corrupted,
            shaped_packets: state.shaped,
            marked_packets: state.marked,
            delays: delays
                .map(|(index, packets)| Bucket { from_ns: bucket_start_ns(index), packets })
                .collect(),
        }
    }
}

/// Packets that were held back for about the same time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// The shortest time; the longest is below the next bucket's shortest, twice as much.
    pub from_ns: u64,
    /// How many.
    pub packets: u64,
}

/// All injections.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Injections {
    /// In the order of the policies.
    pub injections: Vec<Injection>,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// The engine's id for it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its interfaces that can be hit.
    pub endpoints: Vec<Endpoint>,
    /// Why not all of it can be hit; null if it can.
    pub reason: Option<String>,
    /// The policies that are on it.
    pub policies: Vec<String>,
}

/// One interface of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The host's end of the veth pair.
    pub interface: String,
    /// Its index.
    pub index: u32,
    /// The network's name, or a number where it cannot be told.
    pub network: String,
}

/// All containers that have, or are about to have, a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Containers {
    /// By name.
    pub containers: Vec<Container>,
}

/// How the daemon is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// In a word.
    pub status: Status,
    /// What is not as it should be, a line for each.
    pub reasons: Vec<String>,
    /// Why nothing is injected; null if something may be.
    pub halted: Option<Halted>,
    /// The container engine.
    pub engine: EngineHealth,
    /// Why nothing can be delayed or shaped here; null if it can.
    pub no_fair_queue: Option<String>,
    /// Why nothing can be damaged here; null if it can.
    pub no_wire: Option<String>,
    /// Policies that there are.
    pub policies: u64,
    /// Policies that are in force.
    pub policies_in_force: u64,
    /// Containers that are hit.
    pub containers_hit: u64,
    /// Injections in force that have matched no packet for a while.
    pub injections_idle: u64,
}

/// How the daemon is, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// All is well.
    Ok,
    /// Something is not as it should be; the reasons say what.
    Degraded,
    /// Nothing is injected, because somebody has said so.
    Halted,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Halted => "halted",
        })
    }
}

/// The container engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineHealth {
    /// Whether it answers.
    pub connected: bool,
    /// Its version, and the version of its API, once it has answered.
    pub version: Option<String>,
    /// Why it does not answer.
    pub reason: Option<String>,
}

/// Which daemon this is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Its version.
    pub version: String,
    /// Version of this API.
    pub api: String,
    /// Its process.
    pub pid: u32,
}

/// Body of a request to halt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Halt {
    /// Why, for whoever wonders; up to 200 characters.
    pub reason: Option<String>,
}

/// Answer to a request to halt or to resume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halting {
    /// Why nothing is injected now; null if something may be.
    pub halted: Option<Halted>,
    /// Whether the request changed that.
    pub changed: bool,
}
