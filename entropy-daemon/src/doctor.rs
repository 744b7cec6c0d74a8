//! What this host has of what Entropy needs, what is missing, what that disables, how to mend it.
//!
//! Looks and tries, but changes nothing: what has to be tried is tried in a network namespace of its
//! own, or, without the right to make one, on a veth pair of its own that is removed again. Every
//! look has a time limit, so that a hanging engine or file system is a finding and not a wait.

mod conflicts;
mod containers;
mod daemon;
mod host;
mod kernel;
mod policies;
mod settings;

use std::{path::PathBuf, time::Duration};

use serde::Serialize;

pub use self::daemon::Leftovers;
use crate::docker::{Endpoint, EndpointError};

/// Longest wait for one group of checks.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Where to look.
#[derive(Debug)]
pub struct Options {
    /// Directory of the policy files.
    pub policies: PathBuf,
    /// The settings file, if it is not the usual one.
    pub settings: Option<PathBuf>,
    /// Where the container engine listens.
    pub docker: Result<Endpoint, EndpointError>,
}

/// One look at one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at: a word that stays the same over versions.
    pub name: &'static str,
    /// How it is.
    pub status: Status,
    /// Whether `entropyd` cannot do its work without it.
    pub needed: bool,
    /// What was found, in words.
    pub finding: String,
    /// What does not work because of it; null if nothing.
    pub disables: Option<String>,
    /// How to mend it; null if there is nothing to mend.
    pub mend: Option<String>,
}

/// How a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// There and usable.
    Ok,
    /// Usable, but somebody should have a look.
    Warning,
    /// Not there, or not usable.
    Missing,
    /// Could not be looked at, for lack of a right or of time.
    Unknown,
}

impl Check {
    fn ok(name: &'static str, finding: impl Into<String>) -> Self {
        Self::new(name, Status::Ok, finding)
    }

    fn new(name: &'static str, status: Status, finding: impl Into<String>) -> Self {
        Self { name, status, needed: false, finding: finding.into(), disables: None, mend: None }
    }

    fn needed(mut self) -> Self {
        self.needed = true;
        self
    }

    fn disables(mut self, what: impl Into<String>) -> Self {
        self.disables = Some(what.into());
        self
    }

    fn mend(mut self, how: impl Into<String>) -> Self {
        self.mend = Some(how.into());
        self
    }

    /// Whether `entropyd` can work as far as this check is concerned.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.needed || matches!(self.status, Status::Ok | Status::Warning)
    }
}

/// Looks at everything, in the order in which things depend on each other.
pub async fn examine(options: &Options) -> Vec<Check> {
    let mut checks = host::checks();
    let trial = limited("kernel", kernel::checks()).await;
    let has_tcx = trial.iter().any(|check| check.name == "tcx" && check.status == Status::Ok);
    checks.extend(trial);
    let (engine, policies, settings, daemon, conflicts) = tokio::join!(
        limited("docker", containers::checks(&options.docker)),
        limited("policies", policies::checks(options.policies.clone())),
        limited("settings", settings::checks(options.settings.clone())),
        limited("daemon", daemon::checks()),
        limited("conflicts", conflicts::checks(has_tcx)),
    );
    checks.extend([engine, policies, settings, daemon, conflicts].into_iter().flatten());
    checks
}

async fn limited(name: &'static str, group: impl Future<Output = Vec<Check>>) -> Vec<Check> {
    within(TIME_LIMIT, name, group).await
}

/// The checks of a group; one that says so when it takes too long.
async fn within(
    limit: Duration,
    name: &'static str,
    group: impl Future<Output = Vec<Check>>,
) -> Vec<Check> {
    tokio::time::timeout(limit, group).await.unwrap_or_else(|_| {
        let finding = format!("no answer within {} ms", limit.as_millis());
        vec![Check::new(name, Status::Unknown, finding).needed()]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_needed_and_not_usable_keeps_a_host_from_being_ready() {
        let ready = |status, needed| Check { needed, ..Check::new("x", status, "") }.is_ready();
        for status in [Status::Missing, Status::Unknown] {
            assert!(!ready(status, true) && ready(status, false), "{status:?}");
        }
        for status in [Status::Ok, Status::Warning] {
            assert!(ready(status, true) && ready(status, false), "{status:?}");
        }
    }

    #[tokio::test]
    async fn a_group_that_hangs_is_a_finding() {
        let checks = within(Duration::from_millis(1), "docker", std::future::pending()).await;
        let [check] = &checks[..] else { panic!("{checks:?}") };
        assert_eq!((check.name, check.status), ("docker", Status::Unknown));
        assert!(!check.is_ready() && check.finding.contains("1 ms"), "{check:?}");
    }
}
