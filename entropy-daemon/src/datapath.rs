//! What is in the kernel: programs, maps, links, the line, the wire. The only room that knows aya.
//!
//! Everything above speaks to the [`Datapath`] trait, which a test can fake; [`Kernel`] is the real
//! one. [`inspect`] reads the pinned maps without a daemon, [`cleanup`] removes what one left.

use std::{collections::BTreeSet, future::Future, time::Duration};

use entropy_common::{
    fault::delay::table::Table,
    rule::{Direction, HookKey, Match, Rule},
};

use crate::network::Network;

mod attach;
pub mod cleanup;
#[cfg(test)]
pub(crate) mod fake;
pub mod inspect;
mod kernel;
mod lease;
mod line;
mod log;
mod maps;
mod object;
mod pins;
mod recovered;
mod retired;
mod slots;
mod tcx;
mod wire;

pub use self::{
    kernel::{Handed, Kernel, Options},
    lease::LeaseMap,
    line::QUEUE,
    pins::{Lock, Ownership, bpffs_is_mounted},
    recovered::Recovered,
};

/// An interface of this host that programs can be attached to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interface {
    /// What identifies it.
    pub index: u32,
    /// Its name at the moment, for people.
    pub name: String,
}

/// A rule and what people call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedRule {
    /// The rule.
    pub rule: Rule,
    /// Name of the policy.
    pub policy: String,
    /// Name of the container.
    pub container: String,
}

/// A change that the kernel could not make.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The interface does not exist any more: nothing is left to do.
    #[error("interface {0} is gone")]
    Gone(String),
    /// It will not work on this interface until somebody else changes something.
    #[error("{0}")]
    Unsupported(String),
    /// Anything else: worth another try.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

/// The changes that can be made to the kernel's state. Each is complete in itself and may be
/// repeated.
pub trait Datapath {
    /// Puts the program of a direction on an interface. It costs time for every packet that it meets,
    /// so that a direction without rules should go without.
    fn attach(
        &mut self,
        interface: &Interface,
        direction: Direction,
    ) -> impl Future<Output = Result<(), Error>>;

    /// Takes the program off a hook, and with the interface's last one what else we put on it. One that
    /// is gone is fine.
    fn detach(&mut self, hook: HookKey) -> impl Future<Output = Result<(), Error>>;

    /// Replaces the rules of a hook in one step: every packet meets the old or the new ones. The
    /// counters of a rule that stays are kept. What one of the shields is for meets none of them.
    ///
    /// # Errors
    /// When a map is full or there are more than 16 rules; the old rules are in force then.
    fn put_rules(
        &mut self,
        hook: HookKey,
        rules: &[NamedRule],
        shields: &[Match],
    ) -> Result<(), Error>;

    /// Takes all rules off a hook.
    ///
    /// # Errors
    /// When the map cannot be written.
    fn clear_rules(&mut self, hook: HookKey) -> Result<(), Error>;

    /// Writes the table of a delay. No rule in force may use the number.
    ///
    /// # Errors
    /// When the map cannot be written.
    fn put_table(&mut self, number: u32, table: &Table) -> Result<(), Error>;

    /// Adds networks to a peer group. `description` is what the policy calls the group.
    ///
    /// # Errors
    /// When the map is full.
    fn add_peers(
        &mut self,
        group: u32,
        description: &str,
        networks: &BTreeSet<Network>,
    ) -> Result<(), Error>;

    /// Removes networks from a peer group, and the group's name if that `ends`.
    ///
    /// # Errors
    /// When the map cannot be written.
    fn remove_peers(
        &mut self,
        group: u32,
        networks: &BTreeSet<Network>,
        ends: bool,
    ) -> Result<(), Error>;

    /// Lets the kernel inject for this long from now on.
    ///
    /// # Errors
    /// When the map cannot be written.
    fn renew_lease(&mut self, length: Duration) -> Result<(), Error>;

    /// Ends the lease: from now on every packet passes.
    ///
    /// # Errors
    /// When the map cannot be written.
    fn halt(&mut self) -> Result<(), Error>;

    /// Frees what was replaced long enough ago. To be called about once a second.
    fn purge(&mut self);
}
