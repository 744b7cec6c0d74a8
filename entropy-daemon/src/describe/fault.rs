//! What happens to packets, for people and for programs.

use std::collections::BTreeMap;

use crate::policy::{Bandwidth, Size, Span};
use entropy_common::{
    chance::correlated::Chance,
    fault::{
        corrupt::Corrupt as CorruptRecord,
        delay::{
            CONSTANT, Delay as DelayRecord, PERCENTILE_BITS, TABLE, TABLE_BITS, UNIFORM_BITS,
            table::Distribution,
        },
        loss::{self, Loss as LossRecord},
        partition::Partition,
        rate::{CLOCK_BITS, Rate as RateRecord},
        reorder::Reorder as ReorderRecord,
        slot::Slot as SlotRecord,
    },
    rule::Rule,
};
use serde::Serialize;

use super::percent_of_parts;

/// What happens to the packets of a rule; null for what does not.
#[derive(Debug, Serialize)]
pub struct Faults {
    /// Packets vanish.
    pub loss: Option<Loss>,
    /// Packets arrive later.
    pub delay: Option<Delay>,
    /// Some packets overtake others.
    pub reorder: Option<Reorder>,
    /// Packets arrive twice.
    pub duplicate: Option<Share>,
    /// Frames arrive damaged.
    pub corrupt: Option<Corrupt>,
    /// A link of limited bandwidth.
    pub rate: Option<Rate>,
    /// A shared medium that lets packets go in bursts.
    pub slot: Option<Slot>,
    /// `everything` or `new-connections` is cut off.
    pub partition: Option<&'static str>,
}

/// A share of packets, by chance.
#[derive(Debug, Serialize)]
pub struct Share {
    /// How many of a hundred.
    percent: f64,
    /// How much a draw resembles the one before.
    correlation_percent: f64,
}

/// Which packets vanish.
#[derive(Debug, Serialize)]
pub struct Loss {
    /// `random`, `netem`, `gilbert-elliott`, `state`, `every`, `first` or `pattern`.
    model: &'static str,
    /// Share of the packets that is lost in the long run; null where it depends on their number, or
    /// has no simple form.
    expected_percent: Option<f64>,
    /// The probabilities of the model by name (`rate`, `correlation`, `p`, `p13`, ...).
    parameters_percent: BTreeMap<&'static str, f64>,
    /// Of `every` and `first`: how many packets.
    count: Option<u64>,
    /// Of `pattern`: a digit for each packet, 1 is lost.
    pattern: Option<String>,
    /// Whether packets that can be marked are marked instead.
    ecn: bool,
    /// `packet`, or `segment`: each segment of a super-packet for itself.
    per: &'static str,
}

/// Which frames are damaged.
#[derive(Debug, Serialize)]
pub struct Corrupt {
    /// How often.
    #[serde(flatten)]
    share: Share,
    /// Whether the checksum is made to fit the damage.
    silent: bool,
}

/// By how much packets are delayed.
#[derive(Debug, Serialize)]
pub struct Delay {
    /// The fixed part; 0 with percentiles.
    base_ns: u64,
    /// Half of the range of a uniform distribution, the standard deviation of another, the longest
    /// delay of percentiles.
    jitter_ns: u64,
    /// `constant`, `uniform`, `normal`, `pareto`, `paretonormal` or `percentiles`.
    distribution: &'static str,
    /// How much a draw resembles the one before.
    correlation_percent: f64,
    /// `any` or `keep`.
    order: &'static str,
}

/// Which packets overtake others.
#[derive(Debug, Serialize)]
pub struct Reorder {
    /// How often.
    #[serde(flatten)]
    share: Share,
    /// At most each packet of so many is early.
    gap: u32,
    /// How far they jump; null for all the way.
    jump_ns: Option<u64>,
}

/// A link.
#[derive(Debug, Serialize)]
pub struct Rate {
    /// Its bandwidth.
    bits_per_second: f64,
    /// Longest time in it.
    queue_ns: u64,
    /// Wait from which packets are marked; null for never.
    mark_ns: Option<u64>,
    /// What it sends at once after a rest, as time.
    burst_ns: u64,
    /// Bytes that each packet takes besides its own.
    overhead_bytes: i32,
    /// Bytes of a cell; 0 for none.
    cell_bytes: u32,
    /// Bytes that each cell takes besides its own.
    cell_overhead_bytes: i32,
}

/// The slots of a shared medium.
#[derive(Debug, Serialize)]
pub struct Slot {
    /// Mean time from a slot to the next one.
    every_ns: u64,
    /// Half of the range of a uniform distribution, the standard deviation of another.
    jitter_ns: u64,
    /// `constant`, `uniform`, `normal`, `pareto` or `paretonormal`.
    distribution: &'static str,
    /// Most packets of a slot; null for any number.
    packets: Option<u32>,
    /// Most bytes of a slot; null for any number.
    bytes: Option<u32>,
    /// Longest wait for a slot.
    queue_ns: u64,
}

