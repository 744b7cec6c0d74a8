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
};

use crate::rules::{LOST, flow, lossy};

const PACKETS: u64 = 100_000;
const SEED: u64 = 0x00c0_ffee;
/// 3/8.
const PARTS: u64 = 3 << 29;

/// Fingerprint of the verdicts below. A change of it means that a policy's seed no longer gives the
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
    let lost = (0..PACKETS)
        .map(|sequence| Ok(program.repeat(&flow.frame(sequence, 26)?, Skb::FORWARDED, 1)? == LOST))
        .collect::<Result<Vec<bool>>>()?;
    assert_eq!(fingerprint(lost.iter().copied()), FINGERPRINT);
    Ok(())
}

/// The host draws the same numbers, so that the fingerprint can be checked without a kernel.
#[test]
fn the_host_agrees_with_the_fingerprint() {
    let lost = (0..PACKETS).map(|n| u64::from(draw(SEED, Stream::Loss, n)) < PARTS);
    assert_eq!(fingerprint(lost), FINGERPRINT);
}
