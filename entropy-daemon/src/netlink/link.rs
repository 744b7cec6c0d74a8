//! Network interfaces as this side sees them.

use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkFlags, LinkMessage},
};

use super::{Error, Netlink, Operation, Result, wire};

/// Length of `struct ifinfomsg`.
pub(super) const HEADER_LEN: usize = 16;

// Attributes of linux/if_link.h.
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_INFO_KIND: u16 = 1;

/// One network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Interface index, unique in its namespace while the interface exists.
    pub index: u32,
    /// Interface name; names are reused and renamed, so this is for people.
    pub name: String,
    /// Hardware address, as engines write it: `02:42:ac:11:00:02`.
    pub mac: Option<String>,
    /// Driver kind (`veth`, `bridge`, ...); none for hardware and the loopback.
    pub kind: Option<String>,
    /// Index of the other end (veth) or the lower device, in the namespace `peer_netns`.
    pub peer_index: Option<u32>,
    /// Namespace id of the other end as seen from here; none if it is in this namespace, -1 if the
    /// kernel could not give it an id.
    pub peer_netns: Option<i32>,
    /// Index of the bridge, bond or VRF that it belongs to.
    pub master: Option<u32>,
    /// Administratively up.
    pub up: bool,
    /// Maximum transmission unit in bytes.
    pub mtu: u32,
}

impl Link {
    /// Whether the device is of this driver kind.
    #[must_use]
    pub fn is(&self, kind: &str) -> bool {
        self.kind.as_deref() == Some(kind)
    }

    /// Reads an `RTM_NEWLINK`.
    pub(super) fn parse(raw: &wire::Raw) -> Option<Self> {
        let mut link = Self {
            index: raw.word(4)?,
            name: String::new(),
            mac: None,
            kind: None,
            peer_index: None,
            peer_netns: None,
            master: None,
            up: LinkFlags::from_bits_retain(raw.word(8)?).contains(LinkFlags::Up),
            mtu: 0,
        };
        for (kind, value) in raw.attributes(HEADER_LEN) {
            match kind {
                IFLA_IFNAME => link.name = wire::as_string(value),
                IFLA_ADDRESS => link.mac = mac(value),
                IFLA_MTU => link.mtu = wire::as_u32(value)?,
                // Zero stands for "none" where a driver reports it (tunnels).
                IFLA_LINK => link.peer_index = wire::as_u32(value).filter(|index| *index != 0),
                IFLA_MASTER => link.master = wire::as_u32(value),
                IFLA_LINK_NETNSID => link.peer_netns = wire::as_i32(value),
                IFLA_LINKINFO => {
                    link.kind = wire::attributes(value)
                        .find(|(kind, _)| *kind == IFLA_INFO_KIND)
                        .map(|(_, name)| wire::as_string(name));
                }
                _ => {}
            }
        }
        Some(link)
    }
}

/// Tunnels have addresses of other lengths, which are none here.
fn mac(bytes: &[u8]) -> Option<String> {
    let [a, b, c, d, e, f]: [u8; 6] = bytes.try_into().ok()?;
    Some(format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}"))
}

impl Netlink {
    /// Lists all interfaces. As a side effect the kernel gives every namespace that holds the
    /// other end of a listed veth its id, so that [`Netlink::netns_id`] finds it afterwards.
    ///
    /// # Errors
    ///
    /// Fails if the kernel cannot be asked.
    pub async fn links(&self) -> Result<Vec<Link>> {
        let op = Operation::new("list interfaces");
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let answers = self.dump(&op, request).await?;
        answers
            .iter()
            .map(|raw| Link::parse(raw).ok_or_else(|| op.invalid("truncated interface message")))
            .collect()
    }

    /// Looks up one interface; none if it does not exist (any more).
    ///
    /// # Errors
    ///
    /// Fails if the kernel cannot be asked.
    pub async fn link(&self, index: u32) -> Result<Option<Link>> {
        self.look_up(&Operation::on("look up", index), message(index)).await
    }

    /// Looks up one interface in another namespace, by this one's id for it; none if it does not exist
    /// there (any more).
    ///
    /// # Errors
    ///
    /// Fails if the kernel cannot be asked, or if the id means no namespace any more.
    pub async fn link_in(&self, netns: i32, index: u32) -> Result<Option<Link>> {
        let op = Operation::on("look up in another namespace", index);
        let mut message = message(index);
        message.attributes.push(LinkAttribute::IfNetnsId(netns));
        self.look_up(&op, message).await
    }

    async fn look_up(&self, op: &Operation<'_>, message: LinkMessage) -> Result<Option<Link>> {
        match self.query(op, RouteNetlinkMessage::GetLink(message)).await {
            Ok(raw) => {
                Link::parse(&raw).map(Some).ok_or_else(|| op.invalid("truncated interface message"))
            }
            Err(Error::LinkGone { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes an interface, and with one end of a veth pair the other, with a lower device those upon it.
    ///
    /// # Errors
    ///
    /// [`Error::LinkGone`] if it does not exist, else what the kernel says.
    pub async fn delete_link(&self, index: u32) -> Result<()> {
        let op = Operation::on("delete", index);
        // Index 0 would make the kernel look for a name or a group instead.
        if index == 0 {
            return Err(op.kernel(libc::ENODEV, None));
        }
        self.request(&op, RouteNetlinkMessage::DelLink(message(index)), 0).await
    }
}

/// A request about one interface.
pub(super) fn message(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}
