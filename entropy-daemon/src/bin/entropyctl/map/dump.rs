//! `map dump`: what is in the maps.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use entropy_daemon::{clock, datapath::inspect, netlink::Netlink};

use super::{
    NOTHING,
    document::{Context, Document},
    tables,
};
use crate::{
    args::{Dump, Format},
    output,
};

pub(crate) async fn run(arguments: &Dump, format: Format) -> Result<ExitCode> {
    let document = match inspect::read().context("read the pinned maps")? {
        Some(snapshot) => {
            let context = context(snapshot.line).await?;
            Some(Document::new(&snapshot, &context).only(&arguments.parts))
        }
        None => None,
    };
    match (format, document) {
        (Format::Json, document) => output::print_json(&document.unwrap_or_default())?,
        (Format::Table, None) => output::print(NOTHING)?,
        (Format::Table, Some(document)) => {
            output::print(&tables::render(&document, &arguments.parts))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn context(line: Option<u32>) -> Result<Context> {
    let netlink = Netlink::new().context("open netlink")?;
    let links = netlink.links().await?;
    let queue = match line {
        Some(entrance) => netlink.fq_statistics(entrance).await?,
        None => None,
    };
    Ok(Context {
        interfaces: links.into_iter().map(|link| (link.index, link.name)).collect(),
        daemon: inspect::lock_holder().context("look for a running daemon")?,
        now_ns: clock::monotonic_ns().context("read the clock")?,
        queue,
    })
}
