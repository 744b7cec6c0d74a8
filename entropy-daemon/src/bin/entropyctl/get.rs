//! `get`: lists of what the daemon has.

use std::process::ExitCode;

use anyhow::Result;
use entropy_daemon::api::types::{
    Container, Containers, Counters, Injection, Injections, Policies, Policy, Source,
};

use crate::{
    args::{
        Format,
        control::{Get, Socket, What},
    },
    control::client,
    output::{
        self,
        table::{Column, Table},
        text,
    },
};

pub(crate) async fn run(arguments: &Get, socket: &Socket, format: Format) -> Result<ExitCode> {
    let client = client(socket);
    match arguments.what {
        What::Policies => {
            let list: Policies = client.get("/v1/policies").await?;
            show(format, &list, || policies(&list.policies))?;
        }
        What::Injections => {
            let list: Injections = client.get("/v1/injections").await?;
            show(format, &list, || injections(&list.injections))?;
        }
        What::Containers => {
            let list: Containers = client.get("/v1/containers").await?;
            show(format, &list, || containers(&list.containers))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(format: Format, list: &impl serde::Serialize, table: impl Fn() -> String) -> Result<()> {
    match format {
        Format::Json => output::print_json(list),
        Format::Table => output::print(&table()),
    }
}

fn policies(policies: &[Policy]) -> String {
    if policies.is_empty() {
        return "no policies: `entropyctl apply FILE` adds some, `entropyctl run` one for a while\n"
            .into();
    }
    let mut table = Table::new([
        Column::text("POLICY", 63),
        Column::text("FROM", 40),
        Column::text("STATE", 20),
        Column::number("CONTAINERS"),
        Column::text("NOTE", 100),
    ]);
    for policy in policies {
        let from = match (policy.source, &policy.origin) {
            (Source::Api, _) => "API",
            (Source::File, origin) => origin.as_deref().unwrap_or("file"),
        };
        table.row([
            &policy.name,
            from,
            &policy.state.to_string(),
            &policy.containers.to_string(),
            &note(policy),
        ]);
    }
    table.render()
}

/// What there is to say of a policy in a few words.
pub(crate) fn note(policy: &Policy) -> String {
    let mut notes = Vec::new();
    match (policy.starts_in_ns, policy.ends_in_ns) {
        (Some(wait), _) if wait > 0 => notes.push(format!("begins in {}", text::seconds(wait))),
        (_, Some(left)) => notes.push(format!("ends in {}", text::seconds(left))),
        _ => {}
    }
    if let Some(lease) = policy.lease {
        notes.push(format!("ends {} after its client", text::seconds(lease.ttl_ns)));
    }
    notes.extend(policy.reasons.first().cloned());
    if policy.reasons.len() > 1 {
        notes.push(format!("and {} more", policy.reasons.len() - 1));
    }
    notes.join(", ")
}

/// Injections with their counters.
pub(crate) fn injections(injections: &[Injection]) -> String {
    if injections.is_empty() {
        return "no injections: no policy is on any container\n".into();
    }
    let mut table = Table::new([
        Column::text("POLICY", 63),
        Column::text("CONTAINER", 30),
        Column::text("INTERFACE", 21),
        Column::text("DIRECTION", 9),
        Column::text("MATCH", 40),
        Column::text("FAULT", 50),
        Column::text("STATE", 12),
        Column::number("SEEN"),
        Column::number("MATCHED"),
        Column::number("LOST"),
        Column::number("REALISED"),
        Column::number("DELAYED"),
        Column::text("NOTE", 100),
    ]);
    for injection in injections {
        let counters = injection.counters.clone().unwrap_or_default();
        table.row([
            &injection.policy,
            &injection.container,
            injection.interface.as_deref().unwrap_or("-"),
            injection.direction.as_deref().unwrap_or("-"),
            &injection.r#match,
            &injection.fault,
            &injection.state.to_string(),
            &counters.seen_packets.to_string(),
            &counters.matched_packets.to_string(),
            &counters.lost_packets.to_string(),
            &realised(&counters),
            &counters.delayed_packets.to_string(),
            injection.reason.as_deref().unwrap_or_default(),
        ]);
    }
    table.render()
}

/// The loss that came about.
pub(crate) fn realised(counters: &Counters) -> String {
    match counters.realised_loss_percent {
        None => "-".into(),
        // Of a loss by segment the frames are what it chooses from.
        Some(percent) if counters.frames > 0 && counters.lost_packets > 0 => text::share(
            counters.lost_packets,
            (counters.lost_packets as f64 * 100.0 / percent).round() as u64,
        ),
        Some(_) => text::share(counters.lost_packets, counters.matched_packets),
    }
}

fn containers(containers: &[Container]) -> String {
    if containers.is_empty() {
        return "no containers: none runs, or the engine has not answered (`entropyctl status`)\n"
            .into();
    }
    let mut table = Table::new([
        Column::text("CONTAINER", 30),
        Column::text("ID", 12),
        Column::text("INTERFACES", 60),
        Column::text("POLICIES", 60),
        Column::text("NOTE", 100),
    ]);
    for container in containers {
        let endpoints = container.endpoints.iter();
        let endpoints: Vec<_> = endpoints
            .map(|endpoint| format!("{} ({})", endpoint.interface, endpoint.network))
            .collect();
        table.row([
            &container.name,
            container.id.get(..12).unwrap_or(&container.id),
            &endpoints.join(", "),
            &container.policies.join(", "),
            container.reason.as_deref().unwrap_or_default(),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests;
