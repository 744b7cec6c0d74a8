//! The policies that are there: those of the files, the last ones that were all good, and those that came
//! over the API. Of two with the same name the file's counts.

mod given;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use tracing::{error, info, warn};

use self::given::Given;
pub(crate) use self::given::{Lease, Put, Refusal};
use crate::{
    api::types::Effect,
    policy::{LoadError, Policy, load_directory, watch::Watch},
    runtime::Runtime,
};

/// A policy directory that is followed, and what else there is.
#[derive(Debug)]
pub(crate) struct Policies {
    directory: PathBuf,
    watch: Watch,
    files: Vec<Policy>,
    /// Whether `files` is what the directory has held at some time.
    loaded: bool,
    given: Given,
    paused: BTreeSet<String>,
    /// Those that were there and have been ended since the start.
    withdrawn: BTreeSet<String>,
    runtime: Runtime,
    /// Of the files, then of the API.
    current: Arc<Vec<Policy>>,
    problem: Option<String>,
}

impl Policies {
    /// Starts to watch a directory, of which nothing is loaded yet. What came over the API before is
    /// taken from the runtime directory.
    pub(crate) fn watch(directory: &Path, runtime: Runtime) -> Self {
        let (paused, problems) = runtime.paused();
        for problem in problems {
            error!("which policies are paused: {problem:#}");
        }
        let mut policies = Self {
            directory: directory.to_owned(),
            watch: Watch::arm(directory),
            files: Vec::new(),
            loaded: false,
            given: Given::restore(&runtime),
            paused,
            withdrawn: BTreeSet::new(),
            runtime,
            current: Arc::default(),
            problem: None,
        };
        policies.merge();
        policies
    }

    /// Whether those of files could be loaded at least once. Before that, an earlier version may know better.
    pub(crate) fn are_known(&self) -> bool {
        self.loaded
    }

    /// The policies that are there: those of files in the order of files and lines, then those of the
    /// API by name.
    pub(crate) fn current(&self) -> &[Policy] {
        &self.current
    }

    /// The same, to be kept.
    pub(crate) fn shared(&self) -> Arc<Vec<Policy>> {
        Arc::clone(&self.current)
    }

    /// How many of them are of files.
    pub(crate) fn of_files(&self) -> usize {
        self.files.len()
    }

    /// The leases of policies of the API, by name.
    pub(crate) fn leases(&self) -> BTreeMap<String, Lease> {
        self.given.leases()
    }

    /// The policies that are paused, by name; some of them may not be there.
    pub(crate) fn paused(&self) -> &BTreeSet<String> {
        &self.paused
    }

    /// Whether somebody wants a policy out of force, whatever else is known of it.
    pub(crate) fn is_unwanted(&self, name: &str) -> bool {
        self.paused.contains(name) || self.withdrawn.contains(name)
    }

    /// Why the files as they are now are not what is in force; `None` if they are.
    pub(crate) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Waits until the directory may have changed.
    pub(crate) async fn changed(&mut self) {
        self.watch.changed().await;
    }

    /// Loads the directory. With a problem in any file the last good state stays in force. A
    /// directory that does not exist holds no policies: whoever removed it wanted no faults.
    pub(crate) fn load(&mut self) {
        let loaded = match load_directory(&self.directory) {
            Ok(loaded) => loaded,
            Err(error @ LoadError::Missing(_)) => {
                warn!("{error}: no policies in force");
                Vec::new()
            }
            Err(error) => {
                let text = format!("{:#}", anyhow::Error::from(error));
                for line in text.lines() {
                    error!("{line}");
                }
                self.problem = Some(text);
                let count = self.files.len();
                error!("policies not loaded, the last good ones stay in force ({count})");
                return;
            }
        };
        self.loaded = true;
        self.problem = None;
        if loaded != self.files {
            let (count, plural) = (loaded.len(), if loaded.len() == 1 { "y" } else { "ies" });
            info!("{count} polic{plural} loaded from {}", self.directory.display());
            self.files = loaded;
            self.yield_to_files();
            self.merge();
        }
        self.forget_pauses();
    }

