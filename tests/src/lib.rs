//! The laboratory: namespaces, Docker engines and traffic for the tests.

pub mod bench;
pub mod clock;
pub mod clocked;
pub mod cpu;
pub mod daemon;
pub mod datagrams;
pub mod demo;
pub mod docker;
pub mod engine;
pub mod fidelity;
pub mod frames;
pub mod netns;
pub mod numbered;
pub mod object;
pub mod random;
pub mod skip;
pub mod snapshot;
pub mod stats;
pub mod stream;
pub mod threads;
pub mod traffic;
pub mod wait;

mod netlink;
mod without_tcx;
