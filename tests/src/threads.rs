//! Threads of tests, whose panics are the test's.

use std::thread;

use anyhow::Result;

/// What a thread came to, once it is joined.
///
/// # Panics
/// When the thread has, with its panic.
pub fn outcome<T>(joined: thread::Result<T>) -> T {
    joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Does it with all of them at the same time, each on a thread of its own.
///
/// # Errors
/// The first one's that fails, in their order.
pub fn together<T: Send>(
    all: impl IntoIterator<Item = T>,
    work: impl Fn(T) -> Result<()> + Sync,
) -> Result<()> {
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = all.into_iter().map(|one| scope.spawn(move || work(one))).collect();
        threads.into_iter().try_for_each(|thread| outcome(thread.join()))
    })
}
