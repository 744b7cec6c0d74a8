//! Each fault with each other one on a container: together they do what the model says.

use anyhow::{Context as _, Result};
use entropy_common::{
    decide::{decide, wire},
    host::Host,
    packet::Packet,
    rule::{Direction, HookKey, Rule, RuleSet},
    stats::RuleState,
};
use entropy_daemon::datapath::inspect::RuleEntry;
use entropy_tests::{
    daemon::Daemon,
    docker::Interface,
    frames::{End, Flow, Protocol},
    netns::Netns,
    traffic::{self, Received, Receiver},
    wait::{patience, until_true},
};

use crate::stage::{Cast, Running, Stage, stage};

const FRAMES: u64 = 2000;
const FAULTS: [&str; 7] = [
    "loss = '30%'",
    "duplicate = '30%'",
    "corrupt = '30%'",
    "delay = '20ms'",
    "reorder = { rate = '30%', jump = '10ms' }",
    "rate = '1gbit'",
    "slot = '5ms'",
];
/// The first of [`FAULTS`] that needs packets to wait.
const TIMED: usize = 3;

/// What the model says.
struct Model {
    states: [RuleState; 2],
    distinct: u64,
    duplicates: u64,
}

fn model(rules: [Rule; 2], flow: &Flow) -> Result<Model> {
    let set = RuleSet::new(HookKey::new(0, Direction::Egress), &rules).context("two rules")?;
    let host = Host::new(&rules, &[]).with_distributions();
    let (mut distinct, mut duplicates) = (0, 0);
    for sequence in 0..FRAMES {
        let frame = flow.frame(sequence, 26)?;
        let packet = Packet::parse(&frame[..]).map_err(|why| anyhow::anyhow!("{why:?}"))?;
        // So far apart that no packet meets another in a queue.
        let now_ns = (sequence + 1) * 1_000_000_000;
        let verdict = decide(&set, Direction::Egress, &packet, now_ns, &host);
        if verdict.lost {
            continue;
        }
        distinct += 1;
        duplicates += u64::from(verdict.duplicate);
        if verdict.wire {
            for _ in 0..=u32::from(verdict.duplicate) {
                wire::decide(&set, Direction::Egress, &packet, now_ns, &host);
            }
        }
    }
    Ok(Model { states: rules.map(|rule| host.state(rule.id)), distinct, duplicates })
}

/// What does not depend on when packets come.
fn timeless(state: &RuleState) -> [u64; 6] {
    [state.matched, state.lost, state.duplicated, state.corrupted, state.framed, state.reordered]
}

/// Where it is tried.
struct Scene<'a> {
    stage: &'a Stage,
    daemon: &'a Daemon,
    from: &'a Running,
    to: &'a Running,
    flow: Flow,
}

impl Scene<'_> {
    fn entry(&self, name: &str) -> Result<RuleEntry> {
        self.daemon.rule(name, &self.from.at, Direction::Egress).context("the rule is in force")
    }

    fn states(&self) -> Result<[[u64; 6]; 2]> {
        Ok([timeless(&self.entry("first")?.state), timeless(&self.entry("second")?.state)])
    }

    /// Sends frames; what arrives is counted unless it may be damaged.
    fn send(&self, expected: Option<u64>) -> Result<Option<Received>> {
        let (source, sink) = (self.from.container.netns()?, self.to.container.netns()?);
        let receiver =
            expected.map(|_| Receiver::start(&sink, &self.to.at.device, &self.flow)).transpose()?;
        let frames = (0..FRAMES).map(|sequence| self.flow.frame(sequence, 26));
        traffic::send(&source, &self.from.at.device, frames)?;
        receiver.zip(expected).map(|(receiver, expected)| receiver.finish(expected)).transpose()
    }

    fn try_pair(&self, faults: [&str; 2], seed: usize) -> Result<()> {
        let names = ["first", "second"];
        for (name, fault) in names.into_iter().zip(faults) {
            let text = format!(
                "target = 'app=web'\ndirection = 'egress'\nmatch = {{ protocol = 'udp' }}\n\
                 seed = {seed}\n{fault}"
            );
            self.stage.policy(name, &text)?;
            self.daemon.await_on(name, &self.from.at)?;
        }
        let rules = [self.entry("first")?.rule, self.entry("second")?.rule];
        let expected = model(rules, &self.flow)?;
        // Damage may hit what a frame is known by.
        let damages = faults.iter().any(|fault| fault.starts_with("corrupt"));
        let received = self.send((!damages).then_some(expected.distinct + expected.duplicates))?;
        let wanted = expected.states.each_ref().map(timeless);
        // The last frames may still be on their way.
        drop(until_true("the counters", patience(5), || Ok(self.states()? == wanted)));
        assert_eq!(self.states()?, wanted, "{faults:?}");
        if let Some(received) = received {
            let came = (received.distinct(), received.duplicates());
            assert_eq!(came, (expected.distinct, expected.duplicates), "{faults:?}");
        }
        names.into_iter().try_for_each(|name| self.stage.end_policy(name))?;
        self.daemon.await_off(&self.from.at)
    }
}

#[test]
fn every_pair_of_faults_does_on_a_container_what_the_model_says() -> Result<()> {
    let stage = stage!(every kernel);
    let cast = stage.cast()?;
    let Cast { web, db, .. } = &*cast;
    let usable = if Netns::kernel_has_qdisc("fq")? { FAULTS.len() } else { TIMED };
    if usable == TIMED {
        println!("without sch_fq only what does not wait: the virtual machines look at the rest");
    }
    let end = |at: &Interface, port| End { mac: at.mac, ip: at.v4.into(), port };
    let flow = Flow {
        source: end(&web.at, 7),
        destination: end(&db.at, 9),
        protocol: Protocol::Udp,
        tag: 0x7061_6972_7321_2121,
    };
    let daemon = stage.installation.start(&[])?;
    let scene = Scene { stage: &stage, daemon: &daemon, from: web, to: db, flow };
    let faults = || FAULTS.into_iter().take(usable).enumerate();
    for (first, one) in faults() {
        for (second, other) in faults().skip(first + 1) {
            scene.try_pair([one, other], 10 * first + second)?;
        }
    }
    daemon.stop()
}
