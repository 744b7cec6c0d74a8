//! Loss: packets vanish by chance, or by count.

#[cfg(any(test, feature = "user"))]
mod theory;

#[cfg(any(test, feature = "user"))]
pub use theory::BurstError;

use crate::{
    chance::{
        Probability, Stream,
        correlated::{self, drawn, hits_netem},
        draw,
    },
    memory::{Memory, Word},
    packet::Packet,
    record,
};

/// [`Loss::model`]: nothing is lost.
pub const NONE: u32 = 0;
/// Each packet for itself with the rate `p[0]`, correlated by `p[1]` in the way that keeps the rate.
pub const RATE: u32 = 1;
/// The rate `p[0]` and the correlation `p[1]` as netem computes them. The rate is not kept.
pub const NETEM: u32 = 2;
/// netem's `loss gemodel p r 1-h 1-k`, in `p[0..4]`.
pub const GILBERT_ELLIOTT: u32 = 3;
/// netem's `loss state p13 p31 p32 p23 p14`, in `p[0..5]`.
pub const MARKOV: u32 = 4;
/// The packets whose ordinal leaves the remainder `pattern` when divided by `length`.
pub const NTH: u32 = 5;
/// The first `pattern` packets.
pub const FIRST: u32 = 6;
/// Bit `ordinal mod length` of `pattern` says whether the packet is lost.
pub const PATTERN: u32 = 7;

/// Mark of a word: the packet of the step that made the word is lost.
const LOST: u64 = 1 << 63;
/// Where the state models keep their count of packets: above the state.
const COUNT_SHIFT: u32 = 2;
const STATE: u64 = (1 << COUNT_SHIFT) - 1;

// The states of the 4-state model, in the order of their first visit from zeroed memory. netem
// numbers them 1 to 4: gap, burst and received, burst and lost, isolated loss.
const GAP: u64 = 0;
const BURST_RECEIVED: u64 = 1;
const BURST_LOST: u64 = 2;
const ISOLATED: u64 = 3;

record! {
    /// Which packets vanish. Made by the constructors.
    pub struct Loss {
        /// Bits of a pattern, or a count: see the models.
        pub pattern: u64,
        /// The model: [`NONE`], [`RATE`], [`NETEM`], [`GILBERT_ELLIOTT`], [`MARKOV`], [`NTH`],
        /// [`FIRST`] or [`PATTERN`]. Any other loses nothing.
        pub model: u32,
        /// Period of a model that counts; 0 loses nothing.
        pub length: u32,
        /// The model's probabilities.
        pub p: [Probability; 5],
        /// 0: lose, anything else: mark packets that can be marked with congestion experienced
        /// instead, and lose the others, as netem's `ecn` does.
        pub ecn: u32,
        /// 0: each packet is one, however many segments it has. Anything else: decided at the wire's
        /// exit, for each frame.
        pub per_segment: u32,
        #[doc(hidden)]
        pub _pad: u32,
    }
}

impl Loss {
    /// No loss.
    pub const NONE: Self = Self {
        pattern: 0,
        model: NONE,
        length: 0,
        p: [Probability::NEVER; 5],
        ecn: 0,
        per_segment: 0,
        _pad: 0,
    };

    /// Each packet is lost with this probability, independently of the others.
    #[must_use]
    pub const fn rate(rate: Probability) -> Self {
        Self::correlated(rate, Probability::NEVER)
    }

    /// As many packets, but the draw for one is that of the packet before with the probability
    /// `correlation`.
    #[must_use]
    pub const fn correlated(rate: Probability, correlation: Probability) -> Self {
        let n = Probability::NEVER;
        Self { model: RATE, p: [rate, correlation, n, n, n], ..Self::NONE }
    }

    /// netem's `loss random RATE CORRELATION`, with the rate that comes of it.
    #[must_use]
    pub const fn netem(rate: Probability, correlation: Probability) -> Self {
        Self { model: NETEM, ..Self::correlated(rate, correlation) }
    }

    /// Gilbert-Elliott with netem's parameters: `p` leads from the good state to the bad one, `r`
    /// back; packets are lost with the probability `bad` (netem's 1-h) and `good` (1-k) there.
    #[must_use]
    pub const fn gilbert_elliott(
        p: Probability,
        r: Probability,
        bad: Probability,
        good: Probability,
    ) -> Self {
        Self { model: GILBERT_ELLIOTT, p: [p, r, bad, good, Probability::NEVER], ..Self::NONE }
    }

    /// netem's 4-state model, in the order of `tc`'s arguments: p13, p31, p32, p23, p14. `None` if
    /// the ways out of a state (p13 and p14, or p31 and p32) sum to more than one.
    #[must_use]
    pub const fn markov(p: [Probability; 5]) -> Option<Self> {
        let [p13, p31, p32, _, p14] = p;
        if p13.parts() + p14.parts() > 1 << 32 || p31.parts() + p32.parts() > 1 << 32 {
            return None;
        }
        Some(Self { model: MARKOV, p, ..Self::NONE })
    }

    /// One packet of every `period`: the packets number `offset`, `offset + period`, ..., counted
    /// from 0. So `nth(10, 9)` loses the 10th, the 20th, ... `None` unless `offset < period`.
    #[must_use]
    pub const fn nth(period: u32, offset: u32) -> Option<Self> {
        if offset >= period {
            return None;
        }
        Some(Self { model: NTH, length: period, pattern: offset as u64, ..Self::NONE })
    }

    /// The first `count` packets that the rule matches.
    #[must_use]
    pub const fn first(count: u64) -> Self {
        Self { model: FIRST, pattern: count, ..Self::NONE }
    }

