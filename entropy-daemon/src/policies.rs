//! The policies in force: the last ones that were all good.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use tracing::{error, info, warn};

use crate::policy::{LoadError, Policy, load_directory, watch::Watch};

/// A policy directory that is followed.
#[derive(Debug)]
pub(crate) struct Policies {
    directory: PathBuf,
    watch: Watch,
    current: Vec<Policy>,
    /// How many containers each policy matched when that was last said.
    announced: BTreeMap<String, usize>,
}

impl Policies {
    /// Starts to watch a directory. Nothing is loaded yet.
    pub(crate) fn watch(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            watch: Watch::arm(directory),
            current: Vec::new(),
            announced: BTreeMap::new(),
        }
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
                for line in error.to_string().lines() {
                    error!("{line}");
                }
                let count = self.current.len();
                error!("policies not loaded, the last good ones stay in force ({count})");
                return;
            }
        };
        if loaded != self.current {
            info!("{} policies loaded from {}", loaded.len(), self.directory.display());
            self.announced.retain(|name, _| loaded.iter().any(|policy| policy.name == *name));
            self.current = loaded;
        }
    }

    /// The policies whose number of matching containers became, or ceased to be, zero, and new ones.
    pub(crate) fn announce<'a>(
        &mut self,
        hits: &'a BTreeMap<String, usize>,
    ) -> Vec<(&'a str, usize)> {
        let news = hits
            .iter()
            .filter(|(name, hits)| {
                self.announced.get(*name).is_none_or(|before| (*before == 0) != (**hits == 0))
            })
            .map(|(name, hits)| (name.as_str(), *hits))
            .collect();
        self.announced.clone_from(hits);
        news
    }
}
