//! Datagrams with what only socket options give them: a traffic class, and being many in one.

use std::{
    io,
    mem::zeroed,
    net::{IpAddr, UdpSocket},
    os::fd::AsRawFd as _,
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};

use super::{APART, LENGTH, content, join, pair, receive, send_all, stay_on_one_cpu};
use crate::netns::Netns;

/// Room for the control messages of a datagram.
const CONTROL: usize = 64;

/// Sets a socket option whose value is an int.
pub(super) fn set(
    socket: &UdpSocket,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let size = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the option's value is one int, which lives during the call.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), size)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends `count` datagrams of a traffic class over IPv4, and returns the class of each that comes.
///
/// # Errors
/// When the kernel refuses.
pub fn send_marked(
    from: &Netns,
    to: &Netns,
    address: IpAddr,
    (count, class): (u32, libc::c_int),
) -> Result<Vec<u8>> {
    let (sender, receiver) = pair(from, to, address)?;
    set(&sender, libc::IPPROTO_IP, libc::IP_TOS, class).context("set the traffic class")?;
    set(&receiver, libc::IPPROTO_IP, libc::IP_RECVTOS, 1).context("ask for the traffic class")?;
    thread::scope(|scope| {
        let sending = scope.spawn(|| send_all(&sender, count));
        let mut classes = Vec::new();
        let received = loop {
            match receive_class(&receiver) {
                Ok(class) => classes.push(class),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(classes),
                Err(error) => break Err(error).context("receive a datagram"),
            }
        };
        join(sending).and(received)
    })
}

/// Receives a datagram and returns its traffic class.
fn receive_class(socket: &UdpSocket) -> io::Result<u8> {
    let (mut bytes, mut control) = ([0_u8; 2 * LENGTH], [0_u64; CONTROL / 8]);
    let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: all zeros is a message without anything.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = CONTROL;
    // SAFETY: the message's parts live during the call.
    if unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has filled in the message, whose control part is aligned.
    let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    if header.is_null() {
        return Err(io::Error::other("no traffic class with a datagram"));
    }
    // SAFETY: the header is inside of `control`.
    let class = unsafe { libc::CMSG_DATA(header) };
    // SAFETY: behind it is the byte that was asked for.
    Ok(unsafe { *class })
}

/// Sends `count` datagrams, `together` of them at a time as one super-packet (`UDP_SEGMENT` of udp(7)),
/// and returns what comes. At most 64, and whole super-packets only.
///
/// # Errors
/// When the kernel refuses.
pub fn send_together(
    from: &Netns,
    to: &Netns,
    address: IpAddr,
    (count, together): (u32, usize),
) -> Result<Vec<Vec<u8>>> {
    ensure!((count as usize).is_multiple_of(together), "{count} is not a multiple of {together}");
    let (sender, receiver) = pair(from, to, address)?;
    let length = LENGTH as libc::c_int;
    set(&sender, libc::SOL_UDP, libc::UDP_SEGMENT, length).context("ask for segmentation")?;
    thread::scope(|scope| {
        let sending = scope.spawn(|| {
            stay_on_one_cpu()?;
            let start = Instant::now();
            for first in (0..count).step_by(together) {
                let contents = (first..first + together as u32).map(content);
                let many: Vec<u8> = contents.flatten().collect();
                sender.send(&many).context("send a super-packet")?;
                let due = start + first * APART;
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            Ok(())
        });
        let received = receive(&receiver, count);
        join(sending).and(received)
    })
}
