//! Just enough rtnetlink to set a laboratory up, blocking, in the namespace of the calling thread.

use std::{
    io,
    net::IpAddr,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
};

use anyhow::{Context as _, Result};
use netlink_packet_core::{
    ErrorMessage, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage},
    link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType},
    tc::{TcAttribute, TcHandle, TcMessage},
};

/// An rtnetlink socket.
#[derive(Debug)]
pub(crate) struct Netlink(OwnedFd);

impl Netlink {
    pub(crate) fn open() -> Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: socket takes numbers only.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) };
        if fd < 0 {
            return Err(io::Error::last_os_error()).context("open a netlink socket");
        }
        // SAFETY: the kernel just gave this descriptor to us alone.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Makes a veth pair; the peer gets its name in another namespace.
    pub(crate) fn add_veth(&self, name: &str, peer: &str, peer_namespace: RawFd) -> Result<()> {
        let mut other = named(peer);
        other.attributes.push(LinkAttribute::NetNsFd(peer_namespace));
        let data = LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(other)));
        self.add_link(name, vec![LinkInfo::Kind(InfoKind::Veth), data])
    }

    /// Makes a device that needs nothing but its kind.
    pub(crate) fn add_kind(&self, name: &str, kind: InfoKind) -> Result<()> {
        self.add_link(name, vec![LinkInfo::Kind(kind)])
    }

    fn add_link(&self, name: &str, info: Vec<LinkInfo>) -> Result<()> {
        let mut message = named(name);
        message.attributes.push(LinkAttribute::LinkInfo(info));
        self.create(RouteNetlinkMessage::NewLink(message))
            .with_context(|| format!("add link {name}"))
    }

    pub(crate) fn delete_link(&self, index: u32) -> Result<()> {
        self.request(RouteNetlinkMessage::DelLink(numbered(index)), 0)
            .with_context(|| format!("delete link {index}"))
    }

    pub(crate) fn change_link(&self, index: u32, change: LinkAttribute) -> Result<()> {
        let mut message = numbered(index);
        let what = format!("{change:?}");
        message.attributes.push(change);
        self.request(RouteNetlinkMessage::SetLink(message), 0)
            .with_context(|| format!("set {what} on link {index}"))
    }

    pub(crate) fn set_up(&self, index: u32) -> Result<()> {
        self.set_flags(index, LinkFlags::Up).with_context(|| format!("set link {index} up"))
    }

    pub(crate) fn set_down(&self, index: u32) -> Result<()> {
        self.set_flags(index, LinkFlags::empty()).with_context(|| format!("set link {index} down"))
    }

    /// Sets or clears `IFF_UP`.
    fn set_flags(&self, index: u32, flags: LinkFlags) -> Result<()> {
        let mut message = numbered(index);
        message.header.flags = flags;
        message.header.change_mask = LinkFlags::Up;
        self.request(RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Puts a qdisc of a kind, without options, at the root of a device.
    pub(crate) fn add_root_qdisc(&self, index: u32, kind: &str) -> Result<()> {
        let mut message = TcMessage::default();
        message.header.index = index as i32;
        message.header.parent = TcHandle::ROOT;
        message.attributes.push(TcAttribute::Kind(kind.into()));
        self.create(RouteNetlinkMessage::NewQueueDiscipline(message))
            .with_context(|| format!("add qdisc {kind} to link {index}"))
    }

    /// Adds an address that can be used at once: no duplicate address detection.
    pub(crate) fn add_address(&self, index: u32, address: IpAddr, prefix: u8) -> Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = family(address);
        message.header.prefix_len = prefix;
        message.header.index = index;
        message.header.flags = AddressHeaderFlags::Nodad;
        message.attributes = vec![
            AddressAttribute::Local(address),
            AddressAttribute::Address(address),
            AddressAttribute::Flags(AddressFlags::Nodad),
        ];
        self.create(RouteNetlinkMessage::NewAddress(message))
            .with_context(|| format!("add {address}/{prefix} to link {index}"))
    }

    /// Adds a default route through `gateway`.
    pub(crate) fn add_default_route(&self, gateway: IpAddr) -> Result<()> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(gateway);
        message.header.table = libc::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Static;
        message.header.scope = RouteScope::Universe;
        message.header.kind = RouteType::Unicast;
        message.attributes = vec![RouteAttribute::Gateway(match gateway {
            IpAddr::V4(v4) => RouteAddress::Inet(v4),
            IpAddr::V6(v6) => RouteAddress::Inet6(v6),
        })];
        self.create(RouteNetlinkMessage::NewRoute(message))
            .with_context(|| format!("add a default route through {gateway}"))
    }

    fn create(&self, message: RouteNetlinkMessage) -> Result<()> {
        self.request(message, NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Sends a request and waits for its acknowledgement.
    fn request(&self, message: RouteNetlinkMessage, flags: u16) -> Result<()> {
        let mut message = NetlinkMessage::from(message);
        message.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        // SAFETY: pointer and length are of one buffer, which the kernel reads.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
        if sent < 0 {
            return Err(io::Error::last_os_error()).context("send a netlink request");
        }
        let mut answer = vec![0; 16 << 10];
        // SAFETY: pointer and length are of one buffer, which the kernel writes.
        let received =
            unsafe { libc::recv(self.0.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), 0) };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        match NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer[..received])?.payload {
            NetlinkPayload::Error(ErrorMessage { code: None, .. }) => Ok(()),
            NetlinkPayload::Error(error) => Err(error.to_io().into()),
            other => anyhow::bail!("unexpected netlink answer {other:?}"),
        }
    }
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn named(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.into()));
    message
}

fn numbered(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}
