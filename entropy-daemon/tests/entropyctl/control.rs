//! The commands that ask a daemon, without one.

use std::fs;

use super::entropyctl;

const NOWHERE: &str = "/nonexistent/entropyd.sock";

#[test]
fn without_a_daemon_every_command_says_how_to_start_one() {
    for arguments in [
        &["status"][..],
        &["get", "injections"],
        &["describe", "x"],
        &["delete", "x"],
        &["pause", "x"],
        &["resume", "x"],
        &["resume"],
        &["run", "--target", "app=web", "--loss", "1%"],
    ] {
        let outcome = entropyctl(&[arguments, &["--socket", NOWHERE]].concat());
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{outcome:?}");
        assert!(outcome.stderr.contains("systemctl start entropyd"), "{outcome:?}");
    }
}

#[test]
fn policies_are_checked_before_anybody_is_asked() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("wrong.toml");
    fs::write(&file, "[[policy]]\ntarget = \"app=web\"\nloss = \"2\"\n").unwrap();
    let outcome = entropyctl(&["apply", file.to_str().unwrap(), "--socket", NOWHERE]);
    assert_eq!(outcome.code, Some(65), "{outcome:?}");
    assert!(outcome.stderr.contains("wrong.toml:3:8:"), "{outcome:?}");
    let outcome = entropyctl(&["run", "--target", "app=web", "--delay", "1", "--socket", NOWHERE]);
    assert_eq!(outcome.code, Some(64), "{outcome:?}");
    let outcome = entropyctl(&["run", "--loss", "1%"]);
    assert_eq!(outcome.code, Some(64), "{outcome:?}");
}
