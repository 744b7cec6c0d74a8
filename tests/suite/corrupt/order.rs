//! All packets of a rule cross the wire, so none overtakes another, and none is lost there.

use anyhow::{Result, ensure};
use entropy_common::stats::Event;
use entropy_tests::{
    needs_root,
    numbered::{self, number},
    skip::virtual_machine,
    stream,
};

use super::{TCP, UDP, counted, damaging, host, state, ways};
use crate::bridged::Bridged;

/// So rare that no frame of a test is hit.
const NEVER_YET: u64 = 1;

/// What the kernel counts when segments overtake one another, or are taken for lost.
const DISORDER: [&str; 5] = [
    "TcpExt TCPSACKReorder",
    "TcpExt TCPRenoReorder",
    "TcpExt TCPTSReorder",
    "TcpExt TCPSACKReneging",
    "TcpExt TCPOFOQueue",
];

#[test]
fn datagrams_keep_their_order() -> Result<()> {
    needs_root!();
    let mut host = host()?;
    host.rule(UDP, damaging(1, NEVER_YET, 0))?;
    let count = if virtual_machine().is_some() { 2_000 } else { 20_000 };
    for (direction, v6) in ways() {
        let [from, to] = host.ends(direction);
        let received = numbered::send(from, to, Bridged::target(direction, v6), count)?;
        let numbers = received.iter().filter_map(|datagram| number(datagram));
        ensure!(numbers.eq(0..count), "{direction:?}, IPv6 {v6}: lost, twice or out of order");
    }
    ensure!(host.object.event(Event::Wired)? == 4 * u64::from(count));
    ensure!(host.object.event(Event::Frame)? == 4 * u64::from(count));
    Ok(())
}

/// And how fast they are, with the wire and without.
#[test]
fn segments_keep_their_order_and_none_is_sent_twice() -> Result<()> {
    needs_root!();
    let bytes = if virtual_machine().is_some() { 5_000_000 } else { 200_000_000 };
    let mut host = host()?;
    for (direction, v6) in ways() {
        for wired in [false, true] {
            host.rule(TCP, damaging(1, if wired { NEVER_YET } else { 0 }, 0))?;
            let before = state(&mut host, direction)?;
            let [from, to] = host.ends(direction);
            let counters = || -> Result<u64> {
                let mut sum = from.counter("Tcp RetransSegs")?;
                for name in DISORDER {
                    sum += from.counter(name)? + to.counter(name)?;
                }
                Ok(sum)
            };
            let disorder = counters()?;
            let streamed = stream::send_on_one_cpu(from, to, Bridged::target(direction, v6), bytes)?;
            let disorder = counters()? - disorder;
            let state = counted(&mut host, direction, before)?;
            println!(
                "{direction:?} IPv6 {v6}, wire {wired}: {:.0} Mbit/s, {} packets, {} frames",
                streamed.rate(bytes),
                state.matched,
                state.framed
            );
            ensure!(streamed.wrong_bits == 0 && (state.framed > 0) == wired, "{state:?}");
            ensure!(disorder == 0, "{disorder} segments out of order or sent again");
        }
    }
    Ok(())
}
