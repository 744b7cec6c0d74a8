//! The third pass: packets wait for the slots of shared media.

use crate::{
    decide::{Environment, Progress, Tally, count_given},
    fault::slot::{Found, Intervals, Slot},
    packet::Packet,
    record,
    rule::Rule,
    stats::Counter,
};

/// Steps of [`take_slot`].
pub const SLOT_STEPS: usize = 5;

record! {
    /// What a packet has to wait for at a rule with slots.
    pub struct Waiting {
        /// The time to the slots.
        pub intervals: Intervals,
        /// Its slot.
        pub slot: u64,
        /// What delay and rate of the rule give it, in nanoseconds.
        pub given_ns: u64,
    }
}

impl Waiting {
    /// Nothing.
    pub(super) const ZERO: Self = Self { intervals: [0; 2], slot: 0, given_ns: 0 };
}

impl Progress {
    /// Notes that a rule has slots, and what it has the packet wait besides.
    #[inline(always)]
    pub(super) fn note_slot(&mut self, index: usize, given_ns: u64, delayed: bool) {
        self.slots |= 1 << (index & 31);
        self.delayed |= u32::from(delayed) << (index & 31);
        if let Some(place) = self.waiting.get_mut(index) {
            place.given_ns = given_ns;
        }
    }

    #[inline(always)]
    pub(super) fn note_interval(&mut self, index: usize, which: usize, interval_ns: u64) {
        if let Some(waiting) = self.waiting.get_mut(index) {
            waiting.intervals[which & 1] = interval_ns;
        }
    }

    /// Whether the third pass has anything to do.
    #[inline(always)]
    #[must_use]
    pub const fn must_take_slots(&self) -> bool {
        self.lost == 0 && self.slots != 0
    }

    #[inline(always)]
    pub(super) const fn takes_slot(&self, index: usize) -> bool {
        self.slots >> (index & 31) & 1 != 0
    }

    #[inline(always)]
    pub(super) const fn has_delayed(&self, index: usize) -> bool {
        self.delayed >> (index & 31) & 1 != 0
    }

    #[inline(always)]
    pub(super) fn waiting(&self, index: usize) -> Waiting {
        self.waiting.get(index).map_or(Waiting::ZERO, |waiting| *waiting)
    }

    /// Moves the departure to that of a slot; returns by how much. Slots are in the order of packets,
    /// so none overtakes another, unless the rule is for some packets of a flow only.
    #[inline(always)]
    pub(super) fn take_slot(&mut self, index: usize, rule: &Rule, found: &Found) -> u64 {
        if let Some(waiting) = self.waiting.get_mut(index) {
            waiting.slot = found.slot;
        }
        let wait_ns = found.departure_ns.saturating_sub(self.departure_ns);
        self.departure_ns = found.departure_ns;
        self.in_turn = u32::from(!rule.matcher.splits_flows());
        wait_ns
    }
}

/// The third pass: one step of [`SLOT_STEPS`] by which one rule, the one with this index, has the packet
/// wait for its slot.
///
/// One medium after another, in the order of the rules. What is early passes them by, as with netem.
///
/// In steps, with what each finds out in `progress`: there it is any number to the verifier, which goes
/// on from every single way in which it is found otherwise.
#[inline(always)]
pub fn take_slot<E: Environment>(
    index: usize,
    step: usize,
    rule: &Rule,
    packet: &Packet,
    now_ns: u64,
    environment: &E,
    progress: &mut Progress,
) {
    if progress.lost != 0 || !progress.takes_slot(index) {
        return;
    }
    if step < 2 {
        let ordinal = progress.ordinal(index);
        let interval_ns = rule.slot.interval(rule.seed, ordinal, step, environment);
        return progress.note_interval(index, step, interval_ns);
    }
    let Some(tally) = environment.tally(rule.id) else { return };
    if step == 2 {
        return find_slot(index, rule, now_ns, &tally, progress);
    }
    if progress.is_early() {
        return;
    }
    let Waiting { intervals: [_, after_ns], slot, .. } = progress.waiting(index);
    if step == 3 {
        progress.used_up = u32::from(rule.slot.enter(slot, packet.wire_length(), &tally));
    } else if progress.used_up != 0 {
        Slot::end(slot, after_ns, &tally);
    }
}

#[inline(always)]
fn find_slot<T: Tally>(index: usize, rule: &Rule, now_ns: u64, tally: &T, progress: &mut Progress) {
    let Waiting { intervals: [first_ns, _], given_ns, .. } = progress.waiting(index);
    let mut wait_ns = 0;
    if !progress.is_early() {
        let found = rule.slot.find(first_ns, now_ns, progress.departure_ns, tally);
        if found.dropped {
            tally.add(Counter::QueueDropped, 1);
            progress.lost = 1;
            return;
        }
        wait_ns = progress.take_slot(index, rule, &found);
    }
    if wait_ns != 0 && !progress.has_delayed(index) {
        tally.add(Counter::Delayed, 1);
    }
    count_given(tally, given_ns + wait_ns);
}
