//! Packets on real devices: what a container's partner gets, counted from outside.

use anyhow::{Context as _, Result, ensure};
use aya::programs::TcAttachType;
use entropy_common::{
    chance::{Stream, draw},
    fault::partition::Partition,
    names,
    rule::{Direction, Rule},
    stats::Event,
};
use entropy_tests::{
    frames::Protocol,
    needs_root,
    netns::Netns,
    object::{self, Object, Skb},
    random::{Random, fixed_seed, seed},
    skip, traffic,
    wait::{patience, until_true},
};

use crate::{
    rules::{LOST, PASS, lossy},
    site::{INSIDE, Site, VETH},
    verdicts::{Model, OnHook, Scene, comparable, frame, hex, is_refused_by_test_runs, tables},
};

/// As many as the machine does in a second or two.
fn packets() -> u64 {
    skip::packets(10_000).into()
}

/// Calls `test` for every direction, family and protocol.
fn for_every_kind(mut test: impl FnMut(Direction, bool, Protocol) -> Result<()>) -> Result<()> {
    for direction in Direction::ALL {
        for v6 in [false, true] {
            for protocol in Protocol::ALL {
                test(direction, v6, protocol)
                    .with_context(|| format!("{direction:?}, IPv6: {v6}, {protocol:?}"))?;
            }
        }
    }
    Ok(())
}

/// The control for everything below: neither the laboratory nor idle programs lose a packet.
#[test]
fn nothing_is_lost_without_programs_nor_with_programs_without_rules() -> Result<()> {
    needs_root!();
    let site = Site::new()?;
    let mut object = Object::load()?;
    for attached in [false, true] {
        if attached {
            site.attach(&mut object)?;
        }
        for_every_kind(|direction, v6, protocol| {
            let count = packets();
            let came = site.send(direction, v6, protocol, count)?.distinct();
            ensure!(came == count, "{came} of {count} packets came, attached: {attached}");
            Ok(())
        })?;
    }
    Ok(())
}

/// Exactly those packets are missing at the other end that the host says are lost.
#[test]
fn the_other_end_misses_exactly_the_packets_that_the_seed_names() -> Result<()> {
    needs_root!();
    const PARTS: u64 = 429_496_730;
    let site = Site::new()?;
    let mut object = Object::load()?;
    site.attach(&mut object)?;
    let mut seed = fixed_seed(3_000);
    for_every_kind(|direction, v6, protocol| {
        seed += 1;
        object.set_rules(site.hook(direction)?, &[lossy(1, seed, PARTS)])?;
        let count = packets();
        let received = site.send(direction, v6, protocol, count)?;
        let expected = |number| u64::from(draw(seed, Stream::Loss, number)) >= PARTS;
        let wrong = (0..count).find(|&number| received.has(number) != expected(number));
        ensure!(wrong.is_none(), "packet {wrong:?} should have fared otherwise, seed {seed}");
        let state = object.state(1)?;
        ensure!(state.seen == count, "the rule saw {} of {count} packets", state.seen);
        ensure!(state.lost == count - received.distinct(), "{state:?}");
        object.set_hook(site.hook(direction)?, None)
    })
}

/// A partition of one direction stops all of it, and nothing of the other.
#[test]
fn a_partition_stops_one_direction_and_leaves_the_other() -> Result<()> {
    needs_root!();
    const PACKETS: u64 = 500;
    for cut in Direction::ALL {
        let site = Site::new()?;
        let mut object = Object::load()?;
        site.attach(&mut object)?;
        let rule = Rule { id: 1, partition: Partition::CUT, ..Rule::NONE };
        object.set_rules(site.hook(cut)?, &[rule])?;
        for_every_kind(|direction, v6, protocol| {
            let came = site.send(direction, v6, protocol, PACKETS)?.distinct();
            let expected = if direction == cut { 0 } else { PACKETS };
            ensure!(came == expected, "{came} of {PACKETS} packets came, cut {cut:?}");
            Ok(())
        })?;
    }
    Ok(())
}

/// A veth pair with room for jumbo frames, and a program on one end.
struct Jumbo {
    container: Netns,
    host: Netns,
}

/// Longest frame: an MTU of 9000 bytes and the Ethernet header.
const LONGEST: usize = 9014;

impl Jumbo {
    fn new(object: &mut Object, program: &str, hook: TcAttachType) -> Result<Self> {
        let jumbo = Self { container: Netns::new("container")?, host: Netns::new("host")? };
        jumbo.host.veth(VETH, &jumbo.container, INSIDE)?;
        jumbo.host.set_mtu(VETH, 9000)?;
        jumbo.container.set_mtu(INSIDE, 9000)?;
        object.attach(program, &jumbo.host, VETH, hook)?;
        Ok(jumbo)
    }
}

