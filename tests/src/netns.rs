//! Network namespaces of our own, and what is in them.
//!
//! A namespace is held by nothing but a file descriptor: when the process ends, however it ends, the
//! kernel takes it down with all devices in it.

mod counters;
mod device;
mod wire;

use std::{
    ffi::CString,
    fs::{self, File},
    io,
    net::IpAddr,
    os::fd::AsRawFd as _,
    path::Path,
    thread,
};

use anyhow::{Context as _, Result, bail};
use netlink_packet_route::link::{InfoKind, LinkAttribute};

use crate::{
    netlink::Netlink,
    threads::outcome,
    wait::{patience, until_true},
};

pub use self::wire::{Devices, Line};

/// What the kernel said, if it did.
fn errno(error: &anyhow::Error) -> Option<i32> {
    error.root_cause().downcast_ref::<io::Error>().and_then(io::Error::raw_os_error)
}

/// Puts a qdisc of a kind, without options, at the root of a device in the namespace of the calling
/// thread.
///
/// # Errors
/// When the device is not there, or the kernel refuses.
pub fn set_root_qdisc(index: u32, kind: &str) -> Result<()> {
    Netlink::open()?.add_root_qdisc(index, kind)
}

/// A network namespace.
#[derive(Debug)]
pub struct Netns {
    file: File,
    name: String,
}

