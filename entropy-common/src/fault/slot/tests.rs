extern crate std;

use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::{
    fault::delay::table::{Distribution, Table},
    host::HostMemory,
    testing::kolmogorov_smirnov,
};

const MS: u64 = 1_000_000;
const NO_TABLES: [Table; 0] = [];

fn slots(every_ms: u64, packets: u32, bytes: u64) -> Slot {
    Slot::new(Delay::constant(every_ms * MS), MAX_DELAY_NS, packets, bytes).unwrap()
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Taken {
    departure_ns: u64,
    dropped: bool,
}

impl Slot {
    /// What becomes of the packet with this ordinal.
    fn of(
        &self,
        (seed, ordinal): (u64, u64),
        bytes: u64,
        (now_ns, own_ns): (u64, u64),
        memory: &HostMemory,
        tables: &[Table],
    ) -> Taken {
        let intervals = [0, 1].map(|which| self.interval(seed, ordinal, which, tables));
        let Found { slot, departure_ns, dropped } = self.find(intervals[0], now_ns, own_ns, memory);
        if dropped {
            return Taken { departure_ns: own_ns, dropped };
        }
        if self.enter(slot, bytes, memory) {
            Self::end(slot, intervals[1], memory);
        }
        Taken { departure_ns, dropped }
    }
}

/// What becomes of packets of 100 bytes that want to leave at these times.
fn taken(slot: &Slot, own_ns: impl IntoIterator<Item = u64>) -> Vec<Taken> {
    let memory = HostMemory::default();
    let take =
        |(n, own_ns): (u64, u64)| slot.of((7, n), 100, (own_ns, own_ns), &memory, &NO_TABLES[..]);
    (0..).zip(own_ns).map(take).collect()
}

fn departures_ms(slot: &Slot, own_ms: &[u64]) -> Vec<u64> {
    let taken = taken(slot, own_ms.iter().map(|ms| ms * MS));
    taken.into_iter().map(|taken| taken.departure_ns / MS).collect()
}

#[test]
fn packets_that_come_before_a_slot_leave_in_it_together() {
    let found = departures_ms(&slots(20, 0, 0), &[5, 6, 24, 25, 26, 45]);
    assert_eq!(found, [25, 25, 25, 25, 46, 46]);
}

#[test]
fn a_burst_leaves_in_slots_of_so_many_packets() {
    let found = departures_ms(&slots(20, 4, 0), &[5; 10]);
    assert_eq!(found, [25, 25, 25, 25, 45, 45, 45, 45, 65, 65]);
}

#[test]
fn the_packet_that_reaches_the_bytes_is_the_last_of_its_slot() {
    // Of 100 bytes each.
    assert_eq!(departures_ms(&slots(20, 0, 200), &[5; 5]), [25, 25, 45, 45, 65]);
    assert_eq!(departures_ms(&slots(20, 0, 201), &[5; 5]), [25, 25, 25, 45, 45]);
    assert_eq!(departures_ms(&slots(20, 2, 201), &[5; 5]), [25, 25, 45, 45, 65]);
    assert_eq!(departures_ms(&slots(20, 0, 1), &[5; 3]), [25, 45, 65]);
}

#[test]
fn a_slot_that_was_used_up_leaves_no_trace_in_a_later_one() {
    let found = departures_ms(&slots(20, 2, 0), &[5, 5, 100, 100, 100]);
    assert_eq!(found, [25, 25, 120, 120, 140]);
    // The same number again, after as many slots as there are numbers.
    let times: Vec<u64> = (0..40).map(|n| 5 + 1000 * (n / 2)).collect();
    let found = departures_ms(&slots(20, 2, 0), &times);
    assert!(found.iter().zip(times).all(|(found, own)| *found == own + 20), "{found:?}");
}

#[test]
fn what_would_wait_too_long_is_dropped_and_takes_no_room() {
    let slot = Slot { queue_ns: 50 * MS, ..slots(20, 1, 0) };
    let found = taken(&slot, [5, 5, 5, 20, 20].map(|ms| ms * MS));
    let found: Vec<_> = found.iter().map(|t| (t.dropped, t.departure_ns / MS)).collect();
    // The third would leave at 65 ms, the fourth does; the fifth would at 85 ms.
    assert_eq!(found, [(false, 25), (false, 45), (true, 5), (false, 65), (true, 20)]);
}

#[test]
fn a_slot_that_takes_longer_than_the_queue_is_waited_for_by_the_one_that_opens_it() {
    let slot = Slot { queue_ns: MS, ..slots(20, 0, 0) };
    let found = taken(&slot, [5 * MS, 6 * MS, 24 * MS + 1]);
    assert_eq!(found.iter().map(|t| t.dropped).collect::<Vec<_>>(), [false, true, false]);
}

#[test]
fn no_packet_waits_longer_than_any_delay() {
    let memory = HostMemory::default();
    let slot = slots(40_000, 1, 0);
    let delayed = slot.of((7, 0), 100, (5, 30_000 * MS), &memory, &NO_TABLES[..]);
    assert_eq!(delayed, Taken { departure_ns: 5 + MAX_DELAY_NS, dropped: false });
    assert!(slot.of((7, 1), 100, (5, 6), &memory, &NO_TABLES[..]).dropped, "110 s later");
}

#[test]
fn limits_may_be_as_large_as_records_allow() {
    let slot = slots(1, MAX_PACKETS, u64::from(MAX_BYTES));
    let number = 9;
    let almost =
        number << NUMBER_SHIFT | u64::from(MAX_PACKETS - 1) << 32 | u64::from(MAX_BYTES - 1);
    assert!(!slot.is_used_up(almost));
    let room = slot.fill(almost, number, u64::MAX);
    assert_eq!(room >> NUMBER_SHIFT, number);
    assert_eq!(room >> 32 & 0xfff_ffff, u64::from(MAX_PACKETS));
    assert!(slot.is_used_up(room));
}

/// Kolmogorov and Smirnov's test of the time between slots, which are used up by a packet each.
fn intervals(slot: &Slot, tables: &[Table]) -> Vec<f64> {
    let memory = HostMemory::default();
    let begins: Vec<u64> =
        (0..20_000).map(|n| slot.of((3, n), 100, (1, 1), &memory, tables).departure_ns).collect();
    begins.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect()
}

#[test]
fn the_time_between_slots_is_uniform_from_the_least_to_the_most() {
    let every = Slot::between(100, 1_100).unwrap();
    let slot = Slot::new(every, MAX_DELAY_NS, 1, 0).unwrap();
    let mut found = intervals(&slot, &NO_TABLES);
    assert!(found.iter().all(|ns| (100.0..=1_100.0).contains(ns)));
    // Spread over the nanosecond that each is rounded to.
    for (n, ns) in found.iter_mut().enumerate() {
        *ns += (n as f64 * 0.618_034).fract() - 0.5;
    }
    kolmogorov_smirnov("uniform", &mut found, |ns| ((ns - 100.0) / 1_000.0).clamp(0.0, 1.0));
}

#[test]
fn the_time_between_slots_follows_the_distribution() {
    let tables: Vec<Table> = Distribution::ALL.into_iter().map(Distribution::table).collect();
    for (table, name) in (0..).zip(Distribution::ALL.map(Distribution::name)) {
        let every = Delay::distributed(1_000_000, 100_000, table).unwrap();
        let slot = Slot::new(every, MAX_DELAY_NS, 1, 0).unwrap();
        let (mean, deviation) = crate::testing::moments(&intervals(&slot, &tables));
        // Four standard errors of a mean of 20 000, and more of a deviation with a heavy tail.
        assert!((mean - 1e6).abs() < 3_000.0, "{name}: mean {mean}");
        assert!((deviation - 1e5).abs() < 4_000.0, "{name}: deviation {deviation}");
    }
}

#[test]
fn what_no_medium_can_be_is_refused() {
    let every = Delay::constant(MS);
    assert_eq!(Slot::new(Delay::NONE, 0, 0, 0), Err(SlotError::Nothing));
    assert_eq!(Slot::new(every, MAX_DELAY_NS + 1, 0, 0), Err(SlotError::TooLong));
    assert_eq!(Slot::new(every, 0, MAX_PACKETS + 1, 0), Err(SlotError::TooManyPackets));
    assert_eq!(Slot::new(every, 0, 0, 1 << 31), Err(SlotError::TooManyBytes));
    assert_eq!(Slot::between(2, 1), None);
}

proptest! {
    /// Whatever comes: no packet leaves before its own departure or before one that came earlier, no
    /// slot holds more than it may, and slots are at least the shortest time apart.
    #[test]
    fn slots_hold_what_they_may_and_keep_the_order(
        seed in any::<u64>(),
        (least, more) in (1_u64..50_000, 0_u64..50_000),
        (packets, bytes) in (0_u32..6, prop_oneof![Just(0_u64), 1_u64..4_000]),
        gaps in prop::collection::vec((0_u64..40_000, 60_u64..1_514, 0_u64..20_000), 1..300),
    ) {
        let every = Slot::between(least, least + more).unwrap();
        let slot = Slot::new(every, MAX_DELAY_NS, packets, bytes).unwrap();
        let memory = HostMemory::default();
        // Begin, packets and bytes of the slot before its last packet.
        let (mut now_ns, mut begin, mut held, mut held_bytes) = (1_000, 0, 0, 0);
        for (n, (gap, length, delay)) in (0..).zip(gaps) {
            now_ns += gap;
            let own_ns = now_ns + delay;
            let taken = slot.of((seed, n), length, (now_ns, own_ns), &memory, &NO_TABLES[..]);
            prop_assert!(!taken.dropped);
            prop_assert!(taken.departure_ns >= own_ns.max(begin));
            if taken.departure_ns != begin {
                prop_assert!(begin == 0 || taken.departure_ns - begin >= least);
                // It waits for a slot of its own, or for the one after a slot that was used up.
                let longest = least + more;
                let used_up = (packets != 0 && held >= packets) || (bytes != 0 && held_bytes >= bytes);
                prop_assert!(
                    taken.departure_ns - own_ns <= longest
                        || used_up && taken.departure_ns - begin <= longest
                );
                (begin, held, held_bytes) = (taken.departure_ns, 0, 0);
            }
            prop_assert!(packets == 0 || held < packets);
            prop_assert!(bytes == 0 || held_bytes < bytes);
            held += 1;
            held_bytes += length;
        }
    }
}
