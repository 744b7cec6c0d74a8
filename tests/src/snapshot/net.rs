//! Links, qdiscs, filters and TCX programs of the namespace of the calling thread.

use anyhow::{Context as _, Result};
use aya::programs::{SchedClassifier, TcAttachType};

use super::wire::{self, Message, dump};

// Messages of linux/rtnetlink.h.
const RTM_GETLINK: u16 = 18;
const RTM_GETQDISC: u16 = 38;
const RTM_GETTFILTER: u16 = 46;

// Attributes of linux/if_link.h and linux/rtnetlink.h.
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_STATS: u16 = 3;
const TCA_CHAIN: u16 = 11;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_ID: u16 = 11;

/// Length of `struct ifinfomsg`.
const IFINFOMSG: usize = 16;
/// Parents under which filters can be (linux/pkt_sched.h): the hooks of clsact, and the ingress
/// qdisc.
const HOOKS: [(&str, u32); 3] =
    [("ingress", 0xffff_fff2), ("egress", 0xffff_fff3), ("ingress qdisc", 0xffff_0000)];

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// `veth`, `bridge`, ...; empty for hardware and `lo`.
    pub kind: String,
    /// Ethernet address.
    pub mac: Vec<u8>,
    /// Largest packet.
    pub mtu: u32,
    /// Index of the bridge that it is a port of; 0 for none.
    pub master: u32,
    /// Index of a veth's other end, in the namespace where that is; 0 for none.
    pub peer: u32,
    /// `IFF_UP` and others, without those that tell of the carrier.
    flags: u32,
}

/// All devices.
///
/// # Errors
/// When the kernel refuses.
pub fn links() -> Result<Vec<Link>> {
    let messages = dump(RTM_GETLINK, &[0; IFINFOMSG]).context("list links")?;
    let mut links: Vec<_> = messages.iter().map(link).collect();
    links.sort_by_key(|link| link.index);
    Ok(links)
}

fn link(message: &Message) -> Link {
    // Up, no ARP, multicast: what somebody has set. Carrier and operation come and go by themselves.
    let settings =
        (libc::IFF_UP | libc::IFF_NOARP | libc::IFF_MULTICAST | libc::IFF_PROMISC) as u32;
    let number = |kind| message.get(kind).map_or(0, wire::number);
    let info = message.get(IFLA_LINKINFO).and_then(|info| wire::get(info, IFLA_INFO_KIND));
    Link {
        index: message.number(4),
        name: message.get(IFLA_IFNAME).map(wire::text).unwrap_or_default(),
        kind: info.map(wire::text).unwrap_or_default(),
        mac: message.get(IFLA_ADDRESS).unwrap_or_default().to_vec(),
        mtu: number(IFLA_MTU),
        master: number(IFLA_MASTER),
        peer: number(IFLA_LINK),
        flags: message.number(8) & settings,
    }
}

/// `struct tcmsg`.
fn tcmsg(index: u32, parent: u32) -> Vec<u8> {
    let words = [0, index, 0, parent, 0];
    words.iter().flat_map(|word: &u32| word.to_ne_bytes()).collect()
}

/// A queueing discipline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qdisc {
    /// The device.
    pub index: u32,
    /// `noqueue`, `clsact`, `tbf`, ...
    pub kind: String,
    /// Major number of its handle in the upper half.
    pub handle: u32,
    /// Where it is.
    pub parent: u32,
}

/// All qdiscs of all devices.
///
/// # Errors
/// When the kernel refuses.
pub fn qdiscs() -> Result<Vec<Qdisc>> {
    let messages = dump(RTM_GETQDISC, &tcmsg(0, 0)).context("list qdiscs")?;
    let mut qdiscs: Vec<_> = messages
        .iter()
        .map(|message| Qdisc {
            index: message.number(4),
            kind: message.get(TCA_KIND).map(wire::text).unwrap_or_default(),
            handle: message.number(8),
            parent: message.number(12),
        })
        .collect();
    qdiscs.sort_by_key(|qdisc| (qdisc.index, qdisc.parent, qdisc.handle));
    Ok(qdiscs)
}

/// How many packets a qdisc of a device has sent.
///
/// # Errors
/// When there is none of this kind, or the kernel refuses.
pub fn qdisc_packets(link: &Link, kind: &str) -> Result<u64> {
    let messages = dump(RTM_GETQDISC, &tcmsg(0, 0)).context("list qdiscs")?;
    let is_it = |message: &&Message| {
        message.number(4) == link.index
            && message.get(TCA_KIND).map(wire::text).as_deref() == Some(kind)
    };
    let found =
        messages.iter().find(is_it).with_context(|| format!("no {kind} on {}", link.name))?;
    // `struct tc_stats`: bytes, then packets (linux/pkt_sched.h).
    let packets = found.get(TCA_STATS).and_then(|statistics| statistics.get(8..));
    Ok(packets.map_or(0, wire::number).into())
}

/// A filter, one line each.
///
/// # Errors
/// When the kernel refuses.
pub fn filters(link: &Link) -> Result<Vec<String>> {
    let mut filters = Vec::new();
    for (hook, parent) in HOOKS {
        let request = tcmsg(link.index, parent);
        let messages = dump(RTM_GETTFILTER, &request).context("list filters")?;
        filters.extend(messages.iter().map(|message| filter(message, hook)));
    }
    Ok(filters)
}

fn filter(message: &Message, hook: &str) -> String {
    let info = message.number(16);
    let (priority, protocol) = (info >> 16, u16::from_be(info as u16));
    let options = message.get(TCA_OPTIONS).unwrap_or_default();
    let program = wire::get(options, TCA_BPF_NAME).map(wire::text).unwrap_or_default();
    let id = wire::get(options, TCA_BPF_ID).map_or(0, wire::number);
    let chain = message.get(TCA_CHAIN).map_or(0, wire::number);
    let kind = message.get(TCA_KIND).map(wire::text).unwrap_or_default();
    let handle = message.number(8);
    format!(
        "{hook}: {kind} priority {priority} handle {handle:#x} protocol {protocol:#06x} chain \
         {chain} program {program:?} id {id}"
    )
}

/// The TCX programs of a device, in their order, one line each; none where the kernel has no TCX.
#[must_use]
pub fn tcx_programs(link: &Link) -> Vec<String> {
    let mut lines = Vec::new();
    for (hook, kind) in [("ingress", TcAttachType::Ingress), ("egress", TcAttachType::Egress)] {
        // An error is a kernel without TCX, or a device or program that has just gone.
        let Ok((_, programs)) = SchedClassifier::query_tcx(&link.name, kind) else { continue };
        lines.extend(programs.iter().enumerate().map(|(place, program)| {
            let name = program.name_as_str().unwrap_or_default();
            format!("{hook}: TCX {place} {name} id {}", program.id())
        }));
    }
    lines
}
