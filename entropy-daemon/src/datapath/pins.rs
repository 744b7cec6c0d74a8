//! The pins under `/sys/fs/bpf/entropy`, and who owns them.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use aya::maps::{MapData, MapInfo, MapType};
use entropy_common::{
    decide::Scratch,
    fault::delay::{MAX_TABLES, TABLE_ENTRIES},
    lease::Lease,
    names,
    peer::{PeerEntry, PeerKey},
    rule::{
        Hook, HookKey, Label, LabelKey, Line, MAX_HOOKS, MAX_PEERS, MAX_TOTAL_RULES, Owned, RuleSet,
    },
    stats::{Event, RuleState},
};

use crate::handover::Descriptor;

/// Magic number of bpffs (`BPF_FS_MAGIC`, linux/magic.h).
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

/// Path of a map's pin.
pub(super) fn path(map: &str) -> PathBuf {
    Path::new(names::PIN_DIR).join(map)
}

/// The directory above the layout's own.
pub(super) fn top() -> &'static Path {
    let directory = Path::new(names::PIN_DIR);
    directory.parent().unwrap_or(directory)
}

/// Whether bpffs is mounted where the pins go.
#[must_use]
pub fn bpffs_is_mounted() -> bool {
    let Some(mount) = top().parent().and_then(Path::to_str) else { return false };
    let Ok(mount) = std::ffi::CString::new(mount) else { return false };
    // SAFETY: statfs is plain data; all zeros is a valid value.
    let mut statistics: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are valid during the call.
    let result = unsafe { libc::statfs(mount.as_ptr(), &raw mut statistics) };
    let magic = statistics.f_type as i64;
    result == 0 && magic & 0xffff_ffff == BPF_FS_MAGIC
}

/// The right to be the one daemon, or the one cleanup, of this host. Ends with the process, however
/// that ends.
#[derive(Debug)]
pub struct Lock {
    directory: File,
}

/// Whose the pins are.
#[derive(Debug)]
pub enum Ownership {
    /// Ours from now on.
    Mine(Lock),
    /// A running daemon's.
    Taken,
}

impl Lock {
    /// Takes the lock, making the directory for it if need be.
    ///
    /// # Errors
    /// When bpffs is not mounted or not writable.
    pub fn take() -> Result<Ownership> {
        if !bpffs_is_mounted() {
            bail!(
                "bpffs is not mounted at {}: run `mount -t bpf bpf /sys/fs/bpf`",
                top().parent().unwrap_or(top()).display()
            );
        }
        let directory = top();
        let made = match DirBuilder::new().mode(0o700).create(directory) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => {
                return Err(error).with_context(|| format!("create {}", directory.display()));
            }
        };
        let opened = File::options()
            .read(true)
            .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
            .open(directory);
        let file = match opened {
            Ok(file) => file,
            Err(error) => {
                // Without descriptors, say: what was made for nothing goes again.
                if made {
                    let _ = fs::remove_dir(directory);
                }
                return Err(error).with_context(|| format!("open {}", directory.display()));
            }
        };
        check_owner(&file)?;
        let lock = Self { directory: file };
        let is_ours = lock.acquire().with_context(|| format!("lock {}", directory.display()))?;
        Ok(if is_ours { Ownership::Mine(lock) } else { Ownership::Taken })
    }
}

impl Lock {
    /// A copy of the descriptor, for the process that takes over.
    pub(super) fn copy(&self) -> io::Result<Descriptor> {
        Descriptor::copy(self.directory.as_fd())
    }

    /// Takes over the lock.
    pub(super) fn handed(descriptor: Descriptor) -> Result<Self> {
        let lock = Self { directory: File::from(OwnedFd::from(descriptor)) };
        // It is ours already, unless the descriptor is another one.
        match lock.acquire().context("take over the lock of the pins")? {
            true => Ok(lock),
            false => bail!("the lock of the pins is somebody else's"),
        }
    }

    /// The same lock once more: it ends with the last of them.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { directory: self.directory.try_clone()? })
    }

    /// Whether it is ours now.
    fn acquire(&self) -> io::Result<bool> {
        // SAFETY: the descriptor is open during the call.
        if unsafe { libc::flock(self.directory.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
            return Ok(true);
        }
        let error = io::Error::last_os_error();
        if error.kind() == io::ErrorKind::WouldBlock { Ok(false) } else { Err(error) }
    }
}

