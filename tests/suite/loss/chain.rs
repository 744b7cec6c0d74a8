//! How many packets a loss model with memory loses, and how far chance alone may carry the count.
//!
//! Losses of such a model are not independent, so the binomial bounds do not hold. Each model is a
//! Markov chain: `to[s][t]` leads from the state `s` to `t` for one packet, and that packet is lost
//! with the probability `lose[s]` of the state that it finds, whatever the way it goes. With the
//! share `share[s]` of a state in the long run and `rate = sum(share[s] * lose[s])`, the count over
//! `n` packets has
//!
//! - the mean `n * rate + start`, where `start`, the sum over `k` from 0 on of `P(lost k) - rate`, is
//!   what it owes to its beginning in the first state;
//! - the variance `n * (rate * (1 - rate) + 2 * sum(c[k]))`, where `c[k]`, for `k` from 1 on, is
//!   `sum(share[s] * (lose[s] - rate) * (to^k * lose)[s])`: how much two packets have in common that
//!   are `k` apart. (What adds to it at the beginning does not grow with `n`.)
//!
//! By the central limit theorem for chains with finitely many states the count is normal around that.
//! How nearly, depends on the number of bursts: over `b` of them, whose lengths are geometric, the
//! skewness is at most `3 / sqrt(2 * b)`, and moves a bound of 3.29 standard deviations by
//! `(3.29^2 - 1) / 6` of that (Cornish and Fisher 1937). With 1900 bursts, the fewest here, that is a
//! fortieth of the interval.

use std::ops::RangeInclusive;

use entropy_common::{
    chance::Probability,
    fault::loss::{GILBERT_ELLIOTT, Loss, MARKOV, RATE},
};
use entropy_tests::stats::NORMAL_999;

const STATES: usize = 4;

/// Beyond so many packets none of the chains here remembers anything that a double could tell.
const MEMORY: usize = 20_000;

type Row = [f64; STATES];

/// A chain. States that a model has not are never reached.
#[derive(Debug)]
pub(super) struct Chain {
    to: [Row; STATES],
    lose: Row,
}

impl Chain {
    /// The chain of a model; `None` for models without memory, and for netem's correlation, which
    /// remembers more than a state.
    pub(super) fn of(loss: &Loss) -> Option<Self> {
        let [a, b, c, d, e] = loss.p.map(share);
        match loss.model {
            // A draw is the one of the packet before with the probability b, and else hits with the
            // probability a. The states are what became of that packet: received, lost.
            RATE => Some(Self::of_next(
                [
                    [1.0 - (1.0 - b) * a, (1.0 - b) * a, 0.0, 0.0],
                    [(1.0 - b) * (1.0 - a), b + (1.0 - b) * a, 0.0, 0.0],
                    [0.0; STATES],
                    [0.0; STATES],
                ],
                [1],
            )),
            // Good, bad.
            GILBERT_ELLIOTT => Some(Self {
                to: [[1.0 - a, a, 0.0, 0.0], [b, 1.0 - b, 0.0, 0.0], [0.0; STATES], [0.0; STATES]],
                lose: [d, c, 0.0, 0.0],
            }),
            // Gap, received in a burst, lost in a burst, lost alone; p13, p31, p32, p23, p14.
            MARKOV => Some(Self::of_next(
                [
                    [1.0 - a - e, 0.0, a, e],
                    [0.0, 1.0 - d, d, 0.0],
                    [b, c, 1.0 - b - c, 0.0],
                    [1.0, 0.0, 0.0, 0.0],
                ],
                [2, 3],
            )),
            _ => None,
        }
    }

    /// A chain whose packets are lost if the state that they lead to is one of `lost`. That is the state
    /// that the packet after them finds: the count is the same, but for the first and the last packet.
    fn of_next<const N: usize>(to: [Row; STATES], lost: [usize; N]) -> Self {
        Self { to, lose: std::array::from_fn(|state| f64::from(u8::from(lost.contains(&state)))) }
    }

    /// The counts between which `packets` packets lose with the probability of 99.9 %.
    pub(super) fn interval(&self, packets: u32) -> RangeInclusive<f64> {
        let packets = f64::from(packets);
        let shares = self.shares();
        let rate = dot(&shares, &self.lose);
        let excess = self.lose.map(|lose| lose - rate);
        let weighted: Row = std::array::from_fn(|state| shares[state] * excess[state]);
        // (to^k * excess)[s]: how many more are lost k packets after the state s.
        let (mut later, mut start, mut common) = (excess, 0.0, 0.0);
        for _ in 0..MEMORY {
            start += later[0];
            later = std::array::from_fn(|state| dot(&self.to[state], &later));
            common += dot(&weighted, &later);
        }
        let mean = packets * rate + start;
        let variance = packets * (rate * (1.0 - rate) + 2.0 * common);
        // One for the packet by which `of_next` is off.
        let reach = NORMAL_999 * variance.sqrt() + 1.0;
        mean - reach..=mean + reach
    }

    /// Where the chain is in the long run.
    fn shares(&self) -> Row {
        let mut shares = [1.0, 0.0, 0.0, 0.0];
        for _ in 0..MEMORY {
            shares = std::array::from_fn(|to| {
                (0..STATES).map(|from| shares[from] * self.to[from][to]).sum()
            });
        }
        shares
    }
}

fn share(probability: Probability) -> f64 {
    probability.parts() as f64 / 2_f64.powi(32)
}

fn dot(a: &Row, b: &Row) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Independent losses are a chain, too: its interval is the binomial one, but for the rounding to
/// whole packets and the normal approximation.
#[test]
fn without_correlation_the_interval_is_the_binomial_one() {
    use entropy_tests::stats::{ALPHA, Binomial};
    let tenth = Probability::from_parts(429_496_730).unwrap();
    let interval = Chain::of(&Loss::rate(tenth)).unwrap().interval(1_000_000);
    let exact = Binomial::new(1_000_000, share(tenth)).interval(ALPHA);
    assert!((interval.start() - *exact.start() as f64).abs() < 4.0, "{interval:?}, {exact:?}");
    assert!((interval.end() - *exact.end() as f64).abs() < 4.0, "{interval:?}, {exact:?}");
}

/// For Gilbert's chain the sum is known: the correlation of two packets that are k apart is
/// `(1 - p - r)^k`, so the variance is that of independent losses times `(2 - p - r) / (p + r)`.
#[test]
fn bursts_widen_the_interval_as_their_length_says() {
    let rate = Probability::from_parts(429_496_730).unwrap();
    let loss = Loss::bursts(rate, 5_000).unwrap();
    let interval = Chain::of(&loss).unwrap().interval(1_000_000);
    let (p, r) = (share(loss.p[0]), share(loss.p[1]));
    let deviation = (1e6 * 0.1 * 0.9 * (2.0 - p - r) / (p + r)).sqrt();
    let width = (interval.end() - interval.start()) / 2.0 - 1.0;
    assert!((width - NORMAL_999 * deviation).abs() < 0.5, "{width}, deviation {deviation}");
}
