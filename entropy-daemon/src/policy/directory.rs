//! Reading policy files from disk. Nothing that lies in a policy directory can make this hang:
//! files are opened without blocking, looked at, and read up to a limit.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::file::{self, MAX_BYTES, ReadFile};
use super::model::Policy;
use super::problem::{Mistake, Problems};

/// Why a policy directory gave no policies.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no such directory.
    #[error("policy directory {} does not exist", .0.display())]
    Missing(PathBuf),
    /// The directory is none, or cannot be listed.
    #[error("cannot list policy directory {}", path.display())]
    Unlisted {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Files in it have problems.
    #[error(transparent)]
    Invalid(#[from] Problems),
}

/// Loads every `*.toml` of a directory, in the order of the names. Hidden files (and with them most
/// editors' temporary files) and names with another ending are left out; subdirectories are not
/// descended into.
///
/// # Errors
/// The directory cannot be read, or there are problems: all of all files.
pub fn load_directory(directory: &Path) -> Result<Vec<Policy>, LoadError> {
    let unlisted = |source: io::Error| match source.kind() {
        ErrorKind::NotFound => LoadError::Missing(directory.to_owned()),
        _ => LoadError::Unlisted { path: directory.to_owned(), source },
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(unlisted)? {
        names.push(entry.map_err(unlisted)?.file_name());
    }
    names.retain(|name| is_policy_file(name));
    names.sort();
    let files = names.iter().map(|name| directory.join(name)).filter_map(|path| {
        match read(&path) {
            // Removed since the directory was listed. (A dangling link is still there.)
            Err(error) if error.kind() == ErrorKind::NotFound && is_gone(&path) => None,
            result => Some((path, result)),
        }
    });
    Ok(load(&files.collect::<Vec<_>>())?)
}

/// Loads the files named, whatever they are called, in this order.
///
/// # Errors
/// All problems of all files; a file that cannot be read is one.
pub fn load_files<P: AsRef<Path>>(paths: &[P]) -> Result<Vec<Policy>, Problems> {
    let with_text = |path: &P| (path.as_ref().to_owned(), read(path.as_ref()));
    load(&paths.iter().map(with_text).collect::<Vec<_>>())
}

fn load(files: &[(PathBuf, io::Result<Vec<u8>>)]) -> Result<Vec<Policy>, Problems> {
    let read = files.iter().map(|(path, result)| match result {
        Ok(text) => ReadFile::read(path, text),
        Err(error) => ReadFile::unreadable(path, why_unreadable(path, error)),
    });
    file::finish(read.collect())
}

fn is_policy_file(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.ends_with(b".toml") && !matches!(name.first(), Some(b'.' | b'#'))
}

fn is_gone(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// Reads a regular file, one byte more than allowed at most, so that a longer one can be told.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    // O_NONBLOCK: opening a FIFO for reading would wait for a writer. O_NOCTTY: a terminal must not
    // become ours. Both do nothing to regular files.
    let file =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    check_kind(&file)?;
    let mut text = Vec::new();
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

/// An error of kind `InvalidInput` that says what it is, if the file is not a regular one.
fn check_kind(file: &File) -> io::Result<()> {
    let kind = file.metadata()?.file_type();
    let what = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_char_device() || kind.is_block_device() => "a device",
        () => "not a regular file",
    };
    Err(io::Error::new(ErrorKind::InvalidInput, what))
}

fn why_unreadable(path: &Path, error: &io::Error) -> Mistake {
    let is_link = || fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
    match error.kind() {
        ErrorKind::InvalidInput if error.get_ref().is_some() => Mistake::new(
            format!("is {error}, not a policy file"),
            "move it elsewhere, or give it a name that does not end in .toml",
        ),
        // A socket cannot be opened.
        _ if error.raw_os_error() == Some(libc::ENXIO) => Mistake::new(
            "is a socket, not a policy file",
            "move it elsewhere, or give it a name that does not end in .toml",
        ),
        ErrorKind::NotFound if is_link() => Mistake::new(
            "is a symbolic link to a file that does not exist",
            "mend the link or remove it",
        ),
        ErrorKind::NotFound => Mistake::new("does not exist", "check the path"),
        ErrorKind::PermissionDenied => Mistake::new(
            "cannot be read: permission denied",
            "let the user that runs this read the file",
        ),
        _ => Mistake::new(format!("cannot be read: {error}"), "mend or remove the file"),
    }
}

#[cfg(test)]
mod tests;
