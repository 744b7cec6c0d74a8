//! What waits arrives: late by what was asked, none lost, whatever becomes of the daemon.

use anyhow::{Context as _, Result, ensure};
use entropy_common::{rule::Direction, stats::RuleState};
use entropy_tests::{
    clocked::{COUNT, Clocked, shortest},
    daemon::Daemon,
    netns::Netns,
    wait::{patience, until_true},
};

use crate::stage::{Cast, Running, Stage, stage};

const MILLISECOND: u64 = 1_000_000;

/// Ends a test that needs packets to wait.
macro_rules! needs_fq {
    () => {
        if !has_fq()? {
            entropy_tests::skip!("needs the VM: sch_fq is missing in this kernel");
        }
    };
}

/// Whether this kernel has `sch_fq`.
fn has_fq() -> Result<bool> {
    Netns::kernel_has_qdisc("fq")
}

/// Both families, from one container to another.
fn between(from: &Running, to: &Running) -> Result<[Clocked; 2]> {
    let (inside, other) = (from.container.netns()?, to.container.netns()?);
    Ok([Clocked::new(&inside, &other, to.at.v4)?, Clocked::new(&inside, &other, to.at.v6)?])
}

fn start(stage: &Stage, name: &str, text: &str, at: &Running) -> Result<Daemon> {
    stage.policy(name, text)?;
    let daemon = stage.installation.start(&[])?;
    daemon.await_on(name, &at.at)?;
    Ok(daemon)
}

fn state(daemon: &Daemon, name: &str, at: &Running, way: Direction) -> Result<RuleState> {
    Ok(daemon.rule(name, &at.at, way).context("the rule is in force")?.state)
}

#[test]
fn packets_from_and_to_a_container_come_late_by_what_was_asked_and_in_order() -> Result<()> {
    let stage = stage!(every kernel);
    needs_fq!();
    let cast = stage.cast()?;
    let Cast { web, db, .. } = &*cast;
    let control = between(web, db)?;
    for way in &control {
        let usual = shortest(&way.delays()?);
        ensure!(usual < 100 * MILLISECOND, "control: {usual} ns");
    }
    let daemon = start(&stage, "slow", "target = 'app=web'\ndelay = '100ms'", web)?;
    let ways = [between(web, db)?, between(db, web)?];
    for way in ways.iter().flatten() {
        let delays = way.delays()?;
        assert!(shortest(&delays) >= 100 * MILLISECOND, "{delays:?}");
        assert!(delays.iter().map(|(number, _)| *number).eq(0..COUNT as u64), "{delays:?}");
        assert!(way.is_silent()?, "one came twice");
    }
    for direction in Direction::ALL {
        let state = state(&daemon, "slow", web, direction)?;
        assert!(state.delayed >= 2 * COUNT as u64, "{state:?}");
        assert_eq!((state.lost, state.delayed), (0, state.matched), "{direction:?}");
    }
    // From the host itself, whose originals end in the line.
    let (host, inside) = (Netns::host()?, web.container.netns()?);
    let delays = Clocked::new(&host, &inside, web.at.v4)?.delays()?;
    assert!(shortest(&delays) >= 100 * MILLISECOND, "{delays:?}");
    let others = between(db, &cast.client)?;
    let untouched = shortest(&others[0].delays()?);
    assert!(untouched < 100 * MILLISECOND, "no target, {untouched} ns");
    stage.end_policy("slow")?;
    daemon.await_off(&web.at)?;
    let delays = control[0].delays()?;
    assert!(shortest(&delays) < 100 * MILLISECOND, "afterwards: {delays:?}");
    daemon.stop()
}

#[test]
fn jitter_spreads_delays_and_keeps_the_order_where_asked() -> Result<()> {
    let stage = stage!(every kernel);
    needs_fq!();
    let cast = stage.cast()?;
    let Cast { web, db, .. } = &*cast;
    let text = |order: &str| {
        format!(
            "target = 'app=web'\ndirection = 'egress'\nseed = 11\n\
             delay = {{ base = '200ms', jitter = '100ms', order = '{order}' }}"
        )
    };
    let daemon = start(&stage, "any", &text("any"), web)?;
    let ways = between(web, db)?;
    for way in &ways {
        let delays = way.delays()?;
        assert!(delays.iter().all(|(_, delay)| *delay >= 100 * MILLISECOND), "{delays:?}");
        assert!(!delays.is_sorted_by_key(|(number, _)| *number), "nobody overtook: {delays:?}");
    }
    stage.end_policy("any")?;
    daemon.await_off(&web.at)?;
    stage.policy("keep", &text("keep"))?;
    daemon.await_on("keep", &web.at)?;
    for way in &ways {
        let delays = way.delays()?;
        assert!(delays.iter().all(|(_, delay)| *delay >= 100 * MILLISECOND), "{delays:?}");
        assert!(delays.is_sorted_by_key(|(number, _)| *number), "{delays:?}");
    }
    daemon.stop()
}

