//! What rules would mean, found by asking the code that decides in the kernel about packets that are
//! nowhere. Pure.

use entropy_common::{
    decide::{decide, wire},
    fault::delay::table::{Distribution, Table},
    host::Host,
    packet::{Packet, tcp},
    rule::{ANY_PROTOCOL, Direction, HookKey, Match, Rule, RuleSet},
};

use crate::{plan::Injection, policy::Percentiles};

/// How many packets a rule is asked about.
pub const PACKETS: u32 = 100_000;
/// How many connections are made.
pub const EXCHANGES: u32 = 10_000;

const SECOND_NS: u64 = 1_000_000_000;
/// Shortest time before data is sent again (`TCP_RTO_MIN`, include/net/tcp.h).
const SHORTEST_RTO_NS: u64 = SECOND_NS / 5;
/// Time before the first segment of a connection is sent again (RFC 6298), and its answer.
const FIRST_RTO_NS: u64 = SECOND_NS;
/// How often a segment is sent at most, the waits doubling: `tcp_syn_retries` is 6.
const ATTEMPTS: u32 = 7;
const TCP: u16 = 6;

/// What one rule does to the packets that match it, one of them each second, so that none waits for
/// another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outlook {
    /// How many do not arrive.
    pub lost: u32,
    /// How many arrive twice.
    pub duplicated: u32,
    /// How many arrive damaged.
    pub corrupted: u32,
    /// By how much those that arrive are late, in nanoseconds; `None` if there are none.
    pub delay: Option<Quantiles>,
}

/// How times are spread, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quantiles {
    /// The median.
    pub p50: u64,
    /// Nine of ten are at most this.
    pub p90: u64,
    /// Ninety-nine of a hundred are at most this.
    pub p99: u64,
}

impl Quantiles {
    fn of(mut times: Vec<u64>) -> Option<Self> {
        times.sort_unstable();
        // The nearest rank: the smallest value that enough of them do not exceed.
        let at = |percent: usize| times.get((times.len() * percent).div_ceil(100).max(1) - 1);
        Some(Self { p50: *at(50)?, p90: *at(90)?, p99: *at(99)? })
    }
}

/// TCP connections to a container under all of its rules: set-up, then a request and its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    /// How many come to nothing within seven attempts for a segment.
    pub failed: u32,
    /// From the first segment until the other end knows that the connection stands.
    pub connected: Option<Quantiles>,
    /// From the first segment until the answer is there.
    pub answered: Option<Quantiles>,
}

/// What happens to a packet.
struct Fate {
    /// When it arrives; `None` for never.
    arrival_ns: Option<u64>,
    duplicated: bool,
    corrupted: bool,
    /// Its receiver finds out that it is damaged, and drops it.
    rejected: bool,
}

/// The rules of both directions of an interface, with their memory.
struct Model {
    egress: RuleSet,
    ingress: RuleSet,
    host: Host,
}

impl Model {
    fn new(egress: &[Injection], ingress: &[Injection], open: fn(Match) -> Match) -> Option<Self> {
        let mut tables: Vec<Table> =
            Distribution::ALL.into_iter().map(Distribution::table).collect();
        let mut all = Vec::new();
        for injection in egress.iter().chain(ingress) {
            let id = u32::try_from(all.len()).ok()?;
            let matcher = open(injection.matcher);
            let mut rule = Rule { id, seed: injection.seed, matcher, ..injection.faults.rule() };
            let percentiles = injection.faults.percentiles.as_ref().map(Percentiles::table);
            if let Some((table, _)) = percentiles.and_then(Result::ok) {
                rule.delay.table = u32::try_from(tables.len()).ok()?;
                tables.push(table);
            }
            all.push(rule);
        }
        let (first, second) = all.split_at_checked(egress.len())?;
        Some(Self {
            egress: RuleSet::new(HookKey::new(0, Direction::Egress), first)?,
            ingress: RuleSet::new(HookKey::new(0, Direction::Ingress), second)?,
            host: Host::new(&all, &[]).with_tables(tables),
        })
    }

    /// The hook first, then the wire, if the packet crosses it.
    fn fate(&self, direction: Direction, packet: &Packet, now_ns: u64) -> Fate {
        let set = match direction {
            Direction::Egress => &self.egress,
            Direction::Ingress => &self.ingress,
        };
        let verdict = decide(set, direction, packet, now_ns, &self.host);
        let mut fate = Fate {
            arrival_ns: (!verdict.lost).then_some(now_ns.max(verdict.departure_ns)),
            duplicated: verdict.duplicate,
            corrupted: false,
            rejected: false,
        };
        if !verdict.lost && verdict.wire {
            let (crossing, damage) = wire::decide(set, direction, packet, now_ns, &self.host);
            fate.corrupted = damage.is_some();
            fate.rejected = fate.corrupted && crossing.silent == 0;
            if crossing.lost != 0 {
                fate.arrival_ns = None;
            }
        }
        fate
    }

