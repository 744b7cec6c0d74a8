//! What goes, or runs out, while the daemon runs.

use std::{
    fs,
    io::Write as _,
    process::{Command, Output},
};

use anyhow::{Context as _, Result, ensure};
use entropy_tests::{
    netns::Netns,
    wait::{patience, until_true},
};

use super::after;
use crate::stage::{Cast, pass, stage};

/// The name of the control socket in the runtime directory.
const SOCKET: &str = "entropyd.sock";
/// Datagrams for one look.
const FEW: u64 = 20;

#[test]
fn descriptors_that_run_out_later_are_named_and_what_failed_is_made_up_for() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let Cast { web, db, network, .. } = &*cast;
    stage.policy("cut", "target = 'app=web'\nloss = '100%'")?;
    let daemon = stage.installation.start(&[])?;
    daemon.await_on("cut", &web.at)?;
    let usual = daemon.limit_descriptors(daemon.next_descriptor()?)?;
    let late = stage.run("late", "app=web", network)?;
    daemon.await_log("Too many open files")?;
    let (ways, others) = (db.ways_to(web)?, db.ways_to(&late)?);
    assert_eq!(pass(&ways, FEW)?, [0; 2], "what is in force stays");
    assert_eq!(pass(&others, FEW)?, [FEW; 2], "what cannot be attached to is not hit");
    daemon.limit_descriptors(usual)?;
    daemon.await_on("cut", &late.at)?;
    assert_eq!(pass(&others, FEW)?, [0; 2], "made up for");
    daemon.stop()
}

/// Whoever removes the directory wants no faults.
#[test]
fn policies_go_with_their_directory_and_come_back_with_it() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    stage.policy("cut", "target = 'app=web'\nloss = '100%'")?;
    let daemon = stage.installation.start(&[])?;
    daemon.await_on("cut", &cast.web.at)?;
    let (policies, aside) =
        (stage.installation.policies(), stage.installation.directory().join("aside"));
    fs::rename(&policies, &aside)?;
    daemon.await_log("no policies in force")?;
    daemon.await_off(&cast.web.at)?;
    fs::rename(&aside, &policies)?;
    daemon.await_on("cut", &cast.web.at)?;
    // It is watched again, too.
    stage.end_policy("cut")?;
    daemon.await_off(&cast.web.at)?;
    daemon.stop()
}

#[test]
fn with_a_full_disk_nothing_is_applied_and_a_halt_ends_the_faults_all_the_same() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    stage.policy("cut", "target = 'app=web'\nloss = '100%'")?;
    let mount = "mkdir -p $RUN && mount -t tmpfs -o size=64k none $RUN";
    let daemon = stage.installation.spawn(after(&stage.installation, mount)?)?;
    daemon.await_on("cut", &cast.web.at)?;
    let ways = cast.db.ways_to(&cast.web)?;
    let runtime = stage.installation.runtime();
    let inside = format!("/proc/{}/root{}", daemon.pid(), runtime.display());
    let filling = fs::File::create(format!("{inside}/filling"))?;
    while (&filling).write_all(&[0; 512]).is_ok() {}
    let other = stage.installation.directory().join("other.toml");
    fs::write(&other, "[[policy]]\nname = \"other\"\ntarget = \"app=db\"\nloss = \"100%\"\n")?;
    // The daemon's socket lies there, too.
    let socket = format!("{inside}/{SOCKET}");
    let control = |words: &[&str]| -> Result<Output> {
        let mut command = stage.installation.control()?;
        command.args(words).env("ENTROPY_SOCKET", &socket).output().context("run entropyctl")
    };
    let apply = || control(&["apply", &other.to_string_lossy()]);
    let refused = apply()?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(!refused.status.success() && said.contains("No space left on device"), "{refused:?}");
    ensure!(daemon.rule("other", &cast.db.at, entropy_common::rule::Direction::Egress).is_none());
    assert_eq!(pass(&ways, FEW)?, [0; 2], "what was in force stays");
    let halted = control(&["halt"])?;
    let said = String::from_utf8_lossy(&halted.stderr).into_owned();
    ensure!(said.contains("No space left on device"), "the next start does not know: {halted:?}");
    assert_eq!(pass(&ways, FEW)?, [FEW; 2], "it ends the faults all the same");
    drop(filling);
    fs::remove_file(format!("{inside}/filling"))?;
    ensure!(control(&["resume"])?.status.success());
    until_true("it is in force again", patience(20), || Ok(pass(&ways, FEW)? == [0; 2]))?;
    ensure!(apply()?.status.success(), "there is room again");
    daemon.await_on("other", &cast.db.at)?;
    daemon.stop()
}

/// More changes of interfaces than the daemon's netlink socket holds, while it does not read them.
#[test]
fn messages_of_the_kernel_that_are_lost_are_made_up_for() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let Cast { db, network, .. } = &*cast;
    stage.policy("cut", "target = 'app=web'\nloss = '100%'")?;
    let daemon = stage.installation.start(&[])?;
    daemon.await_on("cut", &cast.web.at)?;
    daemon.signal(libc::SIGSTOP)?;
    let changed = flood();
    let late = stage.run("late", "app=web", network);
    daemon.signal(libc::SIGCONT)?;
    changed?;
    let late = late?;
    daemon.await_on("cut", &late.at)?;
    assert_eq!(pass(&db.ways_to(&late)?, FEW)?, [0; 2]);
    ensure!(daemon.count_log("overrun") > 0, "its socket held them all:\n{}", daemon.log());
    daemon.stop()
}

/// Changes a device of the test's own, in the namespace that the daemon listens to.
fn flood() -> Result<()> {
    const DEVICE: &str = "entropyflood";
    let host = Netns::host()?;
    host.bridge(DEVICE)?;
    let changed = (0..6000).try_for_each(|time| host.set_mtu(DEVICE, 1400 + time % 2));
    host.delete(DEVICE)?;
    changed
}

/// What the daemon has attached needs no pins.
#[test]
fn without_its_pins_the_daemon_goes_on_and_says_that_it_cannot_count() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let Cast { web, db, network, .. } = &*cast;
    stage.policy("cut", "target = 'app=web'\nloss = '100%'")?;
    let daemon = stage.installation.spawn(after(&stage.installation, ":")?)?;
    daemon.await_on("cut", &web.at)?;
    let in_its_mounts = |words: &[&str]| -> Result<()> {
        let pid = daemon.pid().to_string();
        let status = Command::new("nsenter")
            .args(["--mount", "--target", &pid, "--"])
            .args(words)
            .status()?;
        ensure!(status.success(), "{words:?}: {status}");
        Ok(())
    };
    in_its_mounts(&["umount", "-l", "/sys/fs/bpf"])?;
    let status = stage.installation.entropyctl(&["status"])?;
    let said = String::from_utf8_lossy(&status.stdout).into_owned();
    ensure!(said.contains("the counters cannot be read: nothing is pinned in"), "{status:?}");
    let late = stage.run("late", "app=web", network)?;
    let ways = [db.ways_to(web)?, db.ways_to(&late)?];
    until_true("the new container is hit, too", patience(20), || {
        Ok(pass(&ways[1], FEW)? == [0; 2])
    })?;
    assert_eq!(pass(&ways[0], FEW)?, [0; 2], "what was in force stays");
    daemon.stop()
}
