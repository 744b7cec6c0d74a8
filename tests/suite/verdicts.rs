//! The kernel's verdicts equal the host's, packet by packet.
//!
//! Rules, peers, lease and packets are made up at random, the kernel decides over each packet by a
//! test run, and the host by the same arithmetic in ordinary memory. Return codes are compared for
//! each packet, and after each scene every counter of every rule and of every event.

mod faults;
mod matchers;
mod model;
mod packets;
mod scene;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use entropy_common::{
    names,
    rule::{Direction, HookKey},
    stats::Event,
};
use entropy_tests::{
    needs_root,
    netns::Netns,
    object::{self, LOOPBACK, Object, Skb},
    random::{Random, seed},
};

use crate::rules::{LOST, PASS};
pub(crate) use model::{Counting, Model, PERCENTILES, comparable, tables};
pub(crate) use packets::{ETHERNET, frame, is_refused_by_test_runs};
pub(crate) use scene::{OnHook, Scene};

/// Packets with the same rules.
const PER_SCENE: u64 = 1_000;
/// Packets over which kernel and host have to agree.
const PACKETS: u64 = 1_000_000;

/// What was seen of the run as a whole, to prove that it tried everything.
#[derive(Debug, Default)]
struct Coverage {
    compared: u64,
    refused: u64,
    passed: u64,
    lost: u64,
    redirected: u64,
    lengths: BTreeSet<usize>,
    /// What rules did to packets, by name.
    done: BTreeMap<&'static str, u64>,
}

impl Coverage {
    fn add(&mut self, done: &[(&'static str, u64)]) {
        for (name, count) in done {
            *self.done.entry(*name).or_default() += count;
        }
    }

    fn count(&mut self, length: usize, verdict: i32) {
        self.compared += 1;
        self.lengths.insert(length);
        match verdict {
            PASS => self.passed += 1,
            LOST => self.lost += 1,
            _ => self.redirected += 1,
        }
    }
}

#[test]
fn the_kernel_decides_as_the_host_does() -> Result<()> {
    needs_root!();
    // What is sent twice must not get into the namespace of this machine.
    Netns::new("verdicts")?.run(decide_alike)?
}

fn decide_alike() -> Result<()> {
    let seed = seed();
    let mut random = Random::new(seed);
    let mut object = Object::load()?;
    object.set_tables(tables())?;
    let longest = object::longest_test_frame(object.program(names::PROGRAM_FROM)?)?;
    let mut coverage = Coverage::default();
    for number in 0_u64.. {
        if coverage.compared >= PACKETS {
            break;
        }
        let scene = Scene::new(&mut random, LOOPBACK);
        scene.install(&mut object)?;
        compare(&mut object, &scene, &mut random, longest, &mut coverage)
            .with_context(|| format!("seed {seed}, scene {number}: {scene:#?}"))?;
        scene.remove(&mut object)?;
    }
    println!(
        "{} compared: {} passed, {} lost, {} redirected; {} refused",
        coverage.compared, coverage.passed, coverage.lost, coverage.redirected, coverage.refused
    );
    println!("{:?}", coverage.done);
    judge(&object, &coverage, longest)
}

/// One scene: the same packets to the kernel and to the model.
fn compare(
    object: &mut Object,
    scene: &Scene,
    random: &mut Random,
    longest: usize,
    coverage: &mut Coverage,
) -> Result<()> {
    let before = object.events()?;
    let mut model = Model::new(scene);
    for _ in 0..PER_SCENE {
        let direction = random.pick(&Direction::ALL);
        let skb = random.pick(&[Skb::LOCAL, Skb::FORWARDED]);
        let frame = frame(random, longest, &scene.addresses);
        let Some(verdict) = object.hook(direction)?.try_run(&frame, skb)? else {
            ensure!(is_refused_by_test_runs(&frame), "refused a frame {}", hex(&frame));
            coverage.refused += 1;
            continue;
        };
        let expected = model.verdict(HookKey::new(LOOPBACK, direction), &frame, skb);
        ensure!(
            verdict == expected,
            "kernel {verdict}, host {expected}, {direction:?}, {skb:?}, frame {}",
            hex(&frame)
        );
        coverage.count(frame.len(), verdict);
    }
    let events = object.events()?;
    let difference: [u64; Event::ALL.len()] =
        comparable(std::array::from_fn(|event| events[event] - before[event]));
    ensure!(difference == model.events(), "events: {difference:?}, {:?}", model.events());
    coverage.add(&model.sum());
    model.compare_states(object)
}

/// The run has to have met everything that it is for.
fn judge(object: &Object, coverage: &Coverage, longest: usize) -> Result<()> {
    ensure!(coverage.refused < coverage.compared / 5, "{} frames refused", coverage.refused);
    let missing: Vec<usize> =
        (ETHERNET..=longest).filter(|length| !coverage.lengths.contains(length)).collect();
    ensure!(missing.is_empty(), "no packet of these lengths: {missing:?}");
    for (name, count) in
        [("passed", coverage.passed), ("lost", coverage.lost), ("redirected", coverage.redirected)]
    {
        ensure!(count >= 5_000, "only {count} packets {name}");
    }
    for (name, count) in &coverage.done {
        ensure!(*count >= 2_000, "only {count} packets were {name}");
    }
    let beyond =
        [Event::Freed, Event::Waited, Event::Released, Event::Stray, Event::NotHeld, Event::Frame];
    for event in Event::ALL.into_iter().filter(|event| !beyond.contains(event)) {
        let count = object.event(event)?;
        ensure!(count >= 1_000, "{} counted only {count} times", event.name());
    }
    Ok(())
}

/// A frame as it can be pasted into a test.
pub(crate) fn hex(frame: &[u8]) -> String {
    frame.iter().map(|byte| format!("{byte:02x}")).collect()
}
