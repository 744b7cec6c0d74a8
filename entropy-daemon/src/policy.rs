//! Policies: from what an operator writes to what the rest of the daemon works with.
//!
//! `*.toml -> file (shape) -> validate (meaning) -> Policy (validated, units in types)`.
//! All problems of all files come back together, each with its place, its reason and a remedy, and
//! no policy comes back beside a problem: a bad file never replaces a good state.
//!
//! Pure, but for [`load_directory`] and [`load_files`], which read files, and [`watch`].
mod directory;
pub(crate) mod file;
mod model;
mod problem;
mod records;
pub(crate) mod report;
mod selector;
mod target;
#[cfg(test)]
mod tests;
pub(crate) mod text;
mod units;
pub(crate) mod validate;
pub mod watch;
mod written;

pub use directory::{LoadError, load_directory, load_files};
pub use file::parse;
pub use model::{
    Chance, Corrupt, Delay, DelayTime, Direction, Distribution, Faults, LengthRange, Link, Loss,
    LossModel, Match, Origin, Partition, Peer, Percentiles, Policy, PortRange, Protocol, Queue,
    Ramp, Reorder, Slot, SlotTime, Start, TcpFlags,
};
pub use problem::{Mistake, Position, Problem, Problems};
pub use records::Records;
pub(crate) use records::probability;
pub use selector::{Selector, Term};
pub use target::{Pick, Target};
pub use units::{Bandwidth, Rate, Size, Span};
pub(crate) use written::bare_table;
pub use written::toml_of;
