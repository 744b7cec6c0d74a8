//! Asked against realised, for every fault and parameter, with netem beside it on the same devices in
//! the same run.
//!
//! It measures: each row holds what was asked, what happens without a fault, with Entropy and with
//! netem, and whether the criterion of the row holds. On Entropy's side the daemon's own datapath
//! works, on netem's side `tc`, which only this tool of developers uses.

mod backlog;
mod bench;
mod cost;
mod delay;
mod jitter;
mod loss;
mod plot;
mod probe;
mod rate;
mod report;
mod sample;
mod shape;
mod site;
mod special;
mod tcp;
mod throughput;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};

use self::{bench::Bench, report::Report};

/// What to measure, and where to put it.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Directory for report.md, report.json and the plots; made if it is not there
    #[arg(long)]
    pub out: PathBuf,
    /// Fewer repetitions and cases; criteria that need more are left open
    #[arg(long)]
    pub quick: bool,
    /// Only these sections (comma-separated or repeated)
    #[arg(long, value_enum, value_delimiter = ',')]
    pub sections: Vec<Section>,
    /// Of the throughput, only cases whose name contains this
    #[arg(long)]
    pub matching: Option<String>,
    /// Runs of each side of a case of the throughput, of which the median counts
    #[arg(long, default_value_t = 5)]
    pub runs: usize,
    /// Seed of all decisions
    #[arg(long, default_value_t = 20_260)]
    pub seed: u64,
}

/// A part of the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Section {
    /// TCP throughput behind 20 ms
    Throughput,
    /// Processor time of a packet that waits
    Cost,
    /// One-way delay of UDP, TCP and ICMP
    Delay,
    /// Distributions of jitter, and order
    Jitter,
    /// Many packets that wait at once
    Backlog,
    /// Bandwidth and queue
    Rate,
    /// Loss, duplicates and reordering
    Loss,
    /// Congestion marks, segments of super-packets, slots
    Special,
}

impl Section {
    /// All of them, in the order in which they are measured.
    pub const ALL: [Self; 8] = [
        Self::Throughput,
        Self::Cost,
        Self::Delay,
        Self::Jitter,
        Self::Backlog,
        Self::Rate,
        Self::Loss,
        Self::Special,
    ];
}

/// Measures, writes the report and returns the exit code: 0 if every criterion holds, else 1.
///
/// # Errors
/// When something cannot be set up or measured.
pub fn run(options: &Options) -> Result<u8> {
    std::fs::create_dir_all(&options.out)
        .with_context(|| format!("create {}", options.out.display()))?;
    let mut bench = Bench::new(options)?;
    let mut report = Report::new(options.seed, options.quick)?;
    let result = sections(options, &mut bench, &mut report);
    let problems = bench.stop();
    report.write(&options.out)?;
    result?;
    for problem in &problems {
        say(&format!("not undone: {problem:#}"));
    }
    let broken = report.broken();
    say(&format!("{broken} criteria do not hold"));
    Ok(u8::from(broken > 0 || !problems.is_empty()))
}

fn sections(options: &Options, bench: &mut Bench, report: &mut Report) -> Result<()> {
    for section in Section::ALL {
        if !options.sections.is_empty() && !options.sections.contains(&section) {
            continue;
        }
        let start = Instant::now();
        let first = report.rows.len();
        match section {
            Section::Throughput => throughput::measure(bench, report),
            Section::Cost => cost::measure(bench, report),
            Section::Delay => delay::measure(bench, report),
            Section::Jitter => jitter::measure(bench, report),
            Section::Backlog => backlog::measure(bench, report),
            Section::Rate => rate::measure(bench, report),
            Section::Loss => loss::measure(bench, report),
            Section::Special => special::measure(bench, report),
        }
        .with_context(|| format!("section {section:?}"))?;
        // What is there is written at once: a machine that dies later takes nothing with it.
        report.write(&options.out)?;
        let (rows, took) = (report.rows.len() - first, start.elapsed().as_secs());
        say(&format!("{section:?}: {rows} rows in {took} s"));
    }
    Ok(())
}

/// Says one line about what is happening.
fn say(line: &str) {
    eprintln!("fidelity: {line}");
}

/// Nanoseconds as milliseconds.
fn milliseconds(ns: f64) -> f64 {
    ns / 1e6
}

/// A duration in nanoseconds.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
