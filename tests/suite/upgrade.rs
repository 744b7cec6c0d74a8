//! Another version takes over in place: nothing that is in force lets up, nothing that was counted is
//! lost.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use entropy_common::rule::Direction;
use entropy_tests::{
    daemon::{self, Daemon},
    numbered::Stream,
    skip,
    snapshot::Snapshot,
    threads::outcome,
    wait::{patience, until_true},
};

use crate::stage::{Cast, Running, Stage, pass, stage};

mod refused;
mod waiting;

/// Datagrams for one look.
const FEW: u64 = 20;
/// Time between two datagrams of a stream.
const PAUSE: Duration = Duration::from_millis(1);

/// How often another version takes over; loading programs takes a virtual machine seconds.
fn upgrades() -> usize {
    if skip::saves_time() { 2 } else { 20 }
}

/// A lease that covers the start of a program, and on a busy machine not the time that the verifier takes.
fn lease() -> [&'static str; 2] {
    ["--lease", if skip::virtual_machine().is_some() { "20" } else { "2" }]
}

/// A daemon that cuts off web.
fn cut(stage: &Stage, cast: &Cast) -> Result<Daemon> {
    stage.policy("cut", "target = 'app=web'\npartition = true")?;
    let daemon = stage.installation.start(&lease())?;
    daemon.await_on("cut", &cast.web.at)?;
    Ok(daemon)
}

/// A daemon of its own program, which can be exchanged, and that program.
fn cut_by_copy(stage: &Stage, cast: &Cast) -> Result<(Daemon, PathBuf)> {
    stage.policy("cut", "target = 'app=web'\npartition = true")?;
    let program = stage.installation.directory().join("entropyd");
    fs::copy(daemon::entropyd()?, &program)?;
    let daemon = stage.installation.spawn(stage.installation.command_of(&program))?;
    daemon.await_on("cut", &cast.web.at)?;
    Ok((daemon, program))
}

/// What each rule has counted, by its number: seen, matched, lost.
type Counts = BTreeMap<u32, [u64; 3]>;

fn counts(daemon: &Daemon) -> Result<Counts> {
    let rules = daemon.maps().context("no maps")?.hooks.into_iter().flat_map(|hook| hook.rules);
    Ok(rules
        .map(|rule| (rule.rule.id, [rule.state.seen, rule.state.matched, rule.state.lost]))
        .collect())
}

/// The same rules, which have counted at least as much.
fn ensure_grown(before: &Counts, after: &Counts) -> Result<()> {
    ensure!(before.keys().eq(after.keys()), "other rules: {before:?} {after:?}");
    let grown = |(id, counts): (&u32, &[u64; 3])| {
        after[id].iter().zip(counts).all(|(after, before)| after >= before)
    };
    ensure!(before.iter().all(grown), "lost count: {before:?} {after:?}");
    Ok(())
}

fn stream(from: &Running, to: &Running, v6: bool) -> Result<Stream> {
    let address = if v6 { to.at.v6.into() } else { to.at.v4.into() };
    Stream::new(&from.container.netns()?, &to.container.netns()?, address)
}

/// Runs all streams while something is done; how many each has sent, and which came.
fn under_traffic<const N: usize>(
    streams: &[Stream; N],
    work: impl FnOnce() -> Result<()>,
) -> Result<[(u32, Vec<u32>); N]> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let over = &over;
        let running = streams
            .each_ref()
            .map(|stream| scope.spawn(move || stream.run(PAUSE, || over.load(Ordering::Relaxed))));
        let done = work();
        over.store(true, Ordering::Relaxed);
        let all: Vec<_> =
            running.into_iter().map(|thread| outcome(thread.join())).collect::<Result<_>>()?;
        done?;
        all.try_into().map_err(|_| anyhow::anyhow!("not as many results as streams"))
    })
}

#[test]
fn upgrades_under_traffic_let_nothing_through_and_count_on() -> Result<()> {
    let stage = stage!(every kernel);
    let cast = stage.cast()?;
    let Cast { web, db, client, .. } = &*cast;
    let before = Snapshot::take()?;
    stage.policy(
        "tenth",
        "target = 'app=client'\ndirection = 'egress'\nloss = { every = 10 }\n\
         match = { protocol = 'udp', peer = 'app=db' }",
    )?;
    let daemon = cut(&stage, &cast)?;
    daemon.await_on("tenth", &client.at)?;
    let streams = [
        stream(web, db, false)?,
        stream(db, web, true)?,
        stream(client, db, false)?,
        stream(db, client, true)?,
    ];
    let descriptors = daemon.descriptors()?;
    let [from_web, to_web, tenths, untouched] = under_traffic(&streams, || {
        for number in 0..upgrades() {
            let counted = counts(&daemon)?;
            daemon.upgrade().with_context(|| format!("upgrade {number}"))?;
            ensure_grown(&counted, &counts(&daemon)?)?;
        }
        Ok(())
    })?;
    for (sent, came) in [from_web, to_web] {
        ensure!(came.is_empty(), "{} of {sent} got through: {came:?}", came.len());
        ensure!(u64::from(sent) > FEW, "only {sent} were sent");
    }
    let (sent, came) = tenths;
    let expected = (0..sent).filter(|number| number % 10 != 9);
    ensure!(came.iter().copied().eq(expected), "not each tenth of {sent} is lost: {came:?}");
    let (sent, came) = untouched;
    ensure!(came.iter().copied().eq(0..sent), "{} of {sent} came of those not hit", came.len());
    // Connections to the engine come and go; there must not be another descriptor for each upgrade.
    until_true("descriptors are closed", patience(10), || {
        Ok(daemon.descriptors()? <= descriptors + 2)
    })
    .with_context(|| format!("{descriptors} before, {:?} now", daemon.descriptors()))?;
    ensure!(!daemon.log().contains("WARN policy"), "{}", daemon.log());
    ensure!(!daemon.log().contains("ERROR"), "{}", daemon.log());
    daemon.stop()?;
    before.assert_restored()
}

