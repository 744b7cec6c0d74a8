//! `validate`, and what holds for every command.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::json;

use super::{Outcome, entropyctl};

const GOOD: &str = "[[policy]]\nname = \"lossy\"\ntarget = \"app=web\"\nloss = \"2%\"\nseed = 7\n";
const WRONG: &str = "[[policy]]\nname = \"cut\"\ntarget = \"app=web\"\npartition = \"yes\"\n";

fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

/// Runs it in a directory, so that messages hold no random path.
fn validate_in(directory: &Path, arguments: &[&str]) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_entropyctl"));
    Outcome::of(command.arg("validate").args(arguments).current_dir(directory))
}

#[test]
fn good_files_are_listed_and_exit_with_zero() {
    let directory = directory(&[("web.toml", GOOD), ("none.toml", "")]);
    let outcome = validate_in(directory.path(), &["web.toml", "none.toml"]);
    assert_eq!((outcome.code, &*outcome.stderr), (Some(0), ""));
    let expected = "\
POLICY  WHERE       TARGET   DIRECTION  MATCH           FAULT
lossy   web.toml:1  app=web  both       all IP packets  loss 2 %

web.toml: fine, 1 policy
none.toml: no policies in it
";
    assert_eq!(outcome.stdout, expected);
}

#[test]
fn wrong_files_are_explained_and_exit_with_65() {
    let directory = directory(&[("web.toml", GOOD), ("cut.toml", WRONG)]);
    let outcome = validate_in(directory.path(), &["web.toml", "cut.toml"]);
    assert_eq!(outcome.code, Some(65));
    assert_eq!(outcome.stdout, "web.toml: fine, 1 policy\ncut.toml: 1 problem\n");
    assert!(outcome.stderr.starts_with("cut.toml:4:13: policy cut: partition: "), "{outcome:?}");
    assert!(outcome.stderr.contains("\n  help: "), "{outcome:?}");
}

#[test]
fn a_name_that_two_files_use_is_found_when_they_are_named_together() {
    let directory = directory(&[("a.toml", GOOD), ("b.toml", GOOD)]);
    assert_eq!(validate_in(directory.path(), &["a.toml", "b.toml"]).code, Some(65));
    assert_eq!(validate_in(directory.path(), &["a.toml"]).code, Some(0));
    assert_eq!(validate_in(directory.path(), &["a.toml", "a.toml"]).code, Some(0));
}

