//! Injects network failures into Docker containers from inside the kernel.

pub mod app;
pub mod cli;
pub mod clock;
pub mod datapath;
pub mod describe;
pub mod docker;
pub mod doctor;
pub mod endpoints;
pub mod guard;
pub mod handover;
pub mod netlink;
pub mod network;
pub mod outlook;
pub mod plan;
mod policies;
pub mod policy;
pub mod preview;
pub mod reconcile;
mod report;
pub mod schedule;
pub mod settings;
pub mod signals;
pub mod stop;
pub mod systemd;
pub mod upgrade;
mod world;
