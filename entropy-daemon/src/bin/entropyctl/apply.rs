//! `apply`: make the policies of files be there.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use entropy_daemon::{
    api::{Client, Method, types::Effect},
    policy::{LoadError, Policy, Problems, load_directory, load_files, parse},
};
use serde::{Deserialize, Serialize};

use crate::{
    DATA, FAILURE,
    args::{
        Format,
        control::{Apply, Socket},
    },
    control::{client, policy_path},
    output::{self, text},
};

/// Standard input.
const STDIN: &str = "-";

/// What `apply --output json` writes.
#[derive(Debug, Serialize)]
struct Document {
    /// Whether it was only asked what would happen.
    dry_run: bool,
    /// The policies, in the order of the files.
    policies: Vec<Entry>,
}

/// What came of a policy.
#[derive(Debug, Serialize)]
struct Entry {
    /// Its name.
    name: String,
    /// What was done; null if nothing.
    effect: Option<Effect>,
    /// Why nothing was done.
    error: Option<String>,
}

/// The part of the daemon's answer that counts.
#[derive(Debug, Deserialize)]
struct Answer {
    effect: Effect,
}

pub(crate) async fn run(arguments: &Apply, socket: &Socket, format: Format) -> Result<ExitCode> {
    let policies = match load(&arguments.paths)? {
        Ok(policies) => policies,
        Err(problems) => {
            output::note(&problems.to_string());
            output::note("note: nothing is applied until all is right");
            return Ok(DATA.into());
        }
    };
    let client = client(socket);
    let mut document = Document { dry_run: arguments.dry_run, policies: Vec::new() };
    for policy in &policies {
        document.policies.push(put(&client, policy, arguments.dry_run).await?);
    }
    match format {
        Format::Json => output::print_json(&document)?,
        Format::Table => document.say()?,
    }
    let failed = document.policies.iter().any(|entry| entry.error.is_some());
    Ok(if failed { FAILURE } else { 0 }.into())
}

/// The policies of all paths, or the problems of one of them.
fn load(paths: &[PathBuf]) -> Result<Result<Vec<Policy>, Problems>> {
    let mut all = Vec::new();
    let is_file = |path: &&PathBuf| path.as_os_str() != STDIN && !path.is_dir();
    let files: Vec<&PathBuf> = paths.iter().filter(is_file).collect();
    match load_files(&files) {
        Ok(policies) => all.extend(policies),
        Err(problems) => return Ok(Err(problems)),
    }
    for path in paths.iter().filter(|path| !is_file(path)) {
        let loaded = if path.as_os_str() == STDIN { read_stdin()? } else { directory(path)? };
        match loaded {
            Ok(policies) => all.extend(policies),
            Err(problems) => return Ok(Err(problems)),
        }
    }
    Ok(Ok(all))
}

fn read_stdin() -> Result<Result<Vec<Policy>, Problems>> {
    let mut text = Vec::new();
    std::io::stdin().read_to_end(&mut text).context("read standard input")?;
    Ok(parse(Path::new("stdin"), &text))
}

fn directory(path: &Path) -> Result<Result<Vec<Policy>, Problems>> {
    match load_directory(path) {
        Ok(policies) => Ok(Ok(policies)),
        Err(LoadError::Invalid(problems)) => Ok(Err(problems)),
        Err(error) => Err(error.into()),
    }
}

async fn put(client: &Client, policy: &Policy, dry_run: bool) -> Result<Entry> {
    let query = if dry_run { "?dry_run=true" } else { "" };
    let path = policy_path(&policy.name) + query;
    let name = policy.name.clone();
    match client.send::<Answer>(Method::PUT, &path, &policy.origin.written).await {
        Ok(answer) => Ok(Entry { name, effect: Some(answer.effect), error: None }),
        // The others may still be fine.
        Err(error) if error.is_status(409) || error.is_status(422) => {
            Ok(Entry { name, effect: None, error: Some(error.to_string()) })
        }
        Err(error) => Err(error.into()),
    }
}

impl Document {
    fn say(&self) -> Result<()> {
        let would = if self.dry_run { "would be " } else { "" };
        let mut lines = String::new();
        for Entry { name, effect, .. } in &self.policies {
            if let Some(effect) = effect {
                let would = if *effect == Effect::Unchanged { "" } else { would };
                lines.push_str(&format!("policy {}: {would}{effect}\n", text::line(name)));
            }
        }
        if self.policies.is_empty() {
            lines.push_str("no policies in it\n");
        }
        output::print(&lines)?;
        for error in self.policies.iter().filter_map(|entry| entry.error.as_ref()) {
            output::note(&format!("entropyctl: {}", text::lines(error)));
        }
        Ok(())
    }
}
