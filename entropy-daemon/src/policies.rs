//! The policies in force: the last ones that were all good.

use std::path::{Path, PathBuf};

use tracing::{error, info, warn};

use crate::policy::{LoadError, Policy, load_directory, watch::Watch};

/// A policy directory that is followed.
#[derive(Debug)]
pub(crate) struct Policies {
    directory: PathBuf,
    watch: Watch,
    current: Vec<Policy>,
    /// Whether `current` is what the directory has held at some time.
    loaded: bool,
}

impl Policies {
    /// Starts to watch a directory. Nothing is loaded yet.
    pub(crate) fn watch(directory: &Path) -> Self {
        let watch = Watch::arm(directory);
        Self { directory: directory.to_owned(), watch, current: Vec::new(), loaded: false }
    }

    /// Whether they could be loaded at least once. Before that, an earlier version may know better.
    pub(crate) fn are_known(&self) -> bool {
        self.loaded
    }

    /// The policies in force, in the order of files and lines.
    pub(crate) fn current(&self) -> &[Policy] {
        &self.current
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
                for line in format!("{:#}", anyhow::Error::from(error)).lines() {
                    error!("{line}");
                }
                let count = self.current.len();
                error!("policies not loaded, the last good ones stay in force ({count})");
                return;
            }
        };
        self.loaded = true;
        if loaded != self.current {
            let (count, plural) = (loaded.len(), if loaded.len() == 1 { "y" } else { "ies" });
            info!("{count} polic{plural} loaded from {}", self.directory.display());
            self.current = loaded;
        }
    }
}

#[cfg(test)]
mod tests;
