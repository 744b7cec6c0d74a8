//! `map`: what the pinned maps say.

mod document;
pub(crate) mod dump;
pub(crate) mod list;
mod tables;

/// Said instead of a table when nothing is pinned.
const NOTHING: &str = "nothing is pinned: no daemon has run since the last clean stop\n";
