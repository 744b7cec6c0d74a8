//! What rules do together, and what happens without them.

use anyhow::Result;
use entropy_common::{
    chance::Probability,
    fault::{loss::Loss, partition::Partition},
    rule::{Direction, HookKey, Rule},
    stats::{Event, RuleState},
};
use entropy_tests::{
    frames::{End, Flow, Protocol},
    needs_root,
    object::{LOOPBACK, Object, Skb},
};

/// `TC_ACT_UNSPEC`: the packet passes on to the next program.
pub(crate) const PASS: i32 = -1;
/// `TC_ACT_SHOT`.
pub(crate) const LOST: i32 = 2;
/// `TC_ACT_REDIRECT`: lost by way of the line, or on its way through the wire.
pub(crate) const REDIRECTED: i32 = 7;

/// A flow of one family and protocol.
pub(crate) fn flow(v6: bool, protocol: Protocol) -> Flow {
    let end = |last: u8, port| {
        let ip = if v6 {
            [0xfd00, 0, 0, 0, 0, 0, 0, u16::from(last)].into()
        } else {
            [10, 0, 0, last].into()
        };
        End { mac: [2, 0, 0, 0, 0, last], ip, port }
    };
    Flow { source: end(1, 40_000), destination: end(2, 5432), protocol, tag: 1 }
}

/// A frame of each family and protocol.
pub(crate) fn frame(v6: bool, protocol: Protocol) -> Result<Vec<u8>> {
    flow(v6, protocol).frame(0, 26)
}

/// A UDP datagram of 42 + 4 bytes.
pub(crate) fn udp() -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    frame.extend([0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([0x9c, 0x40, 0x15, 0x38, 0, 12, 0, 0, 1, 2, 3, 4]);
    frame
}

/// A rule that loses a share of all packets, in parts of 2^32.
pub(crate) fn lossy(id: u32, seed: u64, parts: u64) -> Rule {
    let rate = Probability::from_parts(parts).unwrap_or(Probability::NEVER);
    Rule { id, seed, loss: Loss::rate(rate), ..Rule::NONE }
}

fn hook(direction: Direction) -> HookKey {
    HookKey::new(LOOPBACK, direction)
}

#[test]
fn a_hook_without_rules_passes_everything_and_counts_nothing() -> Result<()> {
    needs_root!();
    let mut object = Object::load()?;
    for direction in Direction::ALL {
        assert_eq!(object.hook(direction)?.repeat(&udp(), Skb::LOCAL, 1000)?, PASS);
    }
    assert_eq!(object.events()?, [0; Event::ALL.len()]);
    Ok(())
}

#[test]
fn an_empty_set_of_rules_passes_everything_and_counts_the_packets() -> Result<()> {
    needs_root!();
    let mut object = Object::load()?;
    for direction in Direction::ALL {
        object.set_rules(hook(direction), &[])?;
        assert_eq!(object.hook(direction)?.repeat(&udp(), Skb::LOCAL, 1000)?, PASS);
    }
    assert_eq!(object.event(Event::Packet)?, 2000);
    Ok(())
}

/// The rules of one direction leave the other alone.
#[test]
fn directions_do_not_share_rules() -> Result<()> {
    needs_root!();
    for cut in Direction::ALL {
        let mut object = Object::load()?;
        let rule = Rule { id: 1, partition: Partition::CUT, ..Rule::NONE };
        object.set_rules(hook(cut), &[rule])?;
        for direction in Direction::ALL {
            let expected = if direction == cut { LOST } else { PASS };
            let verdict = object.hook(direction)?.repeat(&udp(), Skb::FORWARDED, 10)?;
            assert_eq!(verdict, expected, "cut {cut:?}, packet {direction:?}");
        }
        assert_eq!(object.state(1)?.lost, 10);
    }
    Ok(())
}

/// What two rules lose together is what each loses alone, and each counts as if it were alone.
#[test]
fn two_rules_decide_independently_of_each_other() -> Result<()> {
    needs_root!();
    const PACKETS: usize = 20_000;
    let rules = [lossy(1, 11, (1 << 32) / 10), lossy(2, 12, 1 << 31)];
    let run = |rules: &[Rule]| -> Result<(Vec<bool>, Vec<RuleState>)> {
        let mut object = Object::load()?;
        object.set_rules(hook(Direction::Egress), rules)?;
        let program = object.hook(Direction::Egress)?;
        let lost = (0..PACKETS)
            .map(|_| Ok(program.repeat(&udp(), Skb::FORWARDED, 1)? == LOST))
            .collect::<Result<Vec<bool>>>()?;
        let states = rules.iter().map(|rule| object.state(rule.id)).collect::<Result<_>>()?;
        Ok((lost, states))
    };
    let (first, first_state) = run(&rules[..1])?;
    let (second, second_state) = run(&rules[1..])?;
    let (both, states) = run(&rules)?;
    let union: Vec<bool> = first.iter().zip(&second).map(|(a, b)| a | b).collect();
    assert!(both == union, "together they lose other packets than apart");
    assert_eq!(states, [first_state, second_state].concat());
    assert!(first != second, "two seeds, the same decisions");
    let lost = first.iter().filter(|&&lost| lost).count();
    assert_eq!(states[0].lost, lost as u64, "counted what was returned");
    Ok(())
}

/// A rule whose counters are missing is an internal error: it does nothing and says so.
#[test]
fn a_rule_without_counters_is_skipped_and_counted() -> Result<()> {
    needs_root!();
    let mut object = Object::load()?;
    let rule = Rule { id: 1, partition: Partition::CUT, ..Rule::NONE };
    object.set_rules(hook(Direction::Egress), &[rule])?;
    object.set_state(1, None)?;
    assert_eq!(object.hook(Direction::Egress)?.repeat(&udp(), Skb::FORWARDED, 7)?, PASS);
    assert_eq!(object.event(Event::NoState)?, 7);
    Ok(())
}
