//! The daemon's settings.

use std::path::PathBuf;

use super::{Check, Status};
use crate::settings::{DEFAULT_SETTINGS, Settings, SettingsError};

const NAME: &str = "settings";

/// Reads on a thread of its own, as a file system may hang.
pub(super) async fn checks(named: Option<PathBuf>) -> Vec<Check> {
    let reading = tokio::task::spawn_blocking(move || {
        let result = Settings::of(named.as_deref());
        about(named, result)
    });
    match reading.await {
        Ok(check) => vec![check],
        Err(error) => vec![Check::new(NAME, Status::Unknown, format!("not read: {error}"))],
    }
}

fn about(named: Option<PathBuf>, result: Result<Settings, SettingsError>) -> Check {
    let path = named.unwrap_or_else(|| DEFAULT_SETTINGS.into());
    let shown = path.display();
    let bad = |finding: String, mend: String| {
        Check::new(NAME, Status::Missing, finding)
            .needed()
            .disables("everything: entropyd does not start with them")
            .mend(mend)
    };
    match result {
        Ok(_) if !path.exists() => Check::ok(NAME, format!("no {shown}, which is fine")),
        Ok(settings) => {
            let rules = settings.stop.len();
            let plural = if rules == 1 { "" } else { "s" };
            Check::ok(NAME, format!("{shown}, {rules} stop rule{plural}"))
        }
        Err(SettingsError::Wrong(problems)) => {
            let first = problems.iter().next().map(ToString::to_string).unwrap_or_default();
            let first = first.replace("\n  help: ", ": ");
            bad(format!("{} problems in {shown}", problems.len()), first)
        }
        Err(error) => {
            let error = anyhow::Error::new(error);
            bad(format!("{error:#}"), format!("let this user read {shown}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(path: PathBuf) -> Check {
        checks(Some(path)).await.pop().unwrap()
    }

    #[tokio::test]
    async fn settings_are_read_and_their_first_problem_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("entropyd.toml");
        assert!(!check(file.clone()).await.is_ready(), "a file that was named must be there");
        std::fs::write(&file, "[[stop]]\ntcp = \"127.0.0.1:1\"\n").unwrap();
        let good = check(file.clone()).await;
        assert_eq!(good.status, Status::Ok);
        assert!(good.finding.ends_with("entropyd.toml, 1 stop rule"), "{good:?}");
        std::fs::write(&file, "[guard]\nprotekt = 1\n").unwrap();
        let wrong = check(file).await;
        assert_eq!(wrong.status, Status::Missing);
        let mend = wrong.mend.unwrap();
        assert!(mend.ends_with("guard.protekt: unknown key: did you mean \"protect\"?"), "{mend}");
    }
}
