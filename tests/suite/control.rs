//! The control API and the commands that use it, with a daemon and containers.

mod run;

use std::{fs, process::Output, sync::Arc, time::Instant};

use anyhow::{Context as _, Result, ensure};
use entropy_daemon::api::Method;
use entropy_tests::{
    daemon::Daemon,
    datagrams::Way,
    netns::Netns,
    wait::{patience, until_true},
};
use serde_json::Value;

use crate::stage::{Cast, Stage, pass, stage};

/// Datagrams for one look.
const FEW: u64 = 20;
/// A policy that shows.
const CUT: &str = "[[policy]]\nname = \"cut\"\ntarget = \"app=web\"\nloss = \"100%\"\n";

/// Two containers that talk, and a daemon without policies.
struct Site {
    ways: [Way; 2],
    daemon: Option<Daemon>,
    cast: Arc<Cast>,
    stage: Stage,
}

impl Site {
    fn new(stage: Stage) -> Result<Self> {
        let cast = stage.cast()?;
        let ways = cast.db.ways_to(&cast.web)?;
        let mut site = Self { ways, daemon: None, cast, stage };
        site.start()?;
        ensure!(site.passing()? == [FEW; 2], "before any policy");
        Ok(site)
    }

    /// Starts a daemon and waits until it knows the containers.
    fn start(&mut self) -> Result<()> {
        let daemon = self.stage.installation.start(&[])?;
        self.daemon = Some(daemon);
        until_true("the daemon knows the containers", patience(20), || {
            let containers = self.json(&["get", "containers"])?;
            let known = containers["containers"].as_array().map_or(0, Vec::len);
            Ok(known >= 3)
        })
    }

    fn daemon(&self) -> Result<&Daemon> {
        self.daemon.as_ref().context("no daemon runs")
    }

    fn kill(&mut self) -> Result<()> {
        self.daemon.take().context("no daemon runs")?.kill()
    }

    fn stop(mut self) -> Result<()> {
        self.daemon.take().context("no daemon runs")?.stop()
    }

    fn passing(&self) -> Result<[u64; 2]> {
        pass(&self.ways, FEW)
    }

    fn output(&self, arguments: &[&str]) -> Result<Output> {
        self.stage.installation.entropyctl(arguments)
    }

    /// What a command that must succeed says.
    fn control(&self, arguments: &[&str]) -> Result<String> {
        let output = self.output(arguments)?;
        ensure!(output.status.success(), "entropyctl {arguments:?}: {output:?}");
        Ok(String::from_utf8(output.stdout)?)
    }

    fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.control(&[arguments, &["--output", "json"]].concat())?;
        serde_json::from_str(&text).with_context(|| text)
    }

    /// Applies a file with this text.
    fn apply(&self, text: &str) -> Result<String> {
        let file = self.stage.installation.directory().join("applied.toml");
        fs::write(&file, text)?;
        self.control(&["apply", &file.to_string_lossy()])
    }
}

#[test]
fn what_is_applied_is_in_force_when_the_command_ends_and_gone_when_it_is_deleted() -> Result<()> {
    let site = Site::new(stage!())?;
    ensure!(site.apply(CUT)? == "policy cut: created\n");
    ensure!(site.passing()? == [0; 2], "in force when the command ends");
    ensure!(site.apply(CUT)? == "policy cut: unchanged\n");
    let list = site.control(&["get"])?;
    ensure!(list.contains("cut     API   in force"), "{list}");
    let described = site.control(&["describe", "cut"])?;
    ensure!(described.contains("loss = \"100%\"") && described.contains("100 %"), "{described}");
    let injections = site.json(&["get", "injections"])?;
    let lost = |injection: &Value| injection["counters"]["lost_packets"].as_u64();
    let lost: u64 =
        injections["injections"].as_array().iter().copied().flatten().filter_map(lost).sum();
    ensure!(lost >= 2 * FEW, "{injections}");
    // Replaced without a gap in between: nothing gets through on the way.
    let other = CUT.replace("loss = \"100%\"", "partition = true");
    ensure!(site.apply(&other)? == "policy cut: replaced\n");
    ensure!(site.passing()? == [0; 2], "after it was replaced");
    let status = site.control(&["status"])?;
    ensure!(status.contains("1 of 1 policy in force, on 1 container"), "{status}");
    ensure!(site.control(&["delete", "cut"])? == "policy cut: deleted\n");
    ensure!(site.passing()? == [FEW; 2], "after it was deleted");
    site.daemon()?.await_off(&site.cast.web.at)?;
    site.stop()
}

