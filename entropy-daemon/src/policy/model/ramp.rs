//! A policy whose parameters move.

use std::fmt;

use super::{Delay, DelayTime, Faults, Loss, LossModel};
use crate::policy::units::{Bandwidth, Rate, Span};

/// Parameters of a policy that move from the beginning of each window on, until they are what the policy
/// says: evenly, in steps.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ramp {
    /// How long that takes, from one second to a day.
    pub over: Span,
    /// From one step to the next, from one second to `over`.
    pub step: Span,
    /// Where they begin.
    pub from: Start,
}

/// Where the parameters of a policy begin; `None` for those that do not move.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Start {
    /// Base and jitter of the delay.
    pub delay: Option<(Span, Span)>,
    /// Share of the packets that are lost.
    pub loss: Option<Rate>,
    /// Share of the packets that arrive twice.
    pub duplicate: Option<Rate>,
    /// Share of the frames that are damaged.
    pub corrupt: Option<Rate>,
    /// The bandwidth.
    pub limit: Option<Bandwidth>,
}

/// How far a ramp has come: so much of so much.
#[derive(Clone, Copy)]
struct Way {
    done: u64,
    all: u64,
}

impl Way {
    /// What lies so far between two numbers, to the nearest.
    fn between(self, first: u64, last: u64) -> u64 {
        let all = u128::from(self.all.max(1));
        let moved = u128::from(first.abs_diff(last)) * u128::from(self.done.min(self.all));
        let moved = u64::try_from((moved + all / 2) / all).unwrap_or(u64::MAX);
        if first < last { first.saturating_add(moved) } else { first.saturating_sub(moved) }
    }

    fn span(self, first: Span, last: Span) -> Span {
        Span::new(self.between(first.nanoseconds(), last.nanoseconds()))
    }

    fn rate(self, first: Rate, last: Rate) -> Rate {
        Rate::from_billionths(self.between(first.billionths(), last.billionths()))
    }
}

impl Ramp {
    /// What happens to packets so long after the beginning of a window, in nanoseconds.
    #[must_use]
    pub fn at(&self, faults: &Faults, passed_ns: u64) -> Faults {
        let (over, step) = (self.over.nanoseconds(), self.step.nanoseconds().max(1));
        let done = if passed_ns >= over { over } else { passed_ns / step * step };
        let way = Way { done, all: over };
        let mut faults = faults.clone();
        self.from.delay(way, faults.delay.as_mut());
        let rates = [
            (self.from.loss, faults.loss.as_mut().and_then(Loss::rate_mut)),
            (self.from.duplicate, faults.duplicate.as_mut().map(|chance| &mut chance.rate)),
            (self.from.corrupt, faults.corrupt.as_mut().map(|damage| &mut damage.chance.rate)),
        ];
        for (first, last) in rates {
            if let (Some(first), Some(last)) = (first, last) {
                *last = way.rate(first, *last);
            }
        }
        if let (Some(first), Some(link)) = (self.from.limit, faults.rate.as_mut()) {
            // Whole bytes, as both ends are.
            let bytes = |limit: Bandwidth| limit.bits_per_second() / 8;
            link.limit = Bandwidth::new(way.between(bytes(first), bytes(link.limit)) * 8);
        }
        faults
    }

    /// When the next step is, in nanoseconds after the beginning of the window; `None` at the end.
    #[must_use]
    pub fn next(&self, passed_ns: u64) -> Option<u64> {
        let (over, step) = (self.over.nanoseconds(), self.step.nanoseconds().max(1));
        (passed_ns < over).then(|| (passed_ns / step + 1).saturating_mul(step).min(over))
    }
}

impl Start {
    fn delay(&self, way: Way, delay: Option<&mut Delay>) {
        let Some((first, first_jitter)) = self.delay else { return };
        if let Some(DelayTime::Base { base, jitter, .. }) = delay.map(|delay| &mut delay.time) {
            *base = way.span(first, *base);
            *jitter = way.span(first_jitter, *jitter);
        }
    }
}

impl Loss {
    /// The share of the packets that is lost, if the model has it as a parameter.
    pub(crate) fn rate_mut(&mut self) -> Option<&mut Rate> {
        match &mut self.model {
            LossModel::Random(chance) | LossModel::Netem(chance) => Some(&mut chance.rate),
            LossModel::Bursts { rate, .. } => Some(rate),
            _ => None,
        }
    }
}

impl fmt::Display for Ramp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Start { delay, loss, duplicate, corrupt, limit } = &self.from;
        let delay = delay.map(|(base, jitter)| match jitter {
            jitter if jitter == Span::default() => format!("delay {base}"),
            jitter => format!("delay {base} ±{jitter}"),
        });
        let parts = [
            delay,
            loss.map(|rate| format!("loss {rate}")),
            duplicate.map(|rate| format!("duplicate {rate}")),
            corrupt.map(|rate| format!("corrupt {rate}")),
            limit.map(|limit| format!("rate {limit}")),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        write!(f, "ramp from {} over {}, each {}", parts.join(", "), self.over, self.step)
    }
}

#[cfg(test)]
mod tests;