impl Faults {
    /// The faults of a rule.
    #[must_use]
    pub fn new(rule: &Rule) -> Self {
        Self {
            loss: (rule.loss.model != loss::NONE).then(|| Loss::new(&rule.loss)),
            delay: rule.delay.acts().then(|| Delay::new(&rule.delay)),
            reorder: rule.reorder.acts().then(|| Reorder::new(&rule.reorder)),
            duplicate: (!rule.duplicate.chance.rate.is_never())
                .then(|| Share::new(rule.duplicate.chance)),
            corrupt: rule.corrupt.acts().then(|| Corrupt::new(&rule.corrupt)),
            rate: rule.rate.acts().then(|| Rate::new(&rule.rate)),
            slot: rule.slot.acts().then(|| Slot::new(&rule.slot)),
            partition: match rule.partition {
                Partition::NONE => None,
                Partition::NEW_CONNECTIONS => Some("new-connections"),
                _ => Some("everything"),
            },
        }
    }

    /// Whether segments are lost, and not packets.
    #[must_use]
    pub fn loses_segments(&self) -> bool {
        self.loss.as_ref().is_some_and(|loss| loss.per == "segment")
    }

    /// One line; `none` where nothing happens.
    #[must_use]
    pub fn describe(&self) -> String {
        let parts = [
            self.loss.as_ref().map(Loss::describe),
            self.delay.as_ref().map(Delay::describe),
            self.reorder.as_ref().map(Reorder::describe),
            self.duplicate.as_ref().map(|share| format!("duplicate {}", share.describe())),
            self.corrupt.as_ref().map(Corrupt::describe),
            self.rate.as_ref().map(Rate::describe),
            self.slot.as_ref().map(Slot::describe),
            self.partition.map(|what| match what {
                "everything" => "partition".to_owned(),
                _ => "partition of new connections".to_owned(),
            }),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if parts.is_empty() { "none".into() } else { parts.join(", ") }
    }
}

fn span(ns: u64) -> String {
    Span::new(ns).to_string()
}

/// A time that is spread.
fn spread(base_ns: u64, jitter_ns: u64, distribution: &str) -> String {
    match distribution {
        "constant" => span(base_ns),
        "percentiles" => format!("by percentiles up to {}", span(jitter_ns)),
        "uniform" => format!("{} ±{}", span(base_ns), span(jitter_ns)),
        other => format!("{} ±{} {other}", span(base_ns), span(jitter_ns)),
    }
}

impl Share {
    fn new(chance: Chance) -> Self {
        Self {
            percent: percent_of_parts(chance.rate.parts()),
            correlation_percent: percent_of_parts(chance.correlation.parts()),
        }
    }

    fn describe(&self) -> String {
        format!("{} %{}", self.percent, correlated(self.correlation_percent))
    }
}

fn correlated(percent: f64) -> String {
    if percent == 0.0 { String::new() } else { format!(" correlated {percent} %") }
}

impl Loss {
    fn new(record: &LossRecord) -> Self {
        let names: &[&'static str] = match record.model {
            loss::RATE | loss::NETEM => &["rate", "correlation"],
            loss::GILBERT_ELLIOTT => &["p", "r", "bad", "good"],
            loss::MARKOV => &["p13", "p31", "p32", "p23", "p14"],
            _ => &[],
        };
        let percent = |index: usize| percent_of_parts(record.p.get(index).map_or(0, |p| p.parts()));
        let length = record.length;
        let digit = |bit: u32| if record.pattern >> bit & 1 == 0 { '0' } else { '1' };
        Self {
            model: match record.model {
                loss::RATE => "random",
                loss::NETEM => "netem",
                loss::GILBERT_ELLIOTT => "gilbert-elliott",
                loss::MARKOV => "state",
                loss::NTH => "every",
                loss::FIRST => "first",
                _ => "pattern",
            },
            // Of a plain rate what was written, not its binary neighbour.
            expected_percent: match record.model {
                loss::RATE => Some(percent(0)),
                _ => record.expected_rate().map(|rate| rounded(rate * 100.0)),
            },
            parameters_percent: names.iter().copied().zip((0..).map(percent)).collect(),
            count: match record.model {
                loss::NTH => Some(u64::from(length)),
                loss::FIRST => Some(record.pattern),
                _ => None,
            },
            pattern: (record.model == loss::PATTERN)
                .then(|| (0..length.min(64)).map(digit).collect()),
            ecn: record.ecn != 0,
            per: if record.is_by_segment() { "segment" } else { "packet" },
        }
    }

