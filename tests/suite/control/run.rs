//! `entropyctl run`: it ends, whatever ends it.

use std::{
    io::Read as _,
    process::{Child, Stdio},
};

use anyhow::{Result, bail, ensure};
use entropy_tests::wait::{patience, until, until_true};

use super::{FEW, Site};
use crate::stage::stage;

/// A command that runs beside the test.
struct Running(Child);

impl Running {
    /// Cuts off a container until it is ended, or for a while.
    fn start(site: &Site, more: &[&str]) -> Result<Self> {
        let mut command = site.stage.installation.control()?;
        command.args(["run", "--name", "running", "--target", "app=web", "--loss", "100%"]);
        let child = command.args(more).stdout(Stdio::piped()).spawn()?;
        let running = Self(child);
        until_true("the fault is in force", patience(20), || Ok(site.passing()? == [0; 2]))?;
        Ok(running)
    }

    fn signal(&self, signal: libc::c_int) -> Result<()> {
        let pid = libc::pid_t::try_from(self.0.id())?;
        // SAFETY: kill takes numbers only, and the child has not been waited for.
        if unsafe { libc::kill(pid, signal) } != 0 {
            bail!("it has ended");
        }
        Ok(())
    }

    /// What it has said when it ends by itself, with 0.
    fn end(mut self) -> Result<String> {
        let status = until("the command ends", patience(20), || Ok(self.0.try_wait()?))?;
        let mut said = String::new();
        if let Some(stdout) = &mut self.0.stdout {
            stdout.read_to_string(&mut said)?;
        }
        ensure!(status.success(), "{status}: {said}");
        Ok(said)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_run_reverts_after_its_time_on_a_signal_and_when_it_is_killed() -> Result<()> {
    let site = Site::new(stage!())?;
    let said = Running::start(&site, &["--for", "3s"])?.end()?;
    ensure!(site.passing()? == [FEW; 2], "after its time");
    let last = said.lines().last().unwrap_or_default();
    ensure!(last.starts_with("running is over after") && last.contains("lost (100 %)"), "{said}");
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let running = Running::start(&site, &[])?;
        running.signal(signal)?;
        let said = running.end()?;
        ensure!(site.passing()? == [FEW; 2], "after signal {signal}");
        ensure!(said.contains("running was ended after"), "{said}");
    }
    let running = Running::start(&site, &[])?;
    running.signal(libc::SIGKILL)?;
    until_true("the daemon ends it", patience(20), || Ok(site.passing()? == [FEW; 2]))?;
    site.daemon()?.await_log("policy running ends: nothing was heard of its client any more")?;
    // Traffic flows as soon as the rules are gone; the programs go after them, and then it is told.
    until_true("the policy is forgotten", patience(5), || {
        Ok(site.control(&["get"])?.starts_with("no policies"))
    })?;
    drop(running);
    site.stop()
}

#[test]
fn a_run_for_nobody_or_for_what_is_not_sent_says_so() -> Result<()> {
    let site = Site::new(stage!())?;
    let mut command = site.stage.installation.control()?;
    command.args(["run", "--target", "app=nobody", "--delay", "1s", "--for", "2s"]);
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(said.starts_with("no running container matches, waiting for one\n"), "{said}");
    let mut command = site.stage.installation.control()?;
    command.args(["run", "--target", "app=web", "--port", "9999", "--loss", "1%", "--for", "14s"]);
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(said.contains("but no packet matches: is there traffic?"), "{said}");
    ensure!(said.contains("none matched; nothing is left in force"), "{said}");
    site.daemon()?.await_log("has matched no packet for 10 s")?;
    let wrong = site.output(&["run", "--target", "app=web", "--loss", "2"])?;
    ensure!(wrong.status.code() == Some(64), "{wrong:?}");
    let wrong = String::from_utf8_lossy(&wrong.stderr).into_owned();
    ensure!(wrong.contains("help: write \"2%\""), "{wrong}");
    site.stop()
}
