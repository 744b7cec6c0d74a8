//! BPF programs, maps and links that no process holds: what a dead process left, or nobody's.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context as _, Result};
use aya::{
    maps::loaded_maps,
    programs::{ProgramInfo, loaded_links, loaded_programs},
};

/// The programs whose descriptors do not excuse an object.
const SUSPECTS: [&str; 2] = ["entropyd", "entropyctl"];

/// Begins the line of an object.
pub(super) const OBJECT: &str = "BPF";

/// One line for each BPF object of the machine, but not for those that other processes than ours
/// hold by a descriptor: tests that run at the same time load the same object.
///
/// Control group programs are left out: container engines replace them as they like.
///
/// # Errors
/// When `/proc` cannot be read.
pub(super) fn objects() -> Result<Vec<String>> {
    // The objects first: one that is loaded later cannot be missed among the held ones.
    let programs: Vec<_> = loaded_programs().filter_map(Result::ok).collect();
    let maps: Vec<_> = loaded_maps().filter_map(Result::ok).collect();
    let links: Vec<_> = loaded_links().filter_map(Result::ok).collect();
    let mut held = held_by_others().context("read the descriptors of all processes")?;
    // A map without a descriptor lives as long as the programs that use it.
    let maps_of = |program: &ProgramInfo| program.map_ids().ok().flatten().unwrap_or_default();
    let used: Vec<u32> = programs
        .iter()
        .filter(|program| held.contains(&("prog", program.id())))
        .flat_map(maps_of)
        .collect();
    held.extend(used.into_iter().map(|map| ("map", map)));
    let mut lines = Vec::new();
    for program in programs.iter().filter(|program| !held.contains(&("prog", program.id()))) {
        let kind = format!("{:?}", program.program_type());
        if !kind.contains("CGROUP") {
            let name = program.name_as_str().unwrap_or_default();
            lines.push(format!("{OBJECT} program {} {name} ({kind})", program.id()));
        }
    }
    for map in maps.iter().filter(|map| !held.contains(&("map", map.id()))) {
        lines.push(format!("{OBJECT} map {} {}", map.id(), map.name_as_str().unwrap_or_default()));
    }
    for link in links.iter().filter(|link| !held.contains(&("link", link.id()))) {
        lines.push(format!("{OBJECT} link {} of program {}", link.id(), link.program_id()));
    }
    Ok(lines)
}

fn held_by_others() -> Result<BTreeSet<(&'static str, u32)>> {
    let mut held = BTreeSet::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let path = entry.path();
        if name_of(&path).is_some_and(|name| !SUSPECTS.contains(&name.as_str())) {
            note_descriptors(&path, &mut held);
        }
    }
    Ok(held)
}

/// Name of the process, or `None` for what is none.
fn name_of(process: &Path) -> Option<String> {
    process.file_name()?.to_str()?.parse::<u32>().ok()?;
    Some(fs::read_to_string(process.join("comm")).ok()?.trim_end().to_owned())
}

/// The kernel says in `fdinfo` which object a descriptor stands for (`bpf_prog_show_fdinfo` and its
/// like in kernel/bpf/syscall.c). A link names its program as well.
fn note_descriptors(process: &Path, held: &mut BTreeSet<(&'static str, u32)>) {
    // A process that has just ended holds nothing.
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else { return };
    for descriptor in descriptors.flatten() {
        let target = fs::read_link(descriptor.path()).unwrap_or_default();
        if !target.to_string_lossy().starts_with("anon_inode:bpf") {
            continue;
        }
        let info = process.join("fdinfo").join(descriptor.file_name());
        for line in fs::read_to_string(info).unwrap_or_default().lines() {
            for (key, kind) in [("prog_id:", "prog"), ("map_id:", "map"), ("link_id:", "link")] {
                if let Some(id) = line.strip_prefix(key).and_then(|id| id.trim().parse().ok()) {
                    held.insert((kind, id));
                }
            }
        }
    }
}

/// Names of everything pinned.
pub(super) fn pins() -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![Path::new("/sys/fs/bpf").to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            found.push(format!("pin {}", path.display()));
            if path.is_dir() {
                open.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Processes of ours.
pub(super) fn processes() -> Vec<String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter_map(|entry| {
            let name = name_of(&entry.path())?;
            let id = entry.file_name().to_string_lossy().into_owned();
            SUSPECTS.contains(&name.as_str()).then(|| format!("process {id} {name}"))
        })
        .collect();
    found.sort();
    found
}
