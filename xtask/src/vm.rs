//! `vm`: runs a command under another kernel, in a virtual machine that shares this machine's
//! files. Only `target/vm/share` can be written to for good.

mod boot;
mod guest;

use std::fs::{File, TryLockError};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::{exec, place, setup};

/// The kernels that the tests run under besides this machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kernel {
    /// Debian 12's: classifiers attach through clsact only
    #[value(name = "6.1")]
    V6_1,
    /// Classifiers attach through TCX
    #[value(name = "6.12")]
    V6_12,
}

impl Kernel {
    /// Every one of them.
    pub(crate) const ALL: [Self; 2] = [Self::V6_1, Self::V6_12];

    /// The version as users write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
        }
    }

    /// What the names of its packages begin with.
    pub(crate) fn package_prefix(self) -> &'static str {
        match self {
            Self::V6_1 => "linux-image-6.1.0-",
            Self::V6_12 => "linux-image-6.12.",
        }
    }
}

/// The size of a machine and how long it may live.
#[derive(Args, Clone)]
pub(crate) struct Machine {
    /// Memory, with unit
    #[arg(long, default_value = "3G")]
    pub(crate) memory: String,
    /// Number of processors
    #[arg(long, default_value_t = 2)]
    pub(crate) cpus: u32,
    /// Seconds after which the machine is ended and the command counts as failed
    #[arg(long, default_value_t = 1200)]
    pub(crate) timeout: u64,
    /// Let time pass by the instructions that are executed, one every four nanoseconds, and skip the
    /// idle rest: what else this machine does changes no measurement
    #[arg(long)]
    pub(crate) counted: bool,
}

impl Default for Machine {
    fn default() -> Self {
        Self { memory: "3G".to_owned(), cpus: 2, timeout: 1200, counted: false }
    }
}

impl Machine {
    /// How long the machine may live.
    fn lifetime(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    /// Whether each of its processors can have one of the host's, also beside other machines. If not,
    /// an emulator with a thread for each crawls: on a host with two, a container's start and restart
    /// took 21 s alone and 81 to 110 s beside another machine.
    fn has_room(&self) -> bool {
        let wanted = MACHINES.saturating_mul(usize::try_from(self.cpus).unwrap_or(usize::MAX));
        thread::available_parallelism().is_ok_and(|here| here.get() >= wanted)
    }
}

/// Machines that may run at the same time. Under emulation each keeps one processor busy.
const MACHINES: usize = 2;

/// Runs `command` under `kernel`, gives each line of its output to `line` and returns its exit
/// code. Waits while as many others run.
///
/// # Errors
/// When setting up fails, or the machine does not start, panics, stalls, hangs or dies.
pub(crate) fn run(
    kernel: Kernel,
    machine: &Machine,
    command: &[String],
    line: impl FnMut(&str),
) -> Result<u8> {
    let image = setup::alone(|| setup::vm::ensure(kernel))?;
    let (place, _lock) = take_place()?;
    boot::run(&boot::Plan { kernel, image, machine, command, place }, line)
        .with_context(|| format!("virtual machine with Linux {}", kernel.name()))
}

/// Does `one` with each of the items, [`MACHINES`] at a time, and returns what came of them in their order.
pub(crate) fn side_by_side<T: Sync, R: Send>(items: &[T], one: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let work = || {
        let numbers = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)));
        let items = numbers.map_while(|number| Some((number, one(items.get(number)?))));
        items.collect::<Vec<_>>()
    };
    let mut done: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..MACHINES).map(|_| scope.spawn(work)).collect();
        let join = |worker: thread::ScopedJoinHandle<'_, Vec<_>>| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        workers.into_iter().flat_map(join).collect()
    });
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Takes one of the places for machines: its number, and the lock that holds it.
fn take_place() -> Result<(usize, File)> {
    std::fs::create_dir_all(place::vm_share()).context("create target/vm/share")?;
    let mut is_told = false;
    loop {
        for number in 0..MACHINES {
            let path = place::vm().join(format!("lock-{number}"));
            let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
            match file.try_lock() {
                Ok(()) => return Ok((number, file)),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("lock {}", path.display()));
                }
            }
        }
        if !std::mem::replace(&mut is_told, true) {
            exec::say("waiting for another virtual machine to end");
        }
        thread::sleep(Duration::from_secs(1));
    }
}
