//! Where things are: the repository and what is made under its `target` directory.

use std::path::{Path, PathBuf};

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    // This crate's folder is always one level below the root.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Everything that is built or downloaded lives below this.
pub(crate) fn target() -> PathBuf {
    root().join("target")
}

/// Programs built for the build itself (`bpf-linker`), in `bin`.
pub(crate) fn tools() -> PathBuf {
    target().join("tools")
}

/// Downloaded packages, kept so that a second run needs no network.
pub(crate) fn packages() -> PathBuf {
    target().join("packages")
}

/// Kernels, the Python environment and the share of the virtual machines.
pub(crate) fn vm() -> PathBuf {
    target().join("vm")
}

/// The only directory that a virtual machine can write to for good.
pub(crate) fn vm_share() -> PathBuf {
    vm().join("share")
}

/// The unpacked private Docker engine and the static busybox that images are made of.
pub(crate) fn engine() -> PathBuf {
    target().join("engine")
}

/// The eBPF object as the daemon embeds it.
pub(crate) fn object() -> PathBuf {
    target().join("bpf").join("entropy.o")
}

/// The target directory of eBPF builds: apart, so that host builds do not invalidate it.
pub(crate) fn bpf_build() -> PathBuf {
    target().join("bpf-build")
}

/// Where cargo puts host binaries of the development or the release profile.
pub(crate) fn binaries(release: bool) -> PathBuf {
    target().join(if release { "release" } else { "debug" })
}
