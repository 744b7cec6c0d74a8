//! A listing of all that Entropy could leave behind on a host, to be compared with an earlier one.

mod bpf;
mod net;
mod wire;

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

pub use self::net::{Link, Qdisc, filters, links, qdisc_packets, qdiscs, tcx_programs};
use crate::wait::patience;

/// Two listings this far apart have to agree. The kernel frees programs and maps some milliseconds
/// after their last user has gone.
const APART: Duration = Duration::from_millis(100);

/// Links, qdiscs, filters and TCX programs of the calling thread's network namespace; BPF objects
/// that nobody else holds, pins and processes of the machine. One line for each thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot(BTreeSet<String>);

impl Snapshot {
    /// Takes a listing that two looks agree on.
    ///
    /// # Errors
    /// When the kernel refuses, or the machine does not come to rest.
    pub fn take() -> Result<Self> {
        let deadline = Instant::now() + patience(10);
        let mut before = Self::look()?;
        loop {
            thread::sleep(APART);
            let now = Self::look()?;
            if now == before {
                return Ok(now);
            }
            if Instant::now() > deadline {
                bail!("the machine does not come to rest:\n{}", before.difference(&now));
            }
            before = now;
        }
    }

    /// Waits until the machine looks like this again.
    ///
    /// # Errors
    /// When it does not; the message holds what is new and what is missing.
    pub fn assert_restored(&self) -> Result<()> {
        let deadline = Instant::now() + patience(10);
        loop {
            let now = Self::look()?;
            if self.is_restored_by(&now) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("not as before:\n{}", self.difference(&now));
            }
            thread::sleep(APART);
        }
    }

    /// A BPF object that no process held may be gone: it was about to be freed. One that was attached
    /// or pinned would be missed there.
    fn is_restored_by(&self, now: &Self) -> bool {
        now.0.is_subset(&self.0)
            && self.0.difference(&now.0).all(|line| line.starts_with(bpf::OBJECT))
    }

    /// What `other` has more (`+`) and less (`-`).
    #[must_use]
    pub fn difference(&self, other: &Self) -> String {
        let mut text = String::new();
        for (sign, lines) in
            [('+', other.0.difference(&self.0)), ('-', self.0.difference(&other.0))]
        {
            for line in lines {
                let _ = writeln!(text, "{sign} {line}");
            }
        }
        text
    }

    /// Whether a line contains all of `words`.
    #[must_use]
    pub fn has(&self, words: &[&str]) -> bool {
        self.0.iter().any(|line| words.iter().all(|word| line.contains(word)))
    }

    fn look() -> Result<Self> {
        let mut lines = BTreeSet::new();
        let links = links()?;
        for link in &links {
            lines.insert(format!("link {link:?}"));
            let on = |line: String| format!("on {} ({}): {line}", link.name, link.index);
            lines.extend(filters(link)?.into_iter().map(on));
            lines.extend(tcx_programs(link).into_iter().map(on));
        }
        lines.extend(qdiscs()?.iter().map(|qdisc| format!("{qdisc:?}")));
        lines.extend(bpf::objects()?);
        lines.extend(bpf::pins());
        lines.extend(bpf::processes());
        Ok(Self(lines))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[&str]) -> Snapshot {
        Snapshot(lines.iter().map(|&line| line.into()).collect())
    }

    #[test]
    fn a_difference_names_what_came_and_what_went() {
        let (before, after) = (of(&["a", "b 1"]), of(&["a", "c 2"]));
        assert_eq!(before.difference(&after), "+ c 2\n- b 1\n");
        assert!(!before.is_restored_by(&after));
        assert!(before.has(&["b", "1"]) && !before.has(&["a", "1"]));
    }
    #[test]
    fn an_object_that_was_being_freed_may_be_gone_and_nothing_may_be_new() {
        let (before, after) = (of(&["a", "BPF map 1 x"]), of(&["a"]));
        assert!(before.is_restored_by(&after) && before.is_restored_by(&before));
        assert!(!after.is_restored_by(&before));
    }
}
