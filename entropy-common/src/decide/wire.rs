//! The pass at the wire's exit: rules, one frame and time in; what happens to the frame out.
//!
//! The rate of damage is a share of the frames, as on a physical link, and so is that of a loss by
//! segment. Each rule counts the frames that it matches there ([`Counter::Framed`]), and its decisions
//! are a function of its seed and that number.

use crate::{
    decide::{Environment, Tally, clear, matches},
    fault::corrupt::{Corrupt, Damage},
    packet::Packet,
    record,
    rule::{Direction, MAX_RULES, Rule, RuleSet},
    stats::Counter,
};

record! {
    /// A frame on its way through the rules at the wire's exit.
    pub struct Crossing {
        /// Rules that damage it, one bit each.
        pub corrupted: u32,
        /// The draw for the place of the damage, of the first rule that damages it.
        pub corrupt_draw: u32,
        /// 1: the damage reaches the application. (The flags are numbers because a record has no
        /// `bool`.)
        pub silent: u32,
        /// 1: it is lost.
        pub lost: u32,
        /// 1: it is marked with congestion experienced.
        pub mark_ce: u32,
        #[doc(hidden)]
        pub _pad: u32,
    }
}

impl Crossing {
    /// Nothing is known yet.
    pub const ZERO: Self =
        Self { corrupted: 0, corrupt_draw: 0, silent: 0, lost: 0, mark_ce: 0, _pad: 0 };

    /// The beginning of a frame's way, wherever the memory was before.
    #[inline(always)]
    pub fn begin(&mut self) {
        let Self { corrupted, corrupt_draw, silent, lost, mark_ce, _pad: _ } = self;
        for field in [corrupted, corrupt_draw, silent, lost, mark_ce] {
            clear(field);
        }
    }

    /// Notes that a rule damages the frame. The first one says where; the damage is silent if any of
    /// them is.
    #[inline(always)]
    const fn corrupt(&mut self, index: usize, rule: &Rule, ordinal: u64) {
        if self.corrupted == 0 {
            self.corrupt_draw = Corrupt::place_draw(rule.seed, ordinal);
        }
        self.corrupted |= 1 << (index & 31);
        self.silent |= (rule.corrupt.silent != 0) as u32;
    }

    /// The damage to the frame, if there is any: a frame is damaged once, whatever the number of rules
    /// that want it, and a lost one is not.
    #[inline(always)]
    #[must_use]
    pub const fn damage(&self, packet: &Packet) -> Option<Damage> {
        if self.lost != 0 || self.corrupted == 0 {
            return None;
        }
        Damage::new(packet, self.corrupt_draw, self.silent != 0)
    }
}

/// Decides over one frame: all rules of its hook, and the damage that comes of them.
#[inline(always)]
pub fn decide<E: Environment>(
    set: &RuleSet,
    direction: Direction,
    packet: &Packet,
    now_ns: u64,
    environment: &E,
) -> (Crossing, Option<Damage>) {
    let mut crossing = Crossing::ZERO;
    crossing.begin();
    let rules = || (0..MAX_RULES).take(set.count as usize);
    for index in rules() {
        let rule = &set.rules[index];
        cross(index, rule, direction, packet, now_ns, environment, &mut crossing);
    }
    let damage = crossing.damage(packet);
    if damage.is_some() {
        for index in rules() {
            count(index, &set.rules[index], environment, &crossing);
        }
    }
    (crossing, damage)
}

/// One rule, the one with this index in its set, looks at a frame. Like every rule at a hook it does so
/// whatever the rules before it decided.
#[inline(always)]
pub fn cross<E: Environment>(
    index: usize,
    rule: &Rule,
    direction: Direction,
    packet: &Packet,
    now_ns: u64,
    environment: &E,
    crossing: &mut Crossing,
) {
    if !rule.is_wired() || !rule.in_force(now_ns) {
        return;
    }
    let Some(tally) = environment.tally(rule.id) else { return };
    if !matches(&rule.matcher, direction, packet, environment) {
        return;
    }
    let ordinal = tally.add(Counter::Framed, 1);
    if rule.corrupt.hits(rule.seed, ordinal, &tally) {
        crossing.corrupt(index, rule, ordinal);
    }
    if !rule.loss.is_by_segment() || !rule.loss.hits(rule.seed, ordinal, &tally) {
        return;
    }
    if rule.loss.marks(packet) {
        tally.add(Counter::Marked, 1);
        crossing.mark_ce = 1;
        return;
    }
    tally.add(Counter::Lost, 1);
    tally.add(Counter::LostBytes, u64::from(packet.length));
    crossing.lost = 1;
}

/// Counts the damage for one rule, the one with this index: once it is certain that there is any.
#[inline(always)]
pub fn count<E: Environment>(index: usize, rule: &Rule, environment: &E, crossing: &Crossing) {
    if crossing.corrupted >> (index & 31) & 1 == 0 {
        return;
    }
    if let Some(tally) = environment.tally(rule.id) {
        tally.add(Counter::Corrupted, 1);
    }
}
