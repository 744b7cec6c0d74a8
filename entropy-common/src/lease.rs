//! The time until which the kernel may inject at all.

use crate::record;

record! {
    /// Above all rules stands the lease. The daemon renews it; when it runs out every packet passes,
    /// whatever became of the daemon. Halting is one write of [`Lease::EXPIRED`].
    pub struct Lease {
        /// End of the lease in nanoseconds of `CLOCK_MONOTONIC` (what `bpf_ktime_get_ns` reads).
        /// Exclusive: at this very time nothing is injected any more.
        pub until_ns: u64,
    }
}

impl Lease {
    /// A lease that has run out, whatever the time.
    pub const EXPIRED: Self = Self { until_ns: 0 };

    /// Whether the kernel may inject at `now_ns`.
    #[inline(always)]
    #[must_use]
    pub const fn holds(&self, now_ns: u64) -> bool {
        now_ns < self.until_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_exclusive() {
        let lease = Lease { until_ns: 100 };
        assert!(lease.holds(99));
        assert!(!lease.holds(100));
        assert!(!Lease::EXPIRED.holds(0));
    }
}
