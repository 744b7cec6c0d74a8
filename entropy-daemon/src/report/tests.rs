//! What is said, read from the log.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use entropy_common::{
    fault::partition::Partition,
    rule::{Direction, HookKey, Match},
};

use super::*;
use crate::policy::Records;
use crate::{datapath::Interface, plan::Injection};

#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines that something logs, each after its level.
fn said(says: impl FnOnce()) -> Vec<String> {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .without_time()
        .with_target(false)
        .with_ansi(false)
        .finish();
    tracing::subscriber::with_default(subscriber, says);
    let bytes = log.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap().lines().map(|line| line.trim().to_owned()).collect()
}

fn hits(hits: &[(&str, usize)]) -> Plan {
    let hits = hits.iter().map(|(policy, hits)| ((*policy).to_owned(), *hits)).collect();
    Plan { hits, ..Plan::default() }
}

/// One policy on one container, on both hooks of each interface.
fn on(interfaces: &[u32]) -> Plan {
    let injection = Injection {
        policy: "p".into(),
        container: "web".into(),
        container_id: "WEB".into(),
        seed: 7,
        matcher: Match::ALL,
        peer: None,
        faults: Records { partition: Partition::CUT, ..Records::NONE },
    };
    let hook = |index: &u32| Direction::ALL.map(|direction| HookKey::new(*index, direction));
    let interface = |index: &u32| Interface { index: *index, name: format!("veth{index}") };
    Plan {
        hooks: interfaces.iter().flat_map(hook).map(|h| (h, vec![injection.clone()])).collect(),
        interfaces: interfaces.iter().map(|index| (*index, interface(index))).collect(),
        ..Plan::default()
    }
}

fn round(reporter: &mut Reporter, plan: &Plan) -> Vec<String> {
    said(|| reporter.round(plan, |_| true, BTreeSet::new(), Instant::now()))
}

#[test]
fn whether_a_policy_matches_is_said_once_and_again_when_it_turns() {
    let mut reporter = Reporter::default();
    let none = "WARN policy p matches no container at the moment";
    assert_eq!(round(&mut reporter, &hits(&[("p", 0)])), [none]);
    assert_eq!(round(&mut reporter, &hits(&[("p", 0)])), [""; 0]);
    let some = "INFO policy p matches 2 containers";
    assert_eq!(round(&mut reporter, &hits(&[("p", 2)])), [some]);
    assert_eq!(round(&mut reporter, &hits(&[("p", 3)])), [""; 0], "another number is no news");
    assert_eq!(round(&mut reporter, &hits(&[("p", 0)])), [none]);
    assert_eq!(round(&mut reporter, &hits(&[("p", 1)])), ["INFO policy p matches 1 container"]);
}

#[test]
fn a_policy_that_comes_back_is_news() {
    let mut reporter = Reporter::default();
    let news = "WARN policy p matches no container at the moment";
    assert_eq!(round(&mut reporter, &hits(&[("p", 0)])), [news]);
    assert_eq!(round(&mut reporter, &hits(&[])), [""; 0]);
    assert_eq!(round(&mut reporter, &hits(&[("p", 0)])), [news]);
}

#[test]
fn a_policy_on_an_interface_is_said_once_for_both_directions_and_when_it_ends() {
    let mut reporter = Reporter::default();
    let line = |on, index| format!("INFO policy p is {on} container web (veth{index})");
    assert_eq!(round(&mut reporter, &on(&[7])), [line("on", 7)]);
    assert_eq!(round(&mut reporter, &on(&[7])), [""; 0]);
    assert_eq!(round(&mut reporter, &on(&[8])), [line("on", 8), line("off", 7)]);
    assert_eq!(round(&mut reporter, &on(&[])), [line("off", 8)]);
}

#[test]
fn the_summary_counts_policies_and_containers_and_not_interfaces() {
    let mut reporter = Reporter::default();
    assert_eq!(reporter.summary(2, &BTreeSet::new()), "0 of 2 policies in force, on 0 containers");
    round(&mut reporter, &on(&[7, 8]));
    let none = BTreeSet::new();
    assert_eq!(reporter.summary(2, &none), "1 of 2 policies in force, on 1 container");
    let paused = BTreeSet::from(["p".to_owned()]);
    assert_eq!(reporter.summary(2, &paused), "0 of 2 policies in force, on 0 containers");
}

#[test]
fn what_is_unsupported_is_said_once_it_lasts_and_once_only() {
    let mut reporter = Reporter::default();
    let reason = "host network".to_owned();
    let host = Unsupported { policy: "p".into(), container: "web".into(), reason };
    let plan = Plan::default();
    let start = Instant::now();
    let is = |reporter: &mut Reporter, now| {
        let lines = said(|| reporter.round(&plan, |_| true, [host.clone()].into(), now));
        assert_eq!(lines, [""; 0], "a round says nothing of it");
    };
    is(&mut reporter, start);
    assert_eq!(said(|| reporter.tick(start + PATIENCE / 2)), [""; 0]);
    // It lasts from the first round on, however many follow.
    is(&mut reporter, start + PATIENCE / 2);
    let line = "WARN policy p on container web: unsupported: host network";
    assert_eq!(said(|| reporter.tick(start + PATIENCE)), [line]);
    is(&mut reporter, start + 2 * PATIENCE);
    assert_eq!(said(|| reporter.tick(start + 9 * PATIENCE)), [""; 0]);
}

#[test]
fn what_is_unsupported_for_a_moment_is_not_said() {
    let mut reporter = Reporter::default();
    let host =
        Unsupported { policy: "p".into(), container: "web".into(), reason: "no veth".into() };
    let start = Instant::now();
    let lines = said(|| {
        reporter.round(&Plan::default(), |_| true, [host.clone()].into(), start);
        reporter.round(&Plan::default(), |_| true, BTreeSet::new(), start + PATIENCE / 2);
        reporter.tick(start + 2 * PATIENCE);
        reporter.round(&Plan::default(), |_| true, [host].into(), start + 2 * PATIENCE);
        reporter.tick(start + 2 * PATIENCE + PATIENCE / 2);
    });
    assert_eq!(lines, [""; 0]);
}