impl Netns {
    /// A new namespace with its loopback device up, where nothing speaks unasked: no IPv6 link-local
    /// addresses, no duplicate address detection, no bridge netfilter. `name` is for messages.
    ///
    /// # Errors
    /// Without the rights of root.
    pub fn new(name: &str) -> Result<Self> {
        let made = thread::scope(|scope| {
            scope
                .spawn(|| {
                    // SAFETY: unshare takes a number and changes the calling thread only, which
                    // ends here.
                    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
                        return Err(io::Error::last_os_error());
                    }
                    File::open("/proc/thread-self/ns/net")
                })
                .join()
        });
        let file = outcome(made).context("make a network namespace")?;
        let namespace = Self { file, name: name.into() };
        namespace.run(quieten)??;
        namespace.up("lo")?;
        Ok(namespace)
    }

    /// The namespace behind a file such as `/proc/PID/ns/net`.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        Ok(Self { file, name: path.display().to_string() })
    }

    /// The same namespace again.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn try_clone(&self) -> Result<Self> {
        let file = self.file.try_clone().context("keep a network namespace")?;
        Ok(Self { file, name: self.name.clone() })
    }

    /// The namespace that this process is in.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn host() -> Result<Self> {
        Self::open("/proc/self/ns/net")
    }

    /// Name for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `work` inside, on a thread of its own. Sockets that it opens and processes that it
    /// starts stay inside. A panic goes on in the caller.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let file = &self.file;
        let done = thread::scope(|scope| {
            scope
                .spawn(move || {
                    // SAFETY: the descriptor is open during the call, which changes this thread only.
                    if unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
                        return Err(io::Error::last_os_error());
                    }
                    Ok(work())
                })
                .join()
        });
        outcome(done).with_context(|| format!("enter network namespace {}", self.name))
    }

    /// The calling thread, and all that it starts from now on, is inside for good.
    ///
    /// # Errors
    /// Without the rights of root.
    pub fn enter(&self) -> Result<()> {
        // SAFETY: the descriptor is open during the call, which changes this thread only.
        if unsafe { libc::setns(self.file.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
            return Err(io::Error::last_os_error())
                .with_context(|| format!("enter network namespace {}", self.name));
        }
        Ok(())
    }

    fn netlink<T: Send>(&self, work: impl FnOnce(&Netlink) -> Result<T> + Send) -> Result<T> {
        self.run(|| work(&Netlink::open()?))?.with_context(|| format!("in {}", self.name))
    }

    /// Makes a veth pair between this namespace and another one, both ends up and ready to send.
    ///
    /// # Errors
    /// When a name is taken, or the kernel refuses.
    pub fn veth(&self, name: &str, other: &Self, other_name: &str) -> Result<()> {
        let fd = other.file.as_raw_fd();
        self.netlink(|netlink| netlink.add_veth(name, other_name, fd))?;
        self.up(name)?;
        other.up(other_name)?;
        self.wait_until_ready(name)?;
        other.wait_until_ready(other_name)
    }

    /// The end that came up first learns of the other one by a kernel worker, and until then drops
    /// all that it is to send.
    fn wait_until_ready(&self, name: &str) -> Result<()> {
        until_true(&format!("{name} gets ready"), patience(10), || {
            self.run(|| device::is_running(name))?
        })?;
        // The worker holds the lock of all links until it is done, and so does this.
        self.up(name)
    }

    /// Makes a bridge that forwards at once, up.
    ///
    /// # Errors
    /// When the name is taken, or the kernel refuses.
    pub fn bridge(&self, name: &str) -> Result<()> {
        self.netlink(|netlink| netlink.add_kind(name, InfoKind::Bridge))?;
        self.up(name)
    }

    /// Adds a dummy device.
    ///
    /// # Errors
    /// When the name is taken, or the kernel has none.
    pub fn dummy(&self, name: &str) -> Result<()> {
        self.netlink(|netlink| netlink.add_kind(name, InfoKind::Dummy))
    }

    /// Whether this kernel can make a macvlan upon a dummy device.
    ///
    /// # Errors
    /// When it refuses for another reason than that it does not know the kind.
    pub fn kernel_has_macvlan_and_dummy() -> Result<bool> {
        let namespace = Self::new("probe")?;
        // Without a lower device a macvlan is refused otherwise.
        for (name, kind, usual) in
            [("lower", InfoKind::Dummy, None), ("upper", InfoKind::MacVlan, Some(libc::EINVAL))]
        {
            let Err(error) = namespace.netlink(|netlink| netlink.add_kind(name, kind)) else {
                continue;
            };
            match errno(&error) {
                Some(libc::EOPNOTSUPP) => return Ok(false),
                code if code == usual => {}
                _ => return Err(error),
            }
        }
        Ok(true)
    }

    /// Makes a device a port of a bridge.
    ///
    /// # Errors
    /// When one of them is not there, or the kernel refuses.
    pub fn enslave(&self, name: &str, bridge: &str) -> Result<()> {
        self.change(name, LinkAttribute::Controller(self.index(bridge)?))
    }

    /// Sets the greatest packet that a device sends, in bytes without the Ethernet header.
    ///
    /// # Errors
    /// When the device is not there, or the kernel refuses.
    pub fn set_mtu(&self, name: &str, mtu: u32) -> Result<()> {
        self.change(name, LinkAttribute::Mtu(mtu))
    }

    fn change(&self, name: &str, change: LinkAttribute) -> Result<()> {
        let index = self.index(name)?;
        self.netlink(|netlink| netlink.change_link(index, change))
    }

    /// Sets a device up.
    ///
    /// # Errors
    /// When it is not there, or the kernel refuses.
    pub fn up(&self, name: &str) -> Result<()> {
        let index = self.index(name)?;
        self.netlink(|netlink| netlink.set_up(index))
    }

    /// Sets a device down.
    ///
    /// # Errors
    /// When it is not there, or the kernel refuses.
    pub fn down(&self, name: &str) -> Result<()> {
        let index = self.index(name)?;
        self.netlink(|netlink| netlink.set_down(index))
    }

    /// Deletes a device.
    ///
    /// # Errors
    /// When it is not there, or the kernel refuses.
    pub fn delete(&self, name: &str) -> Result<()> {
        let index = self.index(name)?;
        self.netlink(|netlink| netlink.delete_link(index))
    }

    /// Gives a device an address that can be used at once.
    ///
    /// # Errors
    /// When the device is not there, or the kernel refuses.
    pub fn add_address(&self, name: &str, address: IpAddr, prefix: u8) -> Result<()> {
        let index = self.index(name)?;
        self.netlink(|netlink| netlink.add_address(index, address, prefix))
    }

    /// Adds a default route through `gateway`.
    ///
    /// # Errors
    /// When the gateway is not on a link, or the kernel refuses.
    pub fn add_default_route(&self, gateway: IpAddr) -> Result<()> {
        self.netlink(|netlink| netlink.add_default_route(gateway))
    }

    /// Puts a qdisc of a kind, without options, at the root of a device.
    ///
    /// # Errors
    /// When the device is not there, or the kernel refuses.
    pub fn set_root_qdisc(&self, name: &str, kind: &str) -> Result<()> {
        let index = self.index(name)?;
        self.run(|| set_root_qdisc(index, kind))?
    }

    /// Whether this kernel has a qdisc, tried in a namespace of its own.
    ///
    /// # Errors
    /// When the kernel refuses for another reason than that it does not know the qdisc.
    pub fn kernel_has_qdisc(kind: &str) -> Result<bool> {
        let namespace = Self::new("probe")?;
        match namespace.set_root_qdisc("lo", kind) {
            Ok(()) => Ok(true),
            Err(error) if errno(&error) == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// ifindex of a device.
    ///
    /// # Errors
    /// When it is not there.
    pub fn index(&self, name: &str) -> Result<u32> {
        let name = CString::new(name)?;
        // SAFETY: the string ends with a zero and lives during the call.
        let index = self.run(|| unsafe { libc::if_nametoindex(name.as_ptr()) })?;
        if index == 0 {
            bail!("no device {} in {}", name.to_string_lossy(), self.name);
        }
        Ok(index)
    }

    /// Ethernet address of a device.
    ///
    /// # Errors
    /// When it is not there or has none.
    pub fn mac(&self, name: &str) -> Result<[u8; 6]> {
        // sysfs shows the namespace of who mounted it: the address has to come by ioctl.
        self.run(|| device::hardware_address(name))?
            .with_context(|| format!("read the address of {name} in {}", self.name))
    }

    /// Writes a file below `/proc/sys/net`, which is the namespace's own.
    ///
    /// # Errors
    /// When there is no such file or the kernel refuses.
    pub fn set_sysctl(&self, file: &str, value: &str) -> Result<()> {
        self.run(|| sysctl(file, value))?.with_context(|| format!("in {}", self.name))
    }
}

fn sysctl(file: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/net/{file}");
    fs::write(&path, value).with_context(|| format!("write {value} to {path}"))
}

fn quieten() -> Result<()> {
    for scope in ["all", "default"] {
        // 1: no link-local address unless one is asked for.
        sysctl(&format!("ipv6/conf/{scope}/addr_gen_mode"), "1")?;
        sysctl(&format!("ipv6/conf/{scope}/accept_dad"), "0")?;
        sysctl(&format!("ipv6/conf/{scope}/router_solicitations"), "0")?;
    }
    // Where br_netfilter is loaded (for Docker), a bridge would drop malformed packets.
    for protocol in ["ip", "ip6", "arp"] {
        let file = format!("bridge/bridge-nf-call-{protocol}tables");
        if Path::new("/proc/sys/net").join(&file).exists() {
            sysctl(&file, "0")?;
        }
    }
    Ok(())
}
