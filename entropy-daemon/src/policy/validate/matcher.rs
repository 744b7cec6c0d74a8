//! The `match` of a policy.

mod packet;

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use toml::de::{DeTable, DeValue};

use super::{bounded, fault};
use crate::network::Network;
use crate::policy::model::{Match, Peer, PortRange, Protocol};
use crate::policy::problem::Mistake;
use crate::policy::report::{Field, Key, Report, Shape};
use crate::policy::text::{closest, quoted};

const PEER_HELP: &str = "write a selector such as \"app=db\" or networks such as [\"10.0.0.0/8\"]";
const PROTOCOL_HELP: &str = "write \"tcp\", \"udp\", \"icmp\", \"sctp\" or a number from 0 to 255";
const PORT_HELP: &str = "write a port such as 443 or a range such as \"8000-8100\"";
const PORTS: &str = "ports are 1 to 65535";
const POLICY_KEY: &str = "write it in the policy itself, beside match";

const MATCH: Shape<Match> = Shape {
    keys: &[
        Key { name: "peer", read: |m, field, report| m.peer = peer(field, report) },
        Key { name: "protocol", read: |m, field, report| m.protocol = protocol(field, report) },
        Key { name: "port", read: |m, field, report| m.port = port(field, report) },
        Key { name: "local_port", read: |m, field, report| m.local_port = port(field, report) },
        Key { name: "remote_port", read: |m, field, report| m.remote_port = port(field, report) },
        Key {
            name: "tcp_flags",
            read: |m, field, report| m.tcp_flags = packet::tcp_flags(field, report),
        },
        Key { name: "length", read: |m, field, report| m.length = packet::length(field, report) },
        Key {
            name: "payload",
            read: |m, field, report| m.payload = packet::payload(field, report),
        },
        Key { name: "flows", read: |m, field, report| m.flows = fault::quantity(field, report) },
    ],
    other_versions: &[],
    elsewhere: &[
        ("name", POLICY_KEY),
        ("target", POLICY_KEY),
        ("direction", POLICY_KEY),
        ("seed", POLICY_KEY),
        ("schedule", POLICY_KEY),
        ("loss", POLICY_KEY),
        ("delay", POLICY_KEY),
        ("reorder", POLICY_KEY),
        ("duplicate", POLICY_KEY),
        ("rate", POLICY_KEY),
        ("slot", POLICY_KEY),
        ("partition", POLICY_KEY),
    ],
};

pub(crate) fn read(field: &Field<'_>, report: &mut Report) -> Match {
    let mut matcher = Match::default();
    let Some(table) = field.value.get_ref().as_table() else {
        let help = "write match = { protocol = \"tcp\", port = 443 }";
        field.not_a(report, "a table", help);
        return matcher;
    };
    MATCH.walk(table, &field.path, &mut matcher, report);
    check_ports(&matcher, table, &field.path, report);
    matcher
}

fn check_ports(matcher: &Match, table: &DeTable<'_>, path: &str, report: &mut Report) {
    let mut wrong = |key: &str, mistake: Mistake| {
        let at = table.get(key).map_or(0, |value| value.span().start);
        report.wrong(at, &format!("{path}.{key}"), mistake);
    };
    let Some(protocol) = matcher.protocol else { return };
    if matcher.tcp_flags.is_some() && protocol != Protocol::Tcp {
        let reason = format!("{protocol} has no TCP flags");
        wrong("tcp_flags", Mistake::new(reason, "write protocol = \"tcp\", or leave it out"));
    }
    if protocol.has_ports() {
        return;
    }
    for (key, _) in matcher.ports().into_iter().filter(|(_, range)| range.is_some()) {
        let reason = format!("ports can be matched with tcp and udp, not with {protocol}");
        let help = format!("remove {key}, or write protocol = \"tcp\" or \"udp\"");
        wrong(key, Mistake::new(reason, help));
    }
}

