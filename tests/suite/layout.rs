//! The object holds what `entropy-common` says: these maps and programs, laid out so, and no others.

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, Result, bail};
use aya::maps::{Map, MapInfo, MapType};
use entropy_common::{
    fault::delay::TABLE_ENTRIES,
    lease::Lease,
    names,
    peer::{PeerEntry, PeerKey},
    rule::{
        Hook, HookKey, Label, LabelKey, Line, MAX_HOOKS, MAX_PEERS, MAX_TOTAL_RULES, Owned, RuleSet,
    },
    stats::{Event, RuleState},
};
use entropy_tests::{
    needs_root,
    object::{self, Object},
};

/// Maps that aya makes for its own use where something is logged: the ring of log lines, and the
/// read-only constants.
const AYA: [&str; 2] = ["AYA_LOGS", ".rodata"];
/// `BPF_F_NO_PREALLOC`.
const NO_PREALLOC: u32 = 1;

/// enum bpf_prog_type, include/uapi/linux/bpf.h.
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;

/// What the kernel says of a map: kind, bytes of a key, bytes of a value, entries, flags.
type Shape = (MapType, usize, usize, u32, u32);

/// The trie's key begins with the length of the prefix in bits (`struct bpf_lpm_trie_key`).
const TRIE_KEY: usize = size_of::<u32>() + size_of::<PeerKey>();

/// Most tables of delays.
const TABLES: u32 = 64;
/// Stands for a size that only the programs know: of what they keep of a packet while they run.
const OWN: usize = 0;

const SHAPES: [(&str, Shape); names::MAPS.len()] = [
    (
        names::MAP_HOOKS,
        (MapType::Hash, size_of::<HookKey>(), size_of::<Hook>(), MAX_HOOKS, NO_PREALLOC),
    ),
    (names::MAP_RULES, (MapType::Hash, 4, size_of::<RuleSet>(), 2 * MAX_HOOKS, NO_PREALLOC)),
    (names::MAP_STATE, (MapType::Hash, 4, size_of::<RuleState>(), MAX_TOTAL_RULES, NO_PREALLOC)),
    (
        names::MAP_PEERS,
        (MapType::LpmTrie, TRIE_KEY, size_of::<PeerEntry>(), MAX_PEERS, NO_PREALLOC),
    ),
    (names::MAP_LEASE, (MapType::Array, 4, size_of::<Lease>(), 1, 0)),
    (names::MAP_EVENTS, (MapType::PerCpuArray, 4, 8, Event::ALL.len() as u32, 0)),
    (names::MAP_LINE, (MapType::Array, 4, size_of::<Line>(), 1, 0)),
    (names::MAP_OWNED, (MapType::Hash, 4, size_of::<Owned>(), MAX_HOOKS, NO_PREALLOC)),
    (
        names::MAP_LABELS,
        (MapType::Hash, size_of::<LabelKey>(), size_of::<Label>(), MAX_TOTAL_RULES, NO_PREALLOC),
    ),
    (names::MAP_TABLES, (MapType::Array, 4, 4 * TABLE_ENTRIES as usize, TABLES, 0)),
    (names::MAP_SCRATCH, (MapType::PerCpuArray, 4, OWN, 1, 0)),
    (names::MAP_SLOTS, (MapType::Hash, 4, size_of::<HookKey>(), MAX_HOOKS, NO_PREALLOC)),
];

/// The sizes themselves, so that a record cannot change its layout under the same version of the
/// pins without this test being touched.
#[test]
fn the_records_of_this_version_have_these_sizes() {
    let sizes = [
        ("hook key", size_of::<HookKey>(), 8),
        ("hook", size_of::<Hook>(), 8),
        ("rule set", size_of::<RuleSet>(), 4912),
        ("rule state", size_of::<RuleState>(), 432),
        ("peer key", size_of::<PeerKey>(), 20),
        ("peer entry", size_of::<PeerEntry>(), 4),
        ("lease", size_of::<Lease>(), 8),
        ("line", size_of::<Line>(), 12),
        ("owned", size_of::<Owned>(), 4),
        ("label key", size_of::<LabelKey>(), 8),
        ("label", size_of::<Label>(), 192),
    ];
    for (record, size, expected) in sizes {
        assert_eq!(size, expected, "{record}");
    }
    assert_eq!(names::PIN_DIR, "/sys/fs/bpf/entropy/v5");
}

