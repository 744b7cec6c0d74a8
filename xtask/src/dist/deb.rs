//! The format of a package, deb(5): three members in an `ar` archive, two of them compressed `tar`
//! archives.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use md5::{Digest, Md5};

/// The version of the format.
const FORMAT: &[u8] = b"2.0\n";

/// Something in an archive; its path is relative to the root.
pub(super) struct Entry {
    path: String,
    mode: u32,
    kind: Kind,
}

enum Kind {
    File(Vec<u8>),
    Folder,
    Link(String),
}

impl Entry {
    /// A file with its content.
    pub(super) fn file(path: &str, mode: u32, content: Vec<u8>) -> Self {
        Self { path: path.to_owned(), mode, kind: Kind::File(content) }
    }

    /// A folder that is there even if nothing is in it.
    pub(super) fn folder(path: &str) -> Self {
        Self { path: path.to_owned(), mode: 0o755, kind: Kind::Folder }
    }

    /// A symbolic link.
    pub(super) fn link(path: &str, to: &str) -> Self {
        Self { path: path.to_owned(), mode: 0o777, kind: Kind::Link(to.to_owned()) }
    }

    /// The content of a file, if it is text.
    #[cfg(test)]
    pub(super) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::File(content) => std::str::from_utf8(content).ok(),
            Kind::Folder | Kind::Link(_) => None,
        }
    }
}

/// How much room the content takes, in KiB.
pub(super) fn size(content: &[Entry]) -> u64 {
    let of = |entry: &Entry| match &entry.kind {
        Kind::File(content) => content.len().div_ceil(1024),
        Kind::Folder | Kind::Link(_) => 1,
    };
    content.iter().map(|entry| of(entry) as u64).sum()
}

/// The checksums of the files, as `dpkg --verify` reads them.
pub(super) fn checksums(content: &[Entry]) -> String {
    let mut text = String::new();
    for entry in content {
        if let Kind::File(content) = &entry.kind {
            for byte in Md5::digest(content) {
                // Writing to a string cannot fail.
                let _ = write!(text, "{byte:02x}");
            }
            let _ = writeln!(text, "  {}", entry.path);
        }
    }
    text
}

/// Writes a package. Everything in it belongs to root and is of `time`.
///
/// # Errors
/// When a path is too long for the format.
pub(super) fn write(control: &[Entry], content: &[Entry], time: u64) -> Result<Vec<u8>> {
    let control = compress(&tar(control, time).context("control archive")?)?;
    let data = compress(&tar(content, time).context("data archive")?)?;
    let mut archive = ar::Builder::new(Vec::new());
    for (name, member) in
        [("debian-binary", FORMAT), ("control.tar.gz", &control), ("data.tar.gz", &data)]
    {
        let mut header = ar::Header::new(name.into(), member.len() as u64);
        header.set_mode(0o100_644);
        header.set_mtime(time);
        archive.append(&header, member).with_context(|| format!("add {name}"))?;
    }
    archive.into_inner().context("end the package")
}

/// Compresses as small as it goes, always to the same bytes.
pub(super) fn compress(content: &[u8]) -> Result<Vec<u8>> {
    let mut writer = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    writer.write_all(content).and_then(|()| writer.finish()).context("compress")
}

/// An archive of the entries with every folder above them.
fn tar(entries: &[Entry], time: u64) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut folders = BTreeSet::new();
    let mut add = |path: &str, mode, kind: &Kind| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_mtime(time);
        header.set_uid(0);
        header.set_gid(0);
        header.set_username("root")?;
        header.set_groupname("root")?;
        header.set_size(0);
        let path = format!("./{path}");
        match kind {
            Kind::File(content) => {
                header.set_entry_type(tar::EntryType::Regular);
                header.set_size(content.len() as u64);
                archive.append_data(&mut header, path, content.as_slice())
            }
            Kind::Folder => {
                header.set_entry_type(tar::EntryType::Directory);
                archive.append_data(&mut header, path, std::io::empty())
            }
            Kind::Link(to) => {
                header.set_entry_type(tar::EntryType::Symlink);
                archive.append_link(&mut header, path, to)
            }
        }
    };
    let mut sorted: Vec<_> = entries.iter().collect();
    sorted.sort_by(|a, b| a.path.cmp(&b.path));
    for entry in sorted {
        let above = entry.path.match_indices('/').map(|(end, _)| &entry.path[..=end]);
        for folder in std::iter::once("").chain(above) {
            if folders.insert(folder.to_owned()) {
                add(folder, 0o755, &Kind::Folder).with_context(|| format!("add {folder}"))?;
            }
        }
        let path = &entry.path;
        match entry.kind {
            Kind::Folder => add(&format!("{path}/"), entry.mode, &entry.kind),
            Kind::File(_) | Kind::Link(_) => add(path, entry.mode, &entry.kind),
        }
        .with_context(|| format!("add {path}"))?;
    }
    archive.into_inner().context("end the archive")
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn content() -> Vec<Entry> {
        vec![
            Entry::file("usr/bin/a", 0o755, b"program".to_vec()),
            Entry::link("usr/sbin/b", "../bin/a"),
            Entry::folder("etc/a/policies"),
        ]
    }

    #[test]
    fn an_archive_holds_every_folder_once_and_before_what_is_in_it() {
        let bytes = tar(&content(), 1).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entries = archive.entries().unwrap().map(Result::unwrap);
        let paths: Vec<_> =
            entries.map(|entry| entry.path().unwrap().to_string_lossy().into_owned()).collect();
        let wanted = [
            "./",
            "etc/",
            "etc/a/",
            "etc/a/policies/",
            "usr/",
            "usr/bin/",
            "usr/bin/a",
            "usr/sbin/",
            "usr/sbin/b",
        ];
        assert_eq!(paths, wanted);
    }

    #[test]
    fn a_package_has_its_three_members_in_order() {
        let control = [Entry::file("control", 0o644, b"Package: a\n".to_vec())];
        let bytes = write(&control, &content(), 7).unwrap();
        assert_eq!(bytes, write(&control, &content(), 7).unwrap(), "the same each time");
        let mut archive = ar::Archive::new(bytes.as_slice());
        let mut names = Vec::new();
        let mut first = String::new();
        while let Some(entry) = archive.next_entry() {
            let mut entry = entry.unwrap();
            names.push(String::from_utf8_lossy(entry.header().identifier()).into_owned());
            if names.len() == 1 {
                entry.read_to_string(&mut first).unwrap();
            }
        }
        assert_eq!(names, ["debian-binary", "control.tar.gz", "data.tar.gz"]);
        assert_eq!(first, "2.0\n");
    }

    #[test]
    fn checksums_are_of_files_only() {
        let text = checksums(&content());
        assert_eq!(text, "a9c449d4fa44e9e5a41c574ae55ce4d9  usr/bin/a\n");
        assert_eq!(size(&content()), 3);
    }
}
