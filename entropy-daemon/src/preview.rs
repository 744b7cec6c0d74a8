//! What the daemon would do with policies and the containers that are there now.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, bail};
use tokio::time::timeout;

use crate::{
    docker::{Container, Endpoint, Timing, Update, Watcher},
    netlink::Netlink,
    plan::{self, Plan},
    policy::Policy,
    settings::Guard,
    world::World,
};

/// How long the engine has to say which containers there are.
const PATIENCE: Duration = Duration::from_secs(20);

/// Plans as the daemon does, and changes nothing.
///
/// # Errors
/// When the engine or the kernel does not say what there is.
pub async fn preview(policies: &[Policy], engine: Endpoint, guard: &Guard) -> Result<Plan> {
    let containers = timeout(PATIENCE, containers(engine))
        .await
        .context("the container engine takes too long to answer")??;
    let netlink = Netlink::new().context("open netlink")?;
    let mut world = World::default();
    world.note(Update::Snapshot { containers, unknown: Vec::new() });
    let targets = world.targets(&netlink).await.context("list interfaces")?;
    Ok(plan::plan(policies, &targets, 0, guard, &BTreeSet::new()))
}

async fn containers(engine: Endpoint) -> Result<Vec<Container>> {
    let (_watcher, mut updates) = Watcher::spawn(engine, Timing::default());
    while let Some(update) = updates.recv().await {
        match update {
            Update::Snapshot { containers, .. } => return Ok(containers),
            Update::Disconnected { reason } => bail!("{reason}"),
            _ => {}
        }
    }
    bail!("the container engine was given up")
}