#[test]
fn requests_that_cannot_be_served_are_refused_and_change_nothing() -> Result<()> {
    let site = Site::new(stage!())?;
    site.stage.policy("filed", "target = \"app=web\"\nloss = \"100%\"")?;
    site.daemon()?.await_on("filed", &site.cast.web.at)?;
    let json = |body| Some(("application/json", body));
    let good = "{\"target\": \"app=web\", \"partition\": true}";
    for (method, path, body, status, why) in [
        (Method::GET, "/v1/policies/none", None, 404, "no policy none"),
        (Method::DELETE, "/v1/policies/filed", None, 409, "filed.toml:1"),
        (Method::PUT, "/v1/policies/filed", json(good), 409, "edit the file"),
        (Method::PUT, "/v1/policies/x", Some(("text/plain", good)), 415, "application/toml"),
        (Method::PUT, "/v1/policies/x", json("{\"loss\": \"2\"}"), 422, "write \"2%\""),
    ] {
        let (found, error) = site.stage.ask(method.clone(), path, body)?;
        ensure!(found == status && error.contains(why), "{method} {path}: {found} {error}");
    }
    let (status, text) = site.stage.ask(Method::GET, "/metrics", None)?;
    ensure!(
        status == 200 && text.contains("entropy_lost_packets_total{policy=\"filed\""),
        "{text}"
    );
    let has_queue = text.contains("\nentropy_line_waiting_packets 0\n");
    ensure!(has_queue == Netns::kernel_has_qdisc("fq")?, "{text}");
    let refused = site.output(&["delete", "filed"])?;
    ensure!(refused.status.code() == Some(1), "{refused:?}");
    ensure!(site.passing()? == [0; 2], "nothing is different");
    site.stop()
}

#[test]
fn a_restart_keeps_what_was_applied_what_is_paused_and_that_all_is_halted() -> Result<()> {
    let mut site = Site::new(stage!())?;
    let flows = |site: &Site, expected: u64, what: &str| {
        until_true(what, patience(20), || Ok(site.passing()? == [expected; 2]))
    };
    site.apply(CUT)?;
    ensure!(site.control(&["pause", "cut"])? == "policy cut: paused\n");
    ensure!(site.passing()? == [FEW; 2], "while it is paused");
    site.kill()?;
    site.start()?;
    site.daemon()?.await_on("cut", &site.cast.web.at)?;
    ensure!(site.passing()? == [FEW; 2], "paused after a restart");
    ensure!(site.control(&["resume", "cut"])? == "policy cut: resumed\n");
    ensure!(site.passing()? == [0; 2], "resumed");
    site.kill()?;
    site.start()?;
    flows(&site, 0, "the policy is in force after a restart")?;
    let start = Instant::now();
    ensure!(site.control(&["halt", "--reason", "lunch"])?.starts_with("halted"));
    println!("a halt took {:.1} ms, with the command itself", start.elapsed().as_secs_f64() * 1e3);
    ensure!(site.passing()? == [FEW; 2], "halted");
    let status = site.output(&["status"])?;
    let said = String::from_utf8_lossy(&status.stdout);
    ensure!(status.status.code() == Some(1) && said.contains("halted: lunch"), "{said}");
    site.kill()?;
    site.start()?;
    site.daemon()?.await_log("halted since")?;
    site.daemon()?.await_log("policy cut is on container")?;
    ensure!(site.passing()? == [FEW; 2], "halted after a restart");
    site.control(&["resume"])?;
    ensure!(site.passing()? == [0; 2], "resumed after a halt");
    site.stop()
}

#[test]
fn a_halt_needs_no_daemon_that_answers_and_holds_when_it_does_again() -> Result<()> {
    let mut site = Site::new(stage!())?;
    site.apply(CUT)?;
    ensure!(site.passing()? == [0; 2], "under the policy");
    let runtime = site.stage.installation.runtime();
    let halt = ["halt", "--runtime-dir", &runtime.to_string_lossy()].map(str::to_owned);
    let halt = halt.each_ref().map(String::as_str);
    // It hangs: nobody renews the lease, and nobody answers.
    site.daemon()?.signal(libc::SIGSTOP)?;
    let said = site.control(&halt)?;
    ensure!(said.starts_with("halted without entropyd"), "{said}");
    ensure!(site.passing()? == [FEW; 2], "halted");
    site.daemon()?.signal(libc::SIGCONT)?;
    site.daemon()?.await_log("halted")?;
    ensure!(site.passing()? == [FEW; 2], "the daemon knows of it");
    site.control(&["resume"])?;
    ensure!(site.passing()? == [0; 2], "resumed");
    site.kill()?;
    let said = site.control(&halt)?;
    ensure!(said.starts_with("halted without entropyd"), "{said}");
    ensure!(site.passing()? == [FEW; 2], "no daemon");
    site.start()?;
    site.daemon()?.await_log("policy cut is on container")?;
    ensure!(site.passing()? == [FEW; 2], "the next daemon knows of it");
    site.stop()
}
