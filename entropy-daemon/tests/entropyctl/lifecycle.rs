//! What the commands say and do while a daemon runs, and after one was killed.

use std::{
    path::Path,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use entropy_common::names;

use super::{
    Outcome, command, entropyctl,
    sandbox::{in_sandbox, skipped},
};

/// Long enough for an emulated machine.
const DEADLINE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

/// A daemon that dies with the test.
struct Daemon(Child);

impl Daemon {
    /// Starts one without policies and engine, and waits until it injects.
    fn start(policies: &Path) -> Self {
        let policies = policies.to_str().unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_entropyd"));
        let runtime = format!("{policies}/run");
        let arguments = ["--policies", policies, "--runtime-dir", &runtime];
        let mut command = command(program, &arguments);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut daemon = Self(child);
        let start = Instant::now();
        // While the maps are being pinned, one after the other, the command says so and fails.
        let is_up = || {
            let dump = entropyctl(&["map", "dump", "line", "-ojson"]);
            dump.code == Some(0) && !dump.json()["line"]["entrance"].is_null()
        };
        while !is_up() {
            assert_eq!(daemon.0.try_wait().unwrap(), None, "the daemon ended");
            assert!(start.elapsed() < DEADLINE, "the daemon does not come up");
            std::thread::sleep(PAUSE);
        }
        daemon
    }

    fn kill(&mut self) {
        // Gone already is fine.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether a daemon can run here at all.
fn object_is_built_in() -> bool {
    let report = entropyctl(&["doctor", "-ojson"]).json();
    let checks = report["checks"].as_array().unwrap();
    ["object", "programs", "bpffs"]
        .iter()
        .all(|name| checks.iter().any(|check| check["name"] == *name && check["status"] == "ok"))
}

fn expect_running(pid: u32) {
    let list = entropyctl(&["map", "list"]);
    assert_eq!(list.code, Some(0), "{list:?}");
    for map in names::MAPS {
        assert!(list.stdout.contains(map), "{map}: {list:?}");
    }
    let dump = entropyctl(&["map", "dump", "-ojson"]).json();
    assert_eq!(dump["daemon"], serde_json::json!({"running": true, "pid": pid}));
    assert_eq!(dump["line"]["entrance"]["name"], names::LINE_ENTRANCE, "{dump}");
    let table = entropyctl(&["map", "dump"]);
    assert!(table.stdout.contains(&format!("running (pid {pid})")), "{table:?}");
    assert!(table.stdout.contains("no rules: "), "{table:?}");

    let refused = entropyctl(&["cleanup"]);
    assert_eq!((refused.code, &*refused.stdout), (Some(1), ""));
    assert!(refused.stderr.contains(&format!("kill {pid}")), "{refused:?}");
}

fn expect_left_over() {
    let dump = entropyctl(&["map", "dump", "-ojson"]).json();
    assert_eq!(dump["daemon"], serde_json::json!({"running": false, "pid": null}));
    let doctor = entropyctl(&["doctor"]);
    let leftovers = doctor.stdout.lines().find(|line| line.contains("leftovers")).unwrap();
    assert!(leftovers.starts_with("warning") && leftovers.contains(names::PIN_DIR), "{doctor:?}");
    assert!(doctor.stdout.contains("mend: entropyctl cleanup"), "{doctor:?}");
}

fn expect_cleaned_up() {
    let Outcome { code, stdout, stderr } = entropyctl(&["cleanup"]);
    assert_eq!((code, &*stderr), (Some(0), ""));
    let maps = format!("{} pinned maps", names::MAPS.len());
    for removed in [names::LINE_ENTRANCE, names::WIRE_ENTRANCE, &maps] {
        assert!(
            stdout.lines().any(|l| l.starts_with("removed ") && l.contains(removed)),
            "{stdout}"
        );
    }
    assert_eq!(entropyctl(&["cleanup"]).stdout, "nothing to remove\n");
    assert!(entropyctl(&["map", "dump"]).stdout.starts_with("nothing is pinned"));
}

#[test]
fn a_running_daemon_is_shown_and_left_alone_and_a_killed_one_cleaned_up() {
    const NAME: &str =
        "lifecycle::a_running_daemon_is_shown_and_left_alone_and_a_killed_one_cleaned_up";
    in_sandbox(NAME, || {
        if !object_is_built_in() {
            return skipped(
                NAME,
                "the eBPF object is not built in, or the kernel does not take it",
            );
        }
        let policies = tempfile::tempdir().unwrap();
        let mut daemon = Daemon::start(policies.path());
        expect_running(daemon.0.id());
        daemon.kill();
        expect_left_over();
        expect_cleaned_up();
    });
}
