//! The daemon's own devices, of the line and of the wire: made so that they never speak on their own.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{
        AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoMacVlan, InfoVeth,
        LinkAttribute, LinkFlags, LinkInfo, LinkMessage, MacVlanMode,
    },
};

use super::{Error, Hook, Link, Netlink, Operation, Result, link::message};

/// The largest packet that veth takes, in bytes.
const MTU: u32 = 65535;

const DUMMY: &str = "dummy";
const MACVLAN: &str = "macvlan";
const VETH: &str = "veth";

/// Below what IPv6 takes (1280, RFC 8200), so that the kernel sets up IPv6 on the device only when
/// the size is raised, and by then IFF_MULTICAST is off. Otherwise a host that forwards IPv6 joins
/// the all-routers group on the new device and reports that over it.
const MTU_AT_BIRTH: u32 = 1000;

const MAX_NAME_LEN: usize = 15;

/// Two devices of the daemon's own: what is sent into the first is met at a hook of the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passage {
    /// ifindex of the device that packets are sent into.
    pub entrance: u32,
    /// ifindex of the device where they are met. When it is deleted, the entrance goes with it.
    pub exit: u32,
    /// The exit's hook that meets them.
    ///
    /// Egress, if the entrance is a macvlan upon the exit: the packet is there in the same call that took
    /// it from the entrance's queue. Ingress, if the two are a veth pair: between the ends packets wait
    /// in the backlog of whatever processor sent them, and may overtake one another.
    pub hook: Hook,
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
        let (ends, names) = ([find(entrance), find(exit)], [entrance, exit]);
        let hook = match ends {
            [Some(upper), _] if upper.is(MACVLAN) => Hook::Egress,
            _ => Hook::Ingress,
        };
        for ((end, other), other_name) in
            ends.into_iter().zip([ends[1], ends[0]]).zip([exit, entrance])
        {
            let Some(end) = end else { continue };
            let reason = match hook {
                Hook::Egress => against_macvlan(end, other, other_name, end.name == names[0]),
                Hook::Ingress => against_veth(end, other, other_name),
            };
            if let Some(reason) = reason {
                return Err(Occupied { name: end.name.clone(), index: end.index, reason });
            }
        }
        let [Some(entrance), Some(exit)] = ends else { return Ok(None) };
        Ok(Some(Self { entrance: entrance.index, exit: exit.index, hook }))
    }

    /// The lower device of a line that was left half made, or half removed.
    #[must_use]
    pub fn stump(links: &[Link], entrance: &str, exit: &str) -> Option<u32> {
        let is_stump = |link: &&Link| {
            link.name == exit
                && link.is(DUMMY)
                && link.master.is_none()
                && [MTU, MTU_AT_BIRTH].contains(&link.mtu)
        };
        let stump = links.iter().find(is_stump)?;
        links.iter().all(|link| link.name != entrance).then_some(stump.index)
    }
}

