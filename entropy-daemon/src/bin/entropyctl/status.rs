//! `status`: how the daemon is.

use std::process::ExitCode;

use anyhow::Result;
use entropy_daemon::api::types::{Health, Status, Version};
use serde::Serialize;

use crate::{
    FAILURE,
    args::{Format, control::Socket},
    control::client,
    output::{self, Colour, Style, text},
};

/// What `status --output json` writes.
#[derive(Debug, Serialize)]
struct Document {
    /// Which daemon it is.
    version: Version,
    /// How it is.
    health: Health,
}

pub(crate) async fn run(socket: &Socket, format: Format) -> Result<ExitCode> {
    let client = client(socket);
    let (version, health) = (client.get("/v1/version").await?, client.get("/v1/health").await?);
    let document = Document { version, health };
    match format {
        Format::Json => output::print_json(&document)?,
        Format::Table => output::print(&document.render(Style::of_stdout()))?,
    }
    let well = document.health.status == Status::Ok;
    Ok(if well { 0 } else { FAILURE }.into())
}

impl Document {
    fn render(&self, style: Style) -> String {
        let Self { version, health } = self;
        let colour = match health.status {
            Status::Ok => Colour::Green,
            Status::Degraded => Colour::Yellow,
            Status::Halted => Colour::Red,
        };
        let engine = match (&health.engine.version, &health.engine.reason) {
            (_, Some(reason)) => format!("does not answer: {reason}"),
            (Some(version), None) => version.clone(),
            (None, None) => "has not answered yet".to_owned(),
        };
        let in_force = format!(
            "{} of {} in force, on {}",
            health.policies_in_force,
            text::count(health.policies as usize, "policy", "policies"),
            text::count(health.containers_hit as usize, "container", "containers"),
        );
        let mut lines = format!(
            "status    {}\ndaemon    version {} (pid {})\nengine    {}\npolicies  {in_force}\n",
            style.paint(colour, &health.status.to_string()),
            text::line(&version.version),
            version.pid,
            text::line(&engine),
        );
        if health.injections_idle > 0 {
            let idle = health.injections_idle as usize;
            let idle = text::count(idle, "injection matches", "injections match");
            lines.push_str(&format!("idle      {idle} no packet: `entropyctl get injections`\n"));
        }
        for reason in &health.reasons {
            lines.push_str(&format!("note      {}\n", text::line(reason)));
        }
        if let Some(halted) = &health.halted {
            let since = text::line(&halted.since);
            lines.push_str(&format!("halted    since {since}: `entropyctl resume` undoes it\n"));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use entropy_daemon::api::types::{EngineHealth, Halted};

    use super::*;

    #[test]
    fn a_halted_daemon_is_told_with_the_next_step() {
        let halted = Halted { reason: "lunch".into(), since: "2026-12-01T12:00:00Z".into() };
        let health = Health {
            status: Status::Halted,
            reasons: vec!["halted: lunch".into()],
            halted: Some(halted),
            engine: EngineHealth {
                connected: true,
                version: Some("20.10 (API 1.41)".into()),
                reason: None,
            },
            no_fair_queue: None,
            no_wire: None,
            policies: 1,
            policies_in_force: 0,
            containers_hit: 0,
            injections_idle: 2,
        };
        let version = Version { version: "0.1.0".into(), api: "v1".into(), pid: 7 };
        assert_eq!(
            Document { version, health }.render(Style::PLAIN),
            "status    halted\ndaemon    version 0.1.0 (pid 7)\nengine    20.10 (API 1.41)\n\
             policies  0 of 1 policy in force, on 0 containers\n\
             idle      2 injections match no packet: `entropyctl get injections`\n\
             note      halted: lunch\n\
             halted    since 2026-12-01T12:00:00Z: `entropyctl resume` undoes it\n"
        );
    }
}
