//! Rules, packet and time in; verdict out. The only place that composes faults.

use network_types::ip::IpProto;

use crate::{
    packet::{Packet, Ports},
    peer::{Family, PeerKey},
    rule::{ANY_ICMP, ANY_PROTOCOL, Direction, MAX_RULES, Match, Rule, RuleSet},
};

/// What happens to a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// It vanishes.
    pub lost: bool,
}

/// What deciding needs from around it: the peer map and the rules' counters.
pub trait Environment {
    /// The counters of one rule.
    type Tally: Tally;

    /// Whether an address belongs to a peer group.
    fn is_peer(&self, key: &PeerKey) -> bool;

    /// The counters of the rule with this number. `None` is an internal error: the rule is skipped
    /// and the implementation counts it.
    fn tally(&self, rule: u32) -> Option<Self::Tally>;
}

/// The counters of one rule ([`RuleState`](crate::stats::RuleState)).
pub trait Tally {
    /// A packet passed while the rule was in force.
    fn seen(&self);

    /// The rule matched a packet of this length in bytes. Returns how many it had matched before,
    /// which is the packet's ordinal. Every call must return another number, on whatever CPU.
    fn matched(&self, bytes: u32) -> u64;

    /// The rule lost a packet of this length in bytes.
    fn lost(&self, bytes: u32);
}

/// Decides over one packet.
///
/// Every rule looks at every packet, whatever the rules before it decided: so the decisions of a
/// rule depend on its seed and on the packets that it matches, and not on other policies. Faults
/// compose: what any rule loses is lost.
#[inline(always)]
pub fn decide<E: Environment>(
    set: &RuleSet,
    direction: Direction,
    packet: &Packet,
    now_ns: u64,
    environment: &E,
) -> Verdict {
    let mut verdict = Verdict::default();
    for index in 0..MAX_RULES {
        if index >= set.count as usize {
            break;
        }
        let rule = &set.rules[index];
        if rule.in_force(now_ns) {
            verdict.lost |= rule_loses(rule, direction, packet, environment);
        }
    }
    verdict
}

#[inline(always)]
fn rule_loses<E: Environment>(
    rule: &Rule,
    direction: Direction,
    packet: &Packet,
    environment: &E,
) -> bool {
    let Some(tally) = environment.tally(rule.id) else { return false };
    tally.seen();
    if !matches(&rule.matcher, direction, packet, environment) {
        return false;
    }
    let ordinal = tally.matched(packet.length);
    let lost = rule.partition.hits() | rule.loss.hits(rule.seed, ordinal);
    if lost {
        tally.lost(packet.length);
    }
    lost
}

/// Whether a rule is for a packet: all of its conditions hold.
#[inline(always)]
fn matches<E: Environment>(
    matcher: &Match,
    direction: Direction,
    packet: &Packet,
    environment: &E,
) -> bool {
    matches_protocol(matcher.protocol, packet)
        && matches_ports(matcher, packet.ports)
        && (matcher.peer_group == 0
            || environment.is_peer(&PeerKey::new(
                matcher.peer_group,
                packet.family,
                packet.peer(direction),
            )))
}

#[inline(always)]
fn matches_protocol(wanted: u16, packet: &Packet) -> bool {
    wanted == ANY_PROTOCOL
        || wanted == u16::from(packet.protocol)
        || (wanted == ANY_ICMP
            && packet.protocol
                == match packet.family {
                    Family::V4 => IpProto::Icmp as u8,
                    Family::V6 => IpProto::Ipv6Icmp as u8,
                })
}

#[inline(always)]
fn matches_ports(matcher: &Match, ports: Ports) -> bool {
    let wanted = matcher.port_first..=matcher.port_last;
    matcher.port_last == 0
        || (ports.present
            && (wanted.contains(&ports.source) || wanted.contains(&ports.destination)))
}

#[cfg(test)]
mod tests;
