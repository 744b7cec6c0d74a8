//! `map list`: which maps there are.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use entropy_common::names;
use entropy_daemon::datapath::inspect::{self, PinnedMap};
use serde::Serialize;

use super::NOTHING;
use crate::{
    args::Format,
    output::{
        self,
        table::{Column, Table},
    },
};

/// What `map list --output json` writes.
#[derive(Debug, Serialize)]
struct Document {
    /// The pinned maps; empty when nothing is pinned.
    maps: Vec<Entry>,
}

/// One pinned map.
#[derive(Debug, Serialize)]
struct Entry {
    /// Its name.
    name: &'static str,
    /// Where it is pinned.
    path: String,
    /// Its type, as `bpftool` calls it.
    r#type: &'static str,
    /// Entries in use; all of them for an array.
    entries: u32,
    /// Most entries that it can hold.
    max_entries: u32,
    /// Size of a key.
    key_bytes: u32,
    /// Size of a value, on one CPU.
    value_bytes: u32,
    /// What it holds, in words.
    holds: &'static str,
}

impl From<PinnedMap> for Entry {
    fn from(map: PinnedMap) -> Self {
        Self {
            name: map.name,
            path: format!("{}/{}", names::PIN_DIR, map.name),
            r#type: map.kind,
            entries: map.entries,
            max_entries: map.max_entries,
            key_bytes: map.key_bytes,
            value_bytes: map.value_bytes,
            holds: holds(map.name),
        }
    }
}

pub(crate) fn run(format: Format) -> Result<ExitCode> {
    let maps = inspect::maps().context("list the pinned maps")?;
    let maps: Vec<Entry> = maps.into_iter().map(Entry::from).collect();
    match format {
        Format::Json => output::print_json(&Document { maps })?,
        Format::Table if maps.is_empty() => output::print(NOTHING)?,
        Format::Table => output::print(&render(&maps))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn holds(map: &str) -> &'static str {
    match map {
        names::MAP_HOOKS => "which rule set each interface and direction has",
        names::MAP_RULES => "rule sets: up to 16 rules of one hook",
        names::MAP_STATE => "counters of each rule",
        names::MAP_PEERS => "addresses and networks of the peer groups",
        names::MAP_LEASE => "until when the kernel may inject",
        names::MAP_EVENTS => "what happened to packets regardless of a rule",
        names::MAP_LINE => "the device that marked packets wait in",
        names::MAP_OWNED => "interfaces whose clsact qdisc is the daemon's",
        names::MAP_LABELS => "names of rules and peer groups, for people",
        names::MAP_TABLES => "distributions of delays",
        names::MAP_SCRATCH => "work space of the programs, for each CPU",
        names::MAP_SLOTS => "where packets that have waited go on to",
        _ => "",
    }
}

fn render(maps: &[Entry]) -> String {
    let mut table = Table::new([
        Column::text("MAP", 16),
        Column::text("TYPE", 12),
        Column::number("ENTRIES"),
        Column::number("OF"),
        Column::number("KEY BYTES"),
        Column::number("VALUE BYTES"),
        Column::text("HOLDS", 60),
    ]);
    for map in maps {
        table.row([
            map.name,
            map.r#type,
            &map.entries.to_string(),
            &map.max_entries.to_string(),
            &map.key_bytes.to_string(),
            &map.value_bytes.to_string(),
            map.holds,
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_map_has_a_word_about_what_it_holds() {
        for map in names::MAPS {
            assert!(!holds(map).is_empty(), "{map}");
        }
    }

    #[test]
    fn entries_are_shown_with_their_sizes() {
        let map = PinnedMap {
            name: names::MAP_LEASE,
            kind: "array",
            entries: 1,
            max_entries: 1,
            key_bytes: 4,
            value_bytes: 8,
        };
        let maps = [Entry::from(map)];
        let expected = "\
MAP            TYPE   ENTRIES  OF  KEY BYTES  VALUE BYTES  HOLDS
ENTROPY_LEASE  array        1   1          4            8  until when the kernel may inject
";
        assert_eq!(render(&maps), expected);
        assert_eq!(maps[0].path, "/sys/fs/bpf/entropy/v5/ENTROPY_LEASE");
    }
}
