//! Slot: a shared medium that lets packets go in bursts, as Wi-Fi, DOCSIS and cellular links do.
//!
//! A packet waits for the next slot and leaves in it, together with those that came until then. A slot
//! that is used up, in packets or in bytes, ends at once; the next one begins its time later. A packet
//! that finds no slot before it, the last one being over, waits for a new one of its own: an idle
//! medium has to be acquired, too. This is `netem_dequeue` (net/sched/sch_netem.c), by departure times
//! instead of at them.
//!
//! Slots are given out in the order in which packets come, so none overtakes another here.
//!
//! # Exactness
//! Two words are remembered: when the slot begins that is being filled, with the last digits of its
//! number, and how full the slot of that number is. On one CPU, and on several that take turns, they
//! are exact. Where several CPUs fill the same slot at the same instant, each of them may put one
//! packet too many into it.

#[cfg(any(test, feature = "user"))]
mod medium;

#[cfg(any(test, feature = "user"))]
pub use medium::SlotError;

use crate::{
    chance::{Stream, draw},
    fault::delay::{Delay, MAX_DELAY_NS, Tables, at_most},
    memory::{Memory, Word},
    record,
};

/// Binary digits of a slot's number that stand below its time, in both words. With four, 60 bits are
/// left for nanoseconds: a machine that runs for 36 years.
pub const NUMBER_BITS: u32 = 4;
const NUMBER: u64 = (1 << NUMBER_BITS) - 1;

/// In the word of the room that is taken: bytes in the lower half, then packets, then the slot's number.
const PACKET: u64 = 1 << 32;
const NUMBER_SHIFT: u32 = 64 - NUMBER_BITS;

/// Most packets that a slot can be limited to.
pub const MAX_PACKETS: u32 = (1 << 27) - 1;
/// Most bytes that a slot can be limited to. The packet that reaches the limit may go beyond it.
pub const MAX_BYTES: u32 = (1 << 31) - 1;

record! {
    /// The slots of a medium. Made by [`Slot::new`] on the host.
    pub struct Slot {
        /// Time from the end of a slot, or from the packet that finds none, to the next one. Its
        /// correlation and order mean nothing.
        pub every: Delay,
        /// How long a packet may wait for its slot, in nanoseconds. What would wait longer is dropped,
        /// unless it waits for the slot that it has opened itself.
        pub queue_ns: u64,
        /// After so many packets a slot is used up; 0 for never. At most [`MAX_PACKETS`].
        pub packets: u32,
        /// The packet that makes a slot this many bytes or more is its last one; 0 for any number. At
        /// most [`MAX_BYTES`].
        pub bytes: u32,
    }
}

/// How long it is, in nanoseconds, to the slots of a packet: to the one that it opens, and from one that
/// it uses up to the next.
pub type Intervals = [u64; 2];

/// The slot of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its word.
    pub slot: u64,
    /// When the packet leaves, in nanoseconds: as the slot begins, not before its own departure.
    pub departure_ns: u64,
    /// The packet is dropped, because it would wait too long, and takes no room.
    pub dropped: bool,
}

impl Slot {
    /// No slots: packets leave when they like.
    pub const NONE: Self = Self { every: Delay::NONE, queue_ns: 0, packets: 0, bytes: 0 };

    /// Whether there are slots.
    #[inline(always)]
    #[must_use]
    pub const fn acts(&self) -> bool {
        self.every.acts()
    }

    /// The word of the slot that a packet with this departure of its own leaves in, made from the word
    /// before: the same slot, unless it begins before that departure. Then a new one, `interval_ns`
    /// later.
    #[inline(always)]
    #[must_use]
    pub const fn open(word: u64, own_ns: u64, interval_ns: u64) -> u64 {
        if word >> NUMBER_BITS >= own_ns { word } else { following(word, own_ns + interval_ns) }
    }

    /// The word of the room that is taken in this slot with one more packet of this many bytes, made
    /// from the word before, which may be about an earlier slot.
    ///
    /// What is not limited is not counted.
    #[inline(always)]
    #[must_use]
    pub const fn fill(&self, room: u64, slot: u64, bytes: u64) -> u64 {
        let number = (slot & NUMBER) << NUMBER_SHIFT;
        let before = if room >> NUMBER_SHIFT == slot & NUMBER { room } else { number };
        let packet = if self.packets == 0 { 0 } else { PACKET };
        // Less than the limit was there, and no packet has 2^30 bytes: there is no carry.
        before + packet + if self.bytes == 0 { 0 } else { bytes & 0x3fff_ffff }
    }

    /// Whether a slot with so much room taken is used up.
    #[inline(always)]
    #[must_use]
    pub const fn is_used_up(&self, room: u64) -> bool {
        let packets = (room >> 32) as u32 & (u32::MAX >> NUMBER_BITS);
        (self.packets != 0 && packets >= self.packets)
            || (self.bytes != 0 && room as u32 >= self.bytes)
    }

    /// How long it is to a slot of the packet with this ordinal, in nanoseconds; see [`Intervals`].
    #[inline(always)]
    pub fn interval<T: Tables + ?Sized>(
        &self,
        seed: u64,
        ordinal: u64,
        which: usize,
        tables: &T,
    ) -> u64 {
        let number = ordinal.wrapping_mul(2) + which as u64;
        self.every.drawn(draw(seed, Stream::Slot, number), tables)
    }

    /// Finds the slot of a packet that could leave at `own_ns`, or opens one, `interval_ns` later.
    #[inline(always)]
    pub fn find<M: Memory>(&self, interval_ns: u64, now_ns: u64, own_ns: u64, memory: &M) -> Found {
        let word = memory.update(Word::Slot, |word| Self::open(word, own_ns, interval_ns));
        let slot = Self::open(word, own_ns, interval_ns);
        let begins_ns = slot >> NUMBER_BITS;
        let latest_ns = now_ns + MAX_DELAY_NS;
        let too_late = begins_ns - own_ns > self.queue_ns || begins_ns > latest_ns;
        Found {
            slot,
            departure_ns: at_most(begins_ns, latest_ns),
            dropped: word == slot && too_late,
        }
    }

    /// Takes the room of a packet of this many bytes in its slot, and says whether that uses it up.
    #[inline(always)]
    pub fn enter<M: Memory>(&self, slot: u64, bytes: u64, memory: &M) -> bool {
        if self.packets | self.bytes == 0 {
            return false;
        }
        let room = memory.update(Word::Room, |room| self.fill(room, slot, bytes));
        self.is_used_up(self.fill(room, slot, bytes))
    }

    /// Ends a slot that is used up: the next one is `interval_ns` later.
    #[inline(always)]
    pub fn end<M: Memory>(slot: u64, interval_ns: u64, memory: &M) {
        let next = following(slot, (slot >> NUMBER_BITS) + interval_ns);
        memory.update(Word::Slot, |word| if word == slot { next } else { word });
    }
}

/// The word of a slot that begins at a time and comes after another one.
#[inline(always)]
const fn following(word: u64, begins_ns: u64) -> u64 {
    begins_ns << NUMBER_BITS | (word + 1) & NUMBER
}

#[cfg(test)]
mod tests;
