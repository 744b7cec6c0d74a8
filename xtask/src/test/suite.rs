//! The suite: found by asking cargo, run through `entropy-lab`, which brings the Docker engine.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde_json::Value;

use super::tally::Tally;
use super::{Stage, watch};
use crate::{dist, exec, place, setup, vm};

/// Variables that the suite gets if they are set here.
const PASSED_ON: [&str; 6] =
    ["CI", "DOCKER_HOST", "ENTROPY_FULL", "ENTROPY_RECORD", "RUST_BACKTRACE", "RUST_LOG"];
/// How long the suite may run in a virtual machine, in seconds, as usual and with `ENTROPY_FULL`.
const VM_LIMITS: [u64; 2] = [3600, 6 * 3600];
/// The kernel that the package is tested on: that of the system that it is made for.
const DIST_KERNEL: vm::Kernel = vm::Kernel::V6_1;

/// The built test programs.
pub(super) struct Suite {
    lab: PathBuf,
    /// The integration tests.
    suite: PathBuf,
    /// The tests of the package.
    dist: PathBuf,
}

impl Suite {
    /// Builds the daemon, the laboratory and the suite, and the unit tests with them: each choice of
    /// packages has its own features, and the daemon would be compiled anew for each.
    pub(super) fn build() -> Result<Self> {
        exec::say("build the programs and their tests");
        let mut cargo = super::cargo_test();
        cargo
            .args(["--no-run", "--message-format", "json-render-diagnostics"])
            .stderr(std::process::Stdio::inherit());
        let messages = exec::output(&mut cargo).context("build the tests")?;
        let programs: HashMap<_, _> = messages.lines().filter_map(program).collect();
        let take = |wanted: &str| {
            let path = programs.get(wanted).cloned();
            path.with_context(|| format!("entropy-tests has no test `{wanted}`"))
        };
        let lab = place::binaries(false).join("entropy-lab");
        Ok(Self { lab, suite: take("suite")?, dist: take("dist")? })
    }

    /// Runs the suite in a stage's surroundings.
    pub(super) fn run(
        &self,
        stage: Stage,
        libtest: &[String],
        tally: &mut Tally,
        show: &dyn Fn(&str),
    ) -> Result<()> {
        match stage {
            Stage::Unit | Stage::Host => self.here(libtest, tally, show),
            Stage::Dist => self.dist(libtest, tally, show),
            Stage::V6_1 | Stage::V6_12 => {
                let kernel = vm::Kernel::from_str(stage.name(), false);
                let kernel = kernel.map_err(anyhow::Error::msg)?;
                let command = |skips: &Path| self.command(skips, Some(kernel), libtest);
                inside(stage, kernel, command, tally, show)
            }
        }
    }

    /// Runs the suite on this machine.
    fn here(&self, libtest: &[String], tally: &mut Tally, show: &dyn Fn(&str)) -> Result<()> {
        let Some(mut root) = as_root() else {
            bail!("needs root, and there is no sudo: neither eBPF nor namespaces are tested here");
        };
        let skips = place::target().join("test/skips");
        fs::create_dir_all(place::target().join("test")).context("create target/test")?;
        fs::write(&skips, "").with_context(|| format!("write {}", skips.display()))?;
        root.current_dir(place::root().join("tests")).args(self.command(&skips, None, libtest));
        let result = watch(&mut root, tally, show);
        tally.skips(&fs::read_to_string(&skips).unwrap_or_default());
        result
    }

    /// Makes a package of what the suite runs and tests it in a virtual machine.
    fn dist(&self, libtest: &[String], tally: &mut Tally, show: &dyn Fn(&str)) -> Result<()> {
        // As every machine, the one that runs the service mounts a /tmp of its own.
        if place::root().starts_with("/tmp") {
            bail!(
                "the package is tested by a service manager with a /tmp of its own, \
                 which hides this tree: clone it elsewhere"
            );
        }
        setup::alone(setup::systemd::ensure)?;
        let package = dist::package(&place::binaries(false))?;
        let command = |skips: &Path| {
            let mut words = environment(skips, Some(DIST_KERNEL));
            words.push(format!("ENTROPY_PACKAGE={}", package.display()));
            words.push(self.dist.to_string_lossy().into_owned());
            // Two machines at once would take as long, and more memory.
            words.push("--test-threads=1".to_owned());
            words.extend_from_slice(libtest);
            words
        };
        inside(Stage::Dist, DIST_KERNEL, command, tally, show)
    }