    /// A pattern of 1 to 64 packets, over and over: bit 0 is for the first packet, and a bit that is
    /// set loses its packet. `None` for other lengths.
    #[must_use]
    pub const fn pattern(bits: u64, length: u32) -> Option<Self> {
        if length == 0 || length > 64 {
            return None;
        }
        Some(Self { model: PATTERN, length, pattern: bits, ..Self::NONE })
    }

    /// The same, marking instead of losing where that is possible.
    #[must_use]
    pub const fn with_ecn(self) -> Self {
        Self { ecn: 1, ..self }
    }

    /// The same for each segment of a super-packet by itself, as on a physical link: all packets that
    /// the rule matches cross the wire, and the model counts frames.
    #[must_use]
    pub const fn with_segments(self) -> Self {
        Self { per_segment: 1, ..self }
    }

    /// Whether it decides about frames at the wire, and not about packets.
    #[inline(always)]
    #[must_use]
    pub const fn is_by_segment(&self) -> bool {
        self.per_segment != 0 && self.model != NONE
    }

    /// Whether a packet that it hits is marked instead of lost.
    #[inline(always)]
    #[must_use]
    pub const fn marks(&self, packet: &Packet) -> bool {
        self.ecn != 0 && packet.ecn != 0
    }

    /// Whether the packet with this ordinal is lost.
    #[inline(always)]
    pub fn hits<M: Memory>(&self, seed: u64, ordinal: u64, memory: &M) -> bool {
        let needs_memory = self.model == RATE && !self.p[1].is_never()
            || matches!(self.model, NETEM | GILBERT_ELLIOTT | MARKOV);
        if !needs_memory {
            return self.hits_alone(seed, ordinal);
        }
        let before = memory.update(Word::Loss, |word| self.step(word, seed, ordinal));
        self.step(before, seed, ordinal) & LOST != 0
    }

    /// The models that need no memory.
    #[inline(always)]
    fn hits_alone(&self, seed: u64, ordinal: u64) -> bool {
        let place = ordinal.checked_rem(u64::from(self.length)).unwrap_or(u64::MAX);
        match self.model {
            RATE => self.p[0].hits(draw(seed, Stream::Loss, ordinal)),
            NTH => place == self.pattern && self.length != 0,
            FIRST => ordinal < self.pattern,
            PATTERN => self.length != 0 && (self.pattern >> (place & 63)) & 1 != 0,
            _ => false,
        }
    }

    /// One step of a model with memory: from the word before to the word after. Its highest bit says
    /// whether this packet is lost.
    #[inline(always)]
    #[must_use]
    pub const fn step(&self, word: u64, seed: u64, ordinal: u64) -> u64 {
        match self.model {
            GILBERT_ELLIOTT => self.step_gilbert_elliott(word, seed),
            MARKOV => self.step_markov(word, seed),
            _ => {
                let fresh = draw(seed, Stream::Loss, ordinal);
                let other = draw(seed, Stream::LossRenewal, ordinal);
                let ours = correlated::step(word, self.p[1], other, fresh);
                let netems = correlated::step_netem(word, self.p[1], other, fresh);
                let (next, lost) = if self.model == NETEM {
                    (netems, hits_netem(self.p[0], drawn(netems)))
                } else {
                    (ours, self.p[0].hits(drawn(ours)))
                };
                next | (lost as u64) << 63
            }
        }
    }

    /// Two draws per packet: first the transition, then the loss with the rate of the *old* state
    /// (`loss_gilb_ell`, net/sched/sch_netem.c). Both are numbered by the word's own count, so the
    /// chain is the same however many CPUs take part.
    #[inline(always)]
    const fn step_gilbert_elliott(&self, word: u64, seed: u64) -> u64 {
        let count = (word & !LOST) >> COUNT_SHIFT;
        let bad = word & 1;
        let (leave, lose) = if bad == 0 { (self.p[0], self.p[3]) } else { (self.p[1], self.p[2]) };
        let next = bad ^ leave.hits(draw(seed, Stream::LossState, count)) as u64;
        let lost = lose.hits(draw(seed, Stream::Loss, count)) as u64;
        (count + 1) << COUNT_SHIFT | next | lost << 63
    }

    /// One draw per packet decides the transition, and the packet is lost if it leads to a state of
    /// loss (`loss_4state`, net/sched/sch_netem.c).
    #[inline(always)]
    const fn step_markov(&self, word: u64, seed: u64) -> u64 {
        let count = (word & !LOST) >> COUNT_SHIFT;
        let [p13, p31, p32, p23, p14] = self.p;
        // Below the first threshold the chain goes to the first state, below the second to the
        // second, else to the third.
        let (first, second, to_first, to_second, to_third) = match word & STATE {
            GAP => (p14.parts(), p14.parts() + p13.parts(), ISOLATED, BURST_LOST, GAP),
            BURST_RECEIVED => (p23.parts(), 0, BURST_LOST, GAP, BURST_RECEIVED),
            BURST_LOST => (p32.parts(), p32.parts() + p31.parts(), BURST_RECEIVED, GAP, BURST_LOST),
            _ => (0, 0, GAP, GAP, GAP),
        };
        let draw = draw(seed, Stream::LossState, count) as u64;
        let next = if draw < first {
            to_first
        } else if draw < second {
            to_second
        } else {
            to_third
        };
        // The states of loss are those with the second bit.
        (count + 1) << COUNT_SHIFT | next | (next >> 1) << 63
    }
}

#[cfg(test)]
mod tests;
