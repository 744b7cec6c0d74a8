//! Builds, tests and demonstrates Entropy.
fn main() {}
