//! This machine's file system under an overlay: everything can be changed in it, and all that was is
//! known.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

/// What changes whenever a package comes or goes, or a machine runs, and is not the package's.
const OTHERS: [&str; 8] = [
    "etc/.pwd.lock",
    "etc/group-",
    "etc/gshadow-",
    "var/cache/",
    "var/lib/dpkg/",
    "var/lib/systemd/",
    "var/log/",
    "var/tmp/",
];

/// A copy of this machine's file system. It stays mounted until the virtual machine ends.
pub(crate) struct Root {
    folder: PathBuf,
}

impl Root {
    /// Makes one.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let folder = Path::new("/run").join(format!("entropy-dist-{name}"));
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let root = Self { folder };
        done("mount", &["-t", "tmpfs", "tmpfs", &root.at("")])?;
        for name in ["upper", "work", "root"] {
            fs::create_dir(root.folder.join(name)).context("create the overlay's folders")?;
        }
        // A policy of the machine's own would decide what is started.
        let options =
            format!("lowerdir=/,upperdir={},workdir={}", root.at("upper"), root.at("work"));
        done("mount", &["-t", "overlay", "overlay", "-o", &options, &root.at("root")])?;
        match fs::remove_file(root.path().join(POLICY)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).context("remove the machine's policy")
            }
            _ => Ok(root),
        }
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join("root")
    }

    fn at(&self, name: &str) -> String {
        self.folder.join(name).to_string_lossy().into_owned()
    }

    /// Writes a file with all folders above it.
    pub(crate) fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.path().join(file);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    }

    /// Forbids that packages start anything, as images of machines are made.
    pub(crate) fn forbid_starts(&self, forbid: bool) -> Result<()> {
        if !forbid {
            return fs::remove_file(self.path().join(POLICY)).context("remove the policy");
        }
        self.write(POLICY, "#!/bin/sh\nexit 101\n")?;
        done("chmod", &["755", &self.path().join(POLICY).to_string_lossy()])
    }

    /// What differs from the machine's own: the content of files and links, nothing for folders
    /// that it has not and for what is gone.
    pub(crate) fn changes(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut changes = BTreeMap::new();
        let upper = self.folder.join("upper");
        let mut folders = vec![upper.clone()];
        while let Some(folder) = folders.pop() {
            let what = || format!("look at {}", folder.display());
            for entry in fs::read_dir(&folder).with_context(what)? {
                let path = entry.with_context(what)?.path();
                let name = path.strip_prefix(&upper).with_context(what)?.to_path_buf();
                if is_others(&name) {
                    continue;
                }
                if let Some(content) =
                    change(&path, &Path::new("/").join(&name)).with_context(what)?
                {
                    changes.insert(name.to_string_lossy().into_owned(), content);
                }
                if path.symlink_metadata().with_context(what)?.is_dir() {
                    folders.push(path);
                }
            }
        }
        Ok(changes)
    }

    /// Checks that the changes are the earlier ones, name by name.
    pub(crate) fn assert_changes(&self, earlier: &BTreeMap<String, Vec<u8>>) -> Result<()> {
        let now = self.changes()?;
        let names = earlier.keys().chain(now.keys());
        let different: Vec<_> = names.filter(|name| earlier.get(*name) != now.get(*name)).collect();
        ensure!(different.is_empty(), "not as before: {different:?}");
        Ok(())
    }

    /// Runs a command in it, with nothing of systemd around.
    pub(crate) fn run(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new("chroot");
        command.arg(self.path()).args(CLEAN).args(words);
        said(&mut command)
    }

    /// Mounts in it what package scripts expect.
    pub(crate) fn mount_devices(&self) -> Result<()> {
        for (kind, name) in
            [("proc", "proc"), ("devtmpfs", "dev"), ("tmpfs", "run"), ("tmpfs", "tmp")]
        {
            done("mount", &["-t", kind, kind, &self.path().join(name).to_string_lossy()])?;
        }
        Ok(())
    }
}

/// Whether something is none of the package's.
fn is_others(name: &Path) -> bool {
    let name = name.to_string_lossy();
    OTHERS.iter().any(|other| format!("{name}/").starts_with(other) || name == *other)
}

/// The content of something in the upper layer, if the machine's own is not the same.
fn change(upper: &Path, own: &Path) -> io::Result<Option<Vec<u8>>> {
    let kind = upper.symlink_metadata()?.file_type();
    if kind.is_dir() {
        return Ok((!own.is_dir()).then(Vec::new));
    }
    let content = if kind.is_symlink() {
        fs::read_link(upper)?.into_os_string().into_encoded_bytes()
    } else if kind.is_char_device() {
        // What is gone.
        Vec::new()
    } else {
        fs::read(upper)?
    };
    // A file that was written anew may say the same.
    Ok((fs::read(own).ok().as_ref() != Some(&content)).then_some(content))
}

/// Says whether a package may start something.
const POLICY: &str = "usr/sbin/policy-rc.d";
/// A command with nothing of this process's surroundings.
pub(crate) const CLEAN: [&str; 4] =
    ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"];

/// Runs a command that has to succeed.
fn done(program: &str, words: &[&str]) -> Result<()> {
    said(Command::new(program).args(words)).map(drop)
}

/// Runs a command that has to succeed and returns what it said.
pub(crate) fn said(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    if !output.status.success() {
        bail!("{command:?} failed ({}): {out}\n{err}", output.status);
    }
    Ok(out)
}

/// Runs a command, whatever comes of it.
pub(crate) fn output(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).output().with_context(|| format!("run {command:?}"))
}
