//! What happens to the packets of a policy.

use entropy_common::fault::delay::table;

use crate::policy::units::{Bandwidth, Rate, Size, Span};

/// What happens to the packets of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    /// Packets vanish.
    pub loss: Option<Loss>,
    /// Packets arrive later.
    pub delay: Option<Delay>,
    /// Some packets overtake others.
    pub reorder: Option<Reorder>,
    /// Packets arrive twice.
    pub duplicate: Option<Chance>,
    /// Frames arrive damaged.
    pub corrupt: Option<Corrupt>,
    /// A link of limited bandwidth.
    pub rate: Option<Link>,
    /// A shared medium that lets packets go in bursts.
    pub slot: Option<Slot>,
    /// Nothing gets through, or nothing new.
    pub partition: Option<Partition>,
}

impl Faults {
    /// Whether nothing happens to any packet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How often something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Chance {
    /// Share of the packets.
    pub rate: Rate,
    /// How much a packet's draw resembles the one before; keeps the rate.
    pub correlation: Rate,
}

/// Packets vanish.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Loss {
    /// Which ones.
    pub model: LossModel,
    /// Whether packets that can be marked with congestion experienced are marked instead.
    pub ecn: bool,
    /// Whether each segment of a super-packet is lost for itself.
    pub per_segment: bool,
}

/// Which packets vanish.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LossModel {
    /// A share of them by chance.
    Random(Chance),
    /// A share of them, in runs of a mean length.
    Bursts {
        /// Share of the packets.
        rate: Rate,
        /// Mean length of a run in thousandths of a packet.
        burst_milli: u32,
    },
    /// As netem's `loss random`, which does not keep the rate.
    Netem(Chance),
    /// Two states, as netem's `gemodel`.
    GilbertElliott {
        /// From the good state to the bad one.
        p: Rate,
        /// From the bad state to the good one.
        r: Rate,
        /// Loss in the bad state, netem's `1-h`.
        bad: Rate,
        /// Loss in the good state, netem's `1-k`.
        good: Rate,
    },
    /// Four states, as netem's `state`: p13, p31, p32, p23, p14.
    State([Rate; 5]),
    /// Each packet whose number is a multiple of this one, from 1.
    Every(u32),
    /// So many packets, the first ones.
    First(u64),
    /// By a pattern that repeats: bit 0 is for the first packet.
    Pattern {
        /// The bits; 1 is lost.
        bits: u64,
        /// How many there are, 1 to 64.
        length: u32,
    },
}

/// Packets arrive later.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Delay {
    /// By how much.
    pub time: DelayTime,
    /// How much a packet's jitter resembles the one before; keeps the distribution.
    pub correlation: Rate,
    /// Whether packets may not overtake one another.
    pub keep_order: bool,
}

/// By how much packets are delayed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DelayTime {
    /// A fixed time and a random one.
    Base {
        /// The mean.
        base: Span,
        /// Half of the range of a uniform distribution, the standard deviation of another; 0 for
        /// none.
        jitter: Span,
        /// The distribution of the jitter.
        distribution: Distribution,
    },
    /// As measured somewhere.
    Percentiles(Percentiles),
}

/// Percentiles of a delay, in ascending order, at least one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percentiles(pub(crate) Vec<(Rate, Span)>);

/// A distribution of jitter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Distribution {
    /// Uniform.
    #[default]
    Uniform,
    /// netem's `normal`.
    Normal,
    /// netem's `pareto`.
    Pareto,
    /// netem's `paretonormal`.
    ParetoNormal,
}

impl Distribution {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Uniform, Self::Normal, Self::Pareto, Self::ParetoNormal];

    /// The name that policies use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Normal => table::Distribution::Normal.name(),
            Self::Pareto => table::Distribution::Pareto.name(),
            Self::ParetoNormal => table::Distribution::ParetoNormal.name(),
        }
    }
}

/// Some packets overtake others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reorder {
    /// Which packets are sent early.
    pub chance: Chance,
    /// Only a packet after `gap - 1` others since the last early one can be early; at least 1.
    pub gap: u32,
    /// How far a packet jumps; `None` for all the way of a delay.
    pub jump: Option<Span>,
}

/// Frames arrive damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Corrupt {
    /// Which frames.
    pub chance: Chance,
    /// Whether the checksum is made to fit, so that the application gets the damage.
    pub silent: bool,
}

/// A link of limited bandwidth.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    /// The bandwidth.
    pub limit: Bandwidth,
    /// How much may wait for it.
    pub queue: Queue,
    /// What is sent at once after a rest.
    pub burst: Size,
    /// From which wait on packets are marked that can be; `None` for never.
    pub mark: Option<Span>,
    /// Bytes that each packet takes besides its own.
    pub overhead: i32,
    /// Bytes that packets are cut into pieces of; 0 for none.
    pub cell: u32,
    /// Bytes that each piece takes besides its own.
    pub cell_overhead: i32,
}

/// How much may wait for a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Queue {
    /// What can be sent in a time.
    Time(Span),
    /// So many bytes.
    Size(Size),
}

/// A shared medium that lets packets go in bursts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// When the next slot is.
    pub time: SlotTime,
    /// Most packets of a slot; at least 1.
    pub packets: Option<u32>,
    /// Most bytes of a slot, but for the packet that reaches them; at least 1.
    pub bytes: Option<Size>,
    /// How long a packet may wait for its slot.
    pub queue: Span,
}

/// How long it is from a slot to the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SlotTime {
    /// A fixed time and a random one.
    Every {
        /// The mean.
        every: Span,
        /// Half of the range of a uniform distribution, the standard deviation of another; 0 for
        /// none.
        jitter: Span,
        /// The distribution of the jitter.
        distribution: Distribution,
    },
    /// Uniform.
    Between {
        /// The shortest time.
        min: Span,
        /// The longest one.
        max: Span,
    },
}

/// What a partition cuts off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Partition {
    /// Every packet.
    Everything,
    /// New TCP connections.
    NewConnections,
}
