//! Whether a daemon runs, and what a dead one left.

use std::{collections::BTreeSet, io, path::Path};

use entropy_common::names;

use super::{Check, Status};
use crate::{
    datapath::inspect,
    netlink::{self, Hook, Link, Netlink, Passage},
};

/// What a daemon that ended without cleaning up left on this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Whether its maps are still pinned; `None` when that may not be looked at.
    pub pins: Option<bool>,
    /// Interfaces with filters of ours, by name.
    pub filters: BTreeSet<String>,
    /// Whether its line is there.
    pub line: bool,
    /// Whether its wire is there.
    pub wire: bool,
}

impl Leftovers {
    /// Looks for them. While a daemon runs, the same things are no leftovers.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub async fn find(netlink: &Netlink) -> netlink::Result<Self> {
        let links = netlink.links().await?;
        let mut filters = BTreeSet::new();
        // Filters need a clsact qdisc, which one question for all finds; most have none.
        let clsacts = netlink.interfaces_with_qdisc("clsact").await?;
        for link in links.iter().filter(|link| clsacts.contains(&link.index)) {
            for hook in [Hook::Ingress, Hook::Egress] {
                let on_hook = match netlink.filters(link.index, hook).await {
                    Err(error) if error.is_gone() => continue,
                    on_hook => on_hook?,
                };
                let is_ours = |name: &Option<String>| {
                    name.as_deref().is_some_and(|name| names::PROGRAMS.contains(&name))
                };
                if on_hook.iter().any(|filter| filter.kind == "bpf" && is_ours(&filter.name)) {
                    filters.insert(link.name.clone());
                }
            }
        }
        let line = is_passage(&links, names::LINE_ENTRANCE, names::LINE_EXIT);
        let wire = is_passage(&links, names::WIRE_ENTRANCE, names::WIRE_EXIT);
        Ok(Self { pins: pins_exist(), filters, line, wire })
    }

    /// Whether nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pins != Some(true) && self.filters.is_empty() && !self.line && !self.wire
    }

    fn list(&self) -> String {
        let mut parts = Vec::new();
        if self.pins == Some(true) {
            parts.push(format!("pinned maps in {}", names::PIN_DIR));
        }
        if !self.filters.is_empty() {
            let names: Vec<&str> = self.filters.iter().map(String::as_str).collect();
            parts.push(format!("filters on {}", names.join(", ")));
        }
        if self.line {
            parts.push(format!("the line {} and {}", names::LINE_ENTRANCE, names::LINE_EXIT));
        }
        if self.wire {
            parts.push(format!("the wire {} and {}", names::WIRE_ENTRANCE, names::WIRE_EXIT));
        }
        parts.join("; ")
    }
}

fn pins_exist() -> Option<bool> {
    match Path::new(names::PIN_DIR).try_exists() {
        Ok(there) => Some(there),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
        Err(_) => Some(false),
    }
}

fn is_passage(links: &[Link], entrance: &str, exit: &str) -> bool {
    let passage = Passage::among(links, entrance, exit);
    passage.is_ok_and(|passage| passage.is_some())
        || Passage::stump(links, entrance, exit).is_some()
}

pub(super) async fn checks() -> Vec<Check> {
    let leftovers = match Netlink::new() {
        Ok(netlink) => Leftovers::find(&netlink).await,
        Err(error) => Err(error),
    };
    match leftovers {
        Ok(leftovers) => about(inspect::lock_holder(), &leftovers),
        Err(error) => {
            let error = anyhow::Error::new(error);
            vec![Check::new("leftovers", Status::Unknown, format!("{error:#}"))]
        }
    }
}

fn about(holder: io::Result<Option<u32>>, leftovers: &Leftovers) -> Vec<Check> {
    let daemon = match holder {
        Ok(Some(process)) => {
            return vec![
                Check::ok("daemon", format!("running (pid {process})")),
                Check::ok("leftovers", "none: what is there belongs to the running daemon"),
            ];
        }
        Ok(None) => Check::ok("daemon", "not running"),
        Err(error) => Check::new("daemon", Status::Unknown, format!("not looked at: {error}")),
    };
    let unseen = if leftovers.pins.is_none() { "; pins may not be looked at" } else { "" };
    let leftovers = if leftovers.is_empty() {
        let status = if unseen.is_empty() { Status::Ok } else { Status::Unknown };
        Check::new("leftovers", status, format!("none{unseen}"))
    } else {
        let finding = format!("of a daemon that was killed: {}{unseen}", leftovers.list());
        Check::new("leftovers", Status::Warning, finding)
            .disables("nothing: faults ended with the lease, the next start removes them")
            .mend("entropyctl cleanup")
    };
    vec![daemon, leftovers]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left() -> Leftovers {
        let filters = ["veth1", "veth2"].map(str::to_owned).into();
        Leftovers { pins: Some(true), filters, line: true, wire: true }
    }

    #[test]
    fn what_a_dead_daemon_left_is_listed_with_the_remedy() {
        let checks = about(Ok(None), &left());
        assert_eq!(checks[0].finding, "not running");
        assert_eq!(checks[1].status, Status::Warning);
        for part in ["/sys/fs/bpf/entropy/v5", "filters on veth1, veth2", "entropy0", "entropy2"] {
            assert!(checks[1].finding.contains(part), "{:?}", checks[1]);
        }
        assert_eq!(checks[1].mend.as_deref(), Some("entropyctl cleanup"));
    }

    #[test]
    fn what_a_living_daemon_uses_is_not_left_over() {
        let checks = about(Ok(Some(42)), &left());
        assert!(checks.iter().all(|check| check.status == Status::Ok), "{checks:?}");
        assert_eq!(checks[0].finding, "running (pid 42)");
    }

    #[test]
    fn what_may_not_be_seen_is_not_called_absent() {
        let checks = about(Ok(None), &Leftovers { pins: None, ..Leftovers::default() });
        assert_eq!(checks[1].status, Status::Unknown);
    }
}
