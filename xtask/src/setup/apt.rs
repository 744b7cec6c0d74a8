//! The distribution's packages: what is installed, installing, downloading and unpacking. The only
//! module that changes the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};

use crate::{exec, place};

/// Package lists older than this are fetched again before something is taken by them.
const LISTS_LAST: Duration = Duration::from_secs(24 * 60 * 60);
/// Whether this process has already fetched the lists: once is enough.
static FRESH: AtomicBool = AtomicBool::new(false);

/// Installs those of `packages` that are not installed yet, without what they merely recommend.
///
/// # Errors
/// When there is no apt-get, no right to use it, or it fails.
pub(crate) fn install(purpose: &str, packages: &[&str]) -> Result<()> {
    let missing: Vec<_> = packages.iter().copied().filter(|name| !is_installed(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    let advice = format!("apt-get install --no-install-recommends {list}");
    let Some(mut command) = as_root("apt-get") else {
        bail!("{purpose}: run as root `{advice}`, then this command again");
    };
    ensure_lists(&missing)?;
    exec::step(&format!("install {list} ({purpose})"), || {
        command.args(["install", "-y", "-q", "--no-install-recommends"]).args(&missing);
        exec::quiet(&mut command).with_context(|| format!("to see why, run as root `{advice}`"))
    })
}

/// Whether every one of `packages` can be had from the distribution.
pub(crate) fn available(packages: &[&str]) -> bool {
    if exec::find("apt-cache").is_none() || ensure_lists(packages).is_err() {
        return false;
    }
    packages.iter().all(|name| is_known(name))
}

/// The names of all known packages that begin with `prefix`.
///
/// # Errors
/// When apt-cache is not there or fails.
pub(crate) fn names(prefix: &str) -> Result<Vec<String>> {
    ensure_lists(&[])?;
    let list = || exec::output(Command::new("apt-cache").args(["pkgnames", prefix]));
    let mut names = list()?;
    if names.trim().is_empty() && update() {
        names = list()?;
    }
    Ok(names.lines().map(str::to_owned).collect())
}

/// The packages that installing `packages` would add to this machine: they and the libraries that
/// it lacks. Nothing is installed.
///
/// # Errors
/// When apt-get is not there or finds no solution.
pub(crate) fn closure(packages: &[&str]) -> Result<Vec<String>> {
    ensure_lists(packages)?;
    let mut command = Command::new("apt-get");
    command.args(["install", "--simulate", "-q", "--no-install-recommends"]).args(packages);
    let plan = exec::output(command.env("LC_ALL", "C"))?;
    Ok(planned(&plan))
}

/// Reads the names out of what `apt-get install --simulate` prints.
fn planned(plan: &str) -> Vec<String> {
    plan.lines()
        .filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next())
        .map(str::to_owned)
        .collect()
}

/// Downloads one package, unless the cache has it, and returns its file.
///
/// # Errors
/// When apt-get fails or leaves no file behind.
pub(crate) fn download(package: &str) -> Result<PathBuf> {
    if let Some(file) = deb_in(&place::packages().join(package)) {
        return Ok(file);
    }
    ensure_lists(&[package])?;
    fetch_package(package, package, &[])
}

/// Downloads what apt-get calls `wanted` into the cache's folder `name`, unless it is there already.
fn fetch_package(name: &str, wanted: &str, options: &[String]) -> Result<PathBuf> {
    let cache = place::packages().join(name);
    if let Some(file) = deb_in(&cache) {
        return Ok(file);
    }
    // The folder gets its name only when the download is whole: half a file never counts.
    let partial = place::packages().join(format!("{name}.partial"));
    clear(&partial)?;
    fs::create_dir_all(&partial).with_context(|| format!("create {}", partial.display()))?;
    let mut command = Command::new("apt-get");
    command.args(options).args(["download", "-q", wanted]).current_dir(&partial);
    // As root apt would drop to a user that may not write here, and warn about it.
    if exec::is_root() {
        command.args(["-o", "APT::Sandbox::User=root"]);
    }
    exec::quiet(&mut command)?;
    if deb_in(&partial).is_none() {
        bail!("apt-get download {wanted} left no file in {}", partial.display());
    }
    clear(&cache)?;
    fs::rename(&partial, &cache).with_context(|| format!("rename {}", partial.display()))?;
    deb_in(&cache).with_context(|| format!("the package {name} vanished from the cache"))
}

/// Package lists of a suite that this machine does not use, in a folder of their own: the machine's
/// own lists and choices stay as they are.
pub(crate) struct Lists {
    options: Vec<String>,
    suite: String,
}

impl Lists {
    /// Fetches the lists of `suite` from where the distribution's own packages come from.
    ///
    /// # Errors
    /// When apt-get knows no such place or the suite is not to be had there.
    pub(crate) fn fetch(suite: &str, folder: &Path) -> Result<Self> {
        let mut targets = Command::new("apt-get");
        let release = suite.split('-').next().unwrap_or(suite);
        targets.args(["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]);
        targets.arg(format!("Codename: {release}"));
        let known = exec::output(&mut targets)?;
        let place = known.lines().next().context("apt-get names no archive")?;
        fs::create_dir_all(folder.join("lists/partial"))
            .with_context(|| format!("create {}", folder.display()))?;
        let sources = folder.join("sources.list");
        fs::write(&sources, format!("deb {place} {suite} main\n"))
            .with_context(|| format!("write {}", sources.display()))?;
        let options = [
            format!("Dir::Etc::sourcelist={}", sources.display()),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            format!("Dir::State::Lists={}", folder.join("lists").display()),
            "APT::Sandbox::User=root".to_owned(),
        ];
        let options = options.into_iter().flat_map(|option| ["-o".to_owned(), option]).collect();
        let lists = Self { options, suite: suite.to_owned() };
        exec::quiet(Command::new("apt-get").args(&lists.options).args(["update", "-q"]))?;
        Ok(lists)
    }

    /// Downloads one package, unless the cache has it, and returns its file.
    ///
    /// # Errors
    /// When apt-get fails or leaves no file behind.
    pub(crate) fn download(&self, package: &str) -> Result<PathBuf> {
        let from_suite = format!("{package}/{}", self.suite);
        fetch_package(&format!("{package}-{}", self.suite), &from_suite, &self.options)
    }
}

/// Unpacks package files into a folder that appears only when it is complete. `finish` gets the
/// folder under its temporary name.
///
/// # Errors
/// When a file cannot be unpacked or `finish` fails.
pub(crate) fn unpack(
    files: &[PathBuf],
    folder: &Path,
    finish: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let partial = folder.with_extension("partial");
    clear(&partial)?;
    fs::create_dir_all(&partial).with_context(|| format!("create {}", partial.display()))?;
    for file in files {
        exec::quiet(Command::new("dpkg").arg("-x").arg(file).arg(&partial))?;
    }
    finish(&partial)?;
    clear(folder)?;
    fs::rename(&partial, folder).with_context(|| format!("rename {}", partial.display()))
}

/// The package file in a folder of the cache.
fn deb_in(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?;
    let mut files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    files.find(|file| file.extension().is_some_and(|extension| extension == "deb"))
}

/// Removes a folder that may not be there.
fn clear(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Whether dpkg has `package` installed and configured.
fn is_installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    query.args(["-W", "-f=${db:Status-Status} ", package]);
    exec::output(&mut query).is_ok_and(|states| states.split(' ').any(|state| state == "installed"))
}

/// Whether the package lists offer `package`.
fn is_known(package: &str) -> bool {
    let mut policy = Command::new("apt-cache");
    policy.args(["policy", package]).env("LC_ALL", "C");
    exec::output(&mut policy)
        .is_ok_and(|text| text.contains("Candidate: ") && !text.contains("Candidate: (none)"))
}

/// Fetches the package lists when they are old or lack one of `packages`.
fn ensure_lists(packages: &[&str]) -> Result<()> {
    if exec::find("apt-get").is_none() {
        bail!("apt-get not found: setup knows Debian and Ubuntu only");
    }
    let stale = lists_age().is_none_or(|age| age > LISTS_LAST);
    if stale || packages.iter().any(|name| !is_known(name)) {
        update();
    }
    Ok(())
}

/// How old the package lists are; `None` when there are none.
fn lists_age() -> Option<Duration> {
    // The lists carry the server's dates; their folders carry the time of the fetch.
    let traces = ["/var/lib/apt/lists", "/var/lib/apt/lists/partial"];
    let times = traces.iter().filter_map(|path| fs::metadata(path).ok()?.modified().ok());
    let has_lists = fs::read_dir("/var/lib/apt/lists").ok()?.flatten().count() > 3;
    let newest = times.max().filter(|_| has_lists)?;
    SystemTime::now().duration_since(newest).ok().or(Some(Duration::ZERO))
}

/// Fetches the package lists, once per process; old lists are better than none, so that a failure
/// is only said. True when the lists are new.
fn update() -> bool {
    if FRESH.swap(true, Ordering::Relaxed) {
        return false;
    }
    let Some(mut command) = as_root("apt-get") else {
        exec::say("the package lists may be old; run as root `apt-get update`");
        return false;
    };
    let result =
        exec::step("fetch the package lists", || exec::quiet(command.args(["update", "-q"])));
    if let Err(error) = &result {
        exec::say(&format!("going on with the package lists as they are: {error:#}"));
    }
    result.is_ok()
}

/// A command that runs `program` as root without asking; `None` when that is not possible.
fn as_root(program: &str) -> Option<Command> {
    let path = exec::find(program)?;
    let mut command = if exec::is_root() {
        Command::new(path)
    } else {
        let mut sudo = Command::new(exec::find("sudo")?);
        sudo.args(["DEBIAN_FRONTEND=noninteractive"]).arg(path);
        sudo
    };
    command.env("DEBIAN_FRONTEND", "noninteractive");
    Some(command)
}

#[cfg(test)]
mod tests {
    use super::planned;

    #[test]
    fn simulated_install_names_only_the_packages_it_would_add() {
        let plan = "Reading package lists...\n\
            Inst runc (1.1.5+ds1-1 Debian:12 [amd64]) []\n\
            Inst docker.io (20.10.24 Debian:12 [amd64])\n\
            Conf runc (1.1.5+ds1-1 Debian:12 [amd64])\n";
        assert_eq!(planned(plan), ["runc", "docker.io"]);
    }
}
