//! The faults: each has its record and its arithmetic.

pub mod loss;
pub mod partition;
