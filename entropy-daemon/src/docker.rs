//! The container engine: which containers run, with which labels, names and addresses. The only
//! user of `bollard`, whose types stay in here.
//!
//! The engine is only ever asked (`GET`), over Docker's API or Podman's compatible one. A
//! [`Watcher`] opens the event stream first, then lists, then follows; every event leads to a new
//! look at its container, so that what an event says in itself never matters.

mod backoff;
mod container;
mod endpoint;
mod engine;
#[cfg(test)]
mod fake;
mod session;
#[cfg(test)]
mod tests;
mod watcher;

pub use self::{
    container::{Attachment, Container, NetworkMode, State},
    endpoint::{Endpoint, EndpointError},
    engine::{Engine, EngineError, EngineVersion},
    watcher::{Timing, Update, Watcher},
};
