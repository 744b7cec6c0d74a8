//! `setup`: brings a Debian or Ubuntu machine to where everything builds and tests. Each part can
//! be asked for alone, so that every other verb sets up what it needs and no more.

pub(crate) mod apt;
pub(crate) mod engine;
pub(crate) mod linker;
pub(crate) mod qemu;
pub(crate) mod systemd;
pub(crate) mod toolchain;
pub(crate) mod vm;

use std::panic;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::Result;

use crate::exec::say;

/// Does one part while no other thread of this process does any: package managers take no company.
pub(crate) fn alone<T>(part: impl FnOnce() -> T) -> T {
    static BUSY: Mutex<()> = Mutex::new(());
    let _busy = BUSY.lock().unwrap_or_else(PoisonError::into_inner);
    part()
}

/// Sets up everything.
///
/// # Errors
/// When a step fails: what failed, the tail of its output, and what to do.
pub(crate) fn all() -> Result<()> {
    let start = Instant::now();
    toolchain::ensure_clippy(&toolchain::ensure()?)?;
    let lacks_linker = !linker::is_built();
    if lacks_linker {
        linker::install_packages()?;
    }
    // The linker is compiled while packages are fetched and unpacked: it asks nothing of apt.
    thread::scope(|scope| {
        let linker = scope.spawn(|| if lacks_linker { linker::build() } else { Ok(()) });
        let rest =
            vm::ensure_all().and_then(|()| engine::ensure()).and_then(|()| systemd::ensure());
        let built = linker.join().unwrap_or_else(|panic| panic::resume_unwind(panic));
        rest.and(built)
    })?;
    say(&format!("set up ({:.1} s)", start.elapsed().as_secs_f64()));
    Ok(())
}
