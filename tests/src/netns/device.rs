//! What the calling thread's namespace says of a device. By ioctl: sysfs shows the namespace of who
//! mounted it.

use std::{io, net::UdpSocket, os::fd::AsRawFd as _};

use anyhow::{Result, bail};

/// Ethernet address.
pub(super) fn hardware_address(name: &str) -> Result<[u8; 6]> {
    let answer = ask(name, libc::SIOCGIFHWADDR)?;
    // SAFETY: after a successful SIOCGIFHWADDR this is the field in use; any bytes are valid.
    let data = unsafe { answer.ifr_ifru.ifru_hwaddr.sa_data };
    Ok(std::array::from_fn(|byte| data[byte] as u8))
}

/// Whether the device is up and can carry packets.
pub(super) fn is_running(name: &str) -> Result<bool> {
    let answer = ask(name, libc::SIOCGIFFLAGS)?;
    // SAFETY: after a successful SIOCGIFFLAGS this is the field in use; any bytes are valid.
    let flags = unsafe { answer.ifr_ifru.ifru_flags };
    Ok(i32::from(flags) & libc::IFF_RUNNING != 0)
}

/// Puts one of the questions of netdevice(7) that take a name and give an `ifreq`.
fn ask(name: &str, question: libc::Ioctl) -> Result<libc::ifreq> {
    // SAFETY: all zeros is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        bail!("interface name {name} is too long");
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: the question reads and writes one ifreq, which lives during the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), question, &raw mut request) };
    if done != 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(request)
}
