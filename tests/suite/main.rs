//! Tests of the eBPF object in a real kernel, as root. One binary, because it is carried into virtual
//! machines with other kernels as one file.

mod bridged;
mod changes;
mod concurrency;
mod containers;
mod control;
mod corrupt;
mod crossing;
mod delay;
mod determinism;
mod first;
mod foreign;
mod guard;
mod hidden;
mod layout;
mod lease;
mod lifecycle;
mod line;
mod loss;
mod pairs;
mod partition;
mod plan;
mod policies;
mod programs;
mod ramp;
mod rights;
mod rules;
mod schedule;
mod shares;
mod site;
mod slot;
mod stage;
mod upgrade;
mod verdicts;
mod waiting;
mod wire;
