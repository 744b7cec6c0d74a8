//! Packets that wait in the line while another version takes over.

use anyhow::{Result, ensure};
use entropy_tests::{
    clocked::{COUNT, Clocked, shortest},
    netns::Netns,
    wait::patience,
};

use super::lease;
use crate::stage::stage;

#[test]
fn what_waits_arrives_at_its_time_and_what_comes_later_waits_as_long() -> Result<()> {
    let stage = stage!(every kernel);
    if !Netns::kernel_has_qdisc("fq")? {
        entropy_tests::skip!("needs the VM: sch_fq is missing in this kernel");
    }
    let cast = stage.cast()?;
    let (web, db) = (cast.web.container.netns()?, cast.db.container.netns()?);
    // Longer than the start of another version takes.
    let delay = patience(2);
    let text = format!("target = 'app=web'\ndirection = 'egress'\ndelay = '{}s'", delay.as_secs());
    stage.policy("slow", &text)?;
    let daemon = stage.installation.start(&lease())?;
    daemon.await_on("slow", &cast.web.at)?;
    for address in [cast.db.at.v4.into(), std::net::IpAddr::from(cast.db.at.v6)] {
        let way = Clocked::new(&web, &db, address)?;
        way.send()?;
        daemon.upgrade()?;
        way.send()?;
        let delays = way.receive(2 * COUNT)?;
        let wanted = delay.as_nanos() as u64;
        ensure!(shortest(&delays) >= wanted, "{delays:?}");
        let numbers = (0..COUNT as u64).chain(0..COUNT as u64);
        ensure!(delays.iter().map(|(number, _)| *number).eq(numbers), "{delays:?}");
        ensure!(way.is_silent()?, "one came twice");
    }
    ensure!(daemon.count_log("going on with") == 2, "{}", daemon.log());
    daemon.stop()
}
