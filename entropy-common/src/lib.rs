//! What Entropy's eBPF programs and its user space share.
//!
//! Two things live here, each written once for both sides: the **records** that maps hold
//! ([`rule`], [`peer`], [`stats`], [`memory`], [`lease`]), laid out with the padding proved at compile time, and
//! the **decision arithmetic** ([`packet`], [`chance`], [`fault`], [`decide`]): given the rules of a
//! hook, a packet, the time and the counters, what happens to the packet. The kernel and the host
//! call the same functions, so what the unit tests prove of one holds for the other.
//!
//! `no_std`, no allocation, no I/O. The feature `user` adds what only user space needs.

#![no_std]

pub mod chance;
pub mod decide;
pub mod fault;
#[cfg(any(test, feature = "user"))]
pub mod host;
pub mod lease;
pub mod memory;
pub mod names;
pub mod packet;
pub mod peer;
pub mod record;
pub mod rule;
pub mod stats;
#[cfg(test)]
mod testing;
