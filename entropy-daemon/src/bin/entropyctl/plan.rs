//! `plan`: which containers would be hit, and what would it mean?

mod document;
mod table;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use entropy_daemon::{
    policy::{LoadError, Policy, Problem, Problems, load_directory, load_files},
    preview::preview,
    settings::{Settings, SettingsError},
};

use self::document::Document;
use crate::{
    DATA,
    args::{Format, Plan},
    output,
};

pub(crate) async fn run(arguments: &Plan, format: Format) -> Result<ExitCode> {
    let policies = match load(&arguments.paths)? {
        Ok(policies) => policies,
        Err(problems) => {
            let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
            output::note(&lines.join("\n"));
            return Ok(DATA.into());
        }
    };
    let settings = match Settings::of(arguments.config.as_deref()) {
        Ok(settings) => settings,
        Err(SettingsError::Wrong(problems)) => {
            output::note(&problems.to_string());
            return Ok(DATA.into());
        }
        Err(error) => return Err(error).context("settings"),
    };
    let plan = preview(&policies, arguments.engine.endpoint()?, &settings.guard).await?;
    let document = Document::new(&plan, output::windows::timed(&policies)?);
    match format {
        Format::Json => output::print_json(&document)?,
        Format::Table => output::print(&table::text(&document))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The policies of all paths, or what is wrong with them.
fn load(paths: &[PathBuf]) -> Result<Result<Vec<Policy>, Problems>> {
    let (directories, files): (Vec<&Path>, Vec<&Path>) =
        paths.iter().map(PathBuf::as_path).partition(|path| path.is_dir());
    let mut policies = match load_files(&files) {
        Ok(policies) => policies,
        Err(problems) => return Ok(Err(problems)),
    };
    for directory in directories {
        match load_directory(directory) {
            Ok(more) => policies.extend(more),
            Err(LoadError::Invalid(problems)) => return Ok(Err(problems)),
            Err(error) => return Err(error).context("load the policies"),
        }
    }
    Ok(Ok(policies))
}
