//! Datagrams: one that is damaged never reaches the application, unless that is what was asked for.

use anyhow::{Context as _, Result, ensure};
use entropy_common::{
    chance::{Probability, correlated::Chance},
    fault::{duplicate::Duplicate, loss::Loss},
    rule::{Direction, Rule},
    stats::Event,
};
use entropy_tests::{
    needs_root,
    netns::Netns,
    numbered::{self, content, number, wrong_bits},
    random::fixed_seed,
    skip::packets,
};

use super::{PERCENT, UDP, counted, damaging, host, state, ways};
use crate::bridged::{Bridged, addresses};

fn count() -> u32 {
    packets(20_000)
}

/// The counters of a family: damaged in any way, and those that the checksum told of.
fn errors(receiver: &Netns, v6: bool) -> Result<[u64; 2]> {
    let names = if v6 {
        ["Udp6InErrors", "Udp6InCsumErrors"]
    } else {
        ["Udp InErrors", "Udp InCsumErrors"]
    };
    Ok([receiver.counter(names[0])?, receiver.counter(names[1])?])
}

/// Damage to the length makes a datagram that is cut short, before anybody looks at its checksum. All
/// else is an error of the checksum.
#[test]
fn every_damaged_datagram_is_found_by_its_receiver_and_none_arrives() -> Result<()> {
    needs_root!();
    let mut host = host()?;
    // Two bytes of 108 are the length: of fewer that are damaged its share would stray too far.
    let count = count().max(2_000);
    host.rule(UDP, damaging(fixed_seed(7_000), 10 * PERCENT, 0))?;
    for (direction, v6) in ways() {
        let before = state(&mut host, direction)?;
        let [from, to] = host.ends(direction);
        let errors_before = errors(to, v6)?;
        let received = numbered::send(from, to, Bridged::target(direction, v6), count)?;
        let errors_after = errors(to, v6)?;
        let [found, checksums] = [0, 1].map(|kind| errors_after[kind] - errors_before[kind]);
        let wrong = received
            .iter()
            .filter(|datagram| {
                number(datagram).is_none_or(|number| content(number)[..] != datagram[..])
            })
            .count();
        let state = counted(&mut host, direction, before)?;
        println!("{direction:?} IPv6 {v6}: {} damaged, {checksums} checksums", state.corrupted);
        ensure!(wrong == 0, "{wrong} damaged datagrams arrived");
        ensure!(state.framed == u64::from(count) && state.corrupted > 0, "{state:?}");
        ensure!(found == state.corrupted, "{found} errors, {} damaged", state.corrupted);
        ensure!(received.len() as u64 == u64::from(count) - state.corrupted);
        ensure!(checksums * 100 > found * 95, "{checksums} of {found} by the checksum");
    }
    Ok(())
}

#[test]
fn silent_damage_arrives_with_exactly_one_wrong_bit_and_no_error_is_counted() -> Result<()> {
    needs_root!();
    let mut host = host()?;
    host.rule(UDP, damaging(fixed_seed(7_100), 10 * PERCENT, 1))?;
    for (direction, v6) in ways() {
        let before = state(&mut host, direction)?;
        let [from, to] = host.ends(direction);
        let errors_before = errors(to, v6)?;
        let received = numbered::send(from, to, Bridged::target(direction, v6), count())?;
        ensure!(errors(to, v6)? == errors_before, "an error was counted");
        ensure!(received.len() == count() as usize, "{} came", received.len());
        let mut damaged = 0;
        for (number, datagram) in (0..).zip(&received) {
            let wrong = wrong_bits(datagram, &content(number)).context("another length")?;
            ensure!(wrong <= 1, "{wrong} wrong bits in datagram {number}");
            damaged += u64::from(wrong);
        }
        let state = counted(&mut host, direction, before)?;
        ensure!(damaged == state.corrupted && damaged > 0, "{damaged} arrived, {state:?}");
    }
    Ok(())
}

#[test]
fn what_this_host_sends_is_damaged_too() -> Result<()> {
    needs_root!();
    let mut host = host()?;
    host.rule(UDP, damaging(fixed_seed(7_200), 10 * PERCENT, 0))?;
    for v6 in [false, true] {
        let before = state(&mut host, Direction::Ingress)?;
        let (to, address) = (&host.container, addresses(1)[usize::from(v6)]);
        let errors_before = errors(to, v6)?[0];
        let received = numbered::send(&host.host, to, address, count())?;
        let found = errors(to, v6)?[0] - errors_before;
        let state = counted(&mut host, Direction::Ingress, before)?;
        ensure!(found == state.corrupted && found > 0, "{found} errors, {state:?}");
        ensure!(received.len() as u64 == u64::from(count()) - found);
    }
    Ok(())
}

#[test]
fn copies_cross_the_wire_and_each_is_a_frame() -> Result<()> {
    needs_root!();
    let mut host = host()?;
    let duplicate = Duplicate { chance: Chance::independent(Probability::ALWAYS) };
    host.rule(UDP, Rule { duplicate, ..damaging(fixed_seed(7_300), 1, 0) })?;
    for (direction, v6) in ways() {
        let before = state(&mut host, direction)?;
        let [from, to] = host.ends(direction);
        let received = numbered::send(from, to, Bridged::target(direction, v6), 1_000)?;
        let numbers: Vec<u32> = received.iter().filter_map(|datagram| number(datagram)).collect();
        ensure!(numbers.into_iter().eq((0..1_000).flat_map(|number| [number; 2])));
        let state = counted(&mut host, direction, before)?;
        ensure!((state.matched, state.framed) == (1_000, 2_000), "{state:?}");
    }
    Ok(())
}

#[test]
fn without_a_wire_nothing_is_damaged_and_nothing_is_lost() -> Result<()> {
    needs_root!();
    let mut host = Bridged::new()?;
    let always = damaging(1, 1 << 32, 0);
    let loss = Loss::rate(Probability::ALWAYS).with_segments();
    host.rule(UDP, Rule { loss, ..always })?;
    for (direction, v6) in ways() {
        let [from, to] = host.ends(direction);
        let received = numbered::send(from, to, Bridged::target(direction, v6), 500)?;
        ensure!(received.len() == 500, "{} came", received.len());
    }
    ensure!(host.object.event(Event::NotWired)? == 4 * 500);
    Ok(())
}
