//! The clock that the kernel's programs read.

use std::{
    io,
    time::{SystemTime, UNIX_EPOCH},
};

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
