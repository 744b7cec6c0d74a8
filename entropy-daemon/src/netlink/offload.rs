//! What a device does for its packets at the last moment, taken from it: then the kernel does it before.
//!
//! By ioctl and not by netlink: it is four numbers, the `ethtool` crate of the rust-netlink family can
//! only read them, and its netlink family wants a kernel built with it.

use std::{io, os::fd::AsRawFd as _, os::unix::net::UnixDatagram};

use super::{Netlink, Operation, Passage, Result};

// Commands of linux/ethtool.h, each with the one that reads what it sets.
const ETHTOOL_GTXCSUM: u32 = 0x16;
const ETHTOOL_STXCSUM: u32 = 0x17;
const ETHTOOL_GSG: u32 = 0x18;
const ETHTOOL_SSG: u32 = 0x19;
const ETHTOOL_GTSO: u32 = 0x1e;
const ETHTOOL_STSO: u32 = 0x1f;
const ETHTOOL_GGSO: u32 = 0x23;
const ETHTOOL_SGSO: u32 = 0x24;
const ETHTOOL_GGRO: u32 = 0x2b;
const ETHTOOL_SGRO: u32 = 0x2c;

/// `SIOCETHTOOL` of linux/sockios.h.
const SIOCETHTOOL: libc::Ioctl = 0x8946;

/// What is switched off, and how to ask whether it is.
struct Offload {
    name: &'static str,
    set: u32,
    get: u32,
}

/// Checksums, and all that hangs on them: super-packets are cut up by the kernel (harmonize_features,
/// net/core/dev.c), whatever they are made of.
const SENDING: [Offload; 4] = [
    Offload { name: "segmentation (tso)", set: ETHTOOL_STSO, get: ETHTOOL_GTSO },
    Offload { name: "segmentation (gso)", set: ETHTOOL_SGSO, get: ETHTOOL_GGSO },
    Offload { name: "scatter-gather", set: ETHTOOL_SSG, get: ETHTOOL_GSG },
    Offload { name: "checksums", set: ETHTOOL_STXCSUM, get: ETHTOOL_GTXCSUM },
];

/// Frames are not put together again.
const RECEIVING: [Offload; 1] =
    [Offload { name: "receive (gro)", set: ETHTOOL_SGRO, get: ETHTOOL_GGRO }];

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

impl Netlink {
    /// Makes sure that the veth pair `name0`, `name1` exists as [`Netlink::ensure_veth_pair`] does, and
    /// that all that goes in at `name0` comes out at `name1` as frames of the size that their sender
    /// meant, with right checksums.
    ///
    /// # Errors
    ///
    /// As for a pair; `EOPNOTSUPP` if an offload stays on.
    pub async fn ensure_wire(&self, name0: &str, name1: &str) -> Result<Passage> {
        let pair = self.ensure_veth_pair(name0, name1).await?;
        for (name, offloads) in [(name0, &SENDING[..]), (name1, &RECEIVING[..])] {
            let what = format!("switch off the offloads of {name}");
            let op = Operation::new(&what);
            switch_off(&op, name, offloads)?;
        }
        Ok(pair)
    }
}

fn switch_off(op: &Operation<'_>, device: &str, offloads: &[Offload]) -> Result<()> {
    for offload in offloads {
        ethtool(device, offload.set, 0).map_err(|error| op.failed(error))?;
    }
    // The kernel may refuse without saying so, and one offload may bring back another.
    for offload in offloads {
        if ethtool(device, offload.get, 0).map_err(|error| op.failed(error))? != 0 {
            let text = format!("{} offload stays on", offload.name);
            return Err(op.kernel(libc::EOPNOTSUPP, Some(text)));
        }
    }
    Ok(())
}

/// One command that takes or gives a number, in the network namespace of the calling thread.
fn ethtool(device: &str, command: u32, data: u32) -> io::Result<u32> {
    // Any socket does; this kind is there in every kernel.
    let socket = UnixDatagram::unbound()?;
    let mut value = Value { command, data };
    // SAFETY: all zeros is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if device.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the request and the value that it points to live during the call.
    match unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) } {
        0 => Ok(value.data),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::in_namespace, *};

    #[test]
    fn a_wire_has_no_offloads_and_a_pair_has() {
        in_namespace(async || {
            let netlink = Netlink::new().unwrap();
            let on =
                |device: &str, offload: &Offload| ethtool(device, offload.get, 0).unwrap() != 0;
            netlink.ensure_veth_pair("pair0", "pair1").await.unwrap();
            assert!(SENDING.iter().all(|offload| on("pair0", offload)));
            // What somebody has switched on again goes off again.
            for _ in 0..2 {
                let wire = netlink.ensure_wire("wire0", "wire1").await.unwrap();
                assert_eq!(netlink.index_of("wire1").await, wire.exit);
                assert!(!SENDING.iter().any(|offload| on("wire0", offload)));
                assert!(!on("wire1", &RECEIVING[0]));
                for offload in SENDING.iter().rev() {
                    ethtool("wire0", offload.set, 1).unwrap();
                }
                assert!(SENDING.iter().all(|offload| on("wire0", offload)));
            }
            assert!(ethtool("nothing", ETHTOOL_GSG, 0).is_err());
            assert!(ethtool("a_name_of_16_byt", ETHTOOL_GSG, 0).is_err());
        });
    }
}
