//! The policy directory.

use std::path::{Path, PathBuf};

use super::{Check, Status};
use crate::policy::{LoadError, Policy, load_directory};

/// Reads on a thread of its own: a file system that hangs holds up nobody else.
pub(super) async fn checks(directory: PathBuf) -> Vec<Check> {
    let reading = tokio::task::spawn_blocking(move || {
        let result = load_directory(&directory);
        about(&directory, result)
    });
    match reading.await {
        Ok(check) => vec![check],
        Err(error) => vec![Check::new("policies", Status::Unknown, format!("not read: {error}"))],
    }
}

fn about(directory: &Path, result: Result<Vec<Policy>, LoadError>) -> Check {
    const NOTHING: &str = "nothing is injected on this host";
    let shown = directory.display();
    match result {
        Ok(policies) if policies.is_empty() => {
            Check::new("policies", Status::Warning, format!("no policies in {shown}"))
                .disables(NOTHING)
                .mend(format!("put a file into it: {shown}/NAME.toml"))
        }
        Ok(policies) => Check::ok("policies", format!("{} in {shown}, all valid", policies.len())),
        Err(LoadError::Missing(_)) => {
            Check::new("policies", Status::Warning, format!("no directory {shown}"))
                .disables(NOTHING)
                .mend(format!("mkdir -p {shown}, or name another with --policies"))
        }
        Err(LoadError::Invalid(problems)) => {
            let finding = format!("{} problems in the files of {shown}", problems.len());
            Check::new("policies", Status::Missing, finding)
                .needed()
                .disables(
                    "all policies of the directory: a running daemon keeps the last good ones",
                )
                .mend(format!("entropyctl validate {shown}"))
        }
        Err(error) => {
            let error = anyhow::Error::new(error);
            Check::new("policies", Status::Unknown, format!("{error:#}"))
                .needed()
                .disables(NOTHING)
                .mend(format!("let this user list {shown}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    async fn check(directory: &Path) -> Check {
        checks(directory.to_owned()).await.pop().unwrap()
    }

    #[tokio::test]
    async fn a_directory_is_as_good_as_its_files() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(check(directory.path()).await.status, Status::Warning);
        let good = "[[policy]]\ntarget = \"app=web\"\nloss = \"2%\"\n";
        fs::write(directory.path().join("a.toml"), good).unwrap();
        assert_eq!(check(directory.path()).await.status, Status::Ok);
        fs::write(directory.path().join("b.toml"), "[[policy]]\n").unwrap();
        let wrong = check(directory.path()).await;
        assert!(wrong.status == Status::Missing && !wrong.is_ready(), "{wrong:?}");
        let mend = wrong.mend.unwrap();
        assert_eq!(mend, format!("entropyctl validate {}", directory.path().display()));
    }

    #[tokio::test]
    async fn a_directory_that_is_none_is_told_from_one_that_is_not_there() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        assert_eq!(check(&file).await.status, Status::Warning);
        fs::write(&file, "").unwrap();
        assert_eq!(check(&file).await.status, Status::Unknown);
    }
}