    /// Adds or replaces a policy of the API. It is noted before it is there.
    pub(crate) fn put(&mut self, put: Put, since_ns: u64, now: Instant) -> Result<Effect, Refusal> {
        self.refuse_of_file(&put.policy.name)?;
        let (name, dry_run) = (put.policy.name.clone(), put.dry_run);
        let effect = self.given.put(put, &self.runtime, since_ns, now)?;
        if !dry_run {
            self.withdrawn.remove(&name);
        }
        self.merge();
        Ok(effect)
    }

    /// Removes a policy of the API.
    pub(crate) fn delete(&mut self, name: &str) -> Result<(), Refusal> {
        self.refuse_of_file(name)?;
        self.given.delete(name, &self.runtime)?;
        self.withdraw(name);
        self.merge();
        info!("policy {name} deleted");
        Ok(())
    }

    /// Lets a policy of the API that has a lease live on.
    pub(crate) fn renew(&mut self, name: &str, now: Instant) -> Result<(), Refusal> {
        self.refuse_of_file(name)?;
        self.given.renew(name, now)
    }

    /// Puts a policy out of force, or back into it. Returns whether that changes anything.
    pub(crate) fn pause(&mut self, name: &str, paused: bool) -> Result<bool, Refusal> {
        if !self.current.iter().any(|policy| policy.name == name) {
            return Err(Refusal::unknown(name));
        }
        if self.paused.contains(name) == paused {
            return Ok(false);
        }
        if paused {
            self.runtime.pause(name)?;
            self.paused.insert(name.to_owned());
        } else {
            self.runtime.resume(name)?;
            self.paused.remove(name);
        }
        info!("policy {name} {}", if paused { "paused" } else { "resumed" });
        Ok(true)
    }

    /// When the next policy ends if its client is not heard of.
    pub(crate) fn next_end(&self) -> Option<Instant> {
        self.given.next_end()
    }

    /// Removes the policies whose clients have not been heard of in time. Returns whether there were
    /// any.
    pub(crate) fn end_leases(&mut self, now: Instant) -> bool {
        let ended = self.given.ended(now);
        for name in &ended {
            warn!("policy {name} ends: nothing was heard of its client any more");
            // If it cannot be noted it ends all the same: the next daemon ends it once more.
            if let Err(error) = self.given.delete(name, &self.runtime) {
                error!("policy {name}: {error}");
                self.given.end(name);
            }
            self.withdraw(name);
        }
        self.merge();
        !ended.is_empty()
    }

    /// Notes that a policy of the API has ended, and with it that it is paused.
    fn withdraw(&mut self, name: &str) {
        self.withdrawn.insert(name.to_owned());
        if self.paused.contains(name) {
            self.forget_pause(name);
        }
    }

    fn forget_pause(&mut self, name: &str) {
        if let Err(error) = self.runtime.resume(name) {
            error!("policy {name}: {error:#}");
        }
        self.paused.remove(name);
    }

    fn refuse_of_file(&self, name: &str) -> Result<(), Refusal> {
        match self.files.iter().find(|policy| policy.name == name) {
            Some(policy) => Err(Refusal::of_file(policy)),
            None => Ok(()),
        }
    }

    /// Removes the policies of the API that have got a namesake in a file.
    fn yield_to_files(&mut self) {
        for policy in &self.files {
            if !self.given.has(&policy.name) {
                continue;
            }
            let (name, origin) = (&policy.name, &policy.origin);
            warn!("policy {name} of the API gives way to that of {origin}");
            if let Err(error) = self.given.delete(name, &self.runtime) {
                error!("policy {name}: {error}");
            }
        }
    }

    /// A policy that comes back some day is not paused.
    fn forget_pauses(&mut self) {
        let there: BTreeSet<&String> = self.current.iter().map(|policy| &policy.name).collect();
        let gone = self.paused.iter().filter(|name| !there.contains(name));
        let gone: Vec<String> = gone.cloned().collect();
        for name in gone {
            self.forget_pause(&name);
        }
    }

    fn merge(&mut self) {
        let names: BTreeSet<&str> = self.files.iter().map(|policy| &*policy.name).collect();
        let given = self.given.policies().filter(|policy| !names.contains(&*policy.name));
        self.current = Arc::new(self.files.iter().chain(given).cloned().collect());
    }
}

#[cfg(test)]
mod tests;