#[test]
fn signals_that_come_while_another_version_starts_are_not_lost() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let before = Snapshot::take()?;
    let daemon = cut(&stage, &cast)?;
    for _ in 0..3 {
        daemon.signal(libc::SIGUSR2)?;
        daemon.signal(libc::SIGHUP)?;
        thread::sleep(Duration::from_millis(20));
    }
    daemon.stop()?;
    before.assert_restored()
}

#[test]
fn a_policy_that_was_edited_meanwhile_is_applied_and_others_keep_their_counters() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let Cast { web, db, client, .. } = &*cast;
    let daemon = cut(&stage, &cast)?;
    stage.policy("more", "target = 'app=client'\nloss = '100%'")?;
    daemon.await_on("more", &client.at)?;
    assert_eq!(pass(&web.ways_to(db)?, FEW)?, [0; 2]);
    let kept = daemon.rule("cut", &web.at, Direction::Egress).context("no rule")?;
    // Which of the two it notices first does not matter.
    daemon.signal(libc::SIGSTOP)?;
    stage.policy("more", "target = 'app=client'\nloss = '0%'")?;
    daemon.signal(libc::SIGUSR2)?;
    daemon.signal(libc::SIGCONT)?;
    daemon.await_log("going on with")?;
    until_true("the edited policy is in force", patience(20), || {
        Ok(pass(&client.ways_to(db)?, FEW)? == [FEW; 2])
    })?;
    assert_eq!(pass(&web.ways_to(db)?, FEW)?, [0; 2]);
    let now = daemon.rule("cut", &web.at, Direction::Egress).context("no rule")?;
    assert_eq!(now.rule, kept.rule);
    ensure!(now.state.lost >= kept.state.lost + 2 * FEW, "{:?} {:?}", kept.state, now.state);
    daemon.stop()
}

#[test]
fn a_container_that_is_removed_meanwhile_leaves_nothing() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let before = Snapshot::take()?;
    let victim = stage.run("victim", "app=web", &cast.network)?;
    let daemon = cut(&stage, &cast)?;
    daemon.await_on("cut", &victim.at)?;
    daemon.signal(libc::SIGSTOP)?;
    victim.container.remove()?;
    daemon.signal(libc::SIGUSR2)?;
    daemon.signal(libc::SIGCONT)?;
    daemon.await_log("going on with")?;
    daemon.await_off(&victim.at)?;
    assert_eq!(pass(&cast.web.ways_to(&cast.db)?, FEW)?, [0; 2], "the others' policy");
    ensure!(!daemon.log().contains("ERROR"), "{}", daemon.log());
    daemon.stop()?;
    before.assert_restored()
}

#[test]
fn the_program_as_it_is_installed_now_takes_over() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let (daemon, program) = cut_by_copy(&stage, &cast)?;
    let running = || fs::metadata(format!("/proc/{}/exe", daemon.pid())).map(|file| file.ino());
    let old = running()?;
    // As a package manager does it.
    let new = program.with_extension("new");
    fs::copy(daemon::entropyd()?, &new)?;
    fs::rename(&new, &program)?;
    daemon.upgrade()?;
    assert_eq!(running()?, fs::metadata(&program)?.ino());
    assert_ne!(running()?, old);
    assert_eq!(pass(&cast.web.ways_to(&cast.db)?, FEW)?, [0; 2]);
    daemon.stop()
}

#[test]
fn after_an_upgrade_kill_9_ends_the_faults_and_a_plain_start_begins_anew() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let before = Snapshot::take()?;
    let ways = cast.web.ways_to(&cast.db)?;
    let daemon = cut(&stage, &cast)?;
    daemon.upgrade()?;
    assert_eq!(pass(&ways, FEW)?, [0; 2]);
    daemon.kill()?;
    until_true("traffic flows", patience(4), || Ok(pass(&ways, 1)? == [1; 2]))?;
    let daemon = cut(&stage, &cast)?;
    let rule = daemon.rule("cut", &cast.web.at, Direction::Egress).context("no rule")?;
    ensure!(rule.rule.id <= 2 && rule.state.lost < FEW, "{rule:?}");
    daemon.stop()?;
    before.assert_restored()
}
