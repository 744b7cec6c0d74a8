//! The faults: each has its record and its arithmetic.

pub mod corrupt;
pub mod delay;
pub mod duplicate;
pub mod loss;
pub mod partition;
pub mod rate;
pub mod reorder;
pub mod slot;
