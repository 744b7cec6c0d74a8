//! Several CPUs at once count every packet once.

use std::{sync::Barrier, thread};

use anyhow::Result;
use entropy_common::{
    chance::{Stream, draw},
    rule::{Direction, HookKey},
    stats::Event,
};
use entropy_tests::{
    cpu, needs_root,
    object::{LOOPBACK, Object, Skb},
    skip,
    threads::outcome,
};

use crate::rules::{lossy, udp};

const PACKETS: u32 = 1_000_000;
const SEED: u64 = 77;
const PARTS: u64 = 3 << 28;

/// No add is lost, and every packet gets an ordinal of its own. The latter shows in the number of
/// lost packets: it is that of the ordinals 0 to n - 1, each drawn once.
#[test]
fn two_cpus_lose_no_count_and_share_no_ordinal() -> Result<()> {
    needs_root!();
    let cpus = cpu::allowed()?;
    let &[first, second, ..] = &cpus[..] else {
        skip!("needs two CPUs, there is {}", cpus.len());
    };
    let packets = skip::packets(PACKETS);
    let mut object = Object::load()?;
    object.set_rules(HookKey::new(LOOPBACK, Direction::Egress), &[lossy(1, SEED, PARTS)])?;
    let program = object.hook(Direction::Egress)?;
    let start = &Barrier::new(2);
    thread::scope(|scope| {
        [first, second]
            .map(|cpu| {
                scope.spawn(move || {
                    cpu::pin(cpu)?;
                    start.wait();
                    program.repeat(&udp(), Skb::FORWARDED, packets)
                })
            })
            .into_iter()
            .try_for_each(|thread| outcome(thread.join()).map(drop))
    })?;
    let (state, total) = (object.state(1)?, 2 * u64::from(packets));
    let length = udp().len() as u64;
    let lost =
        (0..total).filter(|&n| u64::from(draw(SEED, Stream::Loss, n)) < PARTS).count() as u64;
    assert_eq!((state.seen, state.matched, state.matched_bytes), (total, total, total * length));
    assert_eq!((state.lost, state.lost_bytes), (lost, lost * length));
    assert_eq!(object.event(Event::Packet)?, total);
    Ok(())
}
