//! `entropy-lab`: the laboratory on the command line.

use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use entropy_tests::{
    bench, demo,
    engine::{Api, Engine},
    fidelity,
};

/// Where an engine that is installed answers.
const SYSTEM_SOCKET: &str = "/var/run/docker.sock";
/// How long a command may take to end after it was asked to.
const END_LIMIT: Duration = Duration::from_secs(20);
/// The signal that ended the laboratory's patience, or zero.
static CAUGHT: AtomicI32 = AtomicI32::new(0);

/// The laboratory that Entropy is tested in.
#[derive(Parser)]
#[command(name = "entropy-lab")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

/// What the laboratory can do.
#[derive(Subcommand)]
enum Verb {
    /// Run a command with a Docker engine: the one of `DOCKER_HOST` or of this machine if one
    /// answers, else a private one, in whose namespaces the command runs and which ends with it
    Engine {
        /// Start a private engine even if another one answers
        #[arg(long)]
        private: bool,
        /// The command and its arguments
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Show loss and partition between real containers: before, during and after
    Demo,
    /// Measure what a packet costs on this kernel
    Bench(bench::Options),
    /// Measure what Entropy realises of what is asked, with netem beside it
    Fidelity(fidelity::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().verb {
        Verb::Engine { private, command } => with_engine(private, &command),
        Verb::Demo => demo::run(),
        Verb::Bench(options) => bench::run(&options),
        Verb::Fidelity(options) => fidelity::run(&options),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("entropy-lab: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs `words` with an engine and returns the exit code.
fn with_engine(private: bool, words: &[String]) -> Result<u8> {
    watch_signals();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    if !private && existing(&mut command) {
        return supervise(&mut command, &words[0]);
    }
    let start = Instant::now();
    let engine = Engine::start()?;
    eprintln!("entropy-lab: a Docker engine answers ({:.1} s)", start.elapsed().as_secs_f64());
    let code = supervise(engine.enter(&mut command)?, &words[0]);
    drop(engine);
    code
}

/// Whether there is an engine already; the command then uses it.
fn existing(command: &mut Command) -> bool {
    if std::env::var_os("DOCKER_HOST").is_some() {
        return true;
    }
    let answers = Api::new(Path::new(SYSTEM_SOCKET).to_owned()).ping();
    if answers {
        command.env("DOCKER_HOST", format!("unix://{SYSTEM_SOCKET}"));
    }
    answers
}

/// Runs a command to its end, or ends it when the laboratory is told to end.
fn supervise(command: &mut Command, name: &str) -> Result<u8> {
    let mut child = command.spawn().with_context(|| format!("start `{name}`"))?;
    loop {
        if let Some(status) = child.try_wait().with_context(|| format!("wait for `{name}`"))? {
            return Ok(code(status));
        }
        let signal = CAUGHT.load(Ordering::Relaxed);
        if signal != 0 {
            return Ok(end(&mut child, signal));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Hands a signal on, waits, and kills what does not end.
fn end(child: &mut Child, signal: i32) -> u8 {
    if let Ok(pid) = libc::pid_t::try_from(child.id()) {
        // SAFETY: kill has no memory preconditions, and the child has not been waited for.
        unsafe { libc::kill(pid, signal) };
    }
    let deadline = Instant::now() + END_LIMIT;
    while Instant::now() < deadline && matches!(child.try_wait(), Ok(None)) {
        thread::sleep(Duration::from_millis(20));
    }
    // Both fail only when it has ended already.
    let _ = child.kill();
    let _ = child.wait();
    u8::try_from(128 + signal).unwrap_or(1)
}

/// The exit code that stands for an end: its own, or 128 and the signal as in a shell.
fn code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}

/// From now on a signal to end is remembered, so that the engine is always cleaned up.
fn watch_signals() {
    let handler = note as extern "C" fn(libc::c_int) as libc::sighandler_t;
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler only stores to an atomic, which is safe in a signal handler.
        unsafe { libc::signal(signal, handler) };
    }
}

/// The handler.
extern "C" fn note(signal: libc::c_int) {
    CAUGHT.store(signal, Ordering::Relaxed);
}
