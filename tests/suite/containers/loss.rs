//! Loss between containers: the asked rate arrives at the receiver, and is what the counters say.

use anyhow::{Context as _, Result};
use entropy_common::rule::Direction;
use entropy_tests::{daemon::Daemon, stats::Binomial};

use crate::stage::{
    Cast, Running,
    flows::{Kind, through},
    stage,
};

/// Frames for each measurement.
const MANY: u64 = 10_000;

/// Holds a count against the exact 99.9 % interval. Seeds, names and order of packets are fixed, so
/// what holds once holds always.
pub(super) fn assert_likely(what: &str, hits: u64, trials: u64, rate: f64) {
    let interval = Binomial::new(trials, rate).interval(0.001);
    assert!(interval.contains(&hits), "{what}: {hits} of {trials}, expected {interval:?}");
}

/// Two containers, and a policy for what the second one sends to `web` or gets from it.
struct Pair<'a> {
    daemon: &'a Daemon,
    web: &'a Running,
    other: &'a Running,
}

impl Pair<'_> {
    /// Sends through a rule with this rate; receiver and counter must agree on what is lost.
    fn measure(&self, way: Direction, policy: &str, kind: Kind, rate: f64) -> Result<()> {
        let what = format!("{way:?} {kind:?} at {rate}");
        let (from, to) = match way {
            Direction::Egress => (self.web, self.other),
            Direction::Ingress => (self.other, self.web),
        };
        let before = self.state(policy, way)?;
        let arrived = through(from, to, kind, MANY).with_context(|| what.clone())?;
        let after = self.state(policy, way)?;
        let lost = after.0 - before.0;
        println!("{what}: {lost} of {MANY} lost");
        assert_eq!(after.1 - before.1, MANY, "matched, {what}");
        assert_eq!(lost, MANY - arrived, "counter and receiver, {what}");
        assert_likely(&what, lost, MANY, rate);
        Ok(())
    }

    /// What the rule has lost and matched.
    fn state(&self, policy: &str, way: Direction) -> Result<(u64, u64)> {
        let rule = self.daemon.rule(policy, &self.web.at, way);
        let state = rule.with_context(|| format!("no rule of {policy}"))?.state;
        Ok((state.lost, state.matched))
    }
}

/// The text of a policy for what `peer` exchanges with `web`, in one direction.
fn policy(peer: &Running, way: Direction, rate: f64) -> String {
    // Named by address, so that multicast of the kernel's own does not count.
    format!(
        "target = 'app=web'\ndirection = '{}'\nmatch = {{ peer = ['{}', '{}'] }}\nseed = 2\nloss = \
         '{}%'",
        way.name(),
        peer.at.v4,
        peer.at.v6,
        rate * 100.0
    )
}

#[test]
fn ten_percent_are_lost_both_ways_over_ipv4_and_ipv6_of_tcp_udp_and_icmp() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let Cast { web, client: other, .. } = &*cast;
    for kind in Kind::all() {
        assert_eq!(through(other, web, kind, 1000)?, 1000, "control {kind:?}");
    }
    // One direction at a time: answers of the receiver's kernel must not count.
    for way in Direction::ALL {
        stage.policy("lossy", &policy(other, way, 0.1))?;
        let daemon = stage.installation.start(&[])?;
        daemon.await_on("lossy", &web.at)?;
        let pair = Pair { daemon: &daemon, web, other };
        for kind in Kind::all() {
            pair.measure(way, "lossy", kind, 0.1)?;
        }
        daemon.stop()?;
    }
    Ok(())
}

#[test]
fn every_rate_from_0_to_100_percent_is_kept() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let Cast { web, client: other, .. } = &*cast;
    let daemon = stage.installation.start(&[])?;
    let pair = Pair { daemon: &daemon, web, other };
    for (name, rate) in [("none", 0.0), ("one", 0.01), ("ten", 0.1), ("half", 0.5), ("all", 1.0)] {
        stage.policy(name, &policy(other, Direction::Ingress, rate))?;
        daemon.await_on(name, &web.at)?;
        pair.measure(Direction::Ingress, name, Kind::default(), rate)?;
        stage.end_policy(name)?;
        daemon.await_off(&web.at)?;
    }
    daemon.stop()
}
