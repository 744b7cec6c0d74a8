//! What other people have on a container's veth stays and works, whatever the daemon does.

pub(crate) mod object;

use std::{
    io,
    process::{Command, Output},
};

use anyhow::{Context as _, Result, ensure};
use entropy_tests::{
    datagrams::Way,
    snapshot::{self, Link, Qdisc, Snapshot},
    wait::{patience, until_true},
};

use crate::stage::{Running, Stage, pass, stage};
use object::Foreign;

/// Datagrams for one look.
const FEW: u64 = 20;

/// Loses what nobody sends, so that all that is sent gets to the others.
pub(crate) fn harmless(rate: u64) -> String {
    format!("target = 'app=owned'\nmatch = {{ port = 9 }}\nloss = '{rate}%'")
}

/// Two containers, one of which has foreign things on its veth.
pub(crate) struct Shared {
    pub(crate) web: Running,
    ways: [[Way; 2]; 2],
    foreign: Foreign,
}

impl Shared {
    pub(crate) fn new(stage: &Stage) -> Result<Self> {
        let cast = stage.cast()?;
        let web = stage.run("owned", "app=owned", &cast.network)?;
        let ways = [cast.client.ways_to(&web)?, web.ways_to(&cast.client)?];
        let foreign = Foreign::install(&web.at.veth)?;
        let shared = Self { web, ways, foreign };
        shared.foreign_things_work().context("control")?;
        Ok(shared)
    }

    /// Everything foreign is in its place and sees every packet.
    pub(crate) fn foreign_things_work(&self) -> Result<()> {
        let before = self.foreign.counts()?;
        for ways in &self.ways {
            let arrived = pass(ways, FEW)?;
            ensure!(arrived == [FEW; 2], "{arrived:?} of {FEW} arrived");
        }
        let after = self.foreign.counts()?;
        for ((what, before), (_, after)) in before.iter().zip(&after) {
            ensure!(*after >= before + 2 * FEW, "{what} saw {} packets", after - before);
        }
        Ok(())
    }
}

#[test]
fn foreign_filters_tcx_programs_and_qdiscs_stay_and_work_all_the_time() -> Result<()> {
    let stage = stage!(every kernel);
    let shared = Shared::new(&stage)?;
    println!("foreign: {:?}", shared.foreign.counts()?);
    let before = Snapshot::take()?;
    let check = |when: &str| shared.foreign_things_work().with_context(|| when.to_owned());

    stage.policy("far", &harmless(100))?;
    let daemon = stage.installation.start(&[])?;
    daemon.await_on("far", &shared.web.at)?;
    check("attached")?;
    stage.policy("far", &harmless(50))?;
    stage.policy("farther", &harmless(1))?;
    daemon.await_on("farther", &shared.web.at)?;
    check("rules changed")?;
    stage.end_policy("far")?;
    stage.end_policy("farther")?;
    daemon.await_off(&shared.web.at)?;
    check("detached")?;
    stage.policy("far", &harmless(100))?;
    daemon.await_on("far", &shared.web.at)?;
    daemon.stop()?;
    before.assert_restored()?;
    check("after SIGTERM")?;

    let daemon = stage.installation.start(&[])?;
    daemon.await_on("far", &shared.web.at)?;
    daemon.kill()?;
    check("after kill -9")?;
    let output = stage.installation.entropyctl(&["cleanup"])?;
    assert!(output.status.success(), "{output:?}");
    before.assert_restored()?;
    check("after cleanup")
}

/// On kernels without TCX the filter goes on a clsact qdisc that the daemon made and then must keep.
#[test]
fn a_filter_that_somebody_adds_while_the_daemon_runs_outlives_it() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let web = stage.run("owned", "app=owned", &cast.network)?;
    let ways = cast.client.ways_to(&web)?;
    for killed in [false, true] {
        stage.policy("far", &harmless(100))?;
        let daemon = stage.installation.start(&[])?;
        daemon.await_on("far", &web.at)?;
        let filter = object::Filter::add(&web.at.veth)?;
        if killed {
            daemon.kill()?;
            let output = stage.installation.entropyctl(&["cleanup"])?;
            assert!(output.status.success(), "{output:?}");
        } else {
            daemon.stop()?;
        }
        let before = filter.count()?;
        assert_eq!(pass(&ways, FEW)?, [FEW; 2]);
        assert!(filter.count()? >= before + 2 * FEW, "the filter is gone, killed: {killed}");
        assert_eq!(entropy_tests::daemon::attached(&web.at.veth)?, []);
    }
    Ok(())
}

/// An `ingress` qdisc, the elder sister of clsact. Dropping it takes it off again.
struct Ingress<'a>(&'a Link);

impl<'a> Ingress<'a> {
    /// `None` where there is no program `tc`.
    fn add(link: &'a Link) -> Result<Option<Self>> {
        match Self::change("add", link) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            output => {
                ensure!(output.as_ref().is_ok_and(|output| output.status.success()), "{output:?}");
                Ok(Some(Self(link)))
            }
        }
    }

    fn change(what: &str, link: &Link) -> io::Result<Output> {
        Command::new("tc").args(["qdisc", what, "dev", &link.name, "ingress"]).output()
    }

    fn is_there(&self) -> Result<bool> {
        let is_it = |qdisc: &Qdisc| qdisc.index == self.0.index && qdisc.kind == "ingress";
        Ok(snapshot::qdiscs()?.iter().any(is_it))
    }
}

impl Drop for Ingress<'_> {
    fn drop(&mut self) {
        let output = Self::change("del", self.0);
        if !output.as_ref().is_ok_and(|output| output.status.success()) {
            eprintln!("an ingress qdisc stays: {output:?}");
        }
    }
}

/// It leaves no place for clsact. TCX does not mind.
#[test]
fn an_ingress_qdisc_in_the_way_of_clsact_is_reported_and_stays() -> Result<()> {
    let stage = stage!(every kernel);
    let cast = stage.cast()?;
    let web = &cast.web;
    let ways = cast.client.ways_to(web)?;
    let Some(ingress) = Ingress::add(&web.at.veth)? else {
        entropy_tests::skip!("needs the program tc");
    };
    let before = Snapshot::take()?;
    stage.policy("cut", "target = 'app=web'\nloss = '100%'")?;
    let daemon = stage.installation.start(&[])?;
    if daemon.log().contains("Clsact") {
        daemon.await_log("unsupported: interface")?;
        daemon.await_log("has an ingress qdisc")?;
        assert_eq!(pass(&ways, FEW)?, [FEW; 2]);
    } else {
        daemon.await_on("cut", &web.at)?;
        assert_eq!(pass(&ways, FEW)?, [0; 2]);
    }
    until_true("the ingress qdisc is there", patience(1), || ingress.is_there())?;
    daemon.stop()?;
    before.assert_restored()
}
