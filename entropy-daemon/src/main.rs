//! `entropyd`: parse, wire, run.

use std::{
    io::{IsTerminal as _, stderr},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use clap::Parser as _;
use entropy_daemon::{
    app::{self, Config},
    cli::Arguments,
    handover::Handover,
    signals, upgrade,
};
use tracing_subscriber::EnvFilter;

/// Exit code for a wrong command line or configuration (`EX_USAGE`, sysexits.h).
const USAGE: u8 = 64;

fn main() -> ExitCode {
    log_to_stderr();
    let handover = Handover::of_environment();
    let config =
        Arguments::try_parse().map_err(anyhow::Error::from).and_then(Arguments::into_config);
    // Two links for each interface: the 1024 that a shell gives would do for some 490.
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::debug!("the limit of open descriptors stays: {error}");
    }
    // Before there are threads, which inherit it.
    let runtime = signals::block().context("block signals").and_then(|()| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        runtime.context("start the runtime")
    });
    match runtime {
        Ok(runtime) => runtime.block_on(run(config, handover)),
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(config: Result<Config>, handover: Option<Handover>) -> ExitCode {
    let config = match config {
        Ok(config) => config,
        Err(error) => {
            if let Some(handover) = handover {
                upgrade::abandon(handover).await;
            }
            return refuse(error);
        }
    };
    match app::run(config, handover).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Says what is wrong with the command line or the configuration, or what was asked for: help.
fn refuse(error: anyhow::Error) -> ExitCode {
    match error.downcast::<clap::Error>() {
        Ok(error) => error.exit(),
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::from(USAGE)
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
