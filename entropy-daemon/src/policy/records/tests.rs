use std::path::Path;

use entropy_common::fault::delay::{TABLE, UNIFORM};

use super::*;
use crate::policy::parse;

fn records(line: &str) -> Records {
    let text = format!("[[policy]]\ntarget = \"app\"\n{line}\n");
    let policies = parse(Path::new("p.toml"), text.as_bytes()).unwrap_or_else(|p| panic!("{p}"));
    policies[0].faults.records().unwrap()
}

#[test]
fn only_what_is_asked_for_acts() {
    let nothing = Records::NONE;
    let delay = records("delay = \"80ms\"");
    assert_eq!(delay, Records { delay: delay::Delay::constant(80_000_000), ..nothing.clone() });
    assert!(delay.is_timed());
    assert_eq!(delay.without_timed(), nothing);
    let lossy = records("loss = \"2%\"\nduplicate = \"1%\"");
    assert!(!lossy.is_timed());
    assert_eq!(lossy.without_timed(), lossy);
    for timed in ["rate = \"1mbit\"", "reorder = \"5%\"", "slot = \"20ms\""] {
        assert!(records(timed).is_timed(), "{timed}");
        assert_eq!(records(timed).without_timed(), nothing, "{timed}");
    }
}

#[test]
fn distributions_are_the_tables_that_the_daemon_writes() {
    let delay = |name: &str| {
        let line =
            format!("delay = {{ base = \"9ms\", jitter = \"2ms\", distribution = \"{name}\" }}");
        records(&line).delay
    };
    assert_eq!(delay("uniform").shape, UNIFORM);
    for (number, distribution) in (0..).zip(table::Distribution::ALL) {
        let delay = delay(distribution.name());
        assert_eq!((delay.shape, delay.table), (TABLE, number), "{distribution:?}");
    }
}

#[test]
fn a_reordering_without_delay_holds_packets_back_for_others_to_overtake() {
    assert_eq!(records("reorder = \"5%\"").reorder.jump_ns, 10_000_000);
    assert_eq!(records("reorder = \"5%\"\ndelay = \"80ms\"").reorder.jump_ns, 0);
    let jump = "reorder = { rate = \"5%\", jump = \"3ms\" }";
    assert_eq!(records(jump).reorder.jump_ns, 3_000_000);
}

#[test]
fn a_link_has_the_bandwidth_and_queue_that_were_written() {
    let rate = records("rate = { limit = \"8mbit\", queue = \"10kB\" }").rate;
    assert_eq!(rate.bits_per_second(), 8_000_000.0);
    assert_eq!(rate.queue_ns, 10_000_000);
    for limit in ["32bit", "1kbit", "100mbit", "40gbit", "10tbit"] {
        let rate = records(&format!("rate = \"{limit}\"")).rate;
        let asked: crate::policy::Bandwidth = limit.parse().unwrap();
        assert_eq!(rate.bits_per_second(), asked.bits_per_second() as f64, "{limit}");
    }
}

#[test]
fn slots_have_the_times_and_limits_that_were_written() {
    let slot = |text: &str| records(&format!("slot = {text}")).slot;
    let plain = slot("\"20ms\"");
    assert_eq!(plain.every, delay::Delay::constant(20_000_000));
    assert_eq!((plain.queue_ns, plain.packets, plain.bytes), (60_000_000_000, 0, 0));
    let full = slot("{ min = \"10ms\", max = \"30ms\", packets = 4, bytes = \"2kB\" }");
    assert_eq!(full.every, delay::Delay::uniform(20_000_000, 10_000_000).unwrap());
    assert_eq!((full.packets, full.bytes), (4, 2000));
    let normal = slot("{ every = \"20ms\", jitter = \"5ms\", distribution = \"normal\" }");
    assert_eq!(normal.every, delay::Delay::distributed(20_000_000, 5_000_000, 0).unwrap());
}
