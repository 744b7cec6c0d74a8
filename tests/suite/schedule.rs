//! Policies are in force when their schedule says so, to the packet.

use std::{
    collections::BTreeSet,
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail, ensure};
use entropy_common::rule::Direction;
use entropy_tests::{
    clock::now_ns,
    daemon::Daemon,
    docker::Interface,
    wait::{patience, until_true},
};

use crate::{
    stage::stage,
    watch::{PAUSE, Watch},
};

/// By how much a window may begin or end off its plan, in nanoseconds.
const MARGIN_NS: u64 = 10_000_000;
/// The pulses, and the breaks between them, in nanoseconds.
const PULSE_NS: u64 = 100_000_000;
/// The window of a policy's rule as the kernel has it.
fn window(daemon: &Daemon, at: &Interface) -> Option<(u64, u64)> {
    let rule = daemon.rule("pulse", at, Direction::Egress)?.rule;
    Some((rule.active_from_ns, rule.active_until_ns))
}

#[test]
fn windows_begin_and_end_on_time_to_the_packet() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let daemon = stage.installation.start(&[])?;
    stage.policy(
        "pulse",
        "target = \"app=web\"\ndirection = \"egress\"\npartition = true\n\
         schedule = { on = \"100ms\", off = \"100ms\" }",
    )?;
    daemon.await_on("pulse", &cast.web.at)?;
    let count = if entropy_tests::skip::nothing() { 500 } else { 20 };
    let mut watch = Watch::new(&cast.web, &cast.db)?;
    let mut windows = BTreeSet::new();
    while windows.len() < count {
        watch.send()?;
        windows.extend(window(&daemon, &cast.web.at));
        thread::sleep(PAUSE);
    }
    daemon.stop()?;
    let arrived = watch.arrived();
    check(&watch, &arrived, &planned(&windows)?)
}

/// All windows from the first to the last that was seen, whether one in between was seen or not. The
/// last one may have been cut short by the daemon's end.
fn planned(seen: &BTreeSet<(u64, u64)>) -> Result<BTreeSet<(u64, u64)>> {
    let (Some(first), Some(last)) = (seen.first(), seen.last()) else { bail!("no windows") };
    let windows = (first.0..last.0).step_by(2 * PULSE_NS as usize);
    let windows: BTreeSet<_> = windows.map(|from| (from, from + PULSE_NS)).collect();
    let strange: Vec<_> =
        seen.iter().filter(|window| *window != last && !windows.contains(window)).collect();
    ensure!(strange.is_empty(), "windows that nobody has planned: {strange:?}");
    Ok(windows)
}

/// Holds what became of each datagram against the windows. One that a busy machine hands on to the hook
/// only after the call that sent it (ksoftirqd) may be late for its time; that verdicts turn at the very
/// nanosecond is held by the tests of leases and windows on given bytes.
fn check(watch: &Watch, arrived: &BTreeSet<usize>, windows: &BTreeSet<(u64, u64)>) -> Result<()> {
    let (Some(first), Some(last)) = (windows.first(), windows.last()) else { return Ok(()) };
    let (mut inside, mut outside, mut late) = (0, 0, 0);
    for (number, &(before, after)) in watch.sent.iter().enumerate() {
        if before < first.0 || after > last.1 {
            continue;
        }
        let lies_in =
            |(from, until): &(u64, u64)| before > from + MARGIN_NS && after + MARGIN_NS < *until;
        let touches =
            |(from, until): &(u64, u64)| after + MARGIN_NS > *from && before < until + MARGIN_NS;
        let has_arrived = arrived.contains(&number);
        if windows.iter().any(lies_in) {
            inside += 1;
            late += usize::from(has_arrived);
        } else if !windows.iter().any(touches) {
            outside += 1;
            late += usize::from(!has_arrived);
        }
    }
    println!(
        "{inside} datagrams in {} windows, {outside} between them, {late} that were late",
        windows.len()
    );
    ensure!(late * 50 <= inside + outside, "{late} of {} were late", inside + outside);
    ensure!(inside >= windows.len() && outside >= windows.len() / 2, "too few datagrams to tell");
    Ok(())
}

/// How much time a test takes for itself before a window begins, in nanoseconds.
const AHEAD_NS: u64 = 100_000_000;

/// The window that the kernel knows of and that has not begun.
fn next_window(daemon: &Daemon, at: &Interface) -> Result<(u64, u64)> {
    let mut next = None;
    until_true("the next window is written", patience(20), || {
        next = window(daemon, at).filter(|(from, _)| *from > now_ns() + AHEAD_NS);
        Ok(next.is_some())
    })?;
    next.context("no window")
}

