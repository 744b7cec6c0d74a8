//! Waiting for something to become true, never longer than a deadline.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use crate::skip;

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(10);
/// How much longer everything may take in a virtual machine that is emulated in software.
const EMULATED: u32 = 10;

/// A time limit that fits the machine: `seconds` here, longer under emulation.
#[must_use]
pub fn patience(seconds: u64) -> Duration {
    let here = Duration::from_secs(seconds);
    if skip::virtual_machine().is_some() { here * EMULATED } else { here }
}

/// Looks again and again until there is something, and returns that.
///
/// # Errors
/// When there is nothing after `limit`, with `what` was waited for; or the first error of a look.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if start.elapsed() > limit {
            bail!("waited {:.1} s in vain: {what}", start.elapsed().as_secs_f64());
        }
        thread::sleep(PAUSE);
    }
}

/// As [`until`], for what is true or not.
///
/// # Errors
/// As [`until`].
pub fn until_true(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<bool>,
) -> Result<()> {
    until(what, limit, || Ok(look()?.then_some(())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_with_what_was_found_or_in_vain() {
        let mut looks = 0;
        let found = until("three looks", Duration::from_secs(60), || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(found.unwrap(), 3);
        let vain = until_true("a miracle", Duration::ZERO, || Ok(false)).unwrap_err();
        assert!(vain.to_string().ends_with("in vain: a miracle"), "{vain}");
    }
}
