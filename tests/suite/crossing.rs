//! At the wire's exit the kernel decides over frames as the host does, and damages exactly the bit that
//! was decided.
//!
//! As in `verdicts`, with rules and frames made up at random. What became of the bytes is not computed
//! a second time but judged: one bit of the right one is turned, and where the receiver must not know,
//! the checksum is right for what it was right for before.

use std::cell::Cell;

use anyhow::{Context as _, Result, ensure};
use entropy_common::{
    decide::wire,
    fault::corrupt::Damage,
    host::Host,
    names,
    packet::{Packet, Unfit},
    rule::{Direction, HookKey},
    stats::Event,
};
use entropy_tests::{
    clock::now_ns,
    needs_root,
    netns::Netns,
    object::{self, LOOPBACK, Object, Skb},
    random::{Random, seed},
};

use crate::{
    rules::{LOST, REDIRECTED},
    verdicts::{Counting, OnHook, Scene, frame, hex, is_refused_by_test_runs, tables},
};

const PER_SCENE: u64 = 1_000;
const FRAMES: u64 = 300_000;

/// What was seen of the run as a whole.
#[derive(Debug, Default)]
struct Coverage {
    compared: u64,
    lost: u64,
    marked: u64,
    found: u64,
    silent: u64,
}

#[test]
fn the_kernel_decides_over_frames_as_the_host_does() -> Result<()> {
    needs_root!();
    Netns::new("crossing")?.run(decide_alike)?
}

fn decide_alike() -> Result<()> {
    let seed = seed();
    let mut random = Random::new(seed);
    let mut object = Object::load()?;
    object.set_tables(tables())?;
    let longest = object::longest_test_frame(object.program(names::PROGRAM_WIRE)?)?;
    let mut coverage = Coverage::default();
    for number in 0_u64.. {
        if coverage.compared >= FRAMES {
            break;
        }
        let scene = Scene::new(&mut random, LOOPBACK);
        scene.install(&mut object)?;
        compare(&mut object, &scene, &mut random, longest, &mut coverage)
            .with_context(|| format!("seed {seed}, scene {number}: {scene:#?}"))?;
        scene.remove(&mut object)?;
    }
    println!("{coverage:?}");
    let Coverage { compared: _, lost, marked, found, silent } = coverage;
    for (name, count) in [("lost", lost), ("marked", marked), ("found", found), ("silent", silent)]
    {
        // Marks are the rarest, a thousand or so.
        ensure!(count >= 250, "only {count} frames {name}");
    }
    Ok(())
}

/// One scene: the same frames to the kernel and to the host.
fn compare(
    object: &mut Object,
    scene: &Scene,
    random: &mut Random,
    longest: usize,
    coverage: &mut Coverage,
) -> Result<()> {
    let before = object.events()?;
    let mut model = Model::new(scene);
    for direction in Direction::ALL {
        object.set_slot(0, Some(scene.key(direction)))?;
        for _ in 0..PER_SCENE / 2 {
            let frame = frame(random, longest, &scene.addresses);
            let program = object.program(names::PROGRAM_WIRE)?;
            let Some((code, after)) = program.transform(&frame, Skb::LOCAL)? else {
                ensure!(is_refused_by_test_runs(&frame), "refused a frame {}", hex(&frame));
                continue;
            };
            let expected = model.cross(scene.key(direction), &frame);
            judge(&frame, code, &after, &expected, coverage).with_context(|| {
                let (frame, after) = (hex(&frame), hex(&after));
                format!("{direction:?}, {expected:?}, code {code}, frame {frame}, after {after}")
            })?;
        }
    }
    let events = object.events()?;
    let difference = std::array::from_fn(|event| events[event] - before[event]);
    ensure!(difference == model.events(), "events: {difference:?}, {:?}", model.events());
    for rule in scene.counted_rules() {
        let (kernel, host) = (object.state(rule.id)?, model.host.state(rule.id));
        ensure!(kernel == host, "rule {}: kernel {kernel:?}, host {host:?}", rule.id);
    }
    Ok(())
}

/// What should become of a frame.
#[derive(Debug, Default)]
struct Expected {
    lost: bool,
    marked: bool,
    damage: Option<Damage>,
    upper: u32,
    upper_length: u32,
}

