//! Packets that a network card has found to be right: nobody looks at their checksum again, unless they
//! are damaged here.

use anyhow::{Result, ensure};
use entropy_common::rule::Direction;
use entropy_tests::{
    frames::{End, Flow, Protocol},
    needs_root,
    netns::Netns,
    random::fixed_seed,
    skip::packets,
    traffic,
    wait::{patience, until_true},
};

use super::{PERCENT, UDP, counted, damaging, host, state};
use crate::{
    bridged::{INSIDE, addresses},
    foreign::object::believe_what_leaves,
};

fn count() -> u64 {
    packets(10_000).into()
}

/// Nobody listens, so a good datagram is counted as one without a port, and a damaged one as an error.
const NAMES: [[&str; 2]; 2] = [["Udp NoPorts", "Udp InErrors"], ["Udp6NoPorts", "Udp6InErrors"]];

#[test]
fn damage_is_found_in_packets_whose_checksum_was_believed_before() -> Result<()> {
    needs_root!();
    for believed in [false, true] {
        let mut host = host()?;
        if believed {
            let index = host.container.index(INSIDE)?;
            host.container.run(|| believe_what_leaves(index))??;
        }
        host.rule(UDP, damaging(fixed_seed(7_800), 10 * PERCENT, 0))?;
        for v6 in [false, true] {
            let before = state(&mut host, Direction::Egress)?;
            let end = |namespace: &Netns, number| -> Result<End> {
                let ip = addresses(number)[usize::from(v6)];
                Ok(End { mac: namespace.mac(INSIDE)?, ip, port: 4_321 })
            };
            let partner = &host.partner;
            let flow = Flow {
                source: end(&host.container, 1)?,
                destination: end(partner, 2)?,
                protocol: Protocol::Udp,
                tag: 1,
            };
            let names = NAMES[usize::from(v6)];
            let old = [partner.counter(names[0])?, partner.counter(names[1])?];
            let frames = (0..count()).map(|number| flow.frame(number, 40));
            traffic::send(&host.container, INSIDE, frames)?;
            let new = || -> Result<[u64; 2]> {
                let new = [partner.counter(names[0])?, partner.counter(names[1])?];
                Ok([new[0] - old[0], new[1] - old[1]])
            };
            until_true("all datagrams come", patience(10), || {
                Ok(new()?.iter().sum::<u64>() >= count())
            })?;
            let [good, wrong] = new()?;
            let state = counted(&mut host, Direction::Egress, before)?;
            ensure!(state.corrupted > 0 && wrong == state.corrupted, "{wrong} wrong, {state:?}");
            ensure!(good == count() - wrong, "{good} good ones");
        }
    }
    Ok(())
}
