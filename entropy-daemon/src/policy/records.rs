//! The faults of a policy as the kernel's records.

use entropy_common::{
    chance::{Probability, correlated},
    fault::{
        corrupt,
        delay::{self, table},
        duplicate, loss, partition,
        rate::{self, RateError},
        reorder,
        slot::{self, SlotError},
    },
    rule::Rule,
};

use super::model::{
    Chance, Delay, DelayTime, Distribution, Faults, Link, Loss, LossModel, Partition, Percentiles,
    Queue, Reorder, Slot, SlotTime,
};
use super::problem::Mistake;
use super::units::{Rate, Span};

/// How far a packet jumps where the policy has no delay and does not say.
const USUAL_JUMP: Span = Span::new(10_000_000);

/// The kernel's records of a policy's faults.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Records {
    /// Loss.
    pub loss: loss::Loss,
    /// Delay; the number of the table of [`Self::percentiles`] is not known yet.
    pub delay: delay::Delay,
    /// Percentiles that the delay follows.
    pub percentiles: Option<Percentiles>,
    /// Reordering.
    pub reorder: reorder::Reorder,
    /// Duplicates.
    pub duplicate: duplicate::Duplicate,
    /// Damage.
    pub corrupt: corrupt::Corrupt,
    /// Bandwidth.
    pub rate: rate::Rate,
    /// Slots.
    pub slot: slot::Slot,
    /// Partition.
    pub partition: partition::Partition,
}

impl Records {
    /// The number of a table that has none yet.
    pub const UNKNOWN_TABLE: u32 = u32::MAX;

    /// Nothing happens.
    pub const NONE: Self = Self {
        loss: loss::Loss::NONE,
        delay: delay::Delay::NONE,
        percentiles: None,
        reorder: reorder::Reorder::NONE,
        duplicate: duplicate::Duplicate::NONE,
        corrupt: corrupt::Corrupt::NONE,
        rate: rate::Rate::NONE,
        slot: slot::Slot::NONE,
        partition: partition::Partition::NONE,
    };

    /// A rule that does this to every packet, always.
    #[must_use]
    pub fn rule(&self) -> Rule {
        Rule {
            loss: self.loss,
            delay: self.delay,
            reorder: self.reorder,
            duplicate: self.duplicate,
            corrupt: self.corrupt,
            rate: self.rate,
            slot: self.slot,
            partition: self.partition,
            ..Rule::NONE
        }
    }

    /// Whether packets may have to wait.
    #[must_use]
    pub fn is_timed(&self) -> bool {
        self.rule().is_timed()
    }

    /// The same without what makes packets wait.
    #[must_use]
    pub fn without_timed(&self) -> Self {
        Self {
            delay: delay::Delay::NONE,
            percentiles: None,
            reorder: reorder::Reorder::NONE,
            rate: rate::Rate::NONE,
            slot: slot::Slot::NONE,
            ..self.clone()
        }
    }

    /// Whether frames are looked at one by one.
    #[must_use]
    pub fn is_wired(&self) -> bool {
        self.rule().is_wired()
    }

    /// The same without what happens to single frames.
    #[must_use]
    pub fn without_wired(&self) -> Self {
        let loss = if self.loss.is_by_segment() { loss::Loss::NONE } else { self.loss };
        Self { loss, corrupt: corrupt::Corrupt::NONE, ..self.clone() }
    }
}

impl Faults {
    /// The records. Faults of a policy from a file always have some.
    ///
    /// # Errors
    /// Parameters that no record can hold, or that make no sense together.
    pub fn records(&self) -> Result<Records, Mistake> {
        let percentiles = match &self.delay {
            Some(Delay { time: DelayTime::Percentiles(percentiles), .. }) => {
                Some(percentiles.clone())
            }
            _ => None,
        };
        let none = Records::NONE;
        Ok(Records {
            loss: self.loss.as_ref().map_or(Ok(none.loss), Loss::record)?,
            delay: self.delay.as_ref().map_or(Ok(none.delay), Delay::record)?,
            percentiles,
            reorder: self
                .reorder
                .as_ref()
                .map_or(none.reorder, |reorder| reorder.record(self.delay.is_some())),
            duplicate: self
                .duplicate
                .map_or(none.duplicate, |chance| duplicate::Duplicate { chance: chance.record() }),
            corrupt: self.corrupt.map_or(none.corrupt, |damage| corrupt::Corrupt {
                chance: damage.chance.record(),
                silent: u32::from(damage.silent),
            }),
            rate: self.rate.as_ref().map_or(Ok(none.rate), Link::record)?,
            slot: self.slot.as_ref().map_or(Ok(none.slot), Slot::record)?,
            partition: match self.partition {
                None => none.partition,
                Some(Partition::Everything) => partition::Partition::CUT,
                Some(Partition::NewConnections) => partition::Partition::NEW_CONNECTIONS,
            },
        })
    }
}

