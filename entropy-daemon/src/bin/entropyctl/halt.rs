//! `halt`, and `resume` after it.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context as _, Result};
use entropy_daemon::{
    api::{
        ClientError, Method,
        types::{self, Halted, Halting},
    },
    datapath::LeaseMap,
    runtime::Runtime,
};
use serde::Serialize;

use crate::{
    args::{
        Format,
        control::{Halt, Socket},
    },
    control::client,
    output::{self, text},
};

/// How long the daemon may take to answer before it is done without it.
const PATIENCE: Duration = Duration::from_millis(250);

/// What `halt --output json` writes.
#[derive(Debug, Serialize)]
struct Document {
    /// Whether the daemon did it.
    by_daemon: bool,
    /// Why nothing is injected.
    halted: Option<Halted>,
}

pub(crate) async fn halt(arguments: &Halt, socket: &Socket, format: Format) -> Result<ExitCode> {
    let client = client(socket).patient(PATIENCE);
    let body = types::Halt { reason: Some(arguments.reason.clone()) };
    let asked = client.send::<Halting>(Method::POST, "/v1/halt", &body).await;
    let why = match asked {
        Ok(halting) => {
            let document = Document { by_daemon: true, halted: halting.halted };
            return say(&document, "halted: all faults have ended", format);
        }
        // It is there, and knows why not.
        Err(error @ ClientError::Refused { status: 400, .. }) => return Err(error.into()),
        Err(error) => error.to_string(),
    };
    output::note(&format!("entropyctl: {}", text::line(&why)));
    let halted = by_hand(arguments)?;
    let said = "halted without entropyd: the kernel lets every packet pass, and a daemon that starts \
                stays halted";
    say(&Document { by_daemon: false, halted: Some(halted) }, said, format)
}

/// Ends the lease in the kernel. A daemon that lives sees the note when it wants to renew it.
fn by_hand(arguments: &Halt) -> Result<Halted> {
    let halted = Halted::now(&arguments.reason);
    let noted = Runtime::at(&arguments.runtime_dir).halt(&halted);
    if let Some(mut lease) = LeaseMap::open().context("end all faults without the daemon")? {
        lease.end()?;
    }
    noted.context("all faults have ended, but the next daemon will not know")?;
    Ok(halted)
}

fn say(document: &Document, said: &str, format: Format) -> Result<ExitCode> {
    match format {
        Format::Json => output::print_json(document)?,
        Format::Table => output::print(&format!("{said}; `entropyctl resume` undoes it\n"))?,
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn resume(socket: &Socket, format: Format) -> Result<ExitCode> {
    let halting: Halting = client(socket).act(Method::POST, "/v1/resume").await?;
    match format {
        Format::Json => output::print_json(&halting)?,
        Format::Table if halting.changed => {
            output::print("resumed: policies are in force again\n")?;
        }
        Format::Table => {
            output::print(
                "was not halted; `entropyctl resume POLICY` resumes one that is paused\n",
            )?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
