//! What is known of a packet between two rules, and in the end.

use crate::{
    decide::{Environment, Waiting, clear},
    fault::delay::{CONSTANT, MAX_DELAY_NS, at_most, keep_order},
    memory::{Memory, Word},
    record,
    rule::{MAX_RULES, Rule},
};

/// What happens to a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// It vanishes. Then nothing else counts.
    pub lost: bool,
    /// It is marked with congestion experienced.
    pub mark_ce: bool,
    /// It arrives twice.
    pub duplicate: bool,
    /// It crosses the wire, where more is decided about each of its frames ([`super::wire`]).
    pub wire: bool,
    /// It may leave out of turn. The line's `fq` lets no packet of a flow leave before the one that
    /// it waits for, so such a packet must be a flow of its own there.
    pub own_hash: bool,
    /// When it leaves, in nanoseconds of `CLOCK_MONOTONIC`; 0 for now.
    pub departure_ns: u64,
}

record! {
    /// A packet on its way through the rules.
    pub struct Progress {
        /// Ordinals of the packet, by index of the rules that matched it.
        pub ordinals: [u64; MAX_RULES],
        /// What it has to wait for, by index of the rules with slots.
        pub waiting: [Waiting; MAX_RULES],
        /// When the slowest link is through with it, in nanoseconds; 0 without links.
        pub link_ns: u64,
        /// Sum of the delays.
        pub delay_ns: u64,
        /// How far it jumps ahead; `u64::MAX` for all the way, 0 if it is not early.
        pub jump_ns: u64,
        /// How much it is held back where nothing is delayed.
        pub hold_ns: u64,
        /// When it leaves, in nanoseconds of `CLOCK_MONOTONIC`; not before now.
        pub departure_ns: u64,
        /// Rules with something to do in the second pass, one bit each.
        pub acting: u32,
        /// Rules that have it sent twice.
        pub duplicated: u32,
        /// Rules whose slots it has to wait for.
        pub slots: u32,
        /// Those of them that have delayed it besides.
        pub delayed: u32,
        /// The rule whose memory keeps the order: the first one with `order = "keep"`.
        pub keeper: u32,
        /// 1: there is one. (The flags are numbers because a record has no `bool`.)
        pub keeps: u32,
        /// 1: it is lost.
        pub lost: u32,
        /// 1: it is marked.
        pub mark_ce: u32,
        /// 1: it crosses the wire.
        pub wire: u32,
        /// 1: some rule has a delay.
        pub has_delay: u32,
        /// 1: it may leave out of turn.
        pub overtakes: u32,
        /// 1: a shield lets it pass.
        pub shielded: u32,
        /// 1: it leaves in its turn.
        pub in_turn: u32,
        /// 1: it uses up its slot.
        pub used_up: u32,
    }
}

impl Progress {
    /// Nothing is known yet.
    pub const ZERO: Self = Self {
        ordinals: [0; MAX_RULES],
        waiting: [Waiting::ZERO; MAX_RULES],
        link_ns: 0,
        delay_ns: 0,
        jump_ns: 0,
        hold_ns: 0,
        departure_ns: 0,
        acting: 0,
        duplicated: 0,
        slots: 0,
        delayed: 0,
        keeper: 0,
        keeps: 0,
        lost: 0,
        mark_ce: 0,
        wire: 0,
        has_delay: 0,
        overtakes: 0,
        shielded: 0,
        in_turn: 0,
        used_up: 0,
    };

    /// The beginning of a packet's way, wherever the memory was before.
    ///
    /// In place, because there is no room for another one on a program's stack. What rules note by
    /// index stays: it is read for those rules only that have noted something.
    #[inline(always)]
    pub fn begin(&mut self) {
        let Self {
            ordinals: _,
            waiting: _,
            link_ns,
            delay_ns,
            jump_ns,
            hold_ns,
            departure_ns,
            acting,
            duplicated,
            slots,
            delayed,
            keeper,
            keeps,
            lost,
            mark_ce,
            wire,
            has_delay,
            overtakes,
            shielded,
            in_turn,
            used_up,
        } = self;
        for field in [link_ns, delay_ns, jump_ns, hold_ns, departure_ns] {
            clear(field);
        }
        for field in [
            acting, duplicated, slots, delayed, keeper, keeps, lost, mark_ce, wire, has_delay,
            overtakes, shielded, in_turn, used_up,
        ] {
            clear(field);
        }
    }

    /// Whether the second pass has anything to do.
    #[inline(always)]
    #[must_use]
    pub const fn must_delay(&self) -> bool {
        self.lost == 0 && self.acting != 0
    }

