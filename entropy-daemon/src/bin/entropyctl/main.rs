//! `entropyctl`: parse and dispatch.

mod apply;
mod args;
mod change;
mod cleanup;
mod completions;
mod control;
mod describe;
mod doctor;
mod get;
mod halt;
mod man;
mod map;
mod output;
mod plan;
mod run;
mod status;
mod validate;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser as _;

use self::{
    args::{Arguments, MapCommand, Verb},
    change::Change,
};

/// Exit code for a failure of the operation.
const FAILURE: u8 = 1;
/// Exit code for a wrong command line (`EX_USAGE`, sysexits.h).
const USAGE: u8 = 64;
/// Exit code for wrong policies (`EX_DATAERR`, sysexits.h).
const DATA: u8 = 65;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() { USAGE } else { 0 };
            // There is nobody left to tell when standard error is closed.
            drop(error.print());
            return code.into();
        }
    };
    run(arguments).unwrap_or_else(|error| {
        output::complain(&error);
        FAILURE.into()
    })
}

fn run(Arguments { output: format, socket, verb }: Arguments) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    let socket = &socket;
    let result = runtime.block_on(async {
        match verb {
            Verb::Run(arguments) => run::run(&arguments, socket, format).await,
            Verb::Apply(arguments) => apply::run(&arguments, socket, format).await,
            Verb::Get(arguments) => get::run(&arguments, socket, format).await,
            Verb::Describe(arguments) => describe::run(&arguments, socket, format).await,
            Verb::Delete(named) => {
                change::run(Change::Delete, &named.policies, socket, format).await
            }
            Verb::Pause(named) => change::run(Change::Pause, &named.policies, socket, format).await,
            Verb::Resume(named) if named.policies.is_empty() => halt::resume(socket, format).await,
            Verb::Resume(named) => {
                change::run(Change::Resume, &named.policies, socket, format).await
            }
            Verb::Halt(arguments) => halt::halt(&arguments, socket, format).await,
            Verb::Status => status::run(socket, format).await,
            Verb::Validate(arguments) => validate::run(&arguments, format),
            Verb::Plan(arguments) => plan::run(&arguments, format).await,
            Verb::Map(MapCommand::List) => map::list::run(format),
            Verb::Map(MapCommand::Dump(arguments)) => map::dump::run(&arguments, format).await,
            Verb::Doctor(arguments) => doctor::run(arguments, format).await,
            Verb::Cleanup => cleanup::run(format).await,
            Verb::Completions(arguments) => completions::run(&arguments),
            Verb::Man(arguments) => man::run(&arguments),
        }
    });
    // Whatever still hangs in a file system or the kernel is not waited for.
    runtime.shutdown_background();
    result
}
