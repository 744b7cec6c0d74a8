//! Growing pauses between attempts, with chance in them so that many daemons spread out.

use std::{collections::hash_map::RandomState, hash::BuildHasher as _, time::Duration};

/// Pauses that double from `first` to `longest`, each shortened by up to half at random.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    attempts: u32,
    chance: RandomState,
}

impl Backoff {
    pub(super) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, attempts: 0, chance: RandomState::new() }
    }

    /// The pause before the next attempt.
    pub(super) fn pause(&mut self) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.attempts.min(20));
        // A fresh hasher's keys are random, which is chance enough to spread attempts.
        let half = doubled.min(self.longest) / 2;
        let share = self.chance.hash_one(self.attempts) % 1024;
        self.attempts = self.attempts.saturating_add(1);
        half + half.mul_f64(share as f64 / 1024.0)
    }

    /// Begins anew after a success.
    pub(super) fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_anew() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(5));
        let mut backoff = Backoff::new(first, longest);
        for attempt in 0..100 {
            let whole = first.saturating_mul(1 << attempt.min(10)).min(longest);
            let pause = backoff.pause();
            assert!(whole / 2 <= pause && pause <= whole, "{attempt}: {pause:?}");
        }
        backoff.reset();
        assert!(backoff.pause() <= first);
    }

    #[test]
    fn two_daemons_do_not_pause_alike() {
        let pauses = |mut backoff: Backoff| (0..16).map(|_| backoff.pause()).collect::<Vec<_>>();
        let new = || Backoff::new(Duration::from_secs(1), Duration::from_secs(1));
        assert_ne!(pauses(new()), pauses(new()));
    }
}
