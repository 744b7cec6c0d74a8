//! The same seed and the same packets give the same verdicts, on every kernel.

use anyhow::Result;
use entropy_common::{
    chance::{Stream, draw},
    rule::{Direction, HookKey},
};
use entropy_tests::{
    frames::Protocol,
    needs_root,
    object::{LOOPBACK, Object, Skb},
    skip,
};

use crate::rules::{LOST, flow, lossy};

const PACKETS: u32 = 100_000;
const SEED: u64 = 0x00c0_ffee;
/// 3/8.
const PARTS: u64 = 3 << 29;

/// Fingerprint of the verdicts that the host gives, with which the kernels are compared. A change of it means that a policy's seed no longer gives the
/// decisions that it gave before: that breaks what users have recorded, so do not just write down
/// the new one.
const FINGERPRINT: u64 = 0x7d0a_1bec_f762_f93c;

/// FNV-1a over one byte for each verdict.
fn fingerprint(lost: impl Iterator<Item = bool>) -> u64 {
    lost.fold(0xcbf2_9ce4_8422_2325, |hash, lost| {
        (hash ^ u64::from(lost)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[test]
fn verdicts_are_the_same_on_every_kernel() -> Result<()> {
    needs_root!();
    let mut object = Object::load()?;
    object.set_rules(HookKey::new(LOOPBACK, Direction::Egress), &[lossy(1, SEED, PARTS)])?;
    let program = object.hook(Direction::Egress)?;
    let flow = flow(false, Protocol::Tcp);
    for sequence in 0..u64::from(skip::packets(PACKETS)) {
        let verdict = program.repeat(&flow.frame(sequence, 26)?, Skb::FORWARDED, 1)?;
        assert_eq!(verdict == LOST, is_lost(sequence), "packet {sequence}");
    }
    Ok(())
}

/// What the host says of a packet.
fn is_lost(sequence: u64) -> bool {
    u64::from(draw(SEED, Stream::Loss, sequence)) < PARTS
}

#[test]
fn the_host_agrees_with_the_fingerprint() {
    assert_eq!(fingerprint((0..u64::from(PACKETS)).map(is_lost)), FINGERPRINT);
}