/// A rate in the kernel's unit.
pub(crate) fn probability(rate: Rate) -> Probability {
    // A rate is never above one.
    Probability::from_parts(rate.parts()).unwrap_or(Probability::ALWAYS)
}

impl Chance {
    fn record(self) -> correlated::Chance {
        correlated::Chance {
            rate: probability(self.rate),
            correlation: probability(self.correlation),
        }
    }
}

impl Loss {
    /// The record.
    pub(crate) fn record(&self) -> Result<loss::Loss, Mistake> {
        let record = match &self.model {
            LossModel::Random(Chance { rate, correlation }) => {
                loss::Loss::correlated(probability(*rate), probability(*correlation))
            }
            LossModel::Netem(Chance { rate, correlation }) => {
                loss::Loss::netem(probability(*rate), probability(*correlation))
            }
            LossModel::Bursts { rate, burst_milli } => bursts(*rate, *burst_milli)?,
            LossModel::GilbertElliott { p, r, bad, good } => {
                let [p, r, bad, good] = [p, r, bad, good].map(|rate| probability(*rate));
                loss::Loss::gilbert_elliott(p, r, bad, good)
            }
            LossModel::State(p) => loss::Loss::markov(p.map(probability)).ok_or_else(|| {
                Mistake::new(
                    "more than 100% lead out of a state",
                    "p13 + p14 and p31 + p32 are at most 100% each",
                )
            })?,
            LossModel::Every(period) => period
                .checked_sub(1)
                .and_then(|last| loss::Loss::nth(*period, last))
                .ok_or_else(|| Mistake::new("0 is no period", "write every = 10"))?,
            LossModel::First(count) => loss::Loss::first(*count),
            LossModel::Pattern { bits, length } => {
                loss::Loss::pattern(*bits, *length).ok_or_else(|| {
                    Mistake::new(
                        format!("a pattern of {length} packets cannot be"),
                        "write 1 to 64 of 0 and 1",
                    )
                })?
            }
        };
        let record = if self.ecn { record.with_ecn() } else { record };
        Ok(if self.per_segment { record.with_segments() } else { record })
    }
}

fn bursts(rate: Rate, burst_milli: u32) -> Result<loss::Loss, Mistake> {
    loss::Loss::bursts(probability(rate), burst_milli).map_err(|error| {
        let least = f64::from(error.least_milli) / 1000.0;
        Mistake::new(
            format!("a loss of {rate} cannot come in bursts that short"),
            format!("write burst = {least} or more"),
        )
    })
}

const TOO_LONG: &str = "a delay is at most \"60s\"";

impl Delay {
    /// The record, with 0 for the number of a table of percentiles.
    pub(crate) fn record(&self) -> Result<delay::Delay, Mistake> {
        let record = match &self.time {
            DelayTime::Base { base, jitter, distribution } => based(*base, *jitter, *distribution)?,
            DelayTime::Percentiles(percentiles) => {
                let (_, longest_ns) = percentiles.table()?;
                delay::Delay::percentiles(longest_ns, Records::UNKNOWN_TABLE)
                    .ok_or_else(|| Mistake::new("the longest delay is too long", TOO_LONG))?
            }
        };
        Ok(delay::Delay {
            correlation: probability(self.correlation),
            keep_order: u32::from(self.keep_order),
            ..record
        })
    }
}