/// bpffs is often writable for all: whoever makes our directory first must not be believed.
fn check_owner(directory: &File) -> Result<()> {
    let metadata = directory.metadata().context("look at the pin directory")?;
    // SAFETY: geteuid has no conditions.
    let us = unsafe { libc::geteuid() };
    if metadata.uid() != us || metadata.mode() & 0o077 != 0 {
        bail!(
            "{} belongs to user {} with mode {:o}, not to us alone: remove it",
            top().display(),
            metadata.uid(),
            metadata.mode() & 0o7777
        );
    }
    Ok(())
}

/// Makes the directory of this layout.
pub(super) fn create_directory() -> Result<()> {
    DirBuilder::new()
        .mode(0o700)
        .create(names::PIN_DIR)
        .with_context(|| format!("create {}", names::PIN_DIR))
}

/// Removes every pin of ours and the directories, and reports what stays: an object that is not of our
/// shape is not ours to remove. Nothing there is fine.
pub(super) fn remove_all() -> Vec<anyhow::Error> {
    let mut problems = Vec::new();
    for map in names::MAPS {
        match open(map) {
            Ok(None) => {}
            Ok(Some(_)) => remove(&path(map), |path| fs::remove_file(path), &mut problems),
            Err(error) => problems.push(error),
        }
    }
    // A link can be no other's: its name is ours, in a directory of ours.
    for link in names::LINKS {
        remove(&path(link), |path| fs::remove_file(path), &mut problems);
    }
    if problems.is_empty() {
        remove(Path::new(names::PIN_DIR), |path| fs::remove_dir(path), &mut problems);
        remove(top(), remove_top, &mut problems);
    }
    problems
}

/// The directories of other layouts, which daemons of other versions have left.
pub(super) fn other_layouts() -> Vec<PathBuf> {
    let is_layout = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = name.strip_prefix('v').unwrap_or_default();
        !number.is_empty()
            && number.bytes().all(|byte| byte.is_ascii_digit())
            && path != Path::new(names::PIN_DIR)
            && fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
    };
    entries(top()).into_iter().filter(is_layout).collect()
}

/// Everything that is pinned in the directory of a layout, and the directory.
pub(super) fn all_in(layout: &Path) -> Vec<PathBuf> {
    let mut pins = entries(layout);
    pins.push(layout.to_owned());
    pins
}

/// What is in a directory. What cannot be listed is said when it is to be removed.
fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

/// Every pin of this layout, and its directory.
pub(super) fn all() -> Vec<PathBuf> {
    let pins = names::MAPS.into_iter().chain(names::LINKS).map(path);
    pins.chain([PathBuf::from(names::PIN_DIR)]).collect()
}

/// Removes what another version of this daemon calls [`all`] of its pins, whatever their shape, and
/// reports what stays.
pub(super) fn remove_handed(paths: &[PathBuf]) -> Vec<anyhow::Error> {
    let mut problems = Vec::new();
    for path in paths.iter().filter(|path| is_inside(path)) {
        remove(path, remove_either, &mut problems);
    }
    problems
}

/// Whether a path is below the directory of all layouts.
fn is_inside(path: &Path) -> bool {
    let mut below = path.strip_prefix(top()).into_iter().flat_map(Path::components).peekable();
    below.peek().is_some() && below.all(|part| matches!(part, Component::Normal(_)))
}

fn remove_either(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) }
}

/// Checks that every map is there, of the shape that this version gives it.
pub(super) fn check_all() -> Result<()> {
    for map in names::MAPS {
        open(map)?.with_context(|| format!("pinned map {map} is missing"))?;
    }
    Ok(())
}

/// Removes the upper directory, unless the service manager has made it for us: it is a mount then, in
/// a bpffs that we cannot write to otherwise, and the service manager removes it.
fn remove_top(directory: &Path) -> io::Result<()> {
    match fs::remove_dir(directory) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::ResourceBusy | io::ErrorKind::ReadOnlyFilesystem
            ) =>
        {
            Ok(())
        }
        result => result,
    }
}

