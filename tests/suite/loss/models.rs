//! Every loss model loses the packets that the host says, and as many as its parameters say.

use anyhow::{Context as _, Result};
use entropy_common::{
    chance::Probability,
    fault::loss::Loss,
    host::HostMemory,
    rule::{Direction, HookKey, Rule},
};
use entropy_tests::{
    frames::Protocol,
    needs_root,
    object::{LOOPBACK, Object, Skb},
    random::fixed_seed,
    skip::{packets, virtual_machine},
};

use super::{PACKETS, chain::Chain};
use crate::rules::{LOST, frame};

/// Packets that are followed one by one.
const SEQUENCE: u64 = 100_000;

fn share(share: f64) -> Probability {
    let parts = (share * 2_f64.powi(32)).round() as u64;
    Probability::from_parts(parts).unwrap_or(Probability::NEVER)
}

/// A model and what it is called.
type Named = (&'static str, Loss);

/// Models that remember, of which the rate is known.
fn chains() -> Result<Vec<Named>> {
    Ok(vec![
        ("correlated", Loss::correlated(share(0.1), share(0.5))),
        ("strongly correlated", Loss::correlated(share(0.02), share(0.9))),
        ("bursts", Loss::bursts(share(0.1), 5_000)?),
        ("long bursts", Loss::bursts(share(0.05), 20_000)?),
        ("more regular than chance", Loss::bursts(share(0.4), 1_100)?),
        (
            "gilbert-elliott",
            Loss::gilbert_elliott(share(0.02), share(0.2), share(0.7), share(0.001)),
        ),
        ("markov", Loss::markov([0.05, 0.3, 0.2, 0.6, 0.01].map(share)).context("a chain")?),
        (
            "markov of two states",
            Loss::markov([0.02, 0.25, 0.0, 0.0, 0.0].map(share)).context("a chain")?,
        ),
    ])
}

/// Models that count, and netem's correlation, whose rate nobody can name.
fn others() -> Result<Vec<Named>> {
    Ok(vec![
        ("rate", Loss::rate(share(0.1))),
        ("netem's correlation", Loss::netem(share(0.3), share(0.25))),
        ("nth", Loss::nth(7, 3).context("a period")?),
        ("every one", Loss::nth(1, 0).context("a period")?),
        ("first", Loss::first(12_345)),
        ("pattern", Loss::pattern(0b1_0110_0101, 9).context("a period")?),
        ("pattern of 64", Loss::pattern(0x8000_0000_dead_beef, 64).context("a period")?),
    ])
}

fn install(object: &mut Object, seed: u64, loss: Loss) -> Result<()> {
    let rule = Rule { id: 1, seed, loss, ..Rule::NONE };
    object.set_rules(HookKey::new(LOOPBACK, Direction::Egress), &[rule])
}

#[test]
fn every_model_loses_exactly_the_packets_that_the_host_says() -> Result<()> {
    needs_root!();
    let base = fixed_seed(4_000);
    let mut object = Object::load()?;
    let frame = frame(false, Protocol::Udp)?;
    for ((name, loss), seed) in chains()?.into_iter().chain(others()?).zip(base..) {
        install(&mut object, seed, loss)?;
        let (program, memory) = (object.hook(Direction::Egress)?, HostMemory::default());
        let mut lost = 0;
        for ordinal in 0..SEQUENCE {
            let is_lost = program.repeat(&frame, Skb::FORWARDED, 1)? == LOST;
            let expected = loss.hits(seed, ordinal, &memory);
            assert_eq!(is_lost, expected, "{name}, packet {ordinal}, seed {seed}");
            lost += u64::from(is_lost);
        }
        println!("{name}: {lost} of {SEQUENCE} lost, seed {seed}");
        assert_eq!(object.state(1)?.lost, lost, "{name}");
        assert!(lost >= 1_000, "{name}: only {lost} lost");
    }
    Ok(())
}

/// The interval is for chains, see [`Chain`]; the seeds are fixed for the reason that is given for
/// independent losses.
#[test]
fn models_that_remember_keep_their_rate() -> Result<()> {
    needs_root!();
    let (base, packets) = (fixed_seed(5_000), packets(10_000_000));
    let mut object = Object::load()?;
    let frame = frame(false, Protocol::Udp)?;
    for ((name, loss), seed) in chains()?.into_iter().zip(base..) {
        install(&mut object, seed, loss)?;
        object.hook(Direction::Egress)?.repeat(&frame, Skb::FORWARDED, packets)?;
        let lost = object.state(1)?.lost;
        let interval = Chain::of(&loss).context("a chain")?.interval(packets);
        println!("{name}: {lost} of {packets}, {interval:.0?} expected, seed {seed}");
        assert!(interval.contains(&(lost as f64)), "{name}: {lost}, {interval:?}, seed {seed}");
        // That the host's preview names the middle of it.
        let rate = loss.expected_rate().context("a rate")? * f64::from(packets);
        let middle = f64::midpoint(*interval.start(), *interval.end());
        assert!(
            (rate - middle).abs() < f64::from(packets) / 1e4,
            "{name}: {rate} announced, {middle} expected"
        );
        // Emulated, the host's million would take as long as the kernel's.
        if virtual_machine().is_none() {
            let memory = HostMemory::default();
            let predicted =
                (0..u64::from(packets)).filter(|&n| loss.hits(seed, n, &memory)).count();
            assert_eq!(lost, predicted as u64, "{name}: the host counts otherwise");
        }
    }
    Ok(())
}

/// Those that count lose exactly their share.
#[test]
fn models_that_count_lose_exactly_their_share() -> Result<()> {
    needs_root!();
    let mut object = Object::load()?;
    let frame = frame(true, Protocol::Tcp)?;
    let packets = packets(PACKETS);
    let all = u64::from(packets);
    for (loss, expected) in [
        (Loss::nth(10, 9).unwrap(), all / 10),
        (Loss::nth(1_000, 999).unwrap(), all / 1_000),
        (Loss::first(777), 777),
        (Loss::pattern(0b1001, 4).unwrap(), all / 2),
    ] {
        install(&mut object, 1, loss)?;
        object.hook(Direction::Egress)?.repeat(&frame, Skb::FORWARDED, packets)?;
        assert_eq!(object.state(1)?.lost, expected, "{loss:?}");
    }
    Ok(())
}
