extern crate std;

use std::format;

use super::*;
use crate::host::HostMemory;

const MS: u64 = 1_000_000;

fn packet(length: u32) -> Packet {
    Packet { length, payload: length.saturating_sub(54), ..Packet::EXAMPLE }
}

/// A sender that is always ahead of the link, and never drops.
#[test]
fn a_million_packets_take_as_long_as_their_bytes() {
    for bits_per_second in [1_000, 8_001, 1_000_000, 33_333_333, 1_000_000_000, 100_000_000_000_u64]
    {
        let bytes_per_second = bits_per_second / 8;
        for length in [64, 1514, 65_226] {
            let rate = Link::new(bytes_per_second, 0).rate().unwrap();
            let (mut clock, mut bytes) = (0, 0_u64);
            for ordinal in 0..1_000_000 {
                clock = rate.step_unbounded(clock, rate.cost(length, ordinal));
                bytes += length;
            }
            let exact = bytes as f64 / bytes_per_second as f64 * 1e9;
            let found = clock as f64 / f64::from(1 << CLOCK_BITS);
            let error = (found / exact - 1.0).abs();
            // 0.01 % is what is promised; what is computed is much better.
            assert!(error < 1e-7, "{bits_per_second} bit/s, {length} bytes: off by {error:e}");
        }
    }
}

impl Rate {
    fn step_unbounded(&self, clock: u64, cost: u64) -> u64 {
        Self { queue_ns: u64::MAX, ..*self }.step(clock, cost, 0)
    }
}

#[test]
fn even_a_hundred_small_packets_on_a_fast_link_are_exact() {
    let rate = Link::new(100_000_000_000 / 8, 0).rate().unwrap();
    for start in [0, 1000, 123_456_789] {
        let clock: u64 = (start..start + 1000).map(|n| rate.cost(64, n)).sum();
        // 5.12 ns each.
        assert!((clock as f64 / 16.0 / 5120.0 - 1.0).abs() < 1e-4, "{clock}");
    }
}

#[test]
fn one_packet_takes_its_own_time_and_the_next_waits() {
    // 1 byte in 1 us.
    let rate = Link::new(1_000_000, 10 * MS).rate().unwrap();
    let memory = HostMemory::default();
    let sent = |n, now_ns| rate.send(&packet(1000), n, now_ns, &memory).departure_ns;
    assert_eq!([sent(0, 5), sent(1, 5), sent(2, 5)], [MS + 5, 2 * MS + 5, 3 * MS + 5]);
    assert_eq!(sent(3, 10 * MS), 11 * MS, "the link has rested");
}

#[test]
fn the_queue_is_never_longer_than_asked_and_drops_take_no_time() {
    let rate = Link::new(1_000_000, 10 * MS).rate().unwrap();
    let memory = HostMemory::default();
    let mut dropped = 0;
    for n in 0..100 {
        // Twice as fast as the link.
        let now_ns = n * MS / 2;
        let shaped = rate.send(&packet(1000), n, now_ns, &memory);
        assert!(shaped.dropped || shaped.departure_ns - now_ns <= 10 * MS, "packet {n}");
        dropped += u64::from(shaped.dropped);
    }
    // 50 ms of sending, 10 ms of queue: 60 packets get through.
    assert!((39..=41).contains(&dropped), "{dropped} dropped");
}

#[test]
fn a_packet_that_is_longer_than_the_queue_passes_an_idle_link() {
    let rate = Link::new(125, MS).rate().unwrap();
    let memory = HostMemory::default();
    let first = rate.send(&packet(1500), 0, 0, &memory);
    assert_eq!((first.dropped, first.departure_ns), (false, 12_000 * MS));
    assert!(rate.send(&packet(1500), 1, 1, &memory).dropped);
}

