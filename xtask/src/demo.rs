//! `demo`: the main job, shown. On this machine where that is possible, else in a virtual machine.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::test::lab;
use crate::{build, exec, place, setup, vm};

/// The oldest kernel that Entropy works on.
const OLDEST_KERNEL: (u32, u32) = (6, 1);
/// Where an installed engine answers.
const SOCKET: &str = "/var/run/docker.sock";

/// Shows Entropy at work and returns the exit code.
///
/// # Errors
/// When something cannot be set up, built or started.
pub(crate) fn run() -> Result<u8> {
    let obstacle = obstacle();
    match &obstacle {
        None => exec::say("the demonstration runs on this machine and its Docker engine"),
        Some(reason) => {
            exec::say(&format!("the demonstration runs in a virtual machine, because {reason}"));
        }
    }
    build::all(false)?;
    let lab = lab()?.to_string_lossy().into_owned();
    let binaries = format!("ENTROPY_BIN_DIR={}", place::binaries(false).display());
    if obstacle.is_none() {
        let mut demo = Command::new("env");
        demo.arg(binaries).arg(lab).arg("demo").current_dir(place::root());
        return Ok(exec::code(exec::status(&mut demo)?));
    }
    let kernel = vm::Kernel::V6_12;
    setup::vm::ensure(kernel)?;
    let engine = format!("ENTROPY_ENGINE_DIR={}", place::engine().display());
    exec::say("starting Linux 6.12 and a Docker engine in it, under emulation about half a minute");
    let words =
        ["env", "-u", "DOCKER_HOST", &binaries, &engine, &lab, "engine", "--", &lab, "demo"];
    let words = words.map(str::to_owned);
    vm::run(kernel, &vm::Machine::default(), &words, exec::out)
}

/// Why the demonstration cannot run on this machine.
fn obstacle() -> Option<String> {
    if !exec::is_root() {
        return Some("this is not root".to_owned());
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Some("this kernel has no BTF".to_owned());
    }
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    if version(&release).is_none_or(|version| version < OLDEST_KERNEL) {
        return Some(format!("this kernel ({}) is older than 6.1", release.trim()));
    }
    (!engine_answers()).then(|| "no Docker engine answers on this machine".to_owned())
}

/// Major and minor number of a kernel release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(['.', '-']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.trim().parse().ok()?))
}

/// Whether the engine of `DOCKER_HOST`, or else the installed one, answers. One that is not on
/// this machine is no use: its containers' interfaces are elsewhere.
fn engine_answers() -> bool {
    let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| format!("unix://{SOCKET}"));
    host.strip_prefix("unix://").is_some_and(|socket| ping(Path::new(socket)).is_ok_and(|ok| ok))
}

/// Asks the engine behind `socket` for a sign of life.
fn ping(socket: &Path) -> std::io::Result<bool> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.contains(" 200 "))
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn kernel_release_is_read_with_and_without_a_suffix() {
        assert_eq!(version("6.12.117+deb12-amd64\n"), Some((6, 12)));
        assert_eq!(version("6.1\n"), Some((6, 1)));
        assert_eq!(version("strange"), None);
    }
}
