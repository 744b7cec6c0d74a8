//! Restart and upgrade without a gap: the start from where an earlier version is, and its other end.

use std::convert::Infallible;

use anyhow::{Context, Result};
use clap::Parser as _;
use tracing::{error, info};

use crate::{
    app::Config,
    cli::Arguments,
    datapath::{Kernel, Options},
    handover::{Handover, State},
    netlink::Netlink,
    reconcile::Reconciler,
    runtime::Runtime,
    schedule::Timetable,
};

/// What the daemon goes on with. Without an earlier version it is nothing.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    pub(crate) seed: Option<u64>,
    pub(crate) timetable: Timetable,
    /// `None` where nothing is in force.
    pub(crate) reconciler: Option<Reconciler>,
}

/// Starts the datapath, from where an earlier version has handed over.
pub(crate) async fn start(
    config: &Config,
    netlink: &Netlink,
    handover: Option<Handover>,
) -> Result<(Kernel, Inherited)> {
    let options = Options { log: config.ebpf_log };
    let Some(handover) = handover else {
        return Ok((Kernel::start(netlink.clone(), options).await?, Inherited::default()));
    };
    info!("taking over from version {}", handover.version);
    let is_same_version = handover.is_from_same_version();
    let Handover { datapath, state, .. } = handover;
    let runtime = Runtime::at(&config.runtime);
    let lease = (!state.halted).then_some((config.lease, runtime));
    let (kernel, there) = Kernel::resume(netlink.clone(), options, lease, datapath).await?;
    let inherited = Inherited {
        seed: Some(state.seed),
        timetable: Timetable::resumed(state.policies, is_same_version),
        reconciler: there.map(|there| Reconciler::resumed(there, state.numbers)),
    };
    Ok((kernel, inherited))
}

/// Has the program as it is installed now take over this process, with this in hand.
///
/// # Errors
/// When it cannot, or would not like its settings. Everything is as before then.
pub(crate) fn hand_over(kernel: &Kernel, state: State) -> Result<Infallible> {
    // A daemon does not start with settings that have a mistake, and here it must.
    let arguments = Arguments::try_parse_from(std::env::args_os()).context("arguments")?;
    arguments.into_config()?;
    let datapath = kernel.hand_over()?;
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Handover { version, datapath, state }.execute()
}

/// Removes what an earlier version has handed over to one that cannot start.
pub async fn abandon(handover: Handover) {
    match Netlink::new() {
        Ok(netlink) => handover.datapath.remove(&netlink).await.log(),
        Err(error) => error!("what the version before has left stays: open netlink: {error:#}"),
    }
}
