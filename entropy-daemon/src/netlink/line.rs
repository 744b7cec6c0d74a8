//! The daemon's own veth pairs, the line and the wire: made so that they never speak on their own.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{
        AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoVeth, LinkAttribute,
        LinkFlags, LinkInfo, LinkMessage,
    },
};

use super::{Error, Link, Netlink, Operation, Result, link::message};

/// The largest packet that veth takes, in bytes.
const MTU: u32 = 65535;

/// Below what IPv6 takes (1280, RFC 8200), so that the kernel sets up IPv6 on the device only when
/// the size is raised, and by then IFF_MULTICAST is off. Otherwise a host that forwards IPv6 joins
/// the all-routers group on the new device and reports that over it.
const MTU_AT_BIRTH: u32 = 1000;

const MAX_NAME_LEN: usize = 15;

/// A veth pair of the daemon's own: what is sent into the first is met at the ingress hook of the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passage {
    /// ifindex of the device that packets are sent into.
    pub entrance: u32,
    /// ifindex of the device where they are met.
    pub exit: u32,
}

/// A device in the place of one of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occupied {
    /// Its name.
    pub name: String,
    /// Its ifindex.
    pub index: u32,
    /// Why it is none of ours.
    pub reason: String,
}

impl Occupied {
    fn refuse(self, op: &Operation<'_>) -> Error {
        let Self { name, index, reason } = self;
        let object = format!("interface {name} (index {index})");
        Error::Foreign { operation: op.describe(), object, reason }
    }
}

impl Passage {
    /// Finds the two of these names among all interfaces; `None` if there is neither.
    ///
    /// # Errors
    ///
    /// If a device of one of the names is anything but one of such two.
    pub fn among(
        links: &[Link],
        entrance: &str,
        exit: &str,
    ) -> std::result::Result<Option<Self>, Occupied> {
        let find = |name: &str| links.iter().find(|link| link.name == name);
        let (first, second) = (find(entrance), find(exit));
        for (end, other, other_name) in [(first, second, exit), (second, first, entrance)] {
            if let Some(end) = end
                && let Some(reason) = reason_against(end, other, other_name)
            {
                return Err(Occupied { name: end.name.clone(), index: end.index, reason });
            }
        }
        Ok(first
            .zip(second)
            .map(|(first, second)| Self { entrance: first.index, exit: second.index }))
    }
}

impl Netlink {
    /// Makes sure that the veth pair `entrance` and `exit` exists, is up, takes packets of 65535 bytes and
    /// has neither ARP nor IPv6 addresses nor multicast. A pair left by an earlier run is used again.
    ///
    /// # Errors
    ///
    /// [`Error::Foreign`] if a device of one of the names is anything but one end of this pair, else what
    /// the kernel says.
    pub async fn ensure_veth_pair(&self, entrance: &str, exit: &str) -> Result<Passage> {
        let what = format!("set up veth pair {entrance} and {exit}");
        let op = Operation::new(&what);
        for name in [entrance, exit] {
            if name.is_empty() || name.len() > MAX_NAME_LEN || entrance == exit {
                return Err(op.kernel(libc::EINVAL, Some(format!("bad name {name:?}"))));
            }
        }
        let pair = match self.find_pair(&op, entrance, exit).await? {
            Some(pair) => pair,
            None => {
                self.create_pair(&op, entrance, exit).await?;
                let found = self.find_pair(&op, entrance, exit).await?;
                found.ok_or_else(|| op.invalid("the pair vanished right after it was made"))?
            }
        };
        // A veth whose other end is not up yet has no carrier, and what is sent into it until a
        // kernel worker notices is lost: so the exit comes up first, and the entrance has one.
        self.silence(pair.exit).await?;
        self.silence(pair.entrance).await?;
        Ok(pair)
    }

    async fn find_pair(
        &self,
        op: &Operation<'_>,
        entrance: &str,
        exit: &str,
    ) -> Result<Option<Passage>> {
        let links = self.links().await?;
        Passage::among(&links, entrance, exit).map_err(|occupied| occupied.refuse(op))
    }

    async fn create_pair(&self, op: &Operation<'_>, entrance: &str, exit: &str) -> Result<()> {
        let mut end = newborn(entrance);
        end.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(newborn(exit)))),
        ]));
        let request = RouteNetlinkMessage::NewLink(end);
        match self.request(op, request, NLM_F_CREATE | NLM_F_EXCL).await {
            // Somebody was faster; the caller looks at what it is.
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            result => result,
        }
    }

    /// Takes everything from one end that would make the kernel send over it, then sets it up.
    /// Each step is a request of its own, because the kernel applies the parts of a single one in
    /// another order.
    async fn silence(&self, index: u32) -> Result<()> {
        let op = Operation::on("silence", index);
        let quiet = LinkFlags::Noarp | LinkFlags::Multicast;
        let mut flags = message(index);
        flags.header.flags = LinkFlags::Noarp;
        flags.header.change_mask = quiet;
        self.request(&op, RouteNetlinkMessage::SetLink(flags.clone()), 0).await?;

        let mut size = message(index);
        size.attributes.push(LinkAttribute::Mtu(MTU));
        self.request(&op, RouteNetlinkMessage::SetLink(size), 0).await?;

        self.forbid_addresses(&op, index).await?;

        flags.header.flags |= LinkFlags::Up;
        flags.header.change_mask |= LinkFlags::Up;
        self.request(&op, RouteNetlinkMessage::SetLink(flags), 0).await
    }

    async fn forbid_addresses(&self, op: &Operation<'_>, index: u32) -> Result<()> {
        let mut addresses = message(index);
        addresses.attributes.push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![
            AfSpecInet6::AddrGenMode(In6AddrGenMode::None),
        ])]));
        match self.request(op, RouteNetlinkMessage::SetLink(addresses), 0).await {
            // A kernel without IPv6 makes no addresses either.
            Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => Ok(()),
            result => result,
        }
    }
}

/// A device at the moment of its creation.
fn newborn(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.into()));
    message.attributes.push(LinkAttribute::Mtu(MTU_AT_BIRTH));
    message
}

/// Why `end` is not one end of a veth pair with `other` (which should be called `other_name`).
fn reason_against(end: &Link, other: Option<&Link>, other_name: &str) -> Option<String> {
    match end.kind.as_deref() {
        Some("veth") => {}
        Some(kind) => return Some(format!("it is a {kind}, not a veth")),
        None => return Some("it is not a veth".into()),
    }
    if let Some(master) = end.master {
        return Some(format!("it belongs to interface {master}"));
    }
    let Some(other) = other else {
        return Some(format!("there is no {other_name} that it could be paired with"));
    };
    let paired = end.peer_netns.is_none() && end.peer_index == Some(other.index);
    (!paired).then(|| format!("its other end is not {other_name}"))
}