impl Netlink {
    /// Makes sure that a passage from `entrance` to `exit` exists, is up, takes packets of 65535 bytes and
    /// has neither ARP nor IPv6 addresses nor multicast: a macvlan upon a dummy device, or a veth pair
    /// where the kernel has not both. One left by an earlier run, of either kind, is used again.
    ///
    /// # Errors
    ///
    /// [`Error::Foreign`] if a device of one of the names is something else, else what the kernel says.
    pub async fn ensure_line(&self, entrance: &str, exit: &str) -> Result<Passage> {
        let what = format!("set up {entrance} upon {exit}");
        let op = Operation::new(&what);
        check_names(&op, entrance, exit)?;
        let links = self.links().await?;
        let stump = Passage::stump(&links, entrance, exit);
        if stump.is_none()
            && Passage::among(&links, entrance, exit)
                .map_err(|occupied| occupied.refuse(&op))?
                .is_some()
        {
            return self.ensure_passage(&op, entrance, exit).await;
        }
        match self.create_macvlan(&op, entrance, exit, stump).await {
            Ok(()) => self.ensure_passage(&op, entrance, exit).await,
            // What it says of a kind that it does not know (__rtnl_newlink, net/core/rtnetlink.c).
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                self.ensure_veth_pair(entrance, exit).await
            }
            Err(error) => Err(error),
        }
    }

    /// Makes sure that there is a veth pair of these names, as quiet as [`Netlink::ensure_line`] makes one.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn ensure_veth_pair(&self, entrance: &str, exit: &str) -> Result<Passage> {
        let what = format!("set up veth pair {entrance} and {exit}");
        let op = Operation::new(&what);
        check_names(&op, entrance, exit)?;
        let links = self.links().await?;
        if Passage::among(&links, entrance, exit)
            .map_err(|occupied| occupied.refuse(&op))?
            .is_none()
        {
            let peer = LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(newborn(exit))));
            self.create(&op, newborn(entrance), vec![LinkInfo::Kind(InfoKind::Veth), peer]).await?;
        }
        self.ensure_passage(&op, entrance, exit).await
    }

    async fn ensure_passage(
        &self,
        op: &Operation<'_>,
        entrance: &str,
        exit: &str,
    ) -> Result<Passage> {
        let links = self.links().await?;
        let found =
            Passage::among(&links, entrance, exit).map_err(|occupied| occupied.refuse(op))?;
        let passage = found.ok_or_else(|| op.invalid("it vanished right after it was made"))?;
        // A veth whose other end is not up yet has no carrier, and what is sent into it until a
        // kernel worker notices is lost: so the exit comes up first, and the entrance has one. A macvlan
        // does not come up before its lower device at all.
        self.silence(passage.exit).await?;
        self.silence(passage.entrance).await?;
        Ok(passage)
    }

    /// Fails whole: then nothing is left.
    async fn create_macvlan(
        &self,
        op: &Operation<'_>,
        entrance: &str,
        exit: &str,
        stump: Option<u32>,
    ) -> Result<()> {
        let lower = match stump {
            Some(index) => index,
            None => {
                self.create(op, newborn(exit), vec![LinkInfo::Kind(InfoKind::Dummy)]).await?;
                let links = self.links().await?;
                let made = Passage::stump(&links, entrance, exit);
                made.ok_or_else(|| op.invalid("it vanished right after it was made"))?
            }
        };
        let mut upper = newborn(entrance);
        upper.attributes.push(LinkAttribute::Link(lower));
        // Others that somebody puts upon the same device get nothing of what is sent.
        let mode = InfoMacVlan::Mode(MacVlanMode::Private);
        let data = LinkInfo::Data(InfoData::MacVlan(vec![mode]));
        let made = self.create(op, upper, vec![LinkInfo::Kind(InfoKind::MacVlan), data]).await;
        if made.is_err() {
            self.delete_link(lower).await?;
        }
        made
    }

    async fn create(
        &self,
        op: &Operation<'_>,
        mut device: LinkMessage,
        info: Vec<LinkInfo>,
    ) -> Result<()> {
        device.attributes.push(LinkAttribute::LinkInfo(info));
        let request = RouteNetlinkMessage::NewLink(device);
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

fn check_names(op: &Operation<'_>, entrance: &str, exit: &str) -> Result<()> {
    for name in [entrance, exit] {
        if name.is_empty() || name.len() > MAX_NAME_LEN || entrance == exit {
            return Err(op.kernel(libc::EINVAL, Some(format!("bad name {name:?}"))));
        }
    }
    Ok(())
}

/// A device at the moment of its creation.
fn newborn(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.into()));
    message.attributes.push(LinkAttribute::Mtu(MTU_AT_BIRTH));
    message
}

/// Why `end` is not one end of a veth pair with `other` (which should be called `other_name`).
fn against_veth(end: &Link, other: Option<&Link>, other_name: &str) -> Option<String> {
    if let Some(reason) = against_kind(end, VETH) {
        return Some(reason);
    }
    let Some(other) = other else {
        return Some(format!("there is no {other_name} that it could be paired with"));
    };
    let paired = end.peer_netns.is_none() && end.peer_index == Some(other.index);
    (!paired).then(|| format!("its other end is not {other_name}"))
}

/// Why `end` is not the macvlan (`is_upper`) or the dummy device below it.
fn against_macvlan(
    end: &Link,
    other: Option<&Link>,
    other_name: &str,
    is_upper: bool,
) -> Option<String> {
    if let Some(reason) = against_kind(end, if is_upper { MACVLAN } else { DUMMY }) {
        return Some(reason);
    }
    let is_upon = |lower: &Link| end.peer_netns.is_none() && end.peer_index == Some(lower.index);
    (is_upper && !other.is_some_and(is_upon)).then(|| format!("it is not upon {other_name}"))
}

fn against_kind(end: &Link, kind: &str) -> Option<String> {
    match &end.kind {
        Some(other) if other != kind => Some(format!("it is a {other}, not a {kind}")),
        None => Some(format!("it is not a {kind}")),
        _ => end.master.map(|master| format!("it belongs to interface {master}")),
    }
}