#[test]
fn a_directory_is_checked_as_the_daemon_would_load_it() {
    let directory = directory(&[("web.toml", GOOD), (".hidden.toml", WRONG), ("notes.md", WRONG)]);
    let outcome = validate_in(directory.path(), &["."]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(outcome.stdout.ends_with("./web.toml: fine, 1 policy\n"), "{outcome:?}");
    fs::write(directory.path().join("cut.toml"), WRONG).unwrap();
    let outcome = validate_in(directory.path(), &["."]);
    assert_eq!((outcome.code, &*outcome.stdout), (Some(65), "./cut.toml: 1 problem\n"));
}

#[test]
fn a_path_that_cannot_be_read_is_a_failure_and_the_others_are_checked() {
    let directory = directory(&[("web.toml", GOOD)]);
    let outcome = validate_in(directory.path(), &["nope.toml", "web.toml"]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stdout.contains("web.toml: fine"), "{outcome:?}");
    assert!(outcome.stderr.starts_with("nope.toml: cannot be read: No such file"), "{outcome:?}");
}

#[test]
fn json_holds_policies_and_problems() {
    let directory = directory(&[("web.toml", GOOD), ("cut.toml", WRONG)]);
    let good = validate_in(directory.path(), &["--output", "json", "web.toml"]);
    assert_eq!(
        good.json(),
        json!({
            "valid": true,
            "sources": [{"path": "web.toml", "policies": 1, "problems": 0}],
            "policies": [{
                "name": "lossy", "file": "web.toml", "line": 1, "target": "app=web",
                "direction": "both",
                "match": {"peer_selector": null, "peer_networks": null, "protocol": null,
                          "port_first": null, "port_last": null, "local_port_first": null,
                          "local_port_last": null, "remote_port_first": null,
                          "remote_port_last": null, "tcp_flags": null, "length_first_bytes": null,
                          "length_last_bytes": null, "payload": null, "flows_percent": null},
                "seed": "7", "schedule": null, "ramp": null,
                "loss": {"model": "random", "expected_percent": 2.0,
                         "parameters_percent": {"rate": 2.0, "correlation": 0.0},
                         "count": null, "pattern": null, "ecn": false, "per": "packet"},
                "delay": null, "reorder": null, "duplicate": null, "corrupt": null, "rate": null, "slot": null, "partition": null,
            }],
            "schedules": [], "problems": [], "problems_omitted": 0, "unreadable": [],
        })
    );
    let wrong = validate_in(directory.path(), &["-ojson", "cut.toml", "nope.toml"]);
    assert_eq!((wrong.code, &*wrong.stderr), (Some(65), ""));
    let json = wrong.json();
    assert_eq!(json["valid"], false);
    let problem = &json["problems"][0];
    assert_eq!((&problem["line"], &problem["key"]), (&json!(4), &json!("partition")));
    assert_eq!(json["unreadable"][0]["path"], "nope.toml");
}

#[test]
fn schedules_and_ramps_come_with_their_next_windows() {
    let text = format!(
        "{GOOD}schedule = {{ cron = '0 9 29 2 *', zone = 'America/New_York', duration = '10m' }}\n\
         ramp = {{ over = '5m', from = {{ loss = '0%' }} }}\n"
    );
    let directory = directory(&[("web.toml", &text)]);
    let outcome = validate_in(directory.path(), &["web.toml"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    for part in ["If they were loaded now:", "0 9 29 2 * (America/New_York)", "02-29 09:10:00 EST"]
    {
        assert!(outcome.stdout.contains(part), "{outcome:?}");
    }
    let json = validate_in(directory.path(), &["--output", "json", "web.toml"]).json();
    let ramp = "ramp from loss 0% over 5m, each 3s";
    assert_eq!(
        (&json["policies"][0]["ramp"], &json["schedules"][0]["ramp"]),
        (&json!(ramp), &json!(ramp))
    );
    let windows = json["schedules"][0]["windows"].as_array().unwrap();
    assert_eq!(windows.len(), 3);
    let from = windows[0]["from"].as_str().unwrap();
    assert!(from.ends_with("-02-29T09:00:00-05:00[America/New_York]"), "{from}");
}

#[test]
fn what_a_file_holds_cannot_reach_the_terminal() {
    let text = "[[policy]]\ntarget = \"app=\\u001b[2J\\u202e\"\nloss = \"2%\"\n";
    let directory = directory(&[("web.toml", text), ("w\x1b[2Jeb.toml", GOOD)]);
    let outcome = validate_in(directory.path(), &["."]);
    for shown in [outcome.stdout, outcome.stderr] {
        assert!(!shown.contains(['\x1b', '\u{202e}']), "{shown:?}");
    }
}

#[test]
fn wrong_usage_exits_with_64_and_help_with_zero() {
    for wrong in [
        &[][..],
        &["bogus"],
        &["validate"],
        &["validate", "-"],
        &["map"],
        &["map", "dump", "bogus"],
        &["doctor", "--output", "xml"],
        &["cleanup", "everything"],
    ] {
        let outcome = entropyctl(wrong);
        assert_eq!((outcome.code, &*outcome.stdout), (Some(64), ""), "{wrong:?}");
        assert!(!outcome.stderr.is_empty(), "{wrong:?}");
    }
    for right in [&["--help"][..], &["--version"], &["map", "dump", "--help"]] {
        let outcome = entropyctl(right);
        assert_eq!((outcome.code, &*outcome.stderr), (Some(0), ""), "{right:?}");
    }
    assert!(entropyctl(&["--help"]).stdout.contains("65  wrong policies"));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let directory = directory(&[("web.toml", GOOD)]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_entropyctl"))
        .args(["validate", "."])
        .current_dir(directory.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let outcome = child.wait_with_output().unwrap();
    assert_eq!((outcome.status.code(), &*outcome.stderr), (Some(0), &b""[..]));
}
