//! Receive packet steering: a packet's flow, not the processor that sent it, says where a device receives it.
//!
//! The kernel has no other way to it than sysfs (Documentation/networking/scaling.rst). Files there belong
//! to the network namespace that the file system was mounted from.

use std::{fs, io, path::PathBuf};

use super::{Error, Netlink, Result};

/// Where the kernel shows devices without hardware.
const DEVICES: &str = "/sys/devices/virtual/net";
/// The list of processors that run, such as `0-3,8`.
const ONLINE: &str = "/sys/devices/system/cpu/online";
/// The mask of the first queue, below a device's directory. A device that has never been steered has zeros.
const MASK: &str = "queues/rx-0/rps_cpus";
/// Processors in a group of the mask (lib/bitmap.c).
const GROUP: usize = 32;

/// How packets come to the receiving end of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steering {
    /// All packets of a flow on one processor, one after the other.
    ByFlow,
    /// On the processor that sent them: a sender that moves to another can overtake itself.
    BySender,
}

impl Netlink {
    /// Lets all processors that run take what `name` receives, each flow on one of them. The device has
    /// the index `index`.
    ///
    /// # Errors
    ///
    /// [`Error::LinkGone`] if sysfs shows no such device: it is gone, or that sysfs is another network
    /// namespace's. `ENOENT` for a kernel without `CONFIG_RPS`, `EROFS` for a sysfs that may not be
    /// written to.
    pub fn steer(&self, name: &str, index: u32) -> Result<()> {
        let what = format!("steer what {name} receives");
        let failed = |error| Error::io(&what, error);
        let device = PathBuf::from(DEVICES).join(name);
        let shown = fs::read_to_string(device.join("ifindex")).ok();
        if shown.and_then(|text| text.trim().parse().ok()) != Some(index) {
            return Err(Error::LinkGone { operation: what, index });
        }
        let online = fs::read_to_string(ONLINE).map_err(failed)?;
        let mask = mask(&online).ok_or_else(|| {
            failed(io::Error::other(format!("{ONLINE} is no list of processors: {online:?}")))
        })?;
        fs::write(device.join(MASK), mask).map_err(failed)
    }
}

/// How the device `name` is steered.
///
/// # Errors
///
/// `ENOENT` if sysfs shows no such device, or a kernel without `CONFIG_RPS`.
pub fn steering(name: &str) -> io::Result<Steering> {
    let mask = fs::read_to_string(PathBuf::from(DEVICES).join(name).join(MASK))?;
    let is_empty = mask.trim().chars().all(|digit| matches!(digit, '0' | ','));
    Ok(if is_empty { Steering::BySender } else { Steering::ByFlow })
}

/// The mask of a list of processors, in the kernel's words: groups of eight digits, the highest first.
fn mask(list: &str) -> Option<String> {
    let mut groups: Vec<u32> = Vec::new();
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        for number in first.parse::<u16>().ok()?..=last.parse::<u16>().ok()? {
            let (group, bit) = (usize::from(number) / GROUP, usize::from(number) % GROUP);
            if groups.len() <= group {
                groups.resize(group + 1, 0);
            }
            groups[group] |= 1 << bit;
        }
    }
    let words: Vec<String> = groups.iter().rev().map(|group| format!("{group:08x}")).collect();
    Some(words.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mask_names_each_processor_of_the_list() {
        for (list, expected) in [
            ("0\n", "00000001"),
            ("0-1", "00000003"),
            ("0,2-3,7", "0000008d"),
            ("0-31", "ffffffff"),
            ("0-32", "00000001,ffffffff"),
            ("64", "00000001,00000000,00000000"),
        ] {
            assert_eq!(mask(list).as_deref(), Some(expected), "{list}");
        }
        for list in ["", "x", "0-", "1,,2", "70000"] {
            assert_eq!(mask(list), None, "{list:?}");
        }
    }
}
