//! Streams: super-packets of them are cut up, their segments damaged or lost one by one, and the
//! application gets every byte right.

use anyhow::{Result, ensure};
use entropy_common::{
    chance::Probability,
    fault::loss::Loss,
    rule::{Direction, Match, Rule},
    stats::Event,
};
use entropy_tests::{needs_root, random::fixed_seed, skip::virtual_machine, stream};

use super::{PERCENT, TCP, UDP, counted, damaging, host, state, ways};
use crate::bridged::Bridged;

fn bytes() -> usize {
    if virtual_machine().is_some() { 1_500_000 } else { 30_000_000 }
}

/// The largest segment, by the MTU of the laboratory: at least so many make a stream.
fn frames() -> u64 {
    bytes() as u64 / 1_460
}

#[test]
fn a_stream_survives_damage_that_its_receiver_finds() -> Result<()> {
    needs_root!();
    let mut host = host()?;
    host.rule(TCP, damaging(fixed_seed(7_400), PERCENT, 0))?;
    for (direction, v6) in ways() {
        let before = state(&mut host, direction)?;
        let [from, to] = host.ends(direction);
        let names = ["Tcp InCsumErrors", "Tcp InErrs"];
        let errors = |at: usize| to.counter(names[at]);
        let errors_before = [errors(0)?, errors(1)?];
        let streamed = stream::send(from, to, Bridged::target(direction, v6), bytes())?;
        let [checksums, all] = [errors(0)? - errors_before[0], errors(1)? - errors_before[1]];
        let state = counted(&mut host, direction, before)?;
        println!(
            "{direction:?} IPv6 {v6}: {} packets, {} frames, {} damaged, {checksums} checksum errors, \
             {all} errors, {:.0} Mbit/s",
            state.matched,
            state.framed,
            state.corrupted,
            streamed.rate(bytes())
        );
        ensure!(streamed.wrong_bits == 0, "{} wrong bits arrived", streamed.wrong_bits);
        ensure!(state.framed >= frames() && state.framed > 2 * state.matched, "{state:?}");
        // What claims a longer header than it has is dropped without a count. That is one bit of 3000,
        // so three in a stream are next to impossible; a share would be too little where only twenty
        // frames are damaged.
        let uncounted = state.corrupted.checked_sub(all);
        ensure!(
            uncounted.is_some_and(|frames| frames < 3 + state.corrupted / 100),
            "{all}, {state:?}"
        );
        ensure!(
            checksums <= all && checksums * 100 > state.corrupted * 90,
            "{checksums}, {state:?}"
        );
    }
    Ok(())
}

#[test]
fn silent_damage_to_a_stream_reaches_the_application() -> Result<()> {
    needs_root!();
    let mut host = host()?;
    host.rule(TCP, damaging(fixed_seed(7_500), PERCENT, 1))?;
    for (direction, v6) in ways() {
        let before = state(&mut host, direction)?;
        let [from, to] = host.ends(direction);
        let errors_before = to.counter("Tcp InErrs")?;
        let repeats_before = from.counter("Tcp RetransSegs")?;
        let streamed = stream::send(from, to, Bridged::target(direction, v6), bytes())?;
        ensure!(to.counter("Tcp InErrs")? == errors_before, "an error was counted");
        let repeats = from.counter("Tcp RetransSegs")? - repeats_before;
        let state = counted(&mut host, direction, before)?;
        let wrong = streamed.wrong_bits;
        println!("{direction:?} IPv6 {v6}: {wrong} wrong bits, {repeats} repeated, {state:?}");
        // Of a segment that comes twice the application sees one, and a busy machine makes TCP repeat
        // what only came late. One in a hundred of those is damaged; far more would be another mistake.
        let hidden = state.corrupted.checked_sub(wrong);
        let explained = repeats.min(4 + repeats / 20);
        ensure!(hidden.is_some_and(|hidden| hidden <= explained), "{wrong} {repeats} {state:?}");
        ensure!(wrong > 0, "no damage arrived: {state:?}");
    }
    Ok(())
}

#[test]
fn segments_are_lost_one_by_one_and_the_stream_is_whole() -> Result<()> {
    needs_root!();
    let mut host = host()?;
    let rate = Probability::from_parts(PERCENT).unwrap_or(Probability::NEVER);
    let loss = Loss::rate(rate).with_segments();
    host.rule(TCP, Rule { seed: fixed_seed(7_600), loss, ..Rule::NONE })?;
    for (direction, v6) in ways() {
        let before = state(&mut host, direction)?;
        let [from, to] = host.ends(direction);
        let streamed = stream::send(from, to, Bridged::target(direction, v6), bytes())?;
        let state = counted(&mut host, direction, before)?;
        println!("{direction:?} IPv6 {v6}: {} of {} frames lost", state.lost, state.framed);
        ensure!(streamed.wrong_bits == 0 && state.framed >= frames(), "{state:?}");
        ensure!((50..200).contains(&(state.lost * 10_000 / state.framed)), "{state:?}");
    }
    Ok(())
}

/// A rule is for the packets that it matches: nothing else crosses the wire.
#[test]
fn streams_that_no_rule_damages_do_not_cross_the_wire() -> Result<()> {
    needs_root!();
    let mut host = host()?;
    let elsewhere = Match { protocol: TCP, port_first: 9, port_last: 9, ..Match::ALL };
    for direction in Direction::ALL {
        let always = damaging(1, 1 << 32, 0);
        let udp = Rule { id: 1, matcher: Match { protocol: UDP, ..Match::ALL }, ..always };
        let other = Rule { id: 2, matcher: elsewhere, ..always };
        let never = Rule { id: 3, ..damaging(1, 0, 0) };
        host.object.set_rules(host.hook(direction)?, &[udp, other, never])?;
    }
    for (direction, v6) in ways() {
        let [from, to] = host.ends(direction);
        let streamed = stream::send(from, to, Bridged::target(direction, v6), 1_000_000)?;
        ensure!(streamed.wrong_bits == 0);
    }
    ensure!(host.object.event(Event::Wired)? == 0 && host.object.event(Event::Frame)? == 0);
    Ok(())
}
