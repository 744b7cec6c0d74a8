//! `test`: the unprivileged tests, then the suite on this machine's kernel, then the same suite in
//! virtual machines. Every skip is said aloud; where `CI` is set an unexplained one is an error.

mod report;
mod suite;
mod tally;

use std::io::{BufRead, BufReader};
use std::panic;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::Value;

use self::suite::Suite;
pub(crate) use self::suite::{as_root, lab};
use self::tally::Tally;
use crate::{build, exec, place, setup, signals, vm};

/// Which tests to run.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Only these stages (comma-separated or repeated)
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Stage>,
    /// Arguments for the test programs: filters, `--nocapture`, ...
    #[arg(last = true)]
    libtest: Vec<String>,
}

/// A run of tests in one surrounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stage {
    /// Unit and documentation tests, without privileges
    Unit,
    /// The suite on this machine's kernel, as root, with a Docker engine
    Host,
    /// The suite in a virtual machine with Linux 6.1
    #[value(name = "6.1")]
    V6_1,
    /// The suite in a virtual machine with Linux 6.12
    #[value(name = "6.12")]
    V6_12,
    /// The Debian package and the service under systemd, in a virtual machine; only when named
    Dist,
}

impl Stage {
    /// All of them, in the order in which they run.
    const ALL: [Self; 5] = [Self::Unit, Self::Host, Self::V6_1, Self::V6_12, Self::Dist];

    /// Whether it runs when none is named. The package has its own turn: with it the usual run would
    /// take longer than half an hour on two processors.
    fn is_usual(self) -> bool {
        self != Self::Dist
    }

    /// Whether it runs in a virtual machine.
    fn is_virtual(self) -> bool {
        matches!(self, Self::V6_1 | Self::V6_12 | Self::Dist)
    }

    /// The stage as users write it.
    fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Host => "host",
            Self::V6_1 => vm::Kernel::V6_1.name(),
            Self::V6_12 => vm::Kernel::V6_12.name(),
            Self::Dist => "dist",
        }
    }
}

/// What came of a stage.
struct Outcome {
    stage: Stage,
    tally: Tally,
    took: Duration,
    /// What went wrong besides tests that failed.
    problem: Option<String>,
}

/// Runs the stages and returns the exit code.
///
/// # Errors
/// Only when even the summary is impossible; a stage that cannot run is a failure in it.
pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let chosen = |stage: &Stage| {
        if arguments.only.is_empty() { stage.is_usual() } else { arguments.only.contains(stage) }
    };
    // Whoever only asks this process to end wants all that it has started to end.
    signals::watch();
    // Built once; what went wrong then is said by each stage.
    let suite: OnceLock<Result<Suite, String>> = OnceLock::new();
    let built = || prepare().map_err(|error| format!("{error:#}"));
    let libtest = &arguments.libtest;
    let one = |stage: Stage, show: &dyn Fn(&str)| {
        exec::say(&format!("tests: {}", stage.name()));
        let start = Instant::now();
        let mut tally = Tally::default();
        let result = if signals::caught() {
            Err(anyhow::anyhow!("interrupted"))
        } else if stage == Stage::Unit {
            unit(libtest, &mut tally, show)
        } else {
            match suite.get_or_init(built) {
                Ok(suite) => suite.run(stage, libtest, &mut tally, show),
                Err(error) => Err(anyhow::anyhow!("{error}")),
            }
        };
        let problem = report::problem(result, &tally);
        if let Some(problem) = &problem {
            exec::say(&format!("tests: {}: {problem}", stage.name()));
        }
        Outcome { stage, tally, took: start.elapsed(), problem }
    };
    let stages: Vec<_> = Stage::ALL.into_iter().filter(chosen).collect();
    let (machines, here): (Vec<_>, Vec<_>) =
        stages.into_iter().partition(|stage| stage.is_virtual());
    // The compiler keeps all processors busy, and so do the unit tests.
    if here.iter().chain(&machines).any(|stage| *stage != Stage::Unit) {
        suite.get_or_init(built);
    }
    let (unit, host): (Vec<_>, Vec<_>) = here.into_iter().partition(|stage| *stage == Stage::Unit);
    let mut outcomes: Vec<_> = unit.into_iter().map(|stage| one(stage, &exec::out)).collect();
    let beside = |stage: &Stage| one(*stage, &|line| exec::out_of(stage.name(), line));
    // The suite on the machine mostly waits, and the virtual machines give way to it.
    thread::scope(|scope| {
        let host = scope.spawn(|| host.iter().map(beside).collect::<Vec<_>>());
        let machines = vm::side_by_side(&machines, beside);
        outcomes.extend(host.join().unwrap_or_else(|panic| panic::resume_unwind(panic)));
        outcomes.extend(machines);
    });
    let strict = std::env::var("CI").is_ok_and(|value| value == "true");
    let (lines, code) = report::summary(&outcomes, strict);
    exec::out("");
    lines.iter().for_each(|line| exec::out(line));
    Ok(code)
}

/// Sets up and builds what the suite needs.
fn prepare() -> Result<Suite> {
    setup::engine::ensure()?;
    build::object()?;
    Suite::build()
}

/// `cargo test` with all packages that are not for the kernel.
fn cargo_test() -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(place::root()).args(["test", "--workspace", "--exclude", "entropy-ebpf"]);
    cargo
}

/// Runs what needs no kernel to act on, documentation included.
fn unit(libtest: &[String], tally: &mut Tally, show: &dyn Fn(&str)) -> Result<()> {
    let mut tests = cargo_test();
    tests.args(["--no-fail-fast", "--lib", "--bins"]);
    for name in default_tests()? {
        tests.args(["--test", &name]);
    }
    let tests = watch(tests.arg("--").args(libtest), tally, show);
    let mut documentation = cargo_test();
    documentation.args(["--no-fail-fast", "--doc", "--"]).args(libtest);
    tests.and(watch(&mut documentation, tally, show))
}

/// The integration tests of the default members.
fn default_tests() -> Result<Vec<String>> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(place::root()).args(["metadata", "--no-deps", "--format-version", "1"]);
    let about: Value = serde_json::from_str(&exec::output(&mut cargo)?).context("metadata")?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let members = list(&about["workspace_default_members"]);
    let packages = list(&about["packages"]);
    let targets = packages
        .iter()
        .filter(|package| members.contains(&package["id"]))
        .flat_map(|package| list(&package["targets"]));
    let tests = targets.filter(|target| list(&target["kind"]).contains(&"test".into()));
    Ok(tests.filter_map(|target| Some(target["name"].as_str()?.to_owned())).collect())
}

/// Runs a test program whose output is shown and counted.
fn watch(command: &mut Command, tally: &mut Tally, show: &dyn Fn(&str)) -> Result<()> {
    let shown = exec::display(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("start `{shown}`"))?;
    if let Some(stdout) = child.stdout.take() {
        let mut reader = BufReader::new(stdout);
        let mut bytes = Vec::new();
        signals::while_alive(child.id(), || {
            while reader.read_until(b'\n', &mut bytes).context("read the tests' output")? > 0 {
                let line = String::from_utf8_lossy(&bytes);
                let line = line.trim_end_matches('\n');
                show(line);
                tally.line(line);
                bytes.clear();
            }
            anyhow::Ok(())
        })?;
    }
    let status = child.wait().with_context(|| format!("wait for `{shown}`"))?;
    if !status.success() && tally.failed == 0 {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}
