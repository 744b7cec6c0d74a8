//! Where the engine's programs are: unpacked in `ENTROPY_ENGINE_DIR`, or installed.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::namespace::Namespaces;

/// Names under which a working iptables may be found, the older mechanism first: it needs modules
/// that a machine with Docker has in any case.
const IPTABLES: [&str; 3] = ["iptables-legacy", "iptables-nft", "iptables"];

/// Where Debian's packages for this architecture keep their libraries.
const LIBRARIES: &str = "x86_64-linux-gnu";

/// The programs of an engine.
pub(super) struct Programs {
    pub(super) dockerd: PathBuf,
    /// The root of the unpacked packages, if that is where the programs are.
    unpacked: Option<PathBuf>,
}

impl Programs {
    /// Finds the programs.
    pub(super) fn find() -> Result<Self> {
        let unpacked = std::env::var_os("ENTROPY_ENGINE_DIR").map(PathBuf::from);
        if let Some(root) = unpacked {
            let dockerd = root.join("usr/sbin/dockerd");
            let missing = || format!("no dockerd in ENTROPY_ENGINE_DIR ({})", root.display());
            dockerd.is_file().then_some(()).with_context(missing)?;
            return Ok(Self { dockerd, unpacked: Some(root) });
        }
        let dockerd = find("dockerd", &search_path(None)).context(
            "no dockerd on PATH and ENTROPY_ENGINE_DIR is not set (`cargo xtask setup`)",
        )?;
        Ok(Self { dockerd, unpacked: None })
    }

    /// Gives a command of the engine its programs and libraries.
    pub(super) fn prepare(&self, command: &mut Command) {
        // Nothing else: `XDG_RUNTIME_DIR` for one names a folder below the machine's `/run`.
        command.env_clear().envs(self.environment());
    }

    /// By which the engine's programs find one another and their libraries.
    pub(super) fn environment(&self) -> Vec<(&'static str, OsString)> {
        let mut variables = vec![("PATH", self.path())];
        if let Some(root) = &self.unpacked {
            // Packages of before the merge of /lib into /usr/lib hold some libraries in /lib.
            let libraries = ["usr/lib", "lib"].map(|folder| root.join(folder).join(LIBRARIES));
            variables.push(("XTABLES_LIBDIR", libraries[0].join("xtables").into_os_string()));
            let libraries = libraries.map(PathBuf::into_os_string).join(OsStr::new(":"));
            variables.push(("LD_LIBRARY_PATH", libraries));
        }
        variables
    }

    /// Adds the engine's programs, and `links` with the iptables that it uses, to the end of the PATH of
    /// a command that runs inside.
    pub(super) fn append_path(&self, command: &mut Command, links: PathBuf) {
        command.env_remove("XDG_RUNTIME_DIR");
        let mut path = std::env::var_os("PATH").unwrap_or_default();
        let unpacked = self.unpacked.iter();
        let unpacked =
            unpacked.flat_map(|root| ["usr/bin", "usr/sbin"].map(|name| root.join(name)));
        for folder in [links].into_iter().chain(unpacked) {
            path.push(":");
            path.push(folder);
        }
        command.env("PATH", path);
    }

    /// Finds another program of the engine's, by its name.
    pub(super) fn other(&self, name: &str) -> Option<PathBuf> {
        find(name, &self.path())
    }

    /// A folder that belongs to the programs: of the unpacked packages, or the machine's own.
    pub(super) fn folder(&self, path: &str) -> PathBuf {
        self.unpacked.as_deref().unwrap_or(Path::new("/")).join(path)
    }

    /// Finds an iptables that works in the engine's namespaces and puts it first on the PATH of
    /// `command`, under the names that dockerd calls; `false` when none works.
    pub(super) fn choose_iptables(
        &self,
        namespaces: &Namespaces,
        folder: &Path,
        command: &mut Command,
    ) -> Result<bool> {
        let path = self.path();
        for name in IPTABLES {
            let Some(program) = find(name, &path) else { continue };
            if !self.works(&program, namespaces)? {
                continue;
            }
            for alias in ["iptables", "ip6tables"] {
                let link = folder.join(alias);
                let sibling = name.replacen("iptables", alias, 1);
                let program = find(&sibling, &path).unwrap_or_else(|| program.clone());
                let _ = std::fs::remove_file(&link);
                symlink(program, &link).context("link iptables")?;
            }
            let mut first = folder.as_os_str().to_owned();
            first.push(":");
            first.push(&path);
            command.env("PATH", first);
            return Ok(true);
        }
        Ok(false)
    }

    /// Whether `iptables` can do what dockerd asks of it at the start.
    fn works(&self, iptables: &Path, namespaces: &Namespaces) -> Result<bool> {
        let rule = ["-m", "addrtype", "--dst-type", "LOCAL", "-j", "RETURN"];
        for verb in ["-A", "-D"] {
            let mut command = Command::new(iptables);
            command.args(["--wait", "-t", "nat", verb, "OUTPUT"]).args(rule);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            self.prepare(&mut command);
            namespaces.enter(&mut command)?;
            if !command.status().is_ok_and(|status| status.success()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The PATH of the engine: its own programs, then the machine's.
    fn path(&self) -> OsString {
        search_path(self.unpacked.as_deref())
    }
}

/// PATH with the unpacked programs in front and the administration programs at the end.
fn search_path(unpacked: Option<&Path>) -> OsString {
    let mut path = OsString::new();
    for folder in
        unpacked.map(|root| ["usr/bin", "usr/sbin"].map(|name| root.join(name))).iter().flatten()
    {
        path.push(folder);
        path.push(":");
    }
    path.push(std::env::var_os("PATH").unwrap_or_default());
    path.push(":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin");
    path
}

/// Finds a program in a list of folders.
pub(super) fn find(name: &str, path: &OsString) -> Option<PathBuf> {
    std::env::split_paths(path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The static busybox that images are made of.
///
/// # Errors
/// When there is none.
pub(super) fn busybox() -> Result<PathBuf> {
    if let Some(root) = std::env::var_os("ENTROPY_ENGINE_DIR").map(PathBuf::from) {
        let places = ["bin/busybox", "usr/bin/busybox"];
        if let Some(file) = places.iter().map(|name| root.join(name)).find(|file| file.is_file()) {
            return Ok(file);
        }
    }
    find("busybox", &search_path(None))
        .context("no static busybox: neither in ENTROPY_ENGINE_DIR nor on PATH (busybox-static)")
}
