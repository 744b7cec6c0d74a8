use std::path::Path;

use super::*;
use crate::{
    plan::conditions,
    policy::{Records, parse},
};

/// The injection of a policy with these lines.
fn injection(lines: &str) -> Injection {
    let text = format!("[[policy]]\ntarget = \"app=web\"\n{lines}\n");
    let policy = parse(Path::new("p.toml"), text.as_bytes()).unwrap().remove(0);
    let faults: Records = policy.faults.records().unwrap();
    Injection {
        policy: policy.name.clone(),
        container: "web".into(),
        container_id: "1".into(),
        seed: 7,
        matcher: conditions(&policy),
        peer: None,
        faults,
    }
}

fn outlook(lines: &str) -> Outlook {
    of_injection(&injection(lines))
}

fn ms(number: u64) -> u64 {
    number * 1_000_000
}

/// The exchange under a policy in both directions.
fn both(lines: &str) -> Exchange {
    let injections = [injection(lines)];
    exchange(&injections, &injections).unwrap()
}

const fn same(ns: u64) -> Option<Quantiles> {
    Some(Quantiles { p50: ns, p90: ns, p99: ns })
}

#[test]
fn a_loss_loses_its_share_and_delays_nothing() {
    let outlook = outlook("loss = \"2%\"");
    // Five standard deviations of a fixed seed.
    assert!((1779..=2221).contains(&outlook.lost), "{outlook:?}");
    assert_eq!((outlook.duplicated, outlook.corrupted, outlook.delay), (0, 0, same(0)));
}

#[test]
fn whatever_loses_everything_says_so() {
    for lines in ["loss = \"100%\"", "partition = true"] {
        let expected = Outlook { lost: PACKETS, ..Outlook::default() };
        assert_eq!(outlook(lines), expected, "{lines}");
        let failed = Exchange { failed: EXCHANGES, ..Exchange::default() };
        assert_eq!(both(lines), failed, "{lines}");
    }
}

#[test]
fn delays_have_the_percentiles_that_were_asked_for() {
    assert_eq!(outlook("delay = \"80ms\"").delay, same(ms(80)));
    let measured = outlook("delay = { p50 = \"20ms\", p90 = \"50ms\", p99 = \"300ms\" }");
    let delay = measured.delay.unwrap();
    // Five standard deviations of the rank, times how steep the distribution is there.
    for (got, asked, off) in [(delay.p50, 20, 1), (delay.p90, 50, 14), (delay.p99, 300, 5)] {
        assert!(got.abs_diff(ms(asked)) < ms(off), "{delay:?}");
    }
}

#[test]
fn a_link_that_is_not_full_takes_only_its_own_time() {
    // 100 bytes at 8 kbit/s.
    let outlook = outlook("rate = \"8kbit\"");
    let delay = outlook.delay.unwrap();
    assert_eq!((outlook.lost, delay.p50 / ms(1)), (0, 100), "{delay:?}");
}

#[test]
fn every_packet_that_is_sent_twice_or_damaged_is_counted() {
    assert_eq!(outlook("duplicate = \"100%\"").duplicated, PACKETS);
    let damaged = outlook("corrupt = \"100%\"");
    assert_eq!((damaged.corrupted, damaged.lost), (PACKETS, 0));
    let segments = outlook("loss = { rate = \"100%\", per = \"segment\" }");
    assert_eq!(segments.lost, PACKETS);
}

#[test]
fn a_connection_takes_one_round_trip_and_a_request_another() {
    let exchange = both("delay = \"80ms\"");
    let expected = Exchange { failed: 0, connected: same(ms(160)), answered: same(ms(320)) };
    assert_eq!(exchange, expected);
    let one_way = super::exchange(&[injection("delay = \"80ms\"")], &[]).unwrap();
    assert_eq!((one_way.connected, one_way.answered), (same(ms(80)), same(ms(160))));
}

#[test]
fn conditions_on_flags_and_payload_are_kept_and_other_protocols_left_out() {
    let data = both("delay = \"80ms\"\nmatch = { payload = true }");
    assert_eq!((data.connected, data.answered), (same(0), same(ms(160))));
    let set_up = both("delay = \"80ms\"\nmatch = { tcp_flags = \"syn,!ack\" }");
    assert_eq!((set_up.connected, set_up.answered), (same(ms(80)), same(ms(80))));
    let udp = [injection("delay = \"80ms\"\nmatch = { protocol = \"udp\" }")];
    assert_eq!(exchange(&udp, &udp), None);
}

#[test]
fn what_is_lost_is_sent_again_after_the_times_of_tcp() {
    let lost_once = |lines: &str| {
        let model = Model::new(&[], &[injection(lines)], |matcher| matcher).unwrap();
        let now_ns = 10 * SECOND_NS;
        let (connected, answered) = model.exchange(now_ns);
        (connected.unwrap() - now_ns, answered.unwrap() - now_ns)
    };
    assert_eq!(lost_once("loss = { first = 1 }"), (ms(1000), ms(1000)));
    assert_eq!(lost_once("loss = { first = 2 }"), (ms(3000), ms(3000)));
    let data = "loss = { first = 1 }\nmatch = { payload = true }";
    assert_eq!(lost_once(data), (0, ms(200)));
}

#[test]
fn damage_that_is_found_out_is_a_loss_to_tcp_and_silent_damage_is_not() {
    assert_eq!(both("corrupt = \"100%\"").failed, EXCHANGES);
    let silent = both("corrupt = { rate = \"100%\", silent = true }");
    assert_eq!((silent.failed, silent.answered), (0, same(0)));
}

#[test]
fn quantiles_are_nearest_ranks() {
    assert_eq!(Quantiles::of(vec![]), None);
    assert_eq!(Quantiles::of(vec![3]), same(3));
    let hundred = Quantiles::of((1..=100).rev().collect()).unwrap();
    assert_eq!(hundred, Quantiles { p50: 50, p90: 90, p99: 99 });
}

#[test]
fn an_idle_medium_has_each_packet_wait_for_a_slot() {
    assert_eq!(outlook("slot = \"20ms\"").delay, same(ms(20)));
    let delay = outlook("slot = { min = \"10ms\", max = \"30ms\", packets = 1 }").delay.unwrap();
    // Thirty standard errors of the median of 100 000.
    assert!((ms(19)..ms(21)).contains(&delay.p50), "{delay:?}");
    assert!(delay.p99 <= ms(30), "{delay:?}");
    assert_eq!(both("slot = \"20ms\"").connected, same(ms(40)));
}
