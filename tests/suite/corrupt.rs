//! Damaged frames between containers of one host, whose packets carry no checksum but at the wire.

mod believed;
mod echo;
mod order;
mod setup;
mod tcp;
mod udp;
mod waiting;

use anyhow::Result;
use entropy_common::{
    chance::{Probability, correlated::Chance},
    fault::corrupt::Corrupt,
    rule::{Direction, Rule},
    stats::RuleState,
};

use crate::bridged::Bridged;

const UDP: u16 = 17;
const TCP: u16 = 6;

/// A rule that damages a share of the frames, in parts of 2^32.
fn damaging(seed: u64, parts: u64, silent: u32) -> Rule {
    let rate = Probability::from_parts(parts).unwrap_or(Probability::NEVER);
    Rule { seed, corrupt: Corrupt { chance: Chance::independent(rate), silent }, ..Rule::NONE }
}

/// One in a hundred.
const PERCENT: u64 = 42_949_673;

/// A host with a wire and no line.
fn host() -> Result<Bridged> {
    Bridged::new()?.with_wire()
}

/// What the rule of a direction has counted since `before`.
fn counted(host: &mut Bridged, direction: Direction, before: RuleState) -> Result<RuleState> {
    let after = state(host, direction)?;
    Ok(RuleState {
        matched: after.matched - before.matched,
        framed: after.framed - before.framed,
        corrupted: after.corrupted - before.corrupted,
        lost: after.lost - before.lost,
        ..RuleState::ZERO
    })
}

fn state(host: &mut Bridged, direction: Direction) -> Result<RuleState> {
    host.object.state(1 + direction as u32)
}

/// Both directions and both families.
fn ways() -> impl Iterator<Item = (Direction, bool)> {
    Direction::ALL.into_iter().flat_map(|direction| [(direction, false), (direction, true)])
}
