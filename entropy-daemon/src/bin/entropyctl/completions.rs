//! `completions`: what a shell needs to complete our command lines.

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::{args, output};

pub(crate) fn run(arguments: &args::Completions) -> Result<ExitCode> {
    let mut command = arguments.program.command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, name, &mut script);
    output::print(&String::from_utf8(script).context("completions are no text")?)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;
    use clap_complete::Shell;

    use crate::args::Program;

    #[test]
    fn every_shell_learns_the_commands() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(
                *shell,
                &mut Program::Entropyctl.command(),
                "entropyctl",
                &mut script,
            );
            let script = String::from_utf8(script).unwrap();
            assert!(script.contains("cleanup") && script.contains("output"), "{shell}");
        }
    }
}
