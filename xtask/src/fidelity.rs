//! `fidelity`: asked against realised beside netem, on every kernel, collected into one report.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};

use crate::test::lab;
use crate::{build, exec, place, vm};

/// How long one kernel's measurement may take, in seconds.
const LIMIT: u64 = 10_800;

/// What to measure.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Only these kernels (comma-separated or repeated)
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<vm::Kernel>,
    /// Fewer repetitions and cases; criteria that need more are left open
    #[arg(long)]
    quick: bool,
    /// Only these sections: throughput, cost, delay, jitter, backlog, rate, loss, special (comma-separated)
    #[arg(long)]
    sections: Option<String>,
    /// Of the throughput, only cases whose name contains this, as "8 flows"
    #[arg(long)]
    matching: Option<String>,
    /// Runs of each side of a case of the throughput, of which the median counts (5)
    #[arg(long)]
    runs: Option<usize>,
    /// Seed of all decisions
    #[arg(long)]
    seed: Option<u64>,
}

/// Measures in virtual machines, puts `fidelity.md`, `fidelity.json` and the plots into
/// `target/fidelity` and returns the exit code: 1 if a criterion does not hold.
///
/// # Errors
/// When something cannot be built or a machine does not run.
pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    build::all(false)?;
    let lab = lab()?;
    let folder = place::target().join("fidelity");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let chosen = |kernel: &vm::Kernel| arguments.only.is_empty() || arguments.only.contains(kernel);
    let kernels: Vec<_> = vm::Kernel::ALL.into_iter().filter(chosen).collect();
    let measured = vm::side_by_side(&kernels, |kernel| {
        exec::say(&format!("measuring under Linux {}", kernel.name()));
        let share = place::vm_share().join(format!("fidelity-{}", kernel.name()));
        clear(&share)?;
        let machine = vm::Machine { timeout: LIMIT, counted: true, ..vm::Machine::default() };
        let command = command(*kernel, &lab, &share, arguments);
        let show = |line: &str| exec::out_of(kernel.name(), line);
        let code = vm::run(*kernel, &machine, &command, show)?;
        anyhow::Ok((code, collect(*kernel, &share, &folder)?))
    });
    let (mut worst, mut texts, mut reports) = (0, Vec::new(), Vec::new());
    for result in measured {
        let (code, (text, report)) = result?;
        worst = worst.max(code);
        texts.push(text);
        reports.push(report);
    }
    let text = format!("# Asked and realised\n\n{}", texts.join("\n"));
    write(&folder.join("fidelity.md"), &text)?;
    write(&folder.join("fidelity.json"), &format!("{:#}\n", json!({ "kernels": reports })))?;
    text.lines().for_each(exec::out);
    exec::say(&format!("written: fidelity.md, fidelity.json and plots in {}", folder.display()));
    Ok(worst)
}

/// The words that measure inside a machine.
fn command(kernel: vm::Kernel, lab: &Path, share: &Path, arguments: &Arguments) -> Vec<String> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut words = vec!["env".to_owned(), format!("ENTROPY_VM={}", kernel.name()), text(lab)];
    words.extend(["fidelity".to_owned(), "--out".to_owned(), text(share)]);
    if arguments.quick {
        words.push("--quick".to_owned());
    }
    if let Some(sections) = &arguments.sections {
        words.extend(["--sections".to_owned(), sections.clone()]);
    }
    if let Some(text) = &arguments.matching {
        words.extend(["--matching".to_owned(), text.clone()]);
    }
    if let Some(runs) = arguments.runs {
        words.extend(["--runs".to_owned(), runs.to_string()]);
    }
    if let Some(seed) = arguments.seed {
        words.extend(["--seed".to_owned(), seed.to_string()]);
    }
    words
}

/// Takes a kernel's report over: its plots get the kernel's version before their names.
fn collect(kernel: vm::Kernel, share: &Path, folder: &Path) -> Result<(String, Value)> {
    let read = |name: &str| {
        let path = share.join(name);
        fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    };
    let (text, report) = (read("report.md")?, read("report.json")?);
    for file in plots(share)? {
        let name = file.file_name().context("a plot without a name")?.to_string_lossy();
        let to = folder.join(format!("{}-{name}", kernel.name()));
        fs::copy(&file, &to).with_context(|| format!("write {}", to.display()))?;
    }
    let report = serde_json::from_str(&report).context("read report.json")?;
    Ok((prefixed(&text, kernel.name()), report))
}

/// The text with the kernel's version before the names of its plots.
fn prefixed(text: &str, kernel: &str) -> String {
    let lines = text.lines().map(|line| match line.strip_prefix("![") {
        Some(plot) => format!("![{}", plot.replacen("](", &format!("]({kernel}-"), 1)),
        None => line.to_owned(),
    });
    lines.map(|line| line + "\n").collect()
}

fn plots(share: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(share).with_context(|| format!("list {}", share.display()))?;
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    Ok(files.filter(|file| file.extension().is_some_and(|end| end == "svg")).collect())
}

fn clear(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::prefixed;

    #[test]
    fn plots_are_named_after_their_kernel() {
        let text = "## Linux\n\n![jitter: delay](jitter-normal.svg)\n";
        let expected = "## Linux\n\n![jitter: delay](6.1-jitter-normal.svg)\n";
        assert_eq!(prefixed(text, "6.1"), expected);
    }
}