fn judge(
    frame: &[u8],
    code: i32,
    after: &[u8],
    expected: &Expected,
    coverage: &mut Coverage,
) -> Result<()> {
    coverage.compared += 1;
    ensure!(code == if expected.lost { LOST } else { REDIRECTED }, "another return code");
    ensure!(frame.len() == after.len(), "another length");
    coverage.lost += u64::from(expected.lost);
    coverage.marked += u64::from(expected.marked);
    // A mark changes the IP header and its checksum, which is the kernel's own work.
    let upper = (expected.upper as usize).min(frame.len());
    let start = if expected.marked { upper } else { 0 };
    let mut restored = after.to_vec();
    if let Some(damage) = expected.damage {
        restored[damage.byte as usize] ^= damage.mask;
        if damage.checksum == 0 {
            coverage.found += 1;
        } else {
            coverage.silent += 1;
            judge_checksum(frame, after, &damage, expected)?;
            let sum = damage.checksum as usize..damage.checksum as usize + 2;
            restored[sum.clone()].copy_from_slice(&frame[sum]);
        }
    }
    ensure!(frame[start..] == restored[start..], "other bytes");
    Ok(())
}

/// The sum over header and payload is the same as before, as ones' complement counts.
fn judge_checksum(frame: &[u8], after: &[u8], damage: &Damage, expected: &Expected) -> Result<()> {
    let (start, place) = (expected.upper as usize, damage.checksum as usize);
    let region = start..start + expected.upper_length as usize;
    let (old, new) = (&frame[place..place + 2], &after[place..place + 2]);
    if damage.optional && old == [0, 0] {
        ensure!(new == [0, 0], "a checksum where there was none");
        return Ok(());
    }
    ensure!(!damage.optional || new != [0, 0], "no checksum where there was one");
    ensure!(sum(&frame[region.clone()]) == sum(&after[region]), "the checksum is not mended");
    Ok(())
}

/// Sum of the 16-bit words, in ones' complement, with one zero only.
fn sum(bytes: &[u8]) -> u64 {
    let word = |pair: &[u8]| u64::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u64::from);
    bytes.chunks(2).map(word).sum::<u64>() % 0xffff
}

/// The maps of a scene in ordinary memory, and the way through the program.
struct Model<'a> {
    scene: &'a Scene,
    host: Host,
    events: [u64; Event::ALL.len()],
    missing: Cell<u64>,
}

impl<'a> Model<'a> {
    fn new(scene: &'a Scene) -> Self {
        let host = Host::new(&scene.counted_rules(), &scene.peers).with_tables(tables().to_vec());
        Self { scene, host, events: [0; Event::ALL.len()], missing: Cell::new(0) }
    }

    fn cross(&mut self, hook: HookKey, frame: &[u8]) -> Expected {
        self.count(Event::Frame);
        let set = match self.scene.on_hook(hook) {
            OnHook::Nothing => return Expected::default(),
            OnHook::Stale => return self.unjudged(Event::Stale),
            OnHook::Rules(set) => set,
        };
        let now_ns = now_ns();
        if !self.scene.lease.holds(now_ns) {
            return Expected::default();
        }
        let packet = match Packet::parse(frame) {
            Ok(packet) => packet,
            Err(Unfit::NotIp) => return self.unjudged(Event::NotIp),
            Err(Unfit::NeighbourDiscovery) => return self.unjudged(Event::NeighbourDiscovery),
            Err(Unfit::Malformed) => return self.unjudged(Event::Malformed),
        };
        let Some(direction) = Direction::from_number(hook.direction) else {
            return Expected::default();
        };
        let counting = Counting { host: &self.host, missing: &self.missing };
        let (crossing, damage) = wire::decide(set, direction, &packet, now_ns, &counting);
        Expected {
            lost: crossing.lost != 0,
            marked: crossing.mark_ce != 0 && crossing.lost == 0,
            damage,
            upper: packet.upper,
            upper_length: packet.upper_length,
        }
    }

    fn unjudged(&mut self, event: Event) -> Expected {
        self.count(event);
        Expected::default()
    }

    fn count(&mut self, event: Event) {
        self.events[event.index() as usize] += 1;
    }

    fn events(&self) -> [u64; Event::ALL.len()] {
        let mut events = self.events;
        events[Event::NoState.index() as usize] = self.missing.get();
        events
    }
}

#[test]
fn a_frame_that_belongs_to_no_hook_is_freed() -> Result<()> {
    needs_root!();
    let mut object = Object::load()?;
    let frame = crate::rules::udp();
    let run =
        |object: &mut Object| object.program(names::PROGRAM_WIRE)?.try_run(&frame, Skb::LOCAL);
    assert_eq!(run(&mut object)?, Some(LOST));
    assert_eq!(object.event(Event::Stray)?, 1);
    // A hook that has lost its rules still gets its frames.
    object.set_slot(0, Some(HookKey::new(LOOPBACK, Direction::Egress)))?;
    assert_eq!(run(&mut object)?, Some(REDIRECTED));
    Ok(())
}
