//! What pings tell about a path.

use anyhow::{Result, ensure};

use crate::stats::Binomial;

/// How often a right share would be called wrong.
const ALPHA: f64 = 1e-6;
/// What a slow machine may add to a round trip, in milliseconds.
const SLACK_MS: f64 = 40.0;

/// Pings, and the answers in the order in which they came.
#[derive(Debug, PartialEq)]
pub(super) struct Pings {
    sent: u64,
    /// Number and round trip in milliseconds.
    answers: Vec<(u64, f64)>,
}

/// What is looked at.
#[derive(Clone, Copy)]
pub(super) enum Measure {
    /// The share of the pings without answer.
    Lost,
    /// The median round trip.
    RoundTrip,
    /// The share of the pings that were answered before one that was sent earlier.
    Overtaking,
}

impl Pings {
    /// Reads the lines "64 bytes from 172.30.77.3: seq=0 ttl=64 time=0.123 ms" of busybox.
    pub(super) fn read(output: &str, sent: u64) -> Result<Self> {
        ensure!(output.contains("packets transmitted"), "ping did not finish: {output}");
        let field = |line: &str, key: &str| -> Option<f64> {
            line.split(' ').find_map(|word| word.strip_prefix(key))?.parse().ok()
        };
        let answers = output.lines().filter_map(|line| {
            let number = field(line, "seq=")?;
            Some((number as u64, field(line, "time=")?))
        });
        Ok(Self { sent, answers: answers.collect() })
    }

    fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.answers.len() as u64)
    }

    /// In milliseconds; 0 without an answer.
    fn median(&self) -> f64 {
        let mut times: Vec<f64> = self.answers.iter().map(|(_, time)| *time).collect();
        times.sort_unstable_by(f64::total_cmp);
        times.get(times.len() / 2).copied().unwrap_or_default()
    }

    fn overtaking(&self) -> u64 {
        let mut earliest_to_come = u64::MAX;
        let mut count = 0;
        for (number, _) in self.answers.iter().rev() {
            count += u64::from(*number > earliest_to_come);
            earliest_to_come = earliest_to_come.min(*number);
        }
        count
    }
}

impl Measure {
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Lost => "pings lost",
            Self::RoundTrip => "median round trip",
            Self::Overtaking => "pings that overtake",
        }
    }

    pub(super) const fn unit(self) -> &'static str {
        match self {
            Self::Lost | Self::Overtaking => "%",
            Self::RoundTrip => "ms",
        }
    }

    /// Whether packets have to wait for it.
    pub(super) const fn needs_queue(self) -> bool {
        matches!(self, Self::RoundTrip | Self::Overtaking)
    }

    fn count(self, pings: &Pings) -> u64 {
        match self {
            Self::Lost => pings.lost(),
            Self::Overtaking => pings.overtaking(),
            Self::RoundTrip => 0,
        }
    }

    pub(super) fn show(self, pings: &Pings) -> String {
        match self {
            Self::RoundTrip => format!("{:.1} ms", pings.median()),
            _ => format!("{:.1} %", self.count(pings) as f64 * 100.0 / pings.sent as f64),
        }
    }

    /// Whether nothing was to be seen before and after, and what was asked for in between.
    pub(super) fn is_as_asked(self, asked: u64, [before, during, after]: [&Pings; 3]) -> bool {
        if matches!(self, Self::RoundTrip) {
            let late = during.median() - asked as f64;
            let quiet = [before, after].iter().all(|pings| pings.median() < SLACK_MS);
            return quiet && (-1.0..SLACK_MS).contains(&late);
        }
        let interval = Binomial::new(during.sent, asked as f64 / 100.0).interval(ALPHA);
        let quiet = self.count(before) == 0 && self.count(after) == 0;
        quiet && interval.contains(&self.count(during))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pings(numbers: &[u64]) -> Pings {
        let answers = numbers.iter().map(|number| (*number, *number as f64)).collect();
        Pings { sent: 5, answers }
    }

    #[test]
    fn the_answers_of_ping_are_read_in_their_order() {
        let output = "PING 10.0.0.2 (10.0.0.2): 56 data bytes\n\
            64 bytes from 10.0.0.2: seq=1 ttl=64 time=0.250 ms\n\
            64 bytes from 10.0.0.2: seq=0 ttl=64 time=50.1 ms\n\n\
            3 packets transmitted, 2 packets received, 33% packet loss\n";
        let read = Pings::read(output, 3).unwrap();
        assert_eq!(read, Pings { sent: 3, answers: vec![(1, 0.25), (0, 50.1)] });
        assert_eq!((read.lost(), read.overtaking(), read.median()), (1, 1, 50.1));
        assert!(Pings::read("ping: bad address", 3).is_err());
    }

    #[test]
    fn who_is_answered_before_an_earlier_one_overtakes() {
        for (numbers, overtaking) in [
            (&[0, 1, 2, 3, 4][..], 0),
            (&[1, 0, 2], 1),
            (&[2, 1, 0], 2),
            (&[3, 4, 0, 1], 2),
            (&[], 0),
        ] {
            assert_eq!(pings(numbers).overtaking(), overtaking, "{numbers:?}");
        }
    }

    #[test]
    fn what_is_not_as_asked_is_called_so() {
        let (all, none) = (pings(&[0, 1, 2, 3, 4]), pings(&[]));
        assert!(Measure::Lost.is_as_asked(0, [&all, &all, &all]));
        assert!(Measure::Lost.is_as_asked(100, [&all, &none, &all]));
        assert!(!Measure::Lost.is_as_asked(0, [&all, &none, &all]));
        assert!(!Measure::Lost.is_as_asked(0, [&all, &all, &none]));
        assert!(Measure::RoundTrip.is_as_asked(2, [&all, &all, &all]));
        assert!(!Measure::RoundTrip.is_as_asked(80, [&all, &all, &all]));
    }
}