    fn parameter(&self, name: &str) -> f64 {
        self.parameters_percent.get(name).copied().unwrap_or_default()
    }

    fn describe(&self) -> String {
        let p = |name| self.parameter(name);
        let expected = self.expected_percent.unwrap_or_default();
        let count = self.count.unwrap_or_default();
        let text = match self.model {
            "random" => format!("loss {} %{}", p("rate"), correlated(p("correlation"))),
            "netem" => format!("loss {} % correlated {} % as netem", p("rate"), p("correlation")),
            // What `burst` becomes.
            "gilbert-elliott" if p("bad") == 100.0 && p("good") == 0.0 && p("r") > 0.0 => {
                format!("loss {expected} % in bursts of {}", rounded(100.0 / p("r")))
            }
            "every" => format!("loss of each packet of {count}"),
            "first" => format!("loss of the first {count}"),
            "pattern" => format!("loss by pattern {}", self.pattern.as_deref().unwrap_or_default()),
            model => format!("loss {expected} % ({model})"),
        };
        let unit = if self.per == "segment" { " per segment" } else { "" };
        let mark = if self.ecn { " or ECN mark" } else { "" };
        format!("{text}{unit}{mark}")
    }
}

impl Corrupt {
    fn new(record: &CorruptRecord) -> Self {
        Self { share: Share::new(record.chance), silent: record.silent != 0 }
    }

    fn describe(&self) -> String {
        let how = if self.silent { " silently" } else { "" };
        format!("corrupt {}{how}", self.share.describe())
    }
}

/// Four significant digits.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let step = 10_f64.powf(3.0 - value.abs().log10().floor());
    (value * step).round() / step
}

impl Delay {
    fn new(record: &DelayRecord) -> Self {
        let named = Distribution::ALL.get(record.table as usize);
        let (distribution, bits) = match (record.shape, named) {
            (CONSTANT, _) => ("constant", UNIFORM_BITS),
            (TABLE, Some(named)) => (named.name(), TABLE_BITS),
            (TABLE, None) => ("percentiles", PERCENTILE_BITS),
            _ => ("uniform", UNIFORM_BITS),
        };
        Self {
            base_ns: record.base_ns,
            jitter_ns: record.jitter.nanoseconds(bits),
            distribution,
            correlation_percent: percent_of_parts(record.correlation.parts()),
            order: if record.keep_order == 0 { "any" } else { "keep" },
        }
    }

    fn describe(&self) -> String {
        let time = spread(self.base_ns, self.jitter_ns, self.distribution);
        let order = if self.order == "keep" { " in order" } else { "" };
        format!("delay {time}{}{order}", correlated(self.correlation_percent))
    }
}

impl Reorder {
    fn new(record: &ReorderRecord) -> Self {
        Self {
            share: Share::new(record.chance),
            gap: record.gap,
            jump_ns: (record.jump_ns != 0).then_some(record.jump_ns),
        }
    }

    fn describe(&self) -> String {
        let gap = if self.gap > 1 { format!(" gap {}", self.gap) } else { String::new() };
        let jump = self.jump_ns.map(|ns| format!(" by {}", span(ns))).unwrap_or_default();
        format!("reorder {}{gap}{jump}", self.share.describe())
    }
}

impl Rate {
    fn new(record: &RateRecord) -> Self {
        Self {
            bits_per_second: record.bits_per_second(),
            queue_ns: record.queue_ns,
            mark_ns: (record.mark_ns != u64::MAX).then_some(record.mark_ns),
            burst_ns: record.burst >> CLOCK_BITS,
            overhead_bytes: record.overhead,
            cell_bytes: record.cell,
            cell_overhead_bytes: record.cell_overhead,
        }
    }

    fn describe(&self) -> String {
        let limit = Bandwidth::new(self.bits_per_second as u64);
        format!("rate {limit} queue {}", span(self.queue_ns))
    }
}

impl Slot {
    fn new(record: &SlotRecord) -> Self {
        let Delay { base_ns, jitter_ns, distribution, .. } = Delay::new(&record.every);
        Self {
            every_ns: base_ns,
            jitter_ns,
            distribution,
            packets: (record.packets != 0).then_some(record.packets),
            bytes: (record.bytes != 0).then_some(record.bytes),
            queue_ns: record.queue_ns,
        }
    }

    fn describe(&self) -> String {
        let every = spread(self.every_ns, self.jitter_ns, self.distribution);
        let packets = self.packets.map(|packets| format!("{packets} packets"));
        let bytes = self.bytes.map(|bytes| Size::new(bytes.into()).to_string());
        let room: Vec<String> = packets.into_iter().chain(bytes).collect();
        let of = if room.is_empty() { "" } else { " of " };
        format!("slot {every}{of}{}", room.join(" or "))
    }
}
