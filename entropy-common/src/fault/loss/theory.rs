//! What a loss model does in the long run, for people and their previews.

use crate::{
    chance::Probability,
    fault::loss::{GILBERT_ELLIOTT, Loss, MARKOV, NTH, PATTERN, RATE},
};

/// Why there is no chain with a rate and a mean burst length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BurstError {
    /// The shortest mean burst that there is for the rate, in thousandths of a packet.
    pub least_milli: u32,
}

impl core::fmt::Display for BurstError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (whole, milli) = (self.least_milli / 1000, self.least_milli % 1000);
        write!(f, "the mean burst must be at least {whole}.{milli:03} packets for this rate")
    }
}

impl core::error::Error for BurstError {}

/// One, as parts of 2^32.
const ONE: u64 = 1 << 32;

impl Loss {
    /// Loss with an average rate, in runs of a mean length, given in thousandths of a packet.
    ///
    /// This is Gilbert's chain: all packets are lost in the bad state, none in the good one. A run
    /// ends with the probability `r = 1 / burst`, so run lengths are geometric, and `p = rate * r /
    /// (1 - rate)` makes the share of the bad state the rate. Independent loss has the mean burst
    /// `1 / (1 - rate)`: more is bursty, less is more regular than chance.
    ///
    /// Both are exact to 2^-32, and `p` is computed from the rounded `r`, so the rate is off by less
    /// than 2^-33 / (p + r) at most.
    ///
    /// # Errors
    /// [`BurstError`] where no chain can do it: a run has one packet at least, and with runs shorter
    /// than `rate / (1 - rate)` the gaps between them would be shorter than one packet.
    pub fn bursts(rate: Probability, burst_milli: u32) -> Result<Self, BurstError> {
        let lost = rate.parts();
        if lost == 0 || lost == ONE {
            return Ok(Self::rate(rate));
        }
        // Rounded up: what is called the least must be enough.
        let least = (u128::from(lost) * 1000).div_ceil(u128::from(ONE - lost)).max(1000);
        if u128::from(burst_milli) < least {
            return Err(BurstError { least_milli: u32::try_from(least).unwrap_or(u32::MAX) });
        }
        let burst = u128::from(burst_milli);
        let r = (u128::from(ONE) * 1000 + burst / 2) / burst;
        let received = u128::from(ONE - lost);
        let p = ((u128::from(lost) * r + received / 2) / received).min(u128::from(ONE));
        let probability = |parts: u128| {
            u64::try_from(parts)
                .ok()
                .and_then(Probability::from_parts)
                .unwrap_or(Probability::ALWAYS)
        };
        Ok(Self::gilbert_elliott(
            probability(p),
            probability(r),
            Probability::ALWAYS,
            Probability::NEVER,
        ))
    }

    /// The share of packets that the model loses in the long run; `None` where it depends on how
    /// many packets there are ([`FIRST`](crate::fault::loss::FIRST)) or has no simple form
    /// ([`NETEM`](crate::fault::loss::NETEM)).
    #[must_use]
    pub fn expected_rate(&self) -> Option<f64> {
        let [a, b, c, d, e] = self.p.map(|p| p.parts() as f64 / ONE as f64);
        match self.model {
            super::NONE => Some(0.0),
            RATE => Some(a),
            // A chain that cannot leave the good state stays there.
            GILBERT_ELLIOTT if a == 0.0 => Some(d),
            GILBERT_ELLIOTT => Some((a * c + b * d) / (a + b)),
            MARKOV => Some(markov_rate(a, b, c, d, e)),
            NTH => Some(1.0 / f64::from(self.length.max(1))),
            PATTERN => {
                let used = self.pattern & (u64::MAX >> (64 - self.length.clamp(1, 64)));
                Some(f64::from(used.count_ones()) / f64::from(self.length.max(1)))
            }
            _ => None,
        }
    }
}

/// Where the 4-state chain is in the long run, by the balance of the ways between its states: between
/// gap and burst `w1 * p13 = w3 * p31`, within the burst `w2 * p23 = w3 * p32`, and `w4 = w1 * p14`.
fn markov_rate(p13: f64, p31: f64, p32: f64, p23: f64, p14: f64) -> f64 {
    if p13 == 0.0 {
        return p14 / (1.0 + p14);
    }
    // A burst that does not end, or ends in received packets only.
    if p32 > 0.0 && p23 == 0.0 {
        return 0.0;
    }
    let received_per_lost = if p32 == 0.0 { 0.0 } else { p32 / p23 };
    if p31 == 0.0 {
        return 1.0 / (1.0 + received_per_lost);
    }
    let (gap, lost) = (p31 / p13, 1.0);
    let isolated = gap * p14;
    (lost + isolated) / (gap + lost + received_per_lost + isolated)
}
