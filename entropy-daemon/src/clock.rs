//! The clock that the kernel's programs read.

use std::{
    io,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::schedule::Now;

/// How far apart two readings of the monotonic clock may be that a reading of the other one is between,
/// in nanoseconds.
const TIGHT_NS: u64 = 20_000;
/// How often that is tried.
const READINGS: usize = 5;

/// Now, by both clocks: read so close to one another as a busy machine lets it be.
///
/// # Errors
/// As of [`monotonic_ns`].
pub fn now() -> io::Result<Now> {
    let mut best: Option<(u64, Now)> = None;
    for _ in 0..READINGS {
        let (before, wall_ns, after) = (monotonic_ns()?, wall_ns(), monotonic_ns()?);
        let apart = after.saturating_sub(before);
        if best.is_none_or(|(least, _)| apart < least) {
            best = Some((apart, Now { monotonic_ns: before.midpoint(after), wall_ns }));
        }
        if apart <= TIGHT_NS {
            break;
        }
    }
    best.map(|(_, now)| now).ok_or_else(|| io::Error::other("no clock was read"))
}

/// Now, in nanoseconds since 1970, as the machine's clock is set.
#[must_use]
pub fn wall_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Now, in nanoseconds of `CLOCK_MONOTONIC`, which is what `bpf_ktime_get_ns` returns: it stands
/// still during suspend and no one can set it.
///
/// # Errors
/// Never on Linux; the error of `clock_gettime` otherwise.
pub fn monotonic_ns() -> io::Result<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec that lives through the call.
    if unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned())
}