/// A string is a selector unless it is an address or network; a list holds addresses and networks.
fn peer(field: &Field<'_>, report: &mut Report) -> Option<Peer> {
    match field.value.get_ref() {
        DeValue::String(text) if looks_like_addresses(text) => {
            if text.contains(',') {
                let list: Vec<_> = text.split(',').map(|part| quoted(part.trim())).collect();
                let reason = format!("{} is more than one network", quoted(text));
                let help = format!("write a list: [{}]", list.join(", "));
                field.wrong(report, Mistake::new(reason, help));
                return None;
            }
            let network = field.accept(report, peer_network(text))?;
            Some(Peer::Networks(with_the_rest(vec![network])))
        }
        DeValue::String(text) => super::selector(field, text, report).map(Peer::Containers),
        DeValue::Array(_) => networks(field, report),
        _ => {
            field.not_a(report, "a string or a list", PEER_HELP);
            None
        }
    }
}

pub(crate) fn networks(field: &Field<'_>, report: &mut Report) -> Option<Peer> {
    let list = field.value.get_ref().as_array()?;
    if list.is_empty() {
        let help = "name at least one network, or remove peer to match every address";
        field.wrong(report, Mistake::new("the list of networks is empty", help));
        return None;
    }
    let mut networks: Vec<Network> = Vec::new();
    let mut right = true;
    for (index, value) in list.iter().enumerate() {
        let item = Field { path: format!("{}[{index}]", field.path), value };
        let text = item.string(report, "write a network such as \"10.0.0.0/8\"");
        let network = text.and_then(|text| item.accept(report, peer_network(text)));
        let contrary = |network: &Network| {
            networks.iter().any(|n| n.net == network.net && n.excluded != network.excluded)
        };
        if let Some(network) = network.filter(contrary) {
            let reason = format!("{} is both in the list and left out of it", network.net);
            item.wrong(report, Mistake::new(reason, "remove one of the two"));
            right = false;
        }
        right &= network.is_some();
        networks.extend(network);
    }
    right.then(|| Peer::Networks(with_the_rest(networks)))
}

/// A list of nothing but exclusions means everything else.
fn with_the_rest(mut networks: Vec<Network>) -> Vec<Network> {
    if networks.iter().all(|network| network.excluded) {
        let all = [IpAddr::from([0; 4]), IpAddr::from([0_u16; 8])];
        let all = all.into_iter().filter_map(|any| IpNet::new(any, 0).ok()).map(Network::from);
        networks.splice(0..0, all);
    }
    networks
}

/// A network, or one that is left out: `!10.1.0.0/16`.
pub(crate) fn peer_network(text: &str) -> Result<Network, Mistake> {
    match text.strip_prefix('!') {
        Some(rest) => network(rest).map(|net| Network { excluded: true, ..net.into() }),
        None => network(text).map(Network::from),
    }
}

/// Whether a string was meant to be one or more addresses or networks, right or wrong. No label
/// that anybody uses looks like that: digits and points, or a colon.
pub(crate) fn looks_like_addresses(text: &str) -> bool {
    let looks = |part: &str| {
        let address = part.split(['/', '%']).next().unwrap_or_default();
        let v4 = address.contains('.') && address.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let v6 = address.matches(':').count() >= 2
            && address.bytes().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'));
        v4 || v6
    };
    text.split(',').all(|part| looks(part.trim().trim_start_matches('!')))
}

/// An address or a network without host bits.
fn network(text: &str) -> Result<IpNet, Mistake> {
    let Some(network) = text.parse::<IpAddr>().map(IpNet::from).or_else(|_| text.parse()).ok()
    else {
        return Err(no_network(text));
    };
    if let IpNet::V6(v6) = network
        && let Some(v4) = v6.addr().to_ipv4_mapped()
    {
        let bits = v6.prefix_len().saturating_sub(96);
        let better = if bits == 32 { v4.to_string() } else { format!("{v4}/{bits}") };
        let reason = format!("{} is an IPv4 address in IPv6 form", quoted(text));
        return Err(Mistake::new(reason, format!("write \"{better}\", as in the packets")));
    }
    if network.trunc() != network {
        let reason = format!("{} has bits set beyond its prefix", quoted(text));
        let help = format!(
            "write \"{}\" for the network, \"{}\" for the address",
            network.trunc(),
            network.addr()
        );
        return Err(Mistake::new(reason, help));
    }
    Ok(network)
}

