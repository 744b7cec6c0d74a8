//! The image that test containers run: a static busybox and whatever static files a test adds. No
//! registry is involved.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tar::{Builder, EntryType, Header};

use super::{Api, programs};

/// The image's name.
pub const IMAGE: &str = "entropy-test:latest";
/// The label that tells whether an image has the wanted content.
const CONTENT_LABEL: &str = "entropy-test.content";

/// Makes sure that the engine has [`IMAGE`]: busybox with all its applets and each of `extra`, a
/// path in the image (absolute) and the file on this machine to put there. An image with the same
/// content is left as it is.
///
/// # Errors
/// When a file cannot be read, there is no static busybox, or the engine refuses the image.
pub fn import_image(api: &Api, extra: &[(&str, &Path)]) -> Result<()> {
    let busybox = programs::busybox()?;
    let archive = archive(&busybox, extra)?;
    let mut hasher = DefaultHasher::new();
    archive.hash(&mut hasher);
    let content = format!("{:016x}", hasher.finish());
    let present = api.call("GET", &format!("/images/{IMAGE}/json"), &Value::Null);
    if present.is_ok_and(|about| about["Config"]["Labels"][CONTENT_LABEL] == *content) {
        return Ok(());
    }
    let (name, tag) = IMAGE.split_once(':').unwrap_or((IMAGE, "latest"));
    let path = format!(
        "/images/create?fromSrc=-&repo={name}&tag={tag}&changes=LABEL%20{CONTENT_LABEL}={content}"
    );
    let (status, answer) = api.request("POST", &path, &archive, "application/x-tar")?;
    let answer = String::from_utf8_lossy(&answer);
    // The engine says 200 before it begins; an error then comes as a line of the body.
    if status != 200 || answer.contains("\"error\"") {
        bail!("import the image {IMAGE}: {status} {}", answer.trim());
    }
    Ok(())
}

/// Builds the image's file system. The same content gives the same bytes.
fn archive(busybox: &Path, extra: &[(&str, &Path)]) -> Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    for (folder, mode) in
        [("bin", 0o755), ("etc", 0o755), ("root", 0o700), ("tmp", 0o1777), ("var", 0o755)]
    {
        add(&mut tar, EntryType::Directory, folder, mode, &[])?;
    }
    add(&mut tar, EntryType::Regular, "etc/passwd", 0o644, b"root:x:0:0::/root:/bin/sh\n")?;
    add(&mut tar, EntryType::Regular, "etc/group", 0o644, b"root:x:0:\n")?;
    let program = fs::read(busybox).with_context(|| format!("read {}", busybox.display()))?;
    add(&mut tar, EntryType::Regular, "bin/busybox", 0o755, &program)?;
    for applet in applets(busybox)? {
        let mut header = header(EntryType::Symlink, 0o777, 0);
        tar.append_link(&mut header, format!("bin/{applet}"), "busybox").context("add a link")?;
    }
    for (path, file) in extra {
        let content = fs::read(file).with_context(|| format!("read {}", file.display()))?;
        let path = path.trim_start_matches('/');
        add(&mut tar, EntryType::Regular, path, 0o755, &content)?;
    }
    tar.into_inner().context("finish the image's archive")
}

/// The names under which busybox is several programs.
fn applets(busybox: &Path) -> Result<Vec<String>> {
    let output = Command::new(busybox).arg("--list").output();
    let output = output.with_context(|| format!("run {} --list", busybox.display()))?;
    let list = String::from_utf8_lossy(&output.stdout);
    let applets: Vec<_> =
        list.lines().filter(|name| *name != "busybox").map(str::to_owned).collect();
    if applets.is_empty() {
        bail!("{} has no applets", busybox.display());
    }
    Ok(applets)
}

/// Adds a folder or a file.
fn add(
    tar: &mut Builder<Vec<u8>>,
    kind: EntryType,
    path: &str,
    mode: u32,
    content: &[u8],
) -> Result<()> {
    let mut header = header(kind, mode, content.len() as u64);
    tar.append_data(&mut header, path, content).with_context(|| format!("add {path} to the image"))
}

/// An entry that belongs to root and has no time of its own.
fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_holds_the_extra_files_and_is_the_same_every_time() {
        let folder = tempfile::tempdir().unwrap();
        let fake = folder.path().join("busybox");
        fs::write(&fake, "#!/bin/sh\nprintf 'busybox\\nping\\nsh\\n'\n").unwrap();
        fs::set_permissions(&fake, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let first = archive(&fake, &[("/opt/tool", &fake)]).unwrap();
        assert_eq!(first, archive(&fake, &[("/opt/tool", &fake)]).unwrap());
        let mut tar = tar::Archive::new(first.as_slice());
        let entries = tar.entries().unwrap();
        let names: Vec<_> =
            entries.map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect();
        assert!(names.contains(&"bin/ping".to_owned()), "{names:?}");
        assert!(names.contains(&"opt/tool".to_owned()), "{names:?}");
        assert!(!names.contains(&"bin/busybox/busybox".to_owned()), "{names:?}");
    }
}
