//! `describe`: all about one policy.

use std::process::ExitCode;

use anyhow::{Result, anyhow};
use entropy_daemon::{
    api::types::{Injection, Injections, Policy, Source},
    policy::toml_of,
};
use serde::Serialize;

use crate::{
    args::{
        Format,
        control::{Describe, Socket},
    },
    control::{client, policy_path},
    get,
    output::{self, text},
};

/// What `describe --output json` writes.
#[derive(Debug, Serialize)]
struct Document {
    /// The policy.
    policy: Policy,
    /// Where it is.
    injections: Vec<Injection>,
}

pub(crate) async fn run(arguments: &Describe, socket: &Socket, format: Format) -> Result<ExitCode> {
    let client = client(socket);
    let policy: Policy = client.get(&policy_path(&arguments.policy)).await?;
    let all: Injections = client.get("/v1/injections").await?;
    let is_of = |injection: &Injection| injection.policy == policy.name;
    let injections = all.injections.into_iter().filter(is_of).collect();
    let document = Document { policy, injections };
    match format {
        Format::Json => output::print_json(&document)?,
        Format::Table => output::print(&document.render()?)?,
    }
    Ok(ExitCode::SUCCESS)
}

impl Document {
    fn render(&self) -> Result<String> {
        let Self { policy, injections } = self;
        let from = match (policy.source, &policy.origin) {
            (Source::File, Some(origin)) => origin.as_str(),
            (Source::File, None) => "a file",
            (Source::Api, _) => "the API",
        };
        let on = text::count(policy.containers as usize, "container", "containers");
        let mut facts = vec![
            ("policy", policy.name.clone()),
            ("from", from.to_owned()),
            ("state", format!("{}, {on} picked", policy.state)),
        ];
        let time = get::note(&Policy { reasons: Vec::new(), ..policy.clone() });
        if !time.is_empty() {
            facts.push(("time", time));
        }
        facts.extend(policy.reasons.iter().map(|reason| ("refused", reason.clone())));
        let facts: String =
            facts.iter().map(|(name, said)| format!("{name:8} {}\n", text::line(said))).collect();
        let written = toml_of(std::slice::from_ref(&policy.policy));
        let written =
            written.map_err(|mistake| anyhow!("the policy is not understood: {mistake}"))?;
        let injections = get::injections(injections);
        Ok(format!("{facts}\n{}\n{injections}", text::lines(&written)))
    }
}

#[cfg(test)]
mod tests {
    use entropy_daemon::api::types::{Lease, State};

    use super::*;

    #[test]
    fn a_policy_is_shown_as_it_would_stand_in_a_file() {
        let written = serde_json::json!({ "name": "slow", "target": "app=db", "delay": "80ms" });
        let policy = Policy {
            name: "slow".into(),
            source: Source::Api,
            origin: None,
            state: State::InForce,
            reasons: vec!["container vpn: host network".into()],
            containers: 2,
            starts_in_ns: Some(0),
            ends_in_ns: Some(12_300_000_000),
            lease: Some(Lease { ttl_ns: 3_000_000_000, left_ns: 1 }),
            policy: written.as_object().unwrap().clone(),
            effect: None,
        };
        let document = Document { policy, injections: Vec::new() };
        assert_eq!(
            document.render().unwrap(),
            "policy   slow\nfrom     the API\nstate    in force, 2 containers picked\n\
             time     ends in 12.3 s, ends 3.0 s after its client\n\
             refused  container vpn: host network\n\n\
             [[policy]]\nname = \"slow\"\ntarget = \"app=db\"\ndelay = \"80ms\"\n\n\
             no injections: no policy is on any container\n"
        );
    }
}
