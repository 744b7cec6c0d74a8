//! `validate`: are these policies right?

mod document;
mod table;

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Result;
use entropy_daemon::policy::{LoadError, Policy, Problem, Problems, load_directory, load_files};

use self::{document::Document, table::policies_table};
use crate::{
    DATA, FAILURE,
    args::{Format, Validate},
    output::{
        self, text,
        windows::{self, Timed, timed},
    },
};

/// What came of all paths.
#[derive(Debug, Default)]
struct Verdict {
    /// The policies of the sets without problems.
    policies: Vec<Policy>,
    problems: Vec<Problem>,
    /// Problems of one file beyond the first hundred.
    problems_omitted: usize,
    /// What was looked at, in the order of the command line, and how much was found.
    sources: Vec<Source>,
    /// Paths that could not be read.
    unreadable: Vec<(PathBuf, io::Error)>,
}

/// One file, or a directory in which nothing was found.
#[derive(Debug)]
struct Source {
    path: PathBuf,
    /// Which argument of the command line it comes from.
    argument: usize,
    policies: usize,
    problems: usize,
}

pub(crate) fn run(arguments: &Validate, format: Format) -> Result<ExitCode> {
    let verdict = Verdict::of(&arguments.paths);
    match format {
        Format::Json => output::print_json(&Document::new(&verdict, timed(&verdict.policies)?))?,
        Format::Table => {
            output::print(&verdict.results(&timed(&verdict.policies)?))?;
            let complaints = verdict.complaints();
            if !complaints.is_empty() {
                output::note(&complaints);
            }
        }
    }
    Ok(verdict.exit_code().into())
}

impl Verdict {
    fn of(paths: &[PathBuf]) -> Self {
        let mut verdict = Self::default();
        let mut files: Vec<(usize, &Path)> = Vec::new();
        for (argument, path) in paths.iter().enumerate() {
            match open(path) {
                Err(error) => verdict.unreadable.push((path.clone(), error)),
                Ok(()) if path.is_dir() => verdict.add_directory(argument, path),
                // Named twice, a file would seem to use every name twice.
                Ok(()) if files.iter().any(|(_, file)| file == path) => {}
                Ok(()) => files.push((argument, path)),
            }
        }
        verdict.add_files(&files);
        verdict.sources.sort_by_key(|source| source.argument);
        verdict
    }

    fn add_directory(&mut self, argument: usize, directory: &Path) {
        match load_directory(directory) {
            Ok(loaded) => {
                let files = per_file(loaded.iter().map(|policy| policy.origin.file.as_path()));
                if files.is_empty() {
                    self.add_source(argument, directory, 0, 0);
                }
                for (file, policies) in files {
                    self.add_source(argument, file, policies, 0);
                }
                self.policies.extend(loaded);
            }
            Err(LoadError::Invalid(found)) => {
                for (file, problems) in per_file(found.iter().map(|p| p.file.as_path())) {
                    self.add_source(argument, file, 0, problems);
                }
                self.add_problems(&found);
            }
            Err(LoadError::Missing(path)) => {
                self.unreadable.push((path, io::ErrorKind::NotFound.into()));
            }
            Err(LoadError::Unlisted { path, source }) => self.unreadable.push((path, source)),
        }
    }

    fn add_files(&mut self, files: &[(usize, &Path)]) {
        let paths: Vec<&Path> = files.iter().map(|(_, path)| *path).collect();
        match load_files(&paths) {
            Ok(loaded) => {
                let policies = per_file(loaded.iter().map(|policy| policy.origin.file.as_path()));
                for (argument, path) in files {
                    let policies = policies.get(path).copied().unwrap_or(0);
                    self.add_source(*argument, path, policies, 0);
                }
                self.policies.extend(loaded);
            }
            Err(found) => {
                let problems = per_file(found.iter().map(|problem| problem.file.as_path()));
                for (argument, path) in files {
                    let problems = problems.get(path).copied().unwrap_or(0);
                    // Alone it is as good as it says; together no policy of the set would load.
                    let alone = if problems == 0 { load_files(&[path]).ok() } else { None };
                    let policies = alone.map_or(0, |alone| alone.len());
                    self.add_source(*argument, path, policies, problems);
                }
                self.add_problems(&found);
            }
        }
    }

    fn add_source(&mut self, argument: usize, path: &Path, policies: usize, problems: usize) {
        let path = path.to_owned();
        self.sources.push(Source { path, argument, policies, problems });
    }

    fn add_problems(&mut self, problems: &Problems) {
        let kept = problems.iter().len();
        self.problems.extend(problems.iter().cloned());
        self.problems_omitted += problems.len() - kept;
    }

    fn exit_code(&self) -> u8 {
        match (self.problems.is_empty(), self.unreadable.is_empty()) {
            (false, _) => DATA,
            (true, false) => FAILURE,
            (true, true) => 0,
        }
    }

    /// For standard output: the policies, when they are in force, and one line for each path.
    fn results(&self, timed: &[Timed]) -> String {
        let mut out = String::new();
        if !self.policies.is_empty() {
            out.push_str(&policies_table(&self.policies).render());
            out.push('\n');
        }
        if !timed.is_empty() {
            out.push_str("If they were loaded now:\n\n");
            out.push_str(&windows::table(timed));
            out.push('\n');
        }
        for source in &self.sources {
            let found = match source.problems {
                0 => match source.policies {
                    0 => "no policies in it".to_owned(),
                    number => format!("fine, {}", text::count(number, "policy", "policies")),
                },
                number => text::count(number, "problem", "problems"),
            };
            out.push_str(&format!("{}: {found}\n", text::line(&source.path.to_string_lossy())));
        }
        out
    }

    /// For standard error: what is wrong.
    fn complaints(&self) -> String {
        let mut lines: Vec<String> = self.problems.iter().map(Problem::to_string).collect();
        if self.problems_omitted > 0 {
            lines.push(format!("and {} more problems", self.problems_omitted));
        }
        if !self.problems.is_empty() {
            lines.push(
                "note: of a directory, nothing is loaded until all its files are right".into(),
            );
        }
        lines.extend(self.unreadable.iter().map(|(path, error)| {
            let path = text::line(&path.to_string_lossy());
            format!("{path}: cannot be read: {error}\n  help: check the path and its rights")
        }));
        lines.join("\n")
    }
}

/// How often each file occurs.
fn per_file<'a>(files: impl Iterator<Item = &'a Path>) -> BTreeMap<&'a Path, usize> {
    let mut counts = BTreeMap::new();
    for file in files {
        *counts.entry(file).or_default() += 1;
    }
    counts
}

/// Whether a path can be read at all, without waiting for anything behind it.
fn open(path: &Path) -> io::Result<()> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        // A socket: the loader says so better.
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Ok(()),
        result => result.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use entropy_daemon::policy::parse;

    use super::*;

    #[test]
    fn wrong_policies_weigh_more_than_unreadable_files() {
        let gone = || vec![(PathBuf::from("x"), io::Error::from(io::ErrorKind::NotFound))];
        let problem = || match parse(Path::new("x"), b"[[policy]]") {
            Err(problems) => problems.iter().cloned().collect(),
            Ok(policies) => panic!("{policies:?}"),
        };
        let verdict = |problems, unreadable| {
            Verdict { problems, unreadable, ..Verdict::default() }.exit_code()
        };
        assert_eq!(verdict(vec![], vec![]), 0);
        assert_eq!(verdict(vec![], gone()), FAILURE);
        assert_eq!(verdict(problem(), vec![]), DATA);
        assert_eq!(verdict(problem(), gone()), DATA);
    }
}