#[test]
fn a_burst_leaves_at_once_after_a_rest_and_not_again() {
    let link = Link { burst_bytes: 3000, ..Link::new(1_000_000, 1000 * MS) };
    let rate = link.rate().unwrap();
    let memory = HostMemory::default();
    let now_ns = 1_000 * MS;
    let mut waits = [0; 6];
    for (n, wait) in (0..).zip(&mut waits) {
        *wait = (rate.send(&packet(1000), n, now_ns, &memory).departure_ns - now_ns) / MS;
    }
    assert_eq!(waits, [0, 0, 0, 1, 2, 3]);
}

#[test]
fn marks_begin_where_the_wait_passes_the_threshold() {
    let link = Link { mark_ns: Some(2 * MS), ..Link::new(1_000_000, 1000 * MS) };
    let rate = link.rate().unwrap();
    let memory = HostMemory::default();
    let mut marks = [false; 5];
    for (n, mark) in (0..).zip(&mut marks) {
        *mark = rate.send(&packet(1000), n, 0, &memory).mark;
    }
    // They wait 0, 1, 2, 3, 4 ms.
    assert_eq!(marks, [false, false, false, true, true]);
}

/// netem's arithmetic: overhead first, then cells, rounded up.
#[test]
fn overheads_and_cells_count_as_netem_counts_them() {
    let plain = Rate { mantissa: 1, ..Rate::NONE };
    for (length, overhead, cell, cell_overhead, expected) in [
        (100, 0, 0, 0, 100),
        (100, 24, 0, 0, 124),
        (100, -14, 0, 0, 86),
        (100, -200, 0, 0, 0),
        (100, 0, 48, 5, 159),
        (96, 0, 48, 5, 106),
        (96, 1, 48, 5, 159),
        (100, 0, 50, -10, 80),
    ] {
        let rate = Rate { overhead, cell, cell_overhead, ..plain };
        assert_eq!(rate.bytes(&packet(length)), expected, "{length} {overhead} {cell}");
    }
}

#[test]
fn a_super_packet_takes_the_headers_and_the_overhead_of_all_its_segments() {
    // 54 bytes of headers and ten segments of 1460 bytes.
    let big = Packet { length: 54 + 14_600, payload: 14_600, segments: 10, ..Packet::EXAMPLE };
    let rate = Rate { mantissa: 1, overhead: 24, ..Rate::NONE };
    assert_eq!(rate.bytes(&big), 10 * (54 + 1460 + 24));
    let cells = Rate { cell: 48, cell_overhead: 5, overhead: 0, ..rate };
    assert_eq!(cells.bytes(&big), 10 * 32 * 53);
    assert_eq!(Packet { segments: 0, ..big }.segment_count(), 1);
}

#[test]
fn links_that_cannot_be_are_refused() {
    let link = Link::new(1000, 0);
    assert_eq!(Link::new(3, 0).rate(), Err(RateError::OutOfRange));
    assert!(Link::new(4, 0).rate().is_ok());
    assert!(Link::new(10_000_000_000_000 / 8, 0).rate().is_ok());
    assert_eq!(Link::new(2_000_000_000_000, 0).rate(), Err(RateError::OutOfRange));
    assert_eq!(Link::new(1000, 60_001 * MS).rate(), Err(RateError::TooLong));
    assert_eq!(Link { burst_bytes: 61_000, ..link }.rate(), Err(RateError::TooLong));
    let empty = Link { cell: 48, cell_overhead: -48, ..link };
    assert_eq!(empty.rate(), Err(RateError::EmptyCell));
    assert_eq!(link.time_ns(500), 500 * MS);
}

#[test]
fn the_mantissa_uses_all_its_digits() {
    for bytes_per_second in [4, 125, 1_000_003, 12_500_000_000, 1_250_000_000_000] {
        let rate = Link::new(bytes_per_second, 0).rate().unwrap();
        let exact = 16e9 / bytes_per_second as f64;
        let found = f64::from(rate.mantissa) / 2_f64.powi(rate.shift as i32);
        let what = format!("{bytes_per_second} byte/s: {} >> {}", rate.mantissa, rate.shift);
        assert!((found / exact - 1.0).abs() < 2_f64.powi(-32), "{what}");
    }
}