    /// The words that run the suite.
    fn command(&self, skips: &Path, vm: Option<vm::Kernel>, libtest: &[String]) -> Vec<String> {
        let mut words = environment(skips, vm);
        words.push(self.lab.to_string_lossy().into_owned());
        words.extend(["engine", "--"].map(str::to_owned));
        words.push(self.suite.to_string_lossy().into_owned());
        words.extend_from_slice(libtest);
        words
    }
}

/// Runs a test program in a virtual machine. `command` makes its words, given the file for skips.
fn inside(
    stage: Stage,
    kernel: vm::Kernel,
    command: impl FnOnce(&Path) -> Vec<String>,
    tally: &mut Tally,
    show: &dyn Fn(&str),
) -> Result<()> {
    let skips = place::vm_share().join(format!("skips-{}", stage.name()));
    fs::create_dir_all(place::vm_share()).context("create target/vm/share")?;
    fs::write(&skips, "").with_context(|| format!("write {}", skips.display()))?;
    let timeout = VM_LIMITS[usize::from(std::env::var_os("ENTROPY_FULL").is_some())];
    let machine = vm::Machine { timeout, ..vm::Machine::default() };
    let result = vm::run(kernel, &machine, &command(&skips), |line| {
        show(line);
        tally.line(line);
    });
    tally.skips(&fs::read_to_string(&skips).unwrap_or_default());
    let code = result?;
    if code != 0 && tally.failed == 0 {
        bail!("the tests ended with exit code {code}");
    }
    Ok(())
}

/// The words that give a command its environment: `env`, because sudo and virtual machines pass on
/// only what is named.
fn environment(skips: &Path, vm: Option<vm::Kernel>) -> Vec<String> {
    let mut words = vec!["env".to_owned()];
    let mut set = |name: &str, value: &str| words.push(format!("{name}={value}"));
    for (name, path) in [
        ("ENTROPY_BIN_DIR", place::binaries(false).as_path()),
        ("ENTROPY_ENGINE_DIR", &place::engine()),
        ("ENTROPY_SKIPS", skips),
    ] {
        set(name, &path.to_string_lossy());
    }
    if let Some(kernel) = vm {
        set("ENTROPY_VM", kernel.name());
    }
    for name in PASSED_ON {
        if let Ok(value) = std::env::var(name)
            && (name != "DOCKER_HOST" || vm.is_none())
        {
            set(name, &value);
        }
    }
    words
}

/// Builds `entropy-lab` and returns its path.
pub(crate) fn lab() -> Result<PathBuf> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(place::root()).args(["build", "--package", "entropy-tests", "--bins"]);
    exec::shown(&mut cargo).context("build the laboratory")?;
    Ok(place::binaries(false).join("entropy-lab"))
}

/// The name and the path of a test program in one of cargo's messages.
fn program(message: &str) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(message).ok()?;
    let path = message["executable"].as_str()?;
    let is_test = message["profile"]["test"].as_bool()?;
    is_test.then(|| Some((message["target"]["name"].as_str()?.to_owned(), path.into()))).flatten()
}

/// A command that runs the words added to it as root; `None` when that is not possible.
pub(crate) fn as_root() -> Option<Command> {
    if exec::is_root() {
        // `env` is the first word of every command here; this one has to be a program.
        let mut command = Command::new("env");
        command.arg("--");
        return Some(command);
    }
    exec::find("sudo").map(Command::new)
}

#[cfg(test)]
mod tests {
    use super::program;

    #[test]
    fn only_test_programs_are_taken_from_cargos_messages() {
        let test = r#"{"target":{"name":"suite"},"profile":{"test":true},"executable":"/t/suite"}"#;
        assert_eq!(program(test), Some(("suite".to_owned(), "/t/suite".into())));
        let binary = r#"{"target":{"name":"lab"},"profile":{"test":false},"executable":"/t/lab"}"#;
        assert_eq!(program(binary), None);
        assert_eq!(program(r#"{"target":{"name":"x"},"executable":null}"#), None);
    }
}
