//! The runtime directory: what survives a restart of the daemon, and not one of the machine. All that
//! is in it was written before it took effect.
//!
//! ```text
//! policies/NAME.json   a policy that came over the API
//! paused/NAME          the policy is paused, wherever it came from
//! halted               nothing is to be injected, and why
//! ```

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File},
    io::{self, ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::policy::validate::names;

/// Where the daemon keeps what outlives it, if nobody says otherwise.
pub const DEFAULT_DIRECTORY: &str = "/run/entropy";

const POLICIES: &str = "policies";
const PAUSED: &str = "paused";
const HALTED: &str = "halted";
const ENDING: &str = ".json";
/// Longest reason of a halt, in characters.
const LONGEST_REASON: usize = 200;

/// A policy that came over the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// Its table, its name in it.
    pub policy: serde_json::Map<String, serde_json::Value>,
    /// Since when it has been there, by the monotonic clock.
    pub since_ns: u64,
    /// How long it stays without hearing from its client; `None` for without end.
    pub ttl_ns: Option<u64>,
}

/// Why nothing is to be injected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Halted {
    /// In the words of whoever halted.
    pub reason: String,
    /// When, as RFC 3339 has it.
    pub since: String,
}

impl Halted {
    /// From now on. Of the reason one line of 200 characters is kept: nobody who wants an end is sent
    /// back for a better one.
    #[must_use]
    pub fn now(reason: &str) -> Self {
        let line = |c: char| if c.is_control() { ' ' } else { c };
        let mut kept: String = reason.trim().chars().take(LONGEST_REASON).map(line).collect();
        if reason.trim().chars().count() > LONGEST_REASON {
            kept.pop();
            kept.push('…');
        }
        Self { reason: kept, since: jiff::Timestamp::now().to_string() }
    }
}

/// The directory.
#[derive(Clone, Debug)]
pub struct Runtime {
    directory: PathBuf,
}

impl Runtime {
    /// The directory as it is; what is missing in it is made when it is needed.
    #[must_use]
    pub fn at(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// Makes the directories. Others may look into the first one, where the control socket is.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn make(&self) -> Result<()> {
        make(&self.directory, 0o755)?;
        make(&self.directory.join(POLICIES), 0o700)?;
        make(&self.directory.join(PAUSED), 0o700)
    }

    /// The policies that are kept, by name, and what was wrong with others.
    #[must_use]
    pub fn policies(&self) -> (Vec<(String, Kept)>, Vec<anyhow::Error>) {
        let (mut kept, mut problems) = (Vec::new(), Vec::new());
        for file in list(&self.directory.join(POLICIES), &mut problems) {
            let Some(name) = file.strip_suffix(ENDING) else { continue };
            match read(&self.policy(name)) {
                Ok(Some(policy)) => kept.push((name.to_owned(), policy)),
                Ok(None) => {}
                Err(error) => problems.push(error),
            }
        }
        (kept, problems)
    }

    /// Keeps a policy, instead of one of its name.
    ///
    /// # Errors
    /// When it cannot be written, or no policy can have this name.
    pub fn keep(&self, name: &str, kept: &Kept) -> Result<()> {
        check(name)?;
        write(&self.policy(name), kept)
    }

    /// Keeps a policy no longer; that it is paused stays noted. One that is not kept is fine.
    ///
    /// # Errors
    /// When it cannot be removed, or no policy can have this name.
    pub fn forget(&self, name: &str) -> Result<()> {
        check(name)?;
        remove(&self.policy(name))
    }

    /// The names of the policies that are paused, and what could not be read.
    #[must_use]
    pub fn paused(&self) -> (BTreeSet<String>, Vec<anyhow::Error>) {
        let mut problems = Vec::new();
        let names = list(&self.directory.join(PAUSED), &mut problems);
        (names.into_iter().collect(), problems)
    }

    /// Notes that a policy is paused.
    ///
    /// # Errors
    /// When it cannot be written, or no policy can have this name.
    pub fn pause(&self, name: &str) -> Result<()> {
        check(name)?;
        write(&self.directory.join(PAUSED).join(name), &name)
    }

    /// Notes that a policy is not paused.
    ///
    /// # Errors
    /// When the note of the contrary cannot be removed, or no policy can have this name.
    pub fn resume(&self, name: &str) -> Result<()> {
        check(name)?;
        remove(&self.directory.join(PAUSED).join(name))
    }

    /// Why nothing is to be injected; `None` if something may.
    ///
    /// # Errors
    /// When that cannot be read. It is better to inject nothing then.
    pub fn halted(&self) -> Result<Option<Halted>> {
        read(&self.directory.join(HALTED))
    }

    /// Notes that nothing is to be injected.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn halt(&self, halted: &Halted) -> Result<()> {
        make(&self.directory, 0o755)?;
        write(&self.directory.join(HALTED), halted)
    }

    /// Notes that something may be injected again.
    ///
    /// # Errors
    /// When the note of the contrary cannot be removed.
    pub fn release(&self) -> Result<()> {
        remove(&self.directory.join(HALTED))
    }

    fn policy(&self, name: &str) -> PathBuf {
        self.directory.join(POLICIES).join(format!("{name}{ENDING}"))
    }
}