/// Frames that the kernel takes for no test run: cut off within the IP header, or longer than a
/// page. On a device the long ones are not linear either, but scattered over several pages.
fn untestable(
    object: &mut Object,
    random: &mut Random,
    scene: &Scene,
    count: u64,
) -> Result<Vec<Vec<u8>>> {
    let longest = object::longest_test_frame(object.program(names::PROGRAM_FROM)?)?;
    Ok(std::iter::repeat_with(|| frame(random, LONGEST, &scene.addresses))
        .filter(|frame| frame.len() > longest || is_refused_by_test_runs(frame))
        .take(usize::try_from(count)?)
        .collect())
}

const SCENES: u64 = 20;

/// Enough for every kind of frame.
fn per_scene() -> u64 {
    packets().max(2_000) / SCENES
}

/// To the container, sent by its host: the sender learns of each lost packet (there is no line).
#[test]
fn frames_too_short_or_too_long_for_test_runs_are_decided_alike_on_the_way_in() -> Result<()> {
    needs_root!();
    let seed = seed();
    let mut random = Random::new(seed);
    let mut object = Object::load()?;
    object.set_tables(tables())?;
    let jumbo = Jumbo::new(&mut object, names::PROGRAM_TO, TcAttachType::Egress)?;
    let skb = Skb { ifindex: jumbo.host.index(VETH)?, ingress_ifindex: 0 };
    for number in 0..SCENES {
        let scene = Scene::with_line(&mut random, skb.ifindex, 0);
        scene.install(&mut object)?;
        let frames = untestable(&mut object, &mut random, &scene, per_scene())?;
        let taken = traffic::send(&jumbo.host, VETH, frames.iter().map(|frame| Ok(frame.clone())))?;
        let mut model = Model::new(&scene);
        for (frame, taken) in frames.iter().zip(taken) {
            let verdict = model.verdict(scene.key(Direction::Ingress), frame, skb);
            ensure!(
                verdict == if taken { PASS } else { LOST },
                "taken: {taken}, host {verdict}, seed {seed}, scene {number}: {scene:#?}, frame {}",
                hex(frame)
            );
        }
        model.compare_states(&mut object)?;
        scene.remove(&mut object)?;
    }
    Ok(())
}

/// From the container: here only the counters tell.
#[test]
fn frames_too_short_or_too_long_for_test_runs_are_decided_alike_on_the_way_out() -> Result<()> {
    needs_root!();
    let seed = seed();
    let mut random = Random::new(seed);
    let mut object = Object::load()?;
    object.set_tables(tables())?;
    let jumbo = Jumbo::new(&mut object, names::PROGRAM_FROM, TcAttachType::Ingress)?;
    let skb = Skb { ifindex: jumbo.host.index(VETH)?, ingress_ifindex: jumbo.host.index(VETH)? };
    for number in 0..SCENES {
        let scene = Scene::with_line(&mut random, skb.ifindex, 0);
        let key = scene.key(Direction::Egress);
        if !matches!(scene.on_hook(key), OnHook::Rules(_)) {
            continue;
        }
        scene.install(&mut object)?;
        let before = object.events()?;
        let mut frames = untestable(&mut object, &mut random, &scene, per_scene())?;
        // The kernel takes the first VLAN tag off before the program sees the packet.
        frames.retain(|frame| !matches!(frame[12..14], [0x81, 0x00] | [0x88, 0xa8]));
        traffic::send(&jumbo.container, INSIDE, frames.iter().map(|frame| Ok(frame.clone())))?;
        let mut model = Model::new(&scene);
        for frame in &frames {
            model.verdict(key, frame, skb);
        }
        wait_for_packets(&object, before, frames.len() as u64)?;
        let events = object.events()?;
        let difference = comparable(std::array::from_fn(|event| events[event] - before[event]));
        let context = || format!("seed {seed}, scene {number}: {scene:#?}");
        ensure!(difference == model.events(), "{difference:?} {:?} {}", model.events(), context());
        model.compare_states(&mut object).with_context(context)?;
        scene.remove(&mut object)?;
    }
    Ok(())
}

/// Waits until so many packets have come to a hook with rules.
fn wait_for_packets(object: &Object, before: [u64; Event::ALL.len()], count: u64) -> Result<()> {
    let packets = before[Event::Packet.index() as usize] + count;
    until_true(&format!("{count} packets come to the hook"), patience(10), || {
        Ok(object.event(Event::Packet)? >= packets)
    })
}
