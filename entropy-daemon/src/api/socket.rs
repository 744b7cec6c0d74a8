//! The unix socket that the API is served on.

use std::{
    ffi::CStr,
    fs::{self, Permissions},
    io::{self, ErrorKind},
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _, chown},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use tokio::net::UnixListener;
use tracing::{info, warn};

use crate::systemd;

/// Who may talk to the daemon besides root.
const GROUP: &CStr = c"entropy";
/// For owner and group.
const MODE: u32 = 0o660;
/// Most bytes of an entry of the group database.
const LONGEST_ENTRY: usize = 1 << 20;

/// A socket that is there as long as this lives.
#[derive(Debug)]
pub(super) struct Socket {
    /// `None` where the service manager made it, and removes it.
    path: Option<PathBuf>,
}

impl Socket {
    /// Takes over the socket of the service manager, or makes one at `path`. One that is there and at
    /// which nobody answers is replaced.
    ///
    /// # Errors
    /// When somebody answers there, something else is there, or it cannot be made.
    pub(super) async fn open(path: &Path) -> Result<(Self, UnixListener)> {
        if let Some(listener) = systemd::control_socket()? {
            let listener = UnixListener::from_std(listener).context("use the handed socket")?;
            info!("control socket of the service manager");
            return Ok((Self { path: None }, listener));
        }
        if is_answered(path)? {
            bail!(
                "another entropyd answers at {}: stop it, or name another --socket",
                path.display()
            );
        }
        let listener = bind(path).with_context(|| format!("listen at {}", path.display()))?;
        info!("control socket {}", path.display());
        Ok((Self { path: Some(path.to_owned()) }, listener))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(path) = &self.path
            && let Err(error) = fs::remove_file(path)
            && error.kind() != ErrorKind::NotFound
        {
            warn!("remove {}: {error}", path.display());
        }
    }
}

/// Whether somebody listens at a path.
fn is_answered(path: &Path) -> Result<bool> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error).with_context(|| format!("look at {}", path.display())),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            bail!("{} is there and no socket: remove it", path.display());
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(false),
        Err(error) => Err(error).with_context(|| format!("try {}", path.display())),
    }
}

/// Makes the socket under another name and gives it its own when it has its owner and mode: nobody
/// finds it before. That also replaces one that is left over.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
    let draft = path.with_file_name(format!(".{}.draft", name.to_string_lossy()));
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&draft)?;
    if let Some(group) = group_id(GROUP)
        && let Err(error) = chown(&draft, None, Some(group))
    {
        warn!("the control socket is for root only, group entropy cannot have it: {error}");
    }
    fs::set_permissions(&draft, Permissions::from_mode(MODE))?;
    fs::rename(&draft, path)?;
    Ok(listener)
}

/// The number of a group; `None` if there is none of this name.
fn group_id(name: &CStr) -> Option<u32> {
    let mut buffer = vec![0_u8; 4096];
    loop {
        // SAFETY: `group` is plain data; all zeros is a valid value.
        let mut entry: libc::group = unsafe { std::mem::zeroed() };
        let mut found = std::ptr::null_mut();
        // SAFETY: all pointers are valid during the call, and the length is that of the buffer.
        let result = unsafe {
            libc::getgrnam_r(
                name.as_ptr(),
                &raw mut entry,
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                &raw mut found,
            )
        };
        if result == libc::ERANGE && buffer.len() < LONGEST_ENTRY {
            buffer.resize(buffer.len() * 2, 0);
            continue;
        }
        return (result == 0 && !found.is_null()).then_some(entry.gr_gid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_for_owner_and_group_and_goes_with_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let (socket, _listener) = Socket::open(&path).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no draft is left");
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_socket_that_is_left_over_is_replaced_and_one_in_use_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let (_socket, _listener) = Socket::open(&path).await.unwrap();
        let error = Socket::open(&path).await.unwrap_err().to_string();
        assert!(error.contains("another entropyd answers"), "{error}");
    }

    #[tokio::test]
    async fn what_is_no_socket_is_left_alone() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Socket::open(file.path()).await.unwrap_err().to_string();
        assert!(error.contains("no socket") && file.path().exists(), "{error}");
    }

    #[test]
    fn groups_are_found_by_name() {
        assert_eq!(group_id(c"root"), Some(0));
        assert_eq!(group_id(c"entropy-no-such-group"), None);
    }
}
