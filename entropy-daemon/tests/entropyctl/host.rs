//! `doctor`, `map` and `cleanup` on a host on which no daemon has run.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, net::UnixListener, process::CommandExt as _},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    Outcome, command, entropyctl,
    sandbox::{in_sandbox, is_root, skipped},
};

/// The user and group `nobody`.
const NOBODY: u32 = 65_534;

/// Runs it as a user without rights, whoever runs the test.
fn unprivileged(arguments: &[&str]) -> Outcome {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // Where it was built others may not look.
    let program = directory.path().join("entropyctl");
    fs::copy(env!("CARGO_BIN_EXE_entropyctl"), &program).unwrap();
    let mut command: Command = command(&program, arguments);
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    Outcome::of(&mut command)
}

fn find<'a>(report: &'a Value, name: &str) -> &'a Value {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("{name}: {report}"))
}

#[test]
fn doctor_without_rights_says_what_it_lacks_and_could_not_look_at() {
    let outcome = unprivileged(&["doctor", "--output", "json", "--policies", "/nonexistent"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    let report = outcome.json();
    assert_eq!(report["ready"], false);
    for (name, status) in [
        ("capabilities", "missing"),
        ("veth", "unknown"),
        ("docker", "missing"),
        ("policies", "warning"),
    ] {
        assert_eq!(find(&report, name)["status"], status, "{report}");
        assert!(find(&report, name)["mend"].is_string(), "{report}");
    }
    let table = unprivileged(&["doctor"]);
    assert!(table.stdout.contains("not ready: mend capabilities, "), "{table:?}");
    assert!(table.stdout.is_ascii(), "colours or worse: {table:?}");
}

#[test]
fn doctor_does_not_wait_for_an_engine_that_does_not_answer() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("mute.sock");
    let _mute = UnixListener::bind(&socket).unwrap();
    let address = format!("unix://{}", socket.display());
    let start = Instant::now();
    let outcome = entropyctl(&["doctor", "-ojson", "--docker", &address]);
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    assert_eq!(outcome.code, Some(1));
    let report = outcome.json();
    assert_eq!(find(&report, "docker")["status"], "missing", "{report}");
    assert!(find(&report, "docker")["finding"].to_string().contains("no answer"), "{report}");
}

#[test]
fn doctor_leaves_no_trace_of_what_it_tries() {
    in_sandbox("host::doctor_leaves_no_trace_of_what_it_tries", || {
        let state = || {
            let links = fs::read_dir("/proc/thread-self/net/dev_snmp6").map(Iterator::count);
            let devices = fs::read_to_string("/proc/thread-self/net/dev").unwrap();
            let devices: Vec<String> = devices
                .lines()
                .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()))
                .collect();
            let pins: Vec<_> = fs::read_dir("/sys/fs/bpf")
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            (links.ok(), devices, pins)
        };
        let before = state();
        let report = entropyctl(&["doctor", "-ojson"]).json();
        assert_eq!(state(), before);
        // Root in a user namespace may try less; what it may, it has tried.
        if find(&report, "capabilities")["status"] == "ok" {
            for check in ["veth", "line"] {
                assert_eq!(find(&report, check)["status"], "ok", "{report}");
            }
            assert_ne!(find(&report, "fq")["status"], "unknown", "{report}");
        }
    });
}

/// What `map` says where nothing is pinned.
fn expect_nothing_pinned(run: impl Fn(&[&str]) -> Outcome) {
    for command in ["list", "dump"] {
        let outcome = run(&["map", command]);
        assert_eq!((outcome.code, &*outcome.stderr), (Some(0), ""), "{command}");
        assert!(outcome.stdout.contains("no daemon has run since the last clean stop"));
    }
    assert_eq!(run(&["map", "dump", "--output", "json"]).json(), json!({}));
    assert_eq!(run(&["map", "dump", "rules", "-o", "json"]).json(), json!({}));
    assert_eq!(run(&["map", "list", "-o", "json"]).json(), json!({"maps": []}));
}

#[test]
fn maps_of_a_host_without_pins_are_none() {
    in_sandbox("host::maps_of_a_host_without_pins_are_none", || expect_nothing_pinned(entropyctl));
}

#[test]
fn without_rights_too_maps_of_a_host_without_pins_are_none() {
    const NAME: &str = "host::without_rights_too_maps_of_a_host_without_pins_are_none";
    if Path::new("/sys/fs/bpf/entropy").exists() {
        return skipped(NAME, "a daemon runs, or has left something, on this host");
    }
    expect_nothing_pinned(unprivileged);
}

#[test]
fn a_clean_host_has_nothing_to_clean_up() {
    in_sandbox("host::a_clean_host_has_nothing_to_clean_up", || {
        let outcome = entropyctl(&["cleanup"]);
        assert_eq!((outcome.code, &*outcome.stdout), (Some(0), "nothing to remove\n"));
        let json = entropyctl(&["cleanup", "-ojson"]).json();
        assert_eq!(json, json!({"removed": [], "problems": []}));
        assert!(!Path::new("/sys/fs/bpf/entropy").exists(), "the lock's directory is gone again");
    });
}