fn remove(path: &Path, how: impl Fn(&Path) -> io::Result<()>, problems: &mut Vec<anyhow::Error>) {
    match how(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            problems.push(anyhow::Error::new(error).context(format!("remove {}", path.display())));
        }
        _ => {}
    }
}

/// What a map of ours looks like.
struct Shape {
    kind: MapType,
    key: usize,
    value: usize,
    entries: u32,
}

fn shape(map: &str) -> Option<Shape> {
    fn of<K, V>(kind: MapType, entries: u32) -> Option<Shape> {
        Some(Shape { kind, key: size_of::<K>(), value: size_of::<V>(), entries })
    }
    match map {
        names::MAP_HOOKS => of::<HookKey, Hook>(MapType::Hash, MAX_HOOKS),
        names::MAP_RULES => of::<u32, RuleSet>(MapType::Hash, 2 * MAX_HOOKS),
        names::MAP_STATE => of::<u32, RuleState>(MapType::Hash, MAX_TOTAL_RULES),
        names::MAP_PEERS => of::<(u32, PeerKey), PeerEntry>(MapType::LpmTrie, MAX_PEERS),
        names::MAP_LEASE => of::<u32, Lease>(MapType::Array, 1),
        names::MAP_EVENTS => of::<u32, u64>(MapType::PerCpuArray, Event::ALL.len() as u32),
        names::MAP_LINE => of::<u32, Line>(MapType::Array, 1),
        names::MAP_OWNED => of::<u32, Owned>(MapType::Hash, MAX_HOOKS),
        names::MAP_LABELS => of::<LabelKey, Label>(MapType::Hash, MAX_TOTAL_RULES),
        names::MAP_TABLES => of::<u32, [i32; TABLE_ENTRIES as usize]>(MapType::Array, MAX_TABLES),
        names::MAP_SCRATCH => of::<u32, Scratch>(MapType::PerCpuArray, 1),
        names::MAP_SLOTS => of::<u32, HookKey>(MapType::Hash, MAX_HOOKS),
        _ => None,
    }
}

/// Opens a pinned map; `None` when there is no such pin.
///
/// # Errors
/// When the map is not of the shape that this program gives it: aya would not notice.
pub(super) fn open(map: &str) -> Result<Option<MapData>> {
    open_in(Path::new(names::PIN_DIR), map)
}

/// The same in the directory of another layout, where this map may be of this shape, too.
///
/// # Errors
/// When it is of another.
pub(super) fn open_in(layout: &Path, map: &str) -> Result<Option<MapData>> {
    let path = layout.join(map);
    if !path.try_exists().with_context(|| format!("look for {}", path.display()))? {
        return Ok(None);
    }
    let data = MapData::from_pin(&path).with_context(|| format!("open {}", path.display()))?;
    let info = data.info().with_context(|| format!("look at {}", path.display()))?;
    check(map, &info)?;
    Ok(Some(data))
}

fn check(map: &str, info: &MapInfo) -> Result<()> {
    let Some(shape) = shape(map) else { bail!("{map} is no map of ours") };
    let (key, value) = (shape.key as u32, shape.value as u32);
    let kind = info.map_type().with_context(|| format!("type of {map}"))?;
    let fits = kind == shape.kind
        && info.key_size() == key
        && info.value_size() == value
        && info.max_entries() == shape.entries;
    if !fits {
        bail!(
            "pinned map {map} has another shape ({kind:?}, key {}, value {}, {} entries; expected \
             {:?}, {key}, {value}, {}): it is not touched",
            info.key_size(),
            info.value_size(),
            info.max_entries(),
            shape.kind,
            shape.entries
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_what_is_below_our_directory_is_removed_for_another_version() {
        assert!(all().iter().all(|path| is_inside(path)));
        for path in ["/sys/fs/bpf/entropy", "/sys/fs/bpf/entropy/../x", "/etc/passwd", "", "v4/x"] {
            assert!(!is_inside(Path::new(path)), "{path}");
        }
        assert!(is_inside(Path::new("/sys/fs/bpf/entropy/v9")), "another layout");
    }
}
