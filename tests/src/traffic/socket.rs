//! Packet sockets: whole frames out of and into a device.

use std::{
    ffi::CString,
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::netns::Netns;

/// Frames taken from the kernel at once.
const BATCH: usize = 64;
/// Room for one frame: more than any MTU here.
const FRAME: usize = 16 << 10;
/// How long to wait for a frame, in milliseconds.
const PATIENCE: libc::c_int = 20;

/// A packet socket bound to one device.
#[derive(Debug)]
pub struct PacketSocket(OwnedFd);

impl PacketSocket {
    /// A socket that only sends.
    ///
    /// # Errors
    /// When the device is not there.
    pub fn sender(namespace: &Netns, device: &str) -> Result<Self> {
        // Protocol 0: the kernel gives it no frames.
        Self::open(namespace, device, 0)
    }

    /// A socket that gets all frames which come in on the device, and holds `buffer` bytes of them.
    ///
    /// # Errors
    /// When the device is not there or the buffer cannot be that large.
    pub fn receiver(namespace: &Netns, device: &str, buffer: usize) -> Result<Self> {
        let socket = Self::open(namespace, device, libc::ETH_P_ALL as u16)?;
        let size = libc::c_int::try_from(buffer)?;
        socket
            .set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, size)
            .context("make the receive buffer large")?;
        // Not those which this namespace sends out (Linux 4.20, include/uapi/linux/if_packet.h).
        const PACKET_IGNORE_OUTGOING: libc::c_int = 23;
        socket.set(libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, 1).context("ignore outgoing")?;
        Ok(socket)
    }

    fn open(namespace: &Netns, device: &str, protocol: u16) -> Result<Self> {
        namespace
            .run(|| open_here(device, protocol))?
            .with_context(|| format!("packet socket on {device} in {}", namespace.name()))
    }

    fn set(&self, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
        let size = size_of_val(&value) as libc::socklen_t;
        // SAFETY: the option's value is one int, which lives during the call.
        let done = unsafe {
            libc::setsockopt(self.0.as_raw_fd(), level, option, (&raw const value).cast(), size)
        };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Sends a frame. `false` when the device says that it was dropped on the spot (`ENOBUFS`), as
    /// it does when a program at its egress drops it.
    ///
    /// # Errors
    /// When the kernel refuses it for another reason.
    pub fn send(&self, frame: &[u8]) -> Result<bool> {
        // SAFETY: pointer and length are of one buffer, which the kernel reads.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        if sent == frame.len() as isize {
            return Ok(true);
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::ENOBUFS) => Ok(false),
            _ => Err(error).with_context(|| format!("send a frame of {} bytes", frame.len())),
        }
    }

    /// Waits a moment for frames and hands each to `take`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn receive(&self, mut take: impl FnMut(&[u8])) -> Result<()> {
        let mut poll = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd, which lives during the call.
        if unsafe { libc::poll(&raw mut poll, 1, PATIENCE) } <= 0 {
            return Ok(());
        }
        let mut frames = vec![0_u8; BATCH * FRAME];
        let mut parts: Vec<libc::iovec> = frames
            .chunks_mut(FRAME)
            .map(|room| libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: FRAME })
            .collect();
        // SAFETY: all zeros is a valid mmsghdr.
        let mut messages = [unsafe { std::mem::zeroed::<libc::mmsghdr>() }; BATCH];
        for (message, part) in messages.iter_mut().zip(&mut parts) {
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
        }
        let (fd, batch) = (self.0.as_raw_fd(), BATCH as libc::c_uint);
        // SAFETY: BATCH messages of one part each; parts and the room they point to live on.
        let count = unsafe {
            libc::recvmmsg(
                fd,
                messages.as_mut_ptr(),
                batch,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        for (message, room) in messages[..count].iter().zip(frames.chunks(FRAME)) {
            let length = message.msg_len as usize;
            ensure!(length < FRAME, "a frame of {length} bytes is longer than expected");
            take(&room[..length]);
        }
        Ok(())
    }

    /// How many frames the kernel threw away since the last call because the buffer was full.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn dropped(&self) -> Result<u32> {
        let mut statistics = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut size = size_of_val(&statistics) as libc::socklen_t;
        // SAFETY: PACKET_STATISTICS writes one tpacket_stats.
        let done = unsafe {
            libc::getsockopt(
                self.0.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut statistics).cast(),
                &raw mut size,
            )
        };
        if done != 0 {
            return Err(io::Error::last_os_error()).context("read packet statistics");
        }
        Ok(statistics.tp_drops)
    }
}

fn open_here(device: &str, protocol: u16) -> Result<PacketSocket> {
    let name = CString::new(device)?;
    // SAFETY: the string ends with a zero and lives during the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 {
        bail!("no such device");
    }
    // Protocol 0 until it is bound: no frame of another device gets in.
    // SAFETY: socket takes numbers only.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error().into());
    }
    // SAFETY: the kernel just gave this descriptor to us alone.
    let socket = PacketSocket(unsafe { OwnedFd::from_raw_fd(fd) });
    // SAFETY: all zeros is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = i32::try_from(index)?;
    let size = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the address lives during the call, and its size is passed.
    if unsafe { libc::bind(fd, (&raw const address).cast(), size) } != 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(socket)
}
