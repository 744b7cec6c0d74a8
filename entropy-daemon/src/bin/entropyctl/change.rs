//! `delete`, `pause`, `resume` of policies.

use std::process::ExitCode;

use anyhow::Result;
use entropy_daemon::api::{
    ClientError, Method,
    types::{Effect, Policy},
};
use serde::Serialize;

use crate::{
    FAILURE,
    args::{Format, control::Socket},
    control::{client, policy_path},
    output::{self, text},
};

/// What is done to policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Delete,
    Pause,
    Resume,
}

/// What came of a policy.
#[derive(Debug, Serialize)]
struct Entry {
    /// Its name.
    name: String,
    /// Whether something is different now.
    changed: bool,
    /// Why nothing was done.
    error: Option<String>,
}

pub(crate) async fn run(
    change: Change,
    policies: &[String],
    socket: &Socket,
    format: Format,
) -> Result<ExitCode> {
    let mut entries = Vec::new();
    for name in policies {
        let (changed, error) = match one(change, name, socket).await {
            Ok(changed) => (changed, None),
            // The others may still be fine.
            Err(error @ ClientError::Refused { .. }) => (false, Some(error.to_string())),
            Err(error) => return Err(error.into()),
        };
        entries.push(Entry { name: name.clone(), changed, error });
    }
    match format {
        Format::Json => output::print_json(&entries)?,
        Format::Table => {
            let done = entries.iter().filter(|entry| entry.error.is_none());
            output::print(&done.map(|entry| change.said(entry)).collect::<String>())?;
            for error in entries.iter().filter_map(|entry| entry.error.as_ref()) {
                output::note(&format!("entropyctl: {}", text::lines(error)));
            }
        }
    }
    let failed = entries.iter().any(|entry| entry.error.is_some());
    Ok(if failed { FAILURE } else { 0 }.into())
}

/// Returns whether something is different now.
async fn one(change: Change, name: &str, socket: &Socket) -> Result<bool, ClientError> {
    let (client, path) = (client(socket), policy_path(name));
    let verb = match change {
        Change::Delete => return client.delete(&path).await.map(|()| true),
        Change::Pause => "pause",
        Change::Resume => "resume",
    };
    let policy: Policy = client.act(Method::POST, &format!("{path}/{verb}")).await?;
    Ok(policy.effect != Some(Effect::Unchanged))
}

impl Change {
    fn said(self, entry: &Entry) -> String {
        let done = match (self, entry.changed) {
            (Self::Delete, _) => "deleted",
            (Self::Pause, true) => "paused",
            (Self::Pause, false) => "was paused already",
            (Self::Resume, true) => "resumed",
            (Self::Resume, false) => "was not paused",
        };
        format!("policy {}: {done}\n", text::line(&entry.name))
    }
}
