//! `entropyd`: parse, wire, run.

use std::{
    io::{IsTerminal as _, stderr},
    process::ExitCode,
};

use clap::Parser as _;
use entropy_daemon::{app, cli::Arguments};
use tracing_subscriber::EnvFilter;

/// Exit code for a wrong command line or configuration (`EX_USAGE`, sysexits.h).
const USAGE: u8 = 64;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log_to_stderr();
    let config = match arguments.into_config() {
        Ok(config) => config,
        Err(error) => {
            tracing::error!("{error:#}");
            return ExitCode::from(USAGE);
        }
    };
    match app::run(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// For people on a terminal; without time and colour for journald, which has its own time.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let format = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_target(false)
        .with_ansi(stderr().is_terminal());
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        format.without_time().init();
    } else {
        format.init();
    }
}