/// What the daemon has written ahead is not its own any more. A filter outlives the daemon, too, and so
/// does its window, as long as the lease; a link does not.
#[test]
fn a_window_is_on_time_while_the_daemon_is_stopped_and_after_it_was_killed() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    stage.policy(
        "pulse",
        "target = \"app=web\"\ndirection = \"egress\"\npartition = true\n\
         schedule = { on = \"100ms\", off = \"900ms\" }",
    )?;
    let lease = ["--lease", "60"];
    let (stops, kills) = if entropy_tests::skip::nothing() { (400, 100) } else { (5, 2) };
    let mut watch = Watch::new(&cast.web, &cast.db)?;
    let mut windows = BTreeSet::new();
    let mut daemon = stage.installation.start(&lease)?;
    for round in 0..stops + kills {
        if round == stops {
            daemon.stop()?;
            daemon = stage.installation.start_without_tcx(&lease)?;
        }
        daemon.await_on("pulse", &cast.web.at)?;
        let next = next_window(&daemon, &cast.web.at)?;
        windows.insert(next);
        if round < stops {
            daemon.signal(libc::SIGSTOP)?;
            let watched = watch.send_until(next.1 + PULSE_NS);
            daemon.signal(libc::SIGCONT)?;
            watched?;
        } else {
            daemon.kill()?;
            watch.send_until(next.1 + PULSE_NS)?;
            daemon = stage.installation.start_without_tcx(&lease)?;
        }
    }
    daemon.stop()?;
    let arrived = watch.arrived();
    check(&watch, &arrived, &windows)
}

#[test]
fn a_policy_ends_after_its_time_though_the_daemon_is_stopped() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let daemon = stage.installation.start(&["--lease", "60"])?;
    let mut watch = Watch::new(&cast.web, &cast.db)?;
    stage.policy(
        "pulse",
        "target = \"app=web\"\ndirection = \"egress\"\npartition = true\n\
         schedule = { for = \"2s\" }",
    )?;
    daemon.await_on("pulse", &cast.web.at)?;
    let window = window(&daemon, &cast.web.at).context("no window")?;
    ensure!(window.1 - window.0 == 2_000_000_000, "{window:?}");
    daemon.signal(libc::SIGSTOP)?;
    watch.send_until(window.1 + 500_000_000)?;
    daemon.signal(libc::SIGCONT)?;
    let arrived = watch.arrived();
    for (number, &(before, after)) in watch.sent.iter().enumerate() {
        let is_late = before > window.1 + MARGIN_NS;
        if is_late || after + MARGIN_NS < window.1 {
            ensure!(arrived.contains(&number) == is_late, "number {number}, sent at {before}");
        }
    }
    daemon.stop()
}

/// How long a window of cron is open after the test has written its policy, in nanoseconds.
const REST_NS: u64 = 4_000_000_000;
const MINUTE_NS: u64 = 60_000_000_000;

#[test]
fn a_window_of_cron_that_opened_this_minute_ends_on_time_and_comes_again_tomorrow() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let daemon = stage.installation.start(&[])?;
    let mut watch = Watch::new(&cast.web, &cast.db)?;
    let wall_ns = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?;
    let passed_ns = wall_ns % MINUTE_NS;
    let from_ns = now_ns() - passed_ns;
    let minutes = wall_ns / MINUTE_NS;
    stage.policy(
        "pulse",
        &format!(
            "target = \"app=web\"\ndirection = \"egress\"\npartition = true\n\
             schedule = {{ cron = \"{} {} * * *\", duration = \"{}ns\" }}",
            minutes % 60,
            minutes / 60 % 24,
            passed_ns + REST_NS
        ),
    )?;
    daemon.await_on("pulse", &cast.web.at)?;
    let first = window(&daemon, &cast.web.at).context("no window")?;
    ensure!(first.0.abs_diff(from_ns) < MARGIN_NS, "{first:?} instead of {from_ns}");
    ensure!(first.1 - first.0 == passed_ns + REST_NS, "{first:?}");
    watch.send_until(first.1 + 500_000_000)?;
    let next = window(&daemon, &cast.web.at).context("no window")?;
    let day_ns = 24 * 60 * MINUTE_NS;
    ensure!(next.0.abs_diff(first.0 + day_ns) < MARGIN_NS, "{next:?} after {first:?}");
    daemon.stop()?;
    let arrived = watch.arrived();
    check(&watch, &arrived, &BTreeSet::from([(first.1 - REST_NS / 2, first.1)]))?;
    let sent = watch.sent.iter().enumerate();
    let after: Vec<usize> = sent
        .filter(|(_, (before, _))| *before > first.1 + MARGIN_NS)
        .map(|(number, _)| number)
        .collect();
    let came = after.iter().filter(|number| arrived.contains(number)).count();
    ensure!(came > 0 && came * 50 >= after.len() * 49, "{came} of {} came", after.len());
    Ok(())
}
