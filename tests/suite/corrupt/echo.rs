//! Pings: the checksum of ICMP finds damage, and is mended for damage that it must not find.

use anyhow::{Result, ensure};
use entropy_common::{
    peer::PeerKey,
    rule::{Direction, Match, Rule},
};
use entropy_tests::{
    frames::{End, Flow, Protocol},
    needs_root,
    netns::Netns,
    random::fixed_seed,
    skip::packets,
    traffic,
    wait::{patience, until_true},
};

use super::{PERCENT, counted, damaging, host, state};
use crate::bridged::{INSIDE, addresses};

fn count() -> u64 {
    packets(10_000).into()
}

/// How many pings a namespace got, and how many of them it found wrong.
const NAMES: [[&str; 2]; 2] =
    [["Icmp InEchos", "Icmp InCsumErrors"], ["Icmp6InEchos", "Icmp6InCsumErrors"]];

#[test]
fn damaged_pings_are_found_and_silently_damaged_ones_are_answered() -> Result<()> {
    needs_root!();
    for silent in [0, 1] {
        let mut host = host()?;
        let rule = damaging(fixed_seed(7_700), 10 * PERCENT, silent);
        for (v6, protocol) in [(false, 1), (true, 58)] {
            // Not what the kernel says of its own accord to its groups.
            let matcher = Match { protocol, peer_group: 1, ..Match::ALL };
            let peer = addresses(2)[usize::from(v6)];
            let key = PeerKey::network(1, peer, if v6 { 128 } else { 32 });
            host.object.add_peers(&[key])?;
            let hook = host.hook(Direction::Egress)?;
            host.object.set_rules(hook, &[Rule { id: 1, matcher, ..rule }])?;
            let before = state(&mut host, Direction::Egress)?;
            let end = |namespace: &Netns, number| -> Result<End> {
                let ip = addresses(number)[usize::from(v6)];
                Ok(End { mac: namespace.mac(INSIDE)?, ip, port: 7 })
            };
            let flow = Flow {
                source: end(&host.container, 1)?,
                destination: end(&host.partner, 2)?,
                protocol: Protocol::Icmp,
                tag: 1,
            };
            let names = NAMES[usize::from(v6)];
            let partner = &host.partner;
            let old = [partner.counter(names[0])?, partner.counter(names[1])?];
            let frames = (0..count()).map(|number| flow.frame(number, 40));
            traffic::send(&host.container, INSIDE, frames)?;
            until_true("all pings come", patience(10), || {
                let seen = partner.counter(names[0])? + partner.counter(names[1])?;
                Ok(seen - old[0] - old[1] >= count())
            })?;
            let [echos, wrong] =
                [partner.counter(names[0])? - old[0], partner.counter(names[1])? - old[1]];
            let state = counted(&mut host, Direction::Egress, before)?;
            println!("silent {silent}, IPv6 {v6}: {} damaged, {wrong} found", state.corrupted);
            let found = if silent == 0 { state.corrupted } else { 0 };
            ensure!(state.corrupted > 0 && wrong == found, "{wrong} found, {state:?}");
            ensure!(echos == count() - found, "{echos} good ones");
        }
    }
    Ok(())
}
