//! What the daemon has put into the kernel is taken away by somebody else while it runs.

use anyhow::{Context as _, Result, ensure};
use entropy_tests::{
    daemon::{Daemon, attached},
    netns::Netns,
    skip,
    snapshot::{self, Snapshot},
    wait::{patience, until_true},
};

use crate::{
    foreign::object::take_off,
    stage::{Cast, pass, stage},
};

/// Datagrams for one look.
const FEW: u64 = 20;

#[test]
fn programs_that_somebody_takes_off_are_put_back() -> Result<()> {
    let stage = stage!(every kernel);
    let cast = stage.cast()?;
    let Cast { web, db, .. } = &*cast;
    let before = Snapshot::take()?;
    stage.policy("cut", "target = 'app=web'\nloss = '100%'")?;
    let daemon = stage.installation.start(&[])?;
    daemon.await_on("cut", &web.at)?;
    let ways = db.ways_to(web)?;
    assert_eq!(pass(&ways, FEW)?, [0; 2]);
    let on = attached(&web.at.veth)?;
    take_off(daemon.pid(), &web.at.veth)?;
    daemon.await_log("somebody has taken our programs off")?;
    until_true("they are back", patience(10), || Ok(attached(&web.at.veth)? == on))?;
    assert_eq!(pass(&ways, FEW)?, [0; 2]);
    daemon.stop()?;
    before.assert_restored()
}

/// Waits until line and wire were made anew once more.
fn await_anew(daemon: &Daemon, times: usize) -> Result<()> {
    const SAYS: &str = "line and wire were made anew";
    until_true(SAYS, patience(20), || Ok(daemon.count_log(SAYS) >= times))
}

#[test]
fn devices_that_somebody_removes_are_made_anew() -> Result<()> {
    let stage = stage!(every kernel);
    let cast = stage.cast()?;
    let Cast { web, db, client, .. } = &*cast;
    let before = Snapshot::take()?;
    // Every frame with a wrong bit, so that none is taken; and late, where the kernel can.
    stage.policy("bad", "target = 'app=web'\ncorrupt = '100%'")?;
    stage.policy("late", "target = 'app=client'\ndelay = '50ms'")?;
    let daemon = stage.installation.start(&[])?;
    daemon.await_on("bad", &web.at)?;
    let (bad, late) = (db.ways_to(web)?, db.ways_to(client)?);
    let works = |when: &str| {
        ensure!(pass(&bad, FEW)? == [0; 2], "{when}: nothing is damaged");
        ensure!(pass(&late, FEW)? == [FEW; 2], "{when}: what is late is lost");
        anyhow::Ok(())
    };
    works("before")?;
    let host = Netns::host()?;
    let mut times = 0;
    let mut is_mended = |what: &str| {
        times += 1;
        await_anew(&daemon, times)?;
        works(what)
    };
    // The wire is a pair, of which one goes with the other. A virtual machine takes seconds for each.
    let all = ["entropy0", "entropy1", "entropy2", "entropy3"];
    for device in if skip::saves_time() { &all[..3] } else { &all[..] } {
        host.delete(device)?;
        is_mended(&format!("{device} was deleted"))?;
    }
    host.down("entropy2")?;
    is_mended("entropy2 was set down")?;
    let devices = snapshot::links()?;
    let exit = devices.iter().find(|device| device.name == "entropy3").context("the exit")?;
    take_off(daemon.pid(), exit)?;
    is_mended("the program of entropy3 was taken off")?;
    daemon.stop()?;
    before.assert_restored()
}
