//! Builds, tests and demonstrates Entropy.

mod bench;
mod build;
mod demo;
mod dist;
mod exec;
mod fidelity;
mod lint;
mod place;
mod run;
mod setup;
mod signals;
mod test;
mod vm;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Builds, tests and demonstrates Entropy; every verb sets up what it needs.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

/// What can be done.
#[derive(Subcommand)]
enum Verb {
    /// Bring this machine to where everything builds and tests
    Setup,
    /// Build the eBPF object and the programs
    Build {
        /// Optimised for production
        #[arg(long)]
        release: bool,
    },
    /// Run a command under another kernel, in a virtual machine that sees this machine's files
    Vm {
        /// Version of the kernel
        kernel: vm::Kernel,
        #[command(flatten)]
        machine: vm::Machine,
        /// The command and its arguments
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Run all tests: here, and in virtual machines with Linux 6.1 and 6.12
    Test(test::Arguments),
    /// Show faults between real containers, here or in a virtual machine
    Demo,
    /// Measure what a packet costs, on this machine's kernel
    Bench(bench::Arguments),
    /// Measure what Entropy realises of what is asked, beside netem, in virtual machines
    Fidelity(fidelity::Arguments),
    /// Check formatting, clippy, documentation and the rules of the house
    Lint,
    /// Make a Debian package of the optimised programs, in `target/dist`
    Dist,
    /// Run the daemon from the tree, with the policies in `policies` unless told otherwise
    Run {
        /// Arguments for entropyd
        #[arg(last = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    match dispatch(Arguments::parse().verb) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("xtask: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Hands each verb to its module and returns the exit code.
fn dispatch(verb: Verb) -> Result<u8> {
    match verb {
        Verb::Setup => setup::all()?,
        Verb::Build { release } => build::all(release)?,
        Verb::Vm { kernel, machine, command } => {
            return vm::run(kernel, &machine, &command, exec::out);
        }
        Verb::Test(arguments) => return test::run(&arguments),
        Verb::Demo => return demo::run(),
        Verb::Bench(arguments) => return bench::run(&arguments),
        Verb::Fidelity(arguments) => return fidelity::run(&arguments),
        Verb::Lint => lint::run()?,
        Verb::Dist => dist::run()?,
        Verb::Run { arguments } => return run::run(&arguments),
    }
    Ok(0)
}
