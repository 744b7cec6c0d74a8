//! Rules, packet and time in; verdict out. The only place that composes faults.
//!
//! Two passes over the rules of a hook, or three. The first one, [`look`], is about chance: who matches, and
//! whether the packet is lost or sent twice. Only if it is not lost the second one, [`delay`], is
//! about time: delays add up, the slowest link wins, a packet is sent early once. So a lost packet
//! takes no bandwidth. (A packet that a [shield](shields) is for meets no rule at all.) [`Progress`] goes from
//! rule to rule; [`Progress::depart`] sums up. From that departure the third one, [`take_slot`], goes on to
//! the slots of shared media, where there are any.
//!
//! What is about single frames ([`wire`]) is decided where there are such: packets that a rule may
//! damage cross the wire, where super-packets are cut up, and at its exit the rules look again.
//!
//! The passes are functions of one rule, so that the kernel can make them the body of a loop that
//! its verifier checks once. There, `Progress` should live in a map: what comes out of memory is
//! unknown to the verifier, and it follows one way through the next rule instead of one for every
//! combination of what the rules before have decided.

mod environment;
mod progress;
mod slot;
pub mod wire;

pub use self::{
    environment::{Environment, Tally},
    progress::{Progress, Verdict},
    slot::{SLOT_STEPS, Waiting, take_slot},
    wire::Crossing,
};
use crate::{
    packet::Packet,
    peer::PeerKey,
    rule::{Direction, MAX_RULES, MAX_SHIELDS, Match, Rule, RuleSet},
    stats::{Counter, bucket},
};

/// What a program knows of its packet, in a map of its own for each CPU: too large for a stack, and
/// what comes out of a map is unknown to the verifier, which then follows one way on from there.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Scratch {
    /// The packet.
    pub packet: Packet,
    /// What was decided about it so far.
    pub progress: Progress,
    /// What was decided about it in the end.
    pub verdict: Verdict,
    /// What was decided about a frame at the wire's exit.
    pub crossing: Crossing,
    /// The packet's first bytes.
    pub near: [u64; NEAR_WORDS],
}

/// Words of [`Scratch::near`]: room for Ethernet header, two VLAN tags, IPv6 header and TCP header, and
/// for an index of seven bits and an IPv6 header behind it.
pub const NEAR_WORDS: usize = 21;

/// Makes it zero, as a store of its own: the compiler makes a call of several, and what it calls in a
/// program of the kernel goes byte by byte, six hundred instructions for a [`Progress`].
#[inline(always)]
fn clear<T: From<u8>>(field: &mut T) {
    // SAFETY: a reference is valid to write to.
    unsafe { (&raw mut *field).write_volatile(T::from(0)) };
}

/// Decides over one packet.
///
/// Every rule looks at every packet, whatever the rules before it decided: so which packets a rule
/// loses and duplicates depends on its seed and on the packets that it matches, and not on
/// other policies. Faults compose: what any rule loses is lost, and so on. Within a rule a packet that
/// is cut off is not asked for loss, and a lost one not for the rest.
#[inline(always)]
pub fn decide<E: Environment>(
    set: &RuleSet,
    direction: Direction,
    packet: &Packet,
    now_ns: u64,
    environment: &E,
) -> Verdict {
    if is_shielded(set, direction, packet, environment) {
        return Verdict::default();
    }
    let mut progress = Progress::ZERO;
    progress.begin();
    for index in 0..MAX_RULES {
        if index >= set.count as usize {
            break;
        }
        look(index, &set.rules[index], direction, packet, now_ns, environment, &mut progress);
    }
    if progress.must_delay() {
        for index in 0..MAX_RULES {
            if index >= set.count as usize {
                break;
            }
            delay(index, &set.rules[index], packet, now_ns, environment, &mut progress);
        }
    }
    progress.depart(now_ns, environment);
    if progress.must_take_slots() {
        for step in 0..MAX_RULES * SLOT_STEPS {
            let (index, step) = (step / SLOT_STEPS, step % SLOT_STEPS);
            if index >= set.count as usize {
                break;
            }
            let rule = &set.rules[index];
            take_slot(index, step, rule, packet, now_ns, environment, &mut progress);
        }
    }
    progress.verdict(now_ns)
}

/// Whether one of the set's shields lets a packet pass, whatever the rules say.
#[inline(always)]
pub fn is_shielded<E: Environment>(
    set: &RuleSet,
    direction: Direction,
    packet: &Packet,
    environment: &E,
) -> bool {
    let used = &set.shields[..(set.shield_count as usize).min(MAX_SHIELDS)];
    used.iter().any(|shield| shields(shield, direction, packet, environment))
}

/// Before all: whether this shield lets a packet pass.
#[inline(always)]
pub fn shields<E: Environment>(
    shield: &Match,
    direction: Direction,
    packet: &Packet,
    environment: &E,
) -> bool {
    matches(shield, direction, packet, environment)
}

/// The first pass: one rule, the one with this index in its set, looks at a packet.
#[inline(always)]
pub fn look<E: Environment>(
    index: usize,
    rule: &Rule,
    direction: Direction,
    packet: &Packet,
    now_ns: u64,
    environment: &E,
    progress: &mut Progress,
) {
    if rule.in_force(now_ns)
        && let Some(tally) = environment.tally(rule.id)
    {
        look_at(index, rule, direction, packet, environment, &tally, progress);
    }
}

