//! Frames between containers, counted at the receiver.

use anyhow::Result;
use entropy_tests::{
    frames::{End, Flow, Protocol},
    traffic,
};

use super::Running;

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) v6: bool,
    pub(crate) protocol: Protocol,
}

impl Default for Kind {
    fn default() -> Self {
        Self { v6: false, protocol: Protocol::Udp }
    }
}

impl Kind {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        [false, true].into_iter().flat_map(|v6| Protocol::ALL.map(|protocol| Self { v6, protocol }))
    }
}

/// Sends frames from one container to another and returns how many arrive.
pub(crate) fn through(from: &Running, to: &Running, kind: Kind, count: u64) -> Result<u64> {
    let end = |running: &Running, port| End {
        mac: running.at.mac,
        ip: if kind.v6 { running.at.v6.into() } else { running.at.v4.into() },
        port,
    };
    let flow = Flow {
        source: end(from, 7),
        destination: end(to, 9),
        protocol: kind.protocol,
        tag: 0x656e_7472_6f70_7921,
    };
    let (source, sink) = (from.container.netns()?, to.container.netns()?);
    let received =
        traffic::through(&flow, (&source, &from.at.device), (&sink, &to.at.device), count)?;
    Ok(received.distinct())
}
