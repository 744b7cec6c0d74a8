//! `man`: manual pages, made of what `--help` says.

use std::{fs, path::Path, process::ExitCode};

use anyhow::{Context as _, Result};
use clap::Command;

use crate::{
    args::{self, Program},
    output,
};

/// Commands of system administration.
const SECTION: &str = "8";

pub(crate) fn run(arguments: &args::Man) -> Result<ExitCode> {
    match &arguments.dir {
        Some(directory) => write_all(directory)?,
        None => output::print(&render(arguments.program.command())?)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn write_all(directory: &Path) -> Result<()> {
    for (name, command) in pages() {
        let path = directory.join(name);
        fs::write(&path, render(command)?).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// All pages with the names of their files.
fn pages() -> Vec<(String, Command)> {
    let mut pages = Vec::new();
    for program in [Program::Entropyctl, Program::Entropyd] {
        collect(program.command(), &mut pages);
    }
    pages
}

/// Adds a command and those below it. Their names hold those of the commands above them:
/// `entropyctl-map-list`.
fn collect(command: Command, pages: &mut Vec<(String, Command)>) {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let below = command.get_subcommands().filter(|inner| inner.get_name() != "help");
    for inner in below.cloned().collect::<Vec<_>>() {
        collect(inner, pages);
    }
    pages.push((format!("{name}.{SECTION}"), command));
}

fn render(command: Command) -> Result<String> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let page = clap_mangen::Man::new(command)
        .title(name)
        .section(SECTION)
        .manual("Entropy")
        .source(concat!("Entropy ", env!("CARGO_PKG_VERSION")))
        // Without a date the same source makes the same page.
        .date("");
    let mut text = Vec::new();
    page.render(&mut text).context("write a manual page")?;
    String::from_utf8(text).context("a manual page is no text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let pages = pages();
        let names: Vec<_> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for name in ["entropyctl.8", "entropyctl-map-dump.8", "entropyctl-man.8", "entropyd.8"] {
            assert!(names.contains(&name), "{name} is not among {names:?}");
        }
        assert!(!names.iter().any(|name| name.contains("help")), "{names:?}");
    }

    #[test]
    fn a_page_says_what_the_help_says() {
        let page = render(Program::Entropyd.command()).unwrap();
        assert!(page.starts_with(".ie"), "{page}");
        assert!(page.contains("entropyd 8") && page.contains("\\-\\-lease"), "{page}");
    }
}