    /// Notes the packet's ordinal for a rule that matched.
    #[inline(always)]
    pub(super) fn note_ordinal(&mut self, index: usize, ordinal: u64) {
        if let Some(place) = self.ordinals.get_mut(index) {
            *place = ordinal;
        }
    }

    /// Notes that a rule has to do with time.
    #[inline(always)]
    pub(super) const fn note_timed(&mut self, index: usize) {
        self.acting |= 1 << (index & 31);
    }

    /// Notes that a rule has the packet sent twice.
    #[inline(always)]
    pub(super) const fn duplicate(&mut self, index: usize) {
        self.duplicated |= 1 << (index & 31);
        self.acting |= 1 << (index & 31);
    }

    #[inline(always)]
    pub(super) const fn acts(&self, index: usize) -> bool {
        self.acting >> (index & 31) & 1 != 0
    }

    #[inline(always)]
    pub(super) const fn has_duplicated(&self, index: usize) -> bool {
        self.duplicated >> (index & 31) & 1 != 0
    }

    #[inline(always)]
    pub(super) fn ordinal(&self, index: usize) -> u64 {
        self.ordinals.get(index).map_or(0, |ordinal| *ordinal)
    }

    /// Whether some rule sends it early.
    #[inline(always)]
    pub(super) const fn is_early(&self) -> bool {
        self.jump_ns != 0
    }

    #[inline(always)]
    pub(super) const fn pass_link(&mut self, departure_ns: u64) {
        self.link_ns = keep_order(self.link_ns, departure_ns);
    }

    #[inline(always)]
    pub(super) const fn reorder(&mut self, rule: &Rule) {
        let jump_ns = rule.reorder.jump_ns;
        self.hold_ns = keep_order(self.hold_ns, jump_ns);
        self.jump_ns = keep_order(self.jump_ns, if jump_ns == 0 { u64::MAX } else { jump_ns });
    }

    #[inline(always)]
    pub(super) fn delay(&mut self, rule: &Rule, delay_ns: u64) {
        self.delay_ns += delay_ns;
        self.has_delay = 1;
        if rule.delay.keep_order != 0 && self.keeps == 0 {
            self.keeper = rule.id;
            self.keeps = 1;
        }
        self.overtakes |= u32::from(rule.delay.shape != CONSTANT);
    }

    /// A rule that is for some packets of a flow only takes them out of their turn.
    #[inline(always)]
    pub(super) fn split(&mut self, rule: &Rule) {
        self.overtakes |= u32::from(rule.matcher.splits_flows());
    }

    /// When the packet leaves: the end of the slowest link, then the delays.
    ///
    /// A packet that is early loses as much of its delays as it jumps, all of them by default, but
    /// no link lets it pass; where nothing is delayed it is held back instead. `order = "keep"` has
    /// the last word, but not over packets that are early.
    #[inline(always)]
    pub fn depart<E: Environment>(&mut self, now_ns: u64, environment: &E) {
        let delay_ns = if self.jump_ns != 0 && self.has_delay == 0 {
            self.hold_ns
        } else {
            self.delay_ns.saturating_sub(self.jump_ns)
        };
        let own_ns = at_most(
            keep_order(self.link_ns, now_ns) + at_most(delay_ns, MAX_DELAY_NS),
            now_ns + MAX_DELAY_NS,
        );
        let in_turn = self.keeps != 0 && self.jump_ns == 0 && self.lost == 0;
        self.departure_ns = if in_turn { self.in_turn(own_ns, environment) } else { own_ns };
        self.in_turn = u32::from(in_turn);
    }

    /// The sum of it all.
    #[inline(always)]
    #[must_use]
    pub const fn verdict(&self, now_ns: u64) -> Verdict {
        let waits = self.departure_ns > now_ns;
        let overtakes = self.in_turn == 0 && (self.overtakes != 0 || self.is_early());
        Verdict {
            lost: self.lost != 0,
            mark_ce: self.mark_ce != 0,
            duplicate: self.duplicated != 0,
            wire: self.wire != 0,
            own_hash: waits & overtakes,
            departure_ns: if waits { self.departure_ns } else { 0 },
        }
    }

    #[inline(always)]
    fn in_turn<E: Environment>(&self, own_ns: u64, environment: &E) -> u64 {
        match environment.tally(self.keeper) {
            Some(tally) => keep_order(
                tally.update(Word::Departure, |last_ns| keep_order(last_ns, own_ns)),
                own_ns,
            ),
            None => own_ns,
        }
    }
}