fn no_network(text: &str) -> Mistake {
    let reason = format!("{} is no address or network", quoted(text));
    let address = text.split('/').next().unwrap_or_default().parse::<IpAddr>();
    let help = match (address, text.contains('/')) {
        (Ok(IpAddr::V4(_)), true) => "the prefix length of IPv4 is 0 to 32".to_owned(),
        (Ok(IpAddr::V6(_)), true) => "the prefix length of IPv6 is 0 to 128".to_owned(),
        _ if text.contains('%') => "leave out the zone, from the \"%\" on".to_owned(),
        _ if text.contains('=') => {
            format!("write a selector without the list: peer = {}", quoted(text))
        }
        _ => {
            "write an address such as \"192.0.2.7\" or a network such as \"10.0.0.0/8\"".to_owned()
        }
    };
    Mistake::new(reason, help)
}

/// Names that stand for a number.
const NUMBERED: [(&str, u8); 1] = [("sctp", 132)];

impl FromStr for Protocol {
    type Err = Mistake;

    fn from_str(text: &str) -> Result<Self, Mistake> {
        match text {
            "tcp" => return Ok(Self::Tcp),
            "udp" => return Ok(Self::Udp),
            "icmp" => return Ok(Self::Icmp),
            _ => {}
        }
        if let Some((_, number)) = NUMBERED.iter().find(|(name, _)| *name == text) {
            return Ok(Self::Other(*number));
        }
        let help = match text.to_lowercase().as_str() {
            "icmpv6" | "icmp6" | "ipv6-icmp" => {
                "write \"icmp\": it stands for ICMPv6 on IPv6".to_owned()
            }
            number if number.parse::<u8>().is_ok() => format!("write {number} without quotes"),
            lower => match closest(lower, ["tcp", "udp", "icmp", "sctp"]) {
                Some(meant) => format!("did you mean \"{meant}\"?"),
                None => PROTOCOL_HELP.to_owned(),
            },
        };
        Err(Mistake::new(format!("{} is no name of a protocol", quoted(text)), help))
    }
}

fn protocol(field: &Field<'_>, report: &mut Report) -> Option<Protocol> {
    match field.value.get_ref() {
        DeValue::String(text) => field.accept(report, text.parse()),
        DeValue::Integer(number) => {
            let protocol = bounded(number, "protocol number", PROTOCOL_HELP, 0);
            field.accept(report, protocol.map(Protocol::from_number))
        }
        _ => {
            field.not_a(report, "a string or an integer", PROTOCOL_HELP);
            None
        }
    }
}

impl FromStr for PortRange {
    type Err = Mistake;

    /// Parses a range, `8000-8100`.
    fn from_str(text: &str) -> Result<Self, Mistake> {
        let no_range =
            |help: String| Mistake::new(format!("{} is no port range", quoted(text)), help);
        let is_port = |text: &str| text.parse::<u16>().is_ok_and(|port| port > 0);
        let Some((first, last)) = text.split_once('-') else {
            let help = match text.split_once([':', ',', '.']) {
                _ if is_port(text) => format!("write {text} without quotes"),
                Some((first, last)) if is_port(first) && is_port(last.trim_matches('.')) => {
                    format!(
                        "write \"{first}-{}\"; for single ports, one policy each",
                        last.trim_matches('.')
                    )
                }
                _ => PORT_HELP.to_owned(),
            };
            return Err(no_range(help));
        };
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(first.trim()) || !digits(last.trim()) {
            return Err(no_range(PORT_HELP.to_owned()));
        }
        if !is_port(first.trim()) || !is_port(last.trim()) {
            return Err(no_range(PORTS.to_owned()));
        }
        match (first.trim().parse(), last.trim().parse()) {
            _ if first.trim() != first || last.trim() != last => {
                Err(no_range(format!("write \"{}-{}\"", first.trim(), last.trim())))
            }
            (Ok(first), Ok(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(no_range(format!("the lower port comes first: write \"{last}-{first}\""))),
        }
    }
}

pub(crate) fn port(field: &Field<'_>, report: &mut Report) -> Option<PortRange> {
    match field.value.get_ref() {
        DeValue::String(text) => field.accept(report, text.parse()),
        DeValue::Integer(number) => {
            let port = bounded::<u16>(number, "port", PORTS, 1);
            field.accept(report, port.map(|port| PortRange { first: port, last: port }))
        }
        DeValue::Array(_) => {
            field.not_a(report, "a port or a range", "write one policy for each port");
            None
        }
        _ => {
            field.not_a(report, "a port or a range", PORT_HELP);
            None
        }
    }
}
