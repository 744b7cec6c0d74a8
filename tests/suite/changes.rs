//! Rules that come, change and go under traffic.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread::{self, ScopedJoinHandle},
    time::Duration,
};

use anyhow::Result;
use entropy_common::rule::Direction;
use entropy_tests::{
    netns::Netns,
    numbered::Stream,
    skip,
    threads::outcome,
    wait::{patience, until_true},
};

use crate::stage::{Cast, Running, stage};

/// How often the rules change; a virtual machine does it less often, unless `ENTROPY_FULL` is set.
fn changes() -> u32 {
    if skip::saves_time() { 50 } else { 500 }
}

/// Time between two datagrams of a stream.
const PAUSE: Duration = Duration::from_millis(2);

/// The policy file after so many changes; none after every fourth. Without a queue the rules do nothing,
/// but change all the same.
fn file(number: u32, timed: bool) -> Option<String> {
    let policy = |name: &str, ms: u32| {
        let fault = if timed { format!("delay = '{ms}ms'") } else { "loss = '0%'".to_owned() };
        format!(
            "[[policy]]\nname = '{name}'\ntarget = 'app=web'\nseed = {number}\n\
             match = {{ peer = 'app=db' }}\n{fault}\n"
        )
    };
    match number % 4 {
        0 => Some(policy("changing", 30)),
        1 => Some(policy("changing", 60)),
        2 => Some(policy("changing", 20) + &policy("second", 10)),
        _ => None,
    }
}

fn stream(from: &Running, to: &Running, address: IpAddr) -> Result<Stream> {
    Stream::new(&from.container.netns()?, &to.container.netns()?, address)
}

#[test]
fn changing_rules_loses_nothing_and_reorders_nothing_that_no_rule_matches() -> Result<()> {
    let stage = stage!(every kernel);
    let cast = stage.cast()?;
    let Cast { web, db, client, .. } = &*cast;
    let timed = Netns::kernel_has_qdisc("fq")?;
    if !timed {
        println!("without sch_fq nothing waits: the virtual machines look at what does");
    }
    let daemon = stage.installation.start(&[])?;
    let seed = || daemon.rule("changing", &web.at, Direction::Egress).map(|entry| entry.rule.seed);
    let change = |number: u32| {
        let before = seed();
        let file = file(number, timed);
        match &file {
            Some(text) => stage.installation.write("changing.toml", text)?,
            None => stage.installation.remove("changing.toml")?,
        }
        until_true(&format!("change {number} is in force"), patience(20), || {
            let now = seed();
            Ok(now.is_some() == file.is_some() && now != before)
        })
    };
    let to_client = stream(web, client, client.at.v4.into())?;
    let to_db = stream(web, db, db.at.v6.into())?;
    let over = AtomicBool::new(false);
    let (untouched, touched) = thread::scope(|scope| {
        let streams = [&to_client, &to_db].map(|stream| {
            let over = &over;
            scope.spawn(move || stream.run(PAUSE, || over.load(Ordering::Relaxed)))
        });
        let changed = (0..changes()).try_for_each(change);
        over.store(true, Ordering::Relaxed);
        let [untouched, touched] = streams.map(ScopedJoinHandle::join);
        changed.map(|()| (untouched, touched))
    })?;
    let (sent, came) = outcome(untouched)?;
    assert!(came.iter().copied().eq(0..sent), "{} of {sent} came, or out of order", came.len());
    let (sent, mut came) = outcome(touched)?;
    came.sort_unstable();
    assert!(came.iter().copied().eq(0..sent), "{} of {sent} came of those that waited", came.len());
    daemon.stop()
}
