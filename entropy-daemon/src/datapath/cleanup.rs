//! Removing what a killed daemon left.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow};
use aya::maps::{Array, HashMap, Map, MapData};
use entropy_common::{
    lease::Lease,
    names,
    rule::{Direction, Owned},
};
use tracing::{info, warn};

use super::{
    attach::{self, Place, delete_clsact_if_empty},
    pins,
};
use crate::netlink::{Hook, Link, Netlink, Passage};

/// What a daemon makes of devices: entrance and exit.
const PASSAGES: [(&str, [&str; 2]); 2] = [
    ("wire", [names::WIRE_ENTRANCE, names::WIRE_EXIT]),
    ("line", [names::LINE_ENTRANCE, names::LINE_EXIT]),
];

/// What was found and removed, and what could not be.
#[derive(Debug, Default)]
pub struct Report {
    /// One line for each thing removed.
    pub removed: Vec<String>,
    /// One error for each thing that is still there.
    pub problems: Vec<anyhow::Error>,
}

impl Report {
    /// Says it in the log.
    pub(crate) fn log(&self) {
        for line in &self.removed {
            info!("left by an earlier daemon, removed: {line}");
        }
        for problem in &self.problems {
            warn!("left by an earlier daemon: {problem:#}");
        }
    }

    fn note(&mut self, result: Result<Option<String>>) {
        match result {
            Ok(line) => self.removed.extend(line),
            Err(error) => self.problems.push(error),
        }
    }
}

/// Ends the lease and removes filters, qdiscs, line, wire and pins of a daemon that does not run any more.
/// Foreign things are never touched. Goes on after errors. The caller holds the lock.
pub async fn remove(netlink: &Netlink) -> Report {
    let (mut clsacts, mut pins, mut removed) = (BTreeSet::new(), Vec::new(), Vec::new());
    for layout in pins::other_layouts() {
        // As far as it is legible to this version.
        if let Err(error) = end_lease(&layout) {
            warn!("a lease of another layout: {error:#}");
        }
        match owned_clsacts(&layout) {
            Ok(owned) => clsacts.extend(owned),
            Err(error) => warn!("notes of another layout: {error:#}"),
        }
        removed.push(format!("pins of another layout in {}", layout.display()));
        pins.extend(pins::all_in(&layout));
    }
    let problems = pins::remove_handed(&pins);
    let mut report = remove_with(netlink, &clsacts).await;
    if problems.is_empty() {
        report.removed.extend(removed);
    }
    report.problems.extend(problems);
    report
}

/// The same where the daemon itself says on which interfaces the clsact qdisc is its own, and what its
/// pins are: of another layout, or another shape, they tell nothing.
pub(super) async fn remove_handed(
    netlink: &Netlink,
    clsacts: &BTreeSet<u32>,
    pins: &[PathBuf],
) -> Report {
    let first = remove_with(netlink, clsacts).await;
    let mut problems = pins::remove_handed(pins);
    // What could not be removed before its pins were is looked at again.
    let second = remove(netlink).await;
    problems.extend(second.problems);
    Report { removed: [first.removed, second.removed].concat(), problems }
}

async fn remove_with(netlink: &Netlink, clsacts: &BTreeSet<u32>) -> Report {
    let mut report = Report::default();
    let layout = Path::new(names::PIN_DIR);
    report.note(end_lease(layout).map(|()| None));
    let mut owned = owned_clsacts(layout).unwrap_or_else(|error| {
        report.problems.push(error);
        BTreeSet::new()
    });
    owned.extend(clsacts);
    match netlink.links().await {
        Ok(links) => {
            for link in &links {
                clean_link(netlink, link, owned.contains(&link.index), &mut report).await;
            }
        }
        Err(error) => report.problems.push(anyhow!(error).context("list interfaces")),
    }
    for (what, pair) in PASSAGES {
        report.note(remove_passage(netlink, what, pair).await);
    }
    remove_pins(&mut report);
    report
}

/// First of all, so that whatever fails later no fault goes on.
fn end_lease(layout: &Path) -> Result<()> {
    let Some(map) = pins::open_in(layout, names::MAP_LEASE)? else { return Ok(()) };
    let mut lease: Array<MapData, Lease> = Map::Array(map).try_into().context("open the lease")?;
    lease.set(0, Lease::EXPIRED, 0).context("end the lease")
}

fn owned_clsacts(layout: &Path) -> Result<BTreeSet<u32>> {
    let Some(map) = pins::open_in(layout, names::MAP_OWNED)? else { return Ok(BTreeSet::new()) };
    let owned: HashMap<MapData, u32, Owned> =
        Map::HashMap(map).try_into().context("open the daemon's notes")?;
    owned
        .iter()
        .filter(|entry| !matches!(entry, Ok((_, Owned { clsact: 0 }))))
        .map(|entry| Ok(entry.context("read the daemon's notes")?.0))
        .collect()
}

async fn clean_link(netlink: &Netlink, link: &Link, owns_clsact: bool, report: &mut Report) {
    let veth = Direction::ALL.map(Place::of);
    let exits = [Hook::Egress, Hook::Ingress].map(attach::exit);
    for place in veth.into_iter().chain(exits).chain([attach::WIRE]) {
        report.note(clean_filter(netlink, link, place).await);
    }
    if owns_clsact {
        report.note(clean_clsact(netlink, link).await);
    }
}

async fn clean_filter(netlink: &Netlink, link: &Link, place: Place) -> Result<Option<String>> {
    if !attach::has_filter(netlink, link.index, place).await? {
        return Ok(None);
    }
    attach::remove_filter(netlink, link.index, place).await?;
    Ok(Some(format!("filter {} on {}", place.program, link.name)))
}

async fn clean_clsact(netlink: &Netlink, link: &Link) -> Result<Option<String>> {
    if !netlink.has_clsact(link.index).await? {
        return Ok(None);
    }
    let name = &link.name;
    if delete_clsact_if_empty(netlink, link.index).await? {
        return Ok(Some(format!("clsact qdisc on {name}")));
    }
    warn!("the clsact qdisc on {name} is in use by others and stays");
    Ok(None)
}

async fn remove_passage(
    netlink: &Netlink,
    what: &str,
    [entrance, exit]: [&str; 2],
) -> Result<Option<String>> {
    let links = netlink.links().await.context("list interfaces")?;
    let (index, removed) = match Passage::among(&links, entrance, exit) {
        Ok(Some(passage)) => (passage.exit, format!("{what} {entrance} and {exit}")),
        _ => match Passage::stump(&links, entrance, exit) {
            Some(index) => (index, format!("{what} {exit}")),
            None => return Ok(None),
        },
    };
    match netlink.delete_link(index).await {
        Err(error) if !error.is_gone() => Err(error).context(format!("remove the {what}")),
        _ => Ok(Some(removed)),
    }
}

fn remove_pins(report: &mut Report) {
    let before = names::MAPS.iter().filter(|map| pins::path(map).exists()).count();
    let problems = pins::remove_all();
    if before > 0 && problems.is_empty() {
        report.removed.push(format!("{before} pinned maps in {}", names::PIN_DIR));
    }
    report.problems.extend(problems);
}
