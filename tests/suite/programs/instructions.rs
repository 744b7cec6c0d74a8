//! What each program costs the verifier, against what it cost before.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result, bail, ensure};
use entropy_common::names;
use entropy_tests::{needs_root, object::Object};

/// What was recorded when the suite was built, because a virtual machine has the suite only. A line
/// for each program and series of kernels: `6.18 entropy_from 12345`.
const RECORD: &str = include_str!("instructions.txt");
/// Where it is in the source tree, to be written anew.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/suite/programs/instructions.txt");
/// Asks for that.
const ASK: &str = "ENTROPY_RECORD";

/// The verifier's limit for privileged programs is a million (BPF_COMPLEXITY_LIMIT_INSNS,
/// include/linux/bpf.h); a fifth of it leaves room.
const MOST: u32 = 200_000;

/// Instructions by series and program.
type Record = BTreeMap<(String, String), u32>;

fn parse(text: &str) -> Result<Record> {
    let mut record = Record::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [series, program, count] = words[..] else { bail!("no such line: {line:?}") };
        let count = count.parse().with_context(|| format!("a number in {line:?}"))?;
        let twice = record.insert((series.into(), program.into()), count);
        ensure!(twice.is_none(), "recorded twice: {line:?}");
    }
    Ok(record)
}

fn lines(record: &Record) -> String {
    let line = |((series, program), count): (&(String, String), &u32)| {
        format!("{series} {program} {count}\n")
    };
    record.iter().map(line).collect()
}

/// The first two numbers of the kernel's version.
fn series(release: &str) -> Option<String> {
    let mut numbers = release.trim().split(|c: char| !c.is_ascii_digit());
    Some(format!("{}.{}", numbers.next()?, numbers.next()?))
}

/// What this kernel counts.
fn measure() -> Result<Record> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").context("read the release")?;
    let series = series(&release).with_context(|| format!("a version: {release:?}"))?;
    let mut object = Object::load()?;
    names::PROGRAMS
        .into_iter()
        .map(|name| {
            let count = object.program(name)?.verified_instructions()?;
            Ok(((series.clone(), name.to_owned()), count))
        })
        .collect()
}

/// Puts the numbers of this series in the place of those that were recorded for it, in the file as it
/// is now.
fn write(measured: Record) -> Result<()> {
    let file = Path::new(FILE);
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let mut record = parse(&text)?;
    record.retain(|(series, _), _| !measured.keys().any(|(ours, _)| ours == series));
    record.extend(measured);
    let comments: String =
        text.lines().filter(|line| line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    fs::write(file, comments + &lines(&record)).with_context(|| format!("write {}", file.display()))
}

/// What is wrong with a count, if anything.
fn complaint(count: u32, recorded: Option<u32>) -> Option<String> {
    match recorded {
        None => Some("not recorded for this series of kernels".into()),
        Some(before) if count.abs_diff(before) > before / 10 => {
            Some(format!("{before} recorded, more than a tenth away"))
        }
        Some(_) if count > MOST => Some(format!("more than {MOST}")),
        Some(_) => None,
    }
}

#[test]
fn every_program_costs_the_verifier_about_what_was_recorded() -> Result<()> {
    needs_root!();
    let measured = measure()?;
    print!("{}", lines(&measured));
    let is_asked = std::env::var_os(ASK).is_some_and(|value| value == "1");
    // A virtual machine has no source tree: there the lines are to be copied from the complaint.
    if is_asked && std::env::var_os("ENTROPY_VM").is_none() {
        return write(measured);
    }
    let record = parse(RECORD)?;
    let complaints: Vec<String> = measured
        .iter()
        .filter_map(|(key, &count)| {
            let complaint = complaint(count, record.get(key).copied())?;
            Some(format!("{} {count}: {complaint}", key.1))
        })
        .collect();
    ensure!(
        complaints.is_empty(),
        "{}\nif this is as it should be, run the test with {ASK}=1, which writes {FILE}, or put these \
         lines there:\n{}",
        complaints.join("\n"),
        lines(&measured)
    );
    Ok(())
}

#[test]
fn a_tenth_more_or_less_is_no_complaint() {
    assert_eq!(complaint(1_100, Some(1_000)), None);
    assert_eq!(complaint(900, Some(1_000)), None);
    assert!(complaint(1_101, Some(1_000)).is_some());
    assert!(complaint(899, Some(1_000)).is_some());
    assert!(complaint(MOST + 1, Some(MOST)).is_some());
    assert!(complaint(1, None).is_some());
}

#[test]
fn a_record_is_read_as_it_is_written() -> Result<()> {
    let text = "6.1 entropy_from 5\n6.18 entropy_from 7\n";
    assert_eq!(lines(&parse(&format!("# words\n\n{text}"))?), text);
    assert!(parse("6.1 entropy_from").is_err() && parse("6.1 a 1\n6.1 a 1").is_err());
    assert_eq!(series("6.18.3-arch1-1\n").as_deref(), Some("6.18"));
    assert_eq!(series("6.1.0-44-amd64").as_deref(), Some("6.1"));
    Ok(())
}
