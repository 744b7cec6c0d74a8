//! `entropyctl` as its users meet it: arguments, output, exit codes.

#![expect(clippy::unwrap_used, reason = "clippy takes only functions with #[test] for tests")]

mod control;
mod host;
mod lifecycle;
mod sandbox;
mod validate;

use std::{
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

/// A container engine that is not there.
const NO_ENGINE: &str = "unix:///nonexistent/docker.sock";

/// What a command said, and how it ended.
#[derive(Debug)]
struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Outcome {
    fn of(command: &mut Command) -> Self {
        let output = command.stdin(Stdio::null()).output().unwrap();
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

fn command(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).env("DOCKER_HOST", NO_ENGINE).env_remove("DOCKER_TLS_VERIFY");
    command
}

fn entropyctl(arguments: &[&str]) -> Outcome {
    Outcome::of(&mut command(Path::new(env!("CARGO_BIN_EXE_entropyctl")), arguments))
}