#[test]
fn packets_that_wait_arrive_though_the_daemon_is_killed_or_stopped() -> Result<()> {
    let stage = stage!(every kernel);
    needs_fq!();
    let cast = stage.cast()?;
    let Cast { web, db, .. } = &*cast;
    let text = "target = 'app=web'\ndirection = 'egress'\ndelay = '2s'";
    for end in [Daemon::kill, Daemon::stop] {
        let daemon = start(&stage, "late", text, web)?;
        let ways = between(web, db)?;
        ways.iter().try_for_each(Clocked::send)?;
        let waiting = state(&daemon, "late", web, Direction::Egress)?;
        assert!(waiting.delayed >= 2 * COUNT as u64, "{waiting:?}");
        end(daemon)?;
        for way in &ways {
            let delays = way.receive(COUNT)?;
            assert!(shortest(&delays) >= 2000 * MILLISECOND, "{delays:?}");
        }
    }
    Ok(())
}

#[test]
fn duplicates_arrive_exactly_twice_from_and_to_a_container() -> Result<()> {
    let stage = stage!(every kernel);
    let cast = stage.cast()?;
    let Cast { web, db, .. } = &*cast;
    let daemon = start(&stage, "twice", "target = 'app=web'\nduplicate = '100%'", web)?;
    for way in [between(web, db)?, between(db, web)?].iter().flatten() {
        way.send()?;
        let mut numbers: Vec<u64> =
            way.receive(2 * COUNT)?.into_iter().map(|(number, _)| number).collect();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq((0..COUNT as u64).flat_map(|number| [number; 2])));
        assert!(way.is_silent()?, "one came three times");
    }
    daemon.stop()
}

#[test]
fn without_a_fair_queue_a_delay_is_named_unsupported_and_the_rest_goes_on() -> Result<()> {
    let stage = stage!(every kernel);
    if has_fq()? {
        entropy_tests::skip!("runs on the machine: this kernel has sch_fq");
    }
    let cast = stage.cast()?;
    let Cast { web, db, .. } = &*cast;
    let text = "target = 'app=web'\ndelay = '100ms'\nloss = '100%'";
    let daemon = start(&stage, "both", text, web)?;
    daemon.await_log("sch_fq missing")?;
    let way = &between(web, db)?[0];
    way.send()?;
    assert!(way.is_silent()?, "the loss is not in force");
    until_true("the loss is counted", patience(5), || {
        Ok(state(&daemon, "both", web, Direction::Egress)?.lost >= COUNT as u64)
    })?;
    daemon.stop()
}

#[test]
fn percentiles_and_a_link_hold_back_what_they_should() -> Result<()> {
    let stage = stage!(every kernel);
    needs_fq!();
    let cast = stage.cast()?;
    let Cast { web, db, .. } = &*cast;
    let text = "target = 'app=web'\ndirection = 'egress'\nseed = 3\n\
                delay = { p0 = '100ms', p50 = '150ms', p100 = '400ms' }";
    let daemon = start(&stage, "measured", text, web)?;
    for way in between(web, db)? {
        let delays = way.delays()?;
        assert!(shortest(&delays) >= 100 * MILLISECOND, "{delays:?}");
        // Of 40 with the median 150 ms, fewer than 5 lie on one side once in 10^6 runs.
        let long = delays.iter().filter(|(_, delay)| *delay >= 150 * MILLISECOND).count();
        assert!(long >= 5, "{delays:?}");
    }
    stage.end_policy("measured")?;
    daemon.await_off(&web.at)?;
    // 40 datagrams of some 58 bytes at 8 kbit/s take more than two seconds.
    let text = "target = 'app=web'\ndirection = 'egress'\n\
                rate = { limit = '8kbit', queue = '10s' }\nmatch = { protocol = 'udp' }";
    stage.policy("narrow", text)?;
    daemon.await_on("narrow", &web.at)?;
    let way = &between(web, db)?[0];
    let delays = way.delays()?;
    let last = delays.last().map_or(0, |(_, delay)| *delay);
    assert!(last >= 2000 * MILLISECOND, "{delays:?}");
    assert!(delays.is_sorted_by_key(|(number, _)| *number), "{delays:?}");
    assert_eq!(state(&daemon, "narrow", web, Direction::Egress)?.queue_dropped, 0);
    daemon.stop()
}
