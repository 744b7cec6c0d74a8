//! Lists of the kernel's routing netlink, read attribute by attribute: a parser that rejects a
//! message for one unknown attribute would hide what a test has to see.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result, bail};

/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Lists that changed under the reader are read again so often.
const ATTEMPTS: usize = 50;
/// Marks a nested attribute and one in network byte order (linux/netlink.h).
const FLAGS: u16 = 0xc000;

/// A message without its netlink header.
#[derive(Debug)]
pub(super) struct Message {
    /// The family's own header and the attributes.
    body: Vec<u8>,
    /// Length of the family's own header.
    header: usize,
}

impl Message {
    /// Four bytes of the family's header, as a number.
    pub(super) fn number(&self, offset: usize) -> u32 {
        number(self.body.get(offset..).unwrap_or_default())
    }

    /// The attribute of this kind, if there is one.
    pub(super) fn get(&self, kind: u16) -> Option<&[u8]> {
        get(self.body.get(self.header..).unwrap_or_default(), kind)
    }
}

/// The first four bytes as a number; zero if there are fewer.
pub(super) fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |four| u32::from_ne_bytes(*four))
}

/// A string without its final zero.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// The first attribute of this kind in a series of attributes.
pub(super) fn get(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    let mut rest = attributes;
    while let Some((head, _)) = rest.split_first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let found = u16::from_ne_bytes([head[2], head[3]]) & !FLAGS;
        let value = rest.get(4..length)?;
        if found == kind {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    None
}

/// Asks for a list, in the network namespace of the calling thread.
pub(super) fn dump(kind: u16, header: &[u8]) -> Result<Vec<Message>> {
    for _ in 0..ATTEMPTS {
        if let Some(messages) = try_dump(kind, header)? {
            return Ok(messages);
        }
    }
    bail!("a list kept changing while it was read")
}

/// `None` when the list changed meanwhile.
fn try_dump(kind: u16, header: &[u8]) -> Result<Option<Vec<Message>>> {
    // SAFETY: socket takes numbers only.
    let fd = unsafe {
        libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error()).context("open a netlink socket");
    }
    // SAFETY: the kernel just gave this descriptor to us alone.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    let mut request = ((HEADER + header.len()) as u32).to_ne_bytes().to_vec();
    request.extend(kind.to_ne_bytes());
    request.extend(flags.to_ne_bytes());
    request.extend([0; 8]);
    request.extend(header);
    // SAFETY: pointer and length are of one buffer, which the kernel reads.
    let sent = unsafe { libc::send(socket.as_raw_fd(), request.as_ptr().cast(), request.len(), 0) };
    if sent < 0 {
        return Err(io::Error::last_os_error()).context("send a netlink request");
    }
    let (mut messages, mut consistent) = (Vec::new(), true);
    loop {
        let bytes = receive(&socket)?;
        let mut rest = &bytes[..];
        while rest.len() >= HEADER {
            let length = number(rest) as usize;
            let Some(message) = rest.get(..length).filter(|_| length >= HEADER) else {
                bail!("truncated netlink message")
            };
            let kind = u16::from_ne_bytes([message[4], message[5]]);
            let flags = libc::c_int::from(u16::from_ne_bytes([message[6], message[7]]));
            consistent &= flags & libc::NLM_F_DUMP_INTR == 0;
            let body = &message[HEADER..];
            match libc::c_int::from(kind) {
                libc::NLMSG_DONE => return Ok(consistent.then_some(messages)),
                libc::NLMSG_ERROR => return error(number(body).cast_signed(), messages),
                _ => messages.push(Message { body: body.to_vec(), header: header.len() }),
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

/// Filters of a qdisc that is not there are no filters, and what vanished has none either.
fn error(code: i32, messages: Vec<Message>) -> Result<Option<Vec<Message>>> {
    match -code {
        0 | libc::EINVAL | libc::ENOENT | libc::ENODEV | libc::EOPNOTSUPP => Ok(Some(messages)),
        errno => Err(io::Error::from_raw_os_error(errno)).context("list by netlink"),
    }
}

fn receive(socket: &OwnedFd) -> Result<Vec<u8>> {
    let mut bytes = vec![0; 64 << 10];
    // SAFETY: pointer and length are of one buffer, which the kernel writes.
    let received =
        unsafe { libc::recv(socket.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    bytes.truncate(received);
    Ok(bytes)
}
