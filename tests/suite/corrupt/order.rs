//! All packets of a rule cross the wire, so none overtakes another, and none is lost there.

use anyhow::{Result, ensure};
use entropy_common::{rule::Direction, stats::Event};
use entropy_tests::{
    needs_root,
    numbered::{self, number},
    skip::{packets, virtual_machine},
    stream,
};

use super::{TCP, UDP, counted, damaging, host, state, ways};
use crate::bridged::Bridged;

/// So rare that no frame of a test is hit.
const NEVER_YET: u64 = 1;
const TRIES: usize = 3;

/// What the kernel counts when segments overtake one another, or one is missing.
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
    let count = packets(20_000);
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
fn segments_keep_their_order_and_none_is_lost() -> Result<()> {
    needs_root!();
    let bytes = if virtual_machine().is_some() { 2_000_000 } else { 200_000_000 };
    let mut host = host()?;
    for (direction, v6) in ways() {
        for wired in [false, true] {
            host.rule(TCP, damaging(1, if wired { NEVER_YET } else { 0 }, 0))?;
            // The kernel may move a timer of the connection to another CPU, which has a queue of its
            // own. What the wire itself puts out of order, it does every time.
            let mut disorder = 0;
            for _ in 0..TRIES {
                disorder = stream_through(&mut host, direction, v6, bytes, wired)?;
                if disorder == 0 {
                    break;
                }
            }
            ensure!(disorder == 0, "{disorder} segments out of order, wire {wired}");
        }
    }
    Ok(())
}

/// Sends a stream, and returns how many segments of it came out of order.
fn stream_through(
    host: &mut Bridged,
    direction: Direction,
    v6: bool,
    bytes: usize,
    wired: bool,
) -> Result<u64> {
    let before = state(host, direction)?;
    let [from, to] = host.ends(direction);
    let counters = || -> Result<u64> {
        let ends = DISORDER.iter().map(|name| Ok(from.counter(name)? + to.counter(name)?));
        ends.sum()
    };
    let disorder = counters()?;
    let streamed = stream::send_on_one_cpu(from, to, Bridged::target(direction, v6), bytes)?;
    let disorder = counters()? - disorder;
    let state = counted(host, direction, before)?;
    println!(
        "{direction:?} IPv6 {v6}, wire {wired}: {:.0} Mbit/s, {} packets, {} frames",
        streamed.rate(bytes),
        state.matched,
        state.framed
    );
    ensure!(streamed.wrong_bits == 0 && (state.framed > 0) == wired, "{state:?}");
    Ok(disorder)
}
