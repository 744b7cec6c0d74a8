//! Which packets a rule is for, for people and for programs.

use crate::policy::{LengthRange, PortRange, TcpFlags};
use entropy_common::rule::{ANY_ICMP, ANY_PAYLOAD, ANY_PROTOCOL, Match, WITH_PAYLOAD};
use serde::Serialize;

use super::percent_of_parts;

/// What a packet must be besides its peer; null stands for any.
#[derive(Debug, Serialize)]
pub struct Condition {
    /// `tcp`, `udp`, `icmp` or a decimal IP protocol number.
    protocol: Option<String>,
    /// First port of a range that one of the two ends must lie in.
    port_first: Option<u16>,
    /// Last port of that range.
    port_last: Option<u16>,
    /// First port of a range that the container's own port must lie in.
    local_port_first: Option<u16>,
    /// Last port of that range.
    local_port_last: Option<u16>,
    /// First port of a range that the peer's port must lie in.
    remote_port_first: Option<u16>,
    /// Last port of that range.
    remote_port_last: Option<u16>,
    /// TCP flags that must be set, and with `!` those that must not.
    tcp_flags: Option<String>,
    /// Shortest frame, Ethernet header included.
    length_first_bytes: Option<u32>,
    /// Longest frame; null for any, too.
    length_last_bytes: Option<u32>,
    /// Whether there must be a payload.
    payload: Option<bool>,
    /// Share of the connections.
    flows_percent: Option<f64>,
}

impl Condition {
    /// The conditions of a rule, but for its peer.
    #[must_use]
    pub fn new(matcher: &Match) -> Self {
        let range = |first: u16, last: u16| (last != 0).then_some((first, last)).unzip();
        let (port_first, port_last) = range(matcher.port_first, matcher.port_last);
        let (local_port_first, local_port_last) = range(matcher.local_first, matcher.local_last);
        let (remote_port_first, remote_port_last) =
            range(matcher.remote_first, matcher.remote_last);
        let flags = TcpFlags { mask: matcher.tcp_mask, set: matcher.tcp_value };
        let has_length = matcher.length_first != 0 || matcher.length_last != u32::MAX;
        let flows = matcher.flow_share.parts();
        Self {
            protocol: match matcher.protocol {
                ANY_PROTOCOL => None,
                ANY_ICMP => Some("icmp".into()),
                6 => Some("tcp".into()),
                17 => Some("udp".into()),
                number => Some(number.to_string()),
            },
            port_first,
            port_last,
            local_port_first,
            local_port_last,
            remote_port_first,
            remote_port_last,
            tcp_flags: (flags.mask != 0).then(|| flags.to_string()),
            length_first_bytes: has_length.then_some(matcher.length_first),
            length_last_bytes: (matcher.length_last != u32::MAX).then_some(matcher.length_last),
            payload: (matcher.payload != ANY_PAYLOAD).then_some(matcher.payload == WITH_PAYLOAD),
            flows_percent: (flows != 1 << 32).then(|| percent_of_parts(flows)),
        }
    }

    /// One line, with the peer as it is called, if it is limited to one.
    #[must_use]
    pub fn describe(&self, peer: Option<String>) -> String {
        let protocol = self.protocol.as_ref().map(|protocol| {
            let is_number = protocol.bytes().all(|byte| byte.is_ascii_digit());
            if is_number { format!("protocol {protocol}") } else { protocol.clone() }
        });
        let ports = |what: &str, first: Option<u16>, last: Option<u16>| {
            first.zip(last).map(|(first, last)| format!("{what} {}", PortRange { first, last }))
        };
        let length = self.length_first_bytes.map(|first| {
            let last = self.length_last_bytes.unwrap_or(u32::MAX);
            format!("length {}", LengthRange { first, last })
        });
        let payload = self.payload.map(|with| if with { "payload" } else { "no payload" });
        let parts = [
            peer,
            protocol,
            ports("port", self.port_first, self.port_last),
            ports("local port", self.local_port_first, self.local_port_last),
            ports("remote port", self.remote_port_first, self.remote_port_last),
            self.tcp_flags.as_ref().map(|flags| format!("flags {flags}")),
            length,
            payload.map(str::to_owned),
            self.flows_percent.map(|percent| format!("{percent} % of flows")),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if parts.is_empty() { "all IP packets".into() } else { parts.join(", ") }
    }
}
