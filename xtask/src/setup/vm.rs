//! What the virtual machines need: QEMU, virtme-ng in an environment of its own, and kernels that
//! are downloaded as packages and unpacked, never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{apt, engine, qemu};
use crate::vm::Kernel;
use crate::{exec, place};

/// The version that the console handling is written for.
const VIRTME: &str = "virtme-ng==1.42";

/// Sets up the machine and every kernel.
///
/// # Errors
/// When a step fails.
pub(crate) fn ensure_all() -> Result<()> {
    for kernel in Kernel::ALL {
        ensure(kernel)?;
    }
    Ok(())
}

/// Sets up the machine and one kernel and returns the kernel's image.
///
/// # Errors
/// When a step fails.
pub(crate) fn ensure(kernel: Kernel) -> Result<PathBuf> {
    qemu::ensure()?;
    ensure_virtme()?;
    // Its busybox is what the initial file system is made of.
    engine::ensure()?;
    ensure_kernel(kernel)
}

/// The folder with `vng`, for PATH.
pub(crate) fn virtme_bin() -> PathBuf {
    place::vm().join("venv/bin")
}

/// Installs virtme-ng into an environment of its own.
fn ensure_virtme() -> Result<()> {
    let venv = place::vm().join("venv");
    // pip writes this name last, so that half an installation does not count.
    let stamp = venv.join(VIRTME);
    // Asked rather than looked at: its first line names the interpreter by path, which is another one
    // when the tree was moved.
    let works = || exec::output(Command::new(virtme_bin().join("vng")).arg("--version")).is_ok();
    if stamp.is_file() && works() {
        return Ok(());
    }
    // The distribution's Python where there is one: a version manager's may vanish with a setting.
    let system = Path::new("/usr/bin/python3");
    if !system.is_file()
        || exec::output(Command::new(system).args(["-c", "import ensurepip"])).is_err()
    {
        apt::install("environment for virtme-ng", &["python3", "python3-venv"])?;
    }
    exec::step(&format!("install {VIRTME} into target/vm"), || {
        fs::create_dir_all(place::vm()).context("create target/vm")?;
        exec::quiet(Command::new(system).args(["-m", "venv", "--clear"]).arg(&venv))?;
        let mut pip = Command::new(virtme_bin().join("pip"));
        pip.args(["install", "--disable-pip-version-check", "--no-input", VIRTME]);
        exec::quiet(&mut pip)?;
        fs::write(&stamp, "").with_context(|| format!("write {}", stamp.display()))
    })
}

/// Downloads and unpacks a kernel and returns its image.
fn ensure_kernel(kernel: Kernel) -> Result<PathBuf> {
    let folder = place::vm().join("kernels").join(kernel.name());
    if let Some(image) = image_in(&folder) {
        return Ok(image);
    }
    exec::step(&format!("download and unpack Linux {}", kernel.name()), || {
        let known = apt::names(kernel.package_prefix())?;
        let Some(package) = newest(kernel, &known) else {
            bail!(
                "the distribution offers no package {}*-amd64; the tests in virtual machines need \
                 Debian's kernels (the other stages run without: `cargo xtask test --only host`)",
                kernel.package_prefix()
            );
        };
        let file = apt::download(&package)?;
        apt::unpack(&[file], &folder, index_modules)?;
        image_in(&folder).with_context(|| format!("{package} holds no kernel image"))
    })
}

/// The newest signed kernel for usual machines among package names.
fn newest(kernel: Kernel, names: &[String]) -> Option<String> {
    let number = |name: &str| -> Option<u32> {
        let rest = name.strip_prefix(kernel.package_prefix())?.strip_suffix("-amd64")?;
        // Left are the number and, for backports, the release: `117+deb12`. Anything with a dash
        // more is a flavour (`-rt`, `-cloud`).
        let number = match rest.split_once('+') {
            Some((number, release)) if release.starts_with("deb") && !release.contains('-') => {
                number
            }
            Some(_) => return None,
            None => rest,
        };
        number.parse().ok()
    };
    let best = names.iter().filter_map(|name| Some((number(name)?, name))).max()?;
    Some(best.1.clone())
}

/// Writes the index that modprobe needs.
fn index_modules(unpacked: &Path) -> Result<()> {
    let image = image_in(unpacked).context("no kernel image in the package")?;
    let version = version_of(&image).context("the kernel image has no version in its name")?;
    let program = exec::find("depmod").context("depmod not found: install kmod")?;
    exec::quiet(Command::new(program).arg("-b").arg(unpacked).arg(version))
}

/// The kernel image below an unpacked package.
fn image_in(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder.join("boot")).ok()?;
    let mut files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    files.find(|file| version_of(file).is_some())
}

/// The version in the name of a kernel image.
fn version_of(image: &Path) -> Option<&str> {
    image.file_name()?.to_str()?.strip_prefix("vmlinuz-")
}

#[cfg(test)]
mod tests {
    use super::newest;
    use crate::vm::Kernel;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn newest_kernel_is_chosen_by_number_and_never_a_flavour() {
        let list = names(&[
            "linux-image-6.12.9+deb12-amd64",
            "linux-image-6.12.117+deb12-amd64",
            "linux-image-6.12.118+deb12-rt-amd64",
            "linux-image-6.12.119+deb12-cloud-amd64",
            "linux-image-6.12.120+deb12-amd64-unsigned",
            "linux-image-6.12.121+deb12-amd64-dbg",
        ]);
        let best = newest(Kernel::V6_12, &list);
        assert_eq!(best.as_deref(), Some("linux-image-6.12.117+deb12-amd64"));
        let list = names(&["linux-image-6.1.0-9-amd64", "linux-image-6.1.0-42-amd64"]);
        let best = newest(Kernel::V6_1, &list);
        assert_eq!(best.as_deref(), Some("linux-image-6.1.0-42-amd64"));
        assert_eq!(newest(Kernel::V6_1, &names(&["linux-image-6.1.0-9-rt-amd64"])), None);
    }
}
