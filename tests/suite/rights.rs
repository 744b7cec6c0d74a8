//! The capabilities that the daemon needs: with these it starts, without any one of them it does not.

use std::{fs, process::Command};

use anyhow::{Result, ensure};
use entropy_tests::daemon::{Daemon, Installation};

use crate::stage::machine_only;

/// Those of the unit, `entropy-daemon/dist/entropyd.service`.
const NEEDED: [&str; 3] = ["bpf", "net_admin", "perfmon"];

/// A daemon that has these capabilities and can get no others.
fn start(installation: &Installation, capabilities: &[&str]) -> Result<Daemon> {
    let usual = installation.command()?;
    let list: String = capabilities.iter().map(|name| format!(",+{name}")).collect();
    let mut command = Command::new("setpriv");
    command.arg(format!("--bounding-set=-all{list}")).args(["--no-new-privs", "--"]);
    command.arg(usual.get_program()).args(usual.get_args());
    installation.spawn(command)
}

/// Whether the verifier is strict with programs that have no CAP_PERFMON.
fn guards_against_spectre() -> bool {
    let file = "/sys/devices/system/cpu/vulnerabilities/spectre_v1";
    fs::read_to_string(file).is_ok_and(|about| about.starts_with("Mitigation"))
}

#[test]
fn three_capabilities_are_enough_and_each_is_needed() -> Result<()> {
    // Virtual machines run without the mitigations that make the third one necessary.
    machine_only!(daemon);
    let mut installation = Installation::new()?;
    installation.follow("unix:///nowhere/docker.sock");
    start(&installation, &NEEDED)?.stop()?;
    for missing in NEEDED {
        if missing == "perfmon" && !guards_against_spectre() {
            continue;
        }
        let others: Vec<_> = NEEDED.into_iter().filter(|name| *name != missing).collect();
        let result = start(&installation, &others);
        ensure!(result.is_err(), "it starts without CAP_{}", missing.to_uppercase());
    }
    Ok(())
}