#[test]
fn the_maps_are_those_of_the_names_and_shaped_like_the_records() -> Result<()> {
    needs_root!();
    let mut object = Object::load()?;
    let all = object.ebpf().maps().map(|(name, _)| name);
    let found: BTreeSet<String> = all.filter(|name| !AYA.contains(name)).map(Into::into).collect();
    let expected: BTreeSet<String> = names::MAPS.iter().map(|&name| name.into()).collect();
    assert_eq!(found, expected);
    for (name, shape) in SHAPES {
        let info = info(object.ebpf().map(name).context("a map that was there is gone")?)?;
        assert_eq!(info.name_as_str(), Some(name));
        let (key, value) = (info.key_size() as usize, info.value_size() as usize);
        let value = if shape.2 == OWN { OWN } else { value };
        let kernel = (info.map_type()?, key, value, info.max_entries(), info.map_flags());
        assert_eq!(kernel, shape, "{name}");
    }
    Ok(())
}

#[test]
fn the_programs_are_those_of_the_names_and_classifiers() -> Result<()> {
    needs_root!();
    let mut object = Object::load()?;
    let found: BTreeSet<String> = object.ebpf().programs().map(|(name, _)| name.into()).collect();
    let expected: BTreeSet<String> = names::PROGRAMS.iter().map(|&name| name.into()).collect();
    assert_eq!(found, expected);
    for name in names::PROGRAMS {
        let program = object.program(name)?;
        let info = program.classifier().info()?;
        assert_eq!(info.name_as_str(), Some(name), "as the kernel lists it");
        assert_eq!(info.program_type() as u32, BPF_PROG_TYPE_SCHED_CLS, "{name}");
        assert_eq!(info.gpl_compatible(), Some(true), "{name}");
        assert!(info.btf_id().is_some_and(|id| id != 0), "{name} has no BTF in the kernel");
    }
    Ok(())
}

#[test]
fn the_object_carries_its_license_and_its_btf() -> Result<()> {
    let path = object::path();
    let Ok(object) = fs::read(&path) else {
        bail!("read {} (built by cargo xtask build)", path.display());
    };
    assert_eq!(section(&object, "license")?, b"Dual MIT/GPL\0");
    // BTF_MAGIC (include/uapi/linux/btf.h).
    for name in [".BTF", ".BTF.ext"] {
        assert_eq!(
            section(&object, name)?.first_chunk(),
            Some(&0xeb9f_u16.to_le_bytes()),
            "{name}"
        );
    }
    Ok(())
}

fn info(map: &Map) -> Result<MapInfo> {
    match map {
        Map::Array(data) | Map::HashMap(data) | Map::LpmTrie(data) | Map::PerCpuArray(data) => {
            Ok(data.info()?)
        }
        other => bail!("a map of another kind: {other:?}"),
    }
}

/// A section of a 64-bit ELF file of this machine's byte order (elf(5)).
fn section<'a>(elf: &'a [u8], name: &str) -> Result<&'a [u8]> {
    const HEADER: usize = 64;
    let short =
        |at: usize| elf.get(at..at + 2).map(|b| usize::from(u16::from_ne_bytes([b[0], b[1]])));
    let word = |at: usize| -> Option<usize> {
        let bytes = elf.get(at..at + 4)?.first_chunk()?;
        Some(u32::from_ne_bytes(*bytes) as usize)
    };
    let long = |at: usize| -> Option<usize> {
        let bytes = elf.get(at..at + 8)?.first_chunk()?;
        usize::try_from(u64::from_ne_bytes(*bytes)).ok()
    };
    let content = |header: usize| -> Option<&[u8]> {
        let (start, length) = (long(header + 24)?, long(header + 32)?);
        elf.get(start..start.checked_add(length)?)
    };
    let find = || -> Option<&[u8]> {
        let table = long(40)?;
        let names = content(table + short(62)? * HEADER)?;
        (0..short(60)?).map(|index| table + index * HEADER).find_map(|header| {
            let text = names.get(word(header)?..)?;
            let text = &text[..text.iter().position(|&byte| byte == 0)?];
            (text == name.as_bytes()).then(|| content(header))?
        })
    };
    find().with_context(|| format!("the object has no section {name}"))
}