/// Both passes of a set that has one rule only: the same, but the rule's counters are looked up once.
#[inline(always)]
pub fn look_and_delay<E: Environment>(
    rule: &Rule,
    direction: Direction,
    packet: &Packet,
    now_ns: u64,
    environment: &E,
    progress: &mut Progress,
) {
    if !rule.in_force(now_ns) {
        return;
    }
    let Some(tally) = environment.tally(rule.id) else { return };
    look_at(0, rule, direction, packet, environment, &tally, progress);
    if progress.must_delay() {
        delay_by(0, rule, packet, now_ns, environment, &tally, progress);
    }
}

#[inline(always)]
fn look_at<E: Environment>(
    index: usize,
    rule: &Rule,
    direction: Direction,
    packet: &Packet,
    environment: &E,
    tally: &E::Tally,
    progress: &mut Progress,
) {
    tally.add(Counter::Seen, 1);
    if !matches(&rule.matcher, direction, packet, environment) {
        return;
    }
    tally.add(Counter::MatchedBytes, u64::from(packet.length));
    let ordinal = tally.add(Counter::Matched, 1);

    if rule.partition.hits(packet) {
        return lose(packet, tally, progress);
    }
    if !rule.loss.is_by_segment() && rule.loss.hits(rule.seed, ordinal, tally) {
        if !rule.loss.marks(packet) {
            return lose(packet, tally, progress);
        }
        tally.add(Counter::Marked, 1);
        progress.mark_ce = 1;
    }
    progress.note_ordinal(index, ordinal);
    if rule.duplicate.hits(rule.seed, ordinal, tally) {
        progress.duplicate(index);
    }
    progress.wire |= u32::from(rule.is_wired());
    if rule.is_timed() {
        progress.note_timed(index);
    }
}

#[inline(always)]
fn lose<T: Tally>(packet: &Packet, tally: &T, progress: &mut Progress) {
    tally.add(Counter::Lost, 1);
    tally.add(Counter::LostBytes, u64::from(packet.length));
    progress.lost = 1;
}

/// The second pass: one rule that matched, the one with this index, says when a packet leaves.
#[inline(always)]
pub fn delay<E: Environment>(
    index: usize,
    rule: &Rule,
    packet: &Packet,
    now_ns: u64,
    environment: &E,
    progress: &mut Progress,
) {
    if progress.lost != 0 || !progress.acts(index) {
        return;
    }
    if let Some(tally) = environment.tally(rule.id) {
        delay_by(index, rule, packet, now_ns, environment, &tally, progress);
    }
}

#[inline(always)]
fn delay_by<E: Environment>(
    index: usize,
    rule: &Rule,
    packet: &Packet,
    now_ns: u64,
    environment: &E,
    tally: &E::Tally,
    progress: &mut Progress,
) {
    let ordinal = progress.ordinal(index);
    // Counted here, where it is certain that the packet is not lost by chance.
    if progress.has_duplicated(index) {
        tally.add(Counter::Duplicated, 1);
    }
    if !rule.is_timed() {
        return;
    }
    let waited_ns =
        if rule.rate.acts() { shape(rule, packet, ordinal, now_ns, tally, progress) } else { 0 };
    if progress.lost != 0 {
        return;
    }
    let early = rule.reorder.hits(rule.seed, ordinal, tally);
    if early {
        tally.add(Counter::Reordered, 1);
        progress.reorder(rule);
    }
    let delay_ns = if rule.delay.acts() {
        let delay_ns = rule.delay.given(rule.seed, ordinal, tally, environment);
        progress.delay(rule, delay_ns);
        // What goes all the way to the front is not delayed.
        if early && rule.reorder.jump_ns == 0 { 0 } else { delay_ns }
    } else {
        0
    };
    progress.split(rule);
    count_delay(tally, delay_ns, waited_ns);
    let given_ns = delay_ns + waited_ns;
    if rule.slot.acts() {
        progress.note_slot(index, given_ns, delay_ns != 0);
    } else {
        count_given(tally, given_ns);
    }
}

/// Sends the packet through the rule's link; returns how long that takes in nanoseconds.
#[inline(always)]
fn shape<T: Tally>(
    rule: &Rule,
    packet: &Packet,
    ordinal: u64,
    now_ns: u64,
    tally: &T,
    progress: &mut Progress,
) -> u64 {
    let shaped = rule.rate.send(packet, ordinal, now_ns, tally);
    if shaped.dropped {
        tally.add(Counter::QueueDropped, 1);
        progress.lost = 1;
        return 0;
    }
    if shaped.mark & (packet.ecn != 0) {
        tally.add(Counter::Marked, 1);
        progress.mark_ce = 1;
    }
    progress.pass_link(shaped.departure_ns);
    shaped.departure_ns - now_ns
}

#[inline(always)]
fn count_delay<T: Tally>(tally: &T, delay_ns: u64, waited_ns: u64) {
    if waited_ns != 0 {
        tally.add(Counter::Shaped, 1);
    }
    if delay_ns != 0 {
        tally.add(Counter::Delayed, 1);
    }
}

#[inline(always)]
fn count_given<T: Tally>(tally: &T, given_ns: u64) {
    if given_ns != 0 {
        tally.add_delay(bucket(given_ns));
    }
}

/// Whether a rule is for a packet: all of its conditions hold.
#[inline(always)]
fn matches<E: Environment>(
    matcher: &Match,
    direction: Direction,
    packet: &Packet,
    environment: &E,
) -> bool {
    matcher.holds(direction, packet)
        && (matcher.peer_group == 0
            || environment.is_peer(&PeerKey::new(
                matcher.peer_group,
                packet.family,
                packet.peer(direction),
            )))
}

#[cfg(test)]
mod tests;