    /// When a segment is there that is sent again, after twice the time each time, until it is.
    fn deliver(
        &self,
        direction: Direction,
        packet: &Packet,
        now_ns: u64,
        wait_ns: u64,
    ) -> Option<u64> {
        let mut earliest: Option<u64> = None;
        let mut sent_ns = now_ns;
        for attempt in 0..ATTEMPTS {
            if earliest.is_some_and(|arrival_ns| arrival_ns <= sent_ns) {
                break;
            }
            let fate = self.fate(direction, packet, sent_ns);
            let arrival_ns = fate.arrival_ns.filter(|_| !fate.rejected);
            earliest = earliest.into_iter().chain(arrival_ns).min();
            sent_ns += wait_ns << attempt;
        }
        earliest
    }

    /// When a connection that begins now stands, and when the answer is there.
    fn exchange(&self, now_ns: u64) -> (Option<u64>, Option<u64>) {
        let connected = self
            .deliver(Direction::Ingress, &segment(tcp::SYN, 0), now_ns, FIRST_RTO_NS)
            .and_then(|at| {
                let flags = tcp::SYN | tcp::ACK;
                self.deliver(Direction::Egress, &segment(flags, 0), at, FIRST_RTO_NS)
            });
        let Some(at) = connected else { return (None, None) };
        // What tcp_rtt_estimator makes of the first round trip (net/ipv4/tcp_input.c).
        let trip_ns = at - now_ns;
        let wait_ns = trip_ns + (2 * trip_ns).max(SHORTEST_RTO_NS);
        let data = |bytes| segment(tcp::PSH | tcp::ACK, bytes);
        let answered = self
            .deliver(Direction::Ingress, &data(200), at, wait_ns)
            .and_then(|at| self.deliver(Direction::Egress, &data(1000), at, wait_ns));
        (connected, answered)
    }
}

/// A segment with so many bytes of data.
fn segment(tcp_flags: u8, payload: u32) -> Packet {
    let headers = Packet::EXAMPLE.length - Packet::EXAMPLE.payload;
    let upper_length = Packet::EXAMPLE.upper_length - Packet::EXAMPLE.payload + payload;
    Packet { tcp_flags, payload, upper_length, length: headers + payload, ..Packet::EXAMPLE }
}

/// Asks one rule about [`PACKETS`] packets that match it.
#[must_use]
pub fn of_injection(injection: &Injection) -> Outlook {
    let Some(model) = Model::new(std::slice::from_ref(injection), &[], |_| Match::ALL) else {
        return Outlook::default();
    };
    let packet = Packet {
        tcp_flags: injection.matcher.tcp_value | tcp::ACK & !injection.matcher.tcp_mask,
        ..Packet::EXAMPLE
    };
    let mut outlook = Outlook::default();
    let mut delays = Vec::with_capacity(PACKETS as usize);
    for number in 1..=u64::from(PACKETS) {
        let now_ns = number * SECOND_NS;
        let fate = model.fate(Direction::Egress, &packet, now_ns);
        outlook.duplicated += u32::from(fate.duplicated);
        outlook.corrupted += u32::from(fate.corrupted);
        match fate.arrival_ns {
            Some(arrival_ns) => delays.push(arrival_ns - now_ns),
            None => outlook.lost += 1,
        }
    }
    outlook.delay = Quantiles::of(delays);
    outlook
}

/// Makes [`EXCHANGES`] connections from a peer that all the rules match, if they are for TCP. `None`
/// if none of them is.
#[must_use]
pub fn exchange(egress: &[Injection], ingress: &[Injection]) -> Option<Exchange> {
    let for_tcp = |injections: &[Injection]| -> Vec<Injection> {
        let fits =
            |injection: &&Injection| matches!(injection.matcher.protocol, ANY_PROTOCOL | TCP);
        injections.iter().filter(fits).cloned().collect()
    };
    let (egress, ingress) = (for_tcp(egress), for_tcp(ingress));
    if egress.is_empty() && ingress.is_empty() {
        return None;
    }
    let model = Model::new(&egress, &ingress, |matcher| Match {
        tcp_mask: matcher.tcp_mask,
        tcp_value: matcher.tcp_value,
        length_first: matcher.length_first,
        length_last: matcher.length_last,
        payload: matcher.payload,
        ..Match::ALL
    })?;
    let mut exchange = Exchange::default();
    let (mut connected, mut answered) = (Vec::new(), Vec::new());
    // Longer than all attempts for a segment together, so that no exchange meets another.
    const PAUSE_NS: u64 = 3600 * SECOND_NS;
    for number in 1..=u64::from(EXCHANGES) {
        let now_ns = number * PAUSE_NS;
        let (connect, answer) = model.exchange(now_ns);
        connected.extend(connect.map(|at| at - now_ns));
        answered.extend(answer.map(|at| at - now_ns));
        exchange.failed += u32::from(answer.is_none());
    }
    exchange.connected = Quantiles::of(connected);
    exchange.answered = Quantiles::of(answered);
    Some(exchange)
}

#[cfg(test)]
mod tests;
