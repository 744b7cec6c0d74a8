//! The eBPF object that was built into this binary.

use anyhow::{Result, ensure};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/entropy.o"));

/// The object.
///
/// # Errors
/// When the binary was built without it.
pub(super) fn bytes() -> Result<&'static [u8]> {
    ensure!(
        !OBJECT.is_empty(),
        "this binary was built without its eBPF object: build it with `cargo xtask build`"
    );
    Ok(OBJECT)
}