fn based(base: Span, jitter: Span, distribution: Distribution) -> Result<delay::Delay, Mistake> {
    let (base, jitter) = (base.nanoseconds(), jitter.nanoseconds());
    if base > delay::MAX_DELAY_NS {
        return Err(Mistake::new(format!("{} is too long", Span::new(base)), TOO_LONG));
    }
    let record = match distribution {
        _ if jitter == 0 => Some(delay::Delay::constant(base)),
        Distribution::Uniform => delay::Delay::uniform(base, jitter),
        // The order of `table::Distribution::ALL`, in which the daemon writes them.
        Distribution::Normal => delay::Delay::distributed(base, jitter, 0),
        Distribution::Pareto => delay::Delay::distributed(base, jitter, 1),
        Distribution::ParetoNormal => delay::Delay::distributed(base, jitter, 2),
    };
    record.ok_or_else(|| {
        Mistake::new(format!("a jitter of {} is too long", Span::new(jitter)), TOO_LONG)
    })
}

impl Percentiles {
    /// The table of these percentiles, and the longest delay of it in nanoseconds.
    ///
    /// # Errors
    /// Percentiles that are not in order, and delays that are too long.
    pub fn table(&self) -> Result<(table::Table, u64), Mistake> {
        let points: Vec<(f64, u64)> =
            self.0.iter().map(|(rate, delay)| (rate.percent(), delay.nanoseconds())).collect();
        table::Table::percentiles(&points).map_err(|error| {
            let help = match error {
                table::PercentileError::TooLong { .. } => {
                    "a delay is at most \"60s\"; without p100, the last two percentiles go on to it"
                }
                table::PercentileError::Decreasing { .. } => {
                    "a higher percentile has at least the delay of the one below it"
                }
                _ => "write delay = { p50 = \"20ms\", p99 = \"300ms\" }",
            };
            Mistake::new(error.to_string(), help)
        })
    }
}

impl Reorder {
    fn record(&self, delayed: bool) -> reorder::Reorder {
        let jump = self.jump.unwrap_or(if delayed { Span::default() } else { USUAL_JUMP });
        reorder::Reorder {
            jump_ns: jump.nanoseconds(),
            chance: self.chance.record(),
            gap: self.gap,
            ..reorder::Reorder::NONE
        }
    }
}

impl Link {
    /// The record.
    pub(crate) fn record(&self) -> Result<rate::Rate, Mistake> {
        let bits = self.limit.bits_per_second();
        if !bits.is_multiple_of(8) {
            return Err(Mistake::new(
                format!("{} is no whole number of bytes per second", self.limit),
                "write a multiple of \"8bit\"",
            ));
        }
        let mut link = rate::Link::new(bits / 8, 0);
        link.queue_ns = match self.queue {
            Queue::Time(span) => span.nanoseconds(),
            Queue::Size(size) => link.time_ns(size.bytes()),
        };
        link.mark_ns = self.mark.map(Span::nanoseconds);
        link.burst_bytes = self.burst.bytes();
        link.overhead = self.overhead;
        link.cell = self.cell;
        link.cell_overhead = self.cell_overhead;
        link.rate().map_err(|error| {
            let help = match error {
                RateError::OutOfRange => "write \"32bit\" to \"10tbit\"",
                RateError::TooLong => "write a shorter queue and burst",
                RateError::EmptyCell => "the overhead of a cell is more than minus its size",
            };
            Mistake::new(error.to_string(), help)
        })
    }
}

impl Slot {
    /// The record.
    pub(crate) fn record(&self) -> Result<slot::Slot, Mistake> {
        let every = match self.time {
            SlotTime::Every { every, jitter, distribution } => based(every, jitter, distribution)?,
            SlotTime::Between { min, max } if max < min => {
                let reason = format!("min = \"{min}\" is more than max = \"{max}\"");
                return Err(Mistake::new(reason, "exchange them"));
            }
            SlotTime::Between { min, max } => {
                slot::Slot::between(min.nanoseconds(), max.nanoseconds())
                    .ok_or_else(|| Mistake::new(format!("{max} is too long"), TOO_LONG))?
            }
        };
        let bytes = self.bytes.unwrap_or_default().bytes();
        let (packets, queue) = (self.packets.unwrap_or_default(), self.queue.nanoseconds());
        slot::Slot::new(every, queue, packets, bytes).map_err(|error| {
            let help = match error {
                SlotError::Nothing => "write slot = \"20ms\"",
                SlotError::TooLong => "write a shorter queue",
                SlotError::TooManyPackets => "leave packets out for any number",
                SlotError::TooManyBytes => "leave bytes out for any number",
            };
            Mistake::new(error.to_string(), help)
        })
    }
}

#[cfg(test)]
mod tests;