/// Names become those of files.
fn check(name: &str) -> Result<()> {
    names::check(name).map_err(|mistake| anyhow!("policy name: {mistake}"))
}

fn make(directory: &Path, mode: u32) -> Result<()> {
    match DirBuilder::new().mode(mode).create(directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("create {}", directory.display()))
        }
        _ => Ok(()),
    }
}

/// The names of the files in a directory, sorted, without drafts.
fn list(directory: &Path, problems: &mut Vec<anyhow::Error>) -> Vec<String> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            let what = format!("list {}", directory.display());
            problems.push(anyhow::Error::new(error).context(what));
            return Vec::new();
        }
    };
    let name = |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
    let mut names: Vec<_> = entries.filter_map(name).filter(|name| !is_draft(name)).collect();
    names.sort();
    names
}

/// Names of policies do not begin with a dot.
fn is_draft(name: &str) -> bool {
    name.starts_with('.')
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    let value = serde_json::from_slice(&text);
    value.map(Some).with_context(|| format!("{} is not as entropyd writes it", path.display()))
}

/// Puts a whole file in place, or none.
fn write(path: &Path, value: &impl Serialize) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // The daemon and `entropyctl` may note a halt at the same time.
    let draft = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let written = serde_json::to_vec(value).map_err(io::Error::from).and_then(|text| {
        let mut file =
            File::options().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        // The directory is what holds the name.
        path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
    });
    written.with_context(|| format!("write {}", path.display()))
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> (tempfile::TempDir, Runtime) {
        let directory = tempfile::tempdir().unwrap();
        let runtime = Runtime::at(directory.path());
        runtime.make().unwrap();
        (directory, runtime)
    }

    fn kept(loss: &str) -> Kept {
        let policy = serde_json::json!({ "target": "app=web", "loss": loss });
        let policy = policy.as_object().unwrap().clone();
        Kept { policy, since_ns: 7, ttl_ns: Some(3_000_000_000) }
    }

    #[test]
    fn policies_are_kept_replaced_and_forgotten() {
        let (_directory, runtime) = runtime();
        runtime.keep("web", &kept("1%")).unwrap();
        runtime.keep("a.b", &kept("1%")).unwrap();
        runtime.keep("web", &kept("2%")).unwrap();
        runtime.pause("web").unwrap();
        let (found, problems) = runtime.policies();
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(found, [("a.b".to_owned(), kept("1%")), ("web".to_owned(), kept("2%"))]);
        runtime.forget("web").unwrap();
        runtime.forget("web").unwrap();
        assert_eq!(runtime.policies().0.len(), 1);
        assert_eq!(runtime.paused().0.len(), 1);
        runtime.resume("web").unwrap();
        assert!(runtime.paused().0.is_empty());
    }

    #[test]
    fn names_lead_nowhere_else() {
        let (directory, runtime) = runtime();
        runtime.halt(&Halted::now("lunch")).unwrap();
        for name in ["../halted", "..", "", "/etc/passwd", "a/b"] {
            assert!(runtime.keep(name, &kept("1%")).is_err(), "{name}");
            assert!(runtime.pause(name).is_err(), "{name}");
            assert!(runtime.forget(name).is_err(), "{name}");
            assert!(runtime.resume(name).is_err(), "{name}");
        }
        assert!(runtime.halted().unwrap().is_some());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_reason_is_kept_as_one_line() {
        assert_eq!(Halted::now(" db\nis \u{1b}down\n").reason, "db is  down");
        let long = Halted::now(&"x".repeat(1000)).reason;
        assert!(long.chars().count() == 200 && long.ends_with('…'), "{long}");
    }

    #[test]
    fn a_draft_that_was_not_finished_is_nothing_and_nonsense_is_a_problem() {
        let (directory, runtime) = runtime();
        let policies = directory.path().join(POLICIES);
        fs::write(policies.join(".web.json"), "{").unwrap();
        fs::write(policies.join("db.json"), "{").unwrap();
        let (found, problems) = runtime.policies();
        assert!(found.is_empty());
        let said = format!("{:#}", problems[0]);
        assert!(problems.len() == 1 && said.contains("db.json is not as entropyd"), "{said}");
        assert!(runtime.paused().0.is_empty());
        fs::write(directory.path().join(HALTED), "").unwrap();
        assert!(runtime.halted().is_err());
    }

    #[test]
    fn what_is_halted_stays_so_until_it_is_released() {
        let above = tempfile::tempdir().unwrap();
        let runtime = Runtime::at(&above.path().join("entropy"));
        assert_eq!(runtime.halted().unwrap(), None);
        let halted = Halted::now("lunch");
        runtime.halt(&halted).unwrap();
        assert_eq!(runtime.halted().unwrap(), Some(halted));
        runtime.release().unwrap();
        runtime.release().unwrap();
        assert_eq!(runtime.halted().unwrap(), None);
    }
}
