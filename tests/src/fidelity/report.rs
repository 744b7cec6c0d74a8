//! What was measured: rows, as Markdown for people and JSON for programs.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// One fault and one parameter.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    /// The section that it belongs to; rows of one come one after the other.
    pub(super) section: &'static str,
    /// Fault and surroundings.
    pub(super) fault: String,
    /// What is looked at, with its unit.
    pub(super) parameter: &'static str,
    /// What was asked; `None` where as much as possible is.
    pub(super) asked: Option<f64>,
    /// Without a fault.
    pub(super) without: Option<f64>,
    /// With Entropy.
    pub(super) entropy: Option<f64>,
    /// With netem.
    pub(super) netem: Option<f64>,
    /// What has to hold, in words; empty for a row that is only told.
    pub(super) criterion: String,
    /// Whether it does; `None` where nothing has to hold or too little was measured to say.
    pub(super) holds: Option<bool>,
    /// Anything else: intervals, sample sizes.
    pub(super) note: String,
}

/// All rows of one kernel.
pub(super) struct Report {
    pub(super) rows: Vec<Row>,
    kernel: String,
    seed: u64,
    pub(super) quick: bool,
    /// Names of the plots, with a title each.
    pub(super) plots: Vec<(String, String)>,
    /// Data of the plots, drawn when the report is written.
    pub(super) curves: Vec<super::plot::Plot>,
}

impl Report {
    pub(super) fn new(seed: u64, quick: bool) -> Result<Self> {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").context("kernel release")?;
        Ok(Self {
            rows: Vec::new(),
            kernel: release.trim().to_owned(),
            seed,
            quick,
            plots: Vec::new(),
            curves: Vec::new(),
        })
    }

    /// Adds a row and says it.
    pub(super) fn add(&mut self, row: Row) {
        super::say(&format!(
            "{}, {}: asked {}, without {}, entropy {}, netem {} {}{}",
            row.fault,
            row.parameter,
            number(row.asked),
            number(row.without),
            number(row.entropy),
            number(row.netem),
            verdict(row.holds),
            if row.note.is_empty() { String::new() } else { format!(" ({})", row.note) },
        ));
        self.rows.push(row);
    }

    /// How many criteria do not hold.
    pub(super) fn broken(&self) -> usize {
        self.rows.iter().filter(|row| row.holds == Some(false)).count()
    }

    /// Writes `report.md`, `report.json` and the plots into a directory.
    pub(super) fn write(&mut self, folder: &Path) -> Result<()> {
        self.plots.clear();
        for curve in &self.curves {
            curve.draw(folder)?;
            self.plots.push((curve.file.clone(), curve.title.clone()));
        }
        let put = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))
        };
        put("report.md", &self.markdown())?;
        put("report.json", &format!("{:#}\n", self.json()))
    }

    /// The tables, one for each section.
    pub(super) fn markdown(&self) -> String {
        let mut text = format!("## Linux {}\n\nSeed {}.", self.kernel, self.seed);
        if self.quick {
            text.push_str(" Quick: few repetitions, criteria left open where they are too few.");
        }
        // Writing to a string cannot fail.
        let _ = writeln!(text, " {} criteria do not hold.", self.broken());
        let mut rest = &self.rows[..];
        while let Some(first) = rest.first() {
            let count = rest.iter().take_while(|row| row.section == first.section).count();
            let (section, others) = rest.split_at(count);
            let _ = write!(text, "\n### {}\n\n{}", first.section, table(section));
            rest = others;
        }
        for (file, title) in &self.plots {
            let _ = write!(text, "\n![{title}]({file})\n");
        }
        text
    }

    fn json(&self) -> Value {
        json!({
            "kernel": self.kernel,
            "seed": self.seed,
            "quick": self.quick,
            "broken": self.broken(),
            "plots": self.plots.iter().map(|(file, _)| file).collect::<Vec<_>>(),
            "rows": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
        })
    }
}

impl Row {
    fn json(&self) -> Value {
        json!({
            "section": self.section,
            "fault": self.fault,
            "parameter": self.parameter,
            "asked": self.asked,
            "without": self.without,
            "entropy": self.entropy,
            "netem": self.netem,
            "criterion": self.criterion,
            "holds": self.holds,
            "note": self.note,
        })
    }

    fn cells(&self) -> [String; 9] {
        [
            self.fault.clone(),
            self.parameter.to_owned(),
            number(self.asked),
            number(self.without),
            number(self.entropy),
            number(self.netem),
            if self.criterion.is_empty() { "-".to_owned() } else { self.criterion.clone() },
            verdict(self.holds).to_owned(),
            self.note.clone(),
        ]
    }
}

const HEAD: [&str; 9] =
    ["fault", "parameter", "asked", "without", "Entropy", "netem", "criterion", "holds", "note"];
/// The columns that are numbers, and stand at the right.
const NUMBERS: std::ops::Range<usize> = 2..6;

/// A Markdown table whose columns are aligned in the text, too.
fn table(rows: &[Row]) -> String {
    let cells: Vec<_> =
        std::iter::once(HEAD.map(str::to_owned)).chain(rows.iter().map(Row::cells)).collect();
    let widths: [usize; 9] = std::array::from_fn(|column| {
        cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).max(3)
    });
    let mut text = String::new();
    for (index, row) in cells.iter().enumerate() {
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            let _ = if NUMBERS.contains(&column) {
                write!(text, "| {cell:>width$} ")
            } else {
                write!(text, "| {cell:<width$} ")
            };
        }
        text.push_str("|\n");
        if index == 0 {
            for (column, width) in widths.into_iter().enumerate() {
                let end = if NUMBERS.contains(&column) { ':' } else { '-' };
                let _ = write!(text, "|{}{end}", "-".repeat(width + 1));
            }
            text.push_str("|\n");
        }
    }
    text
}

/// Four significant digits or more, and no tail of zeros.
fn number(value: Option<f64>) -> String {
    let Some(value) = value else { return "-".to_owned() };
    let digits = match value.abs() {
        0.0..0.01 => 5,
        0.01..1.0 => 4,
        1.0..100.0 => 3,
        100.0..10_000.0 => 2,
        _ => 0,
    };
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

fn verdict(holds: Option<bool>) -> &'static str {
    match holds {
        Some(true) => "yes",
        Some(false) => "NO",
        None => "-",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(fault: &str, holds: Option<bool>) -> Row {
        Row {
            section: "Loss",
            fault: fault.to_owned(),
            parameter: "share [%]",
            asked: Some(2.0),
            entropy: Some(1.9987),
            criterion: "within".to_owned(),
            holds,
            ..Row::default()
        }
    }

    #[test]
    fn tables_are_aligned_and_say_what_holds() {
        let text = table(&[row("loss", Some(true)), row("loss in bursts", Some(false))]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines.iter().all(|line| line.chars().count() == lines[0].chars().count()));
        assert!(lines[1].contains("---:|"), "{text}");
        assert!(lines[2].contains("| loss           | share [%] |     2 |       - |   1.999 |"));
        assert!(lines[3].contains("| NO "), "{text}");
    }

    #[test]
    fn json_has_every_column_and_null_for_what_was_not_measured() {
        let value = row("loss", None).json();
        for key in ["section", "fault", "parameter", "criterion", "note"] {
            assert!(value[key].is_string(), "{key}");
        }
        assert_eq!(value["entropy"], 1.9987);
        assert!(value["netem"].is_null() && value["holds"].is_null());
    }

    #[test]
    fn numbers_keep_what_matters() {
        let shown = [0.0, 0.00012, 0.051, 1.0, 20.006, 123.456, 1e6].map(|x| number(Some(x)));
        assert_eq!(shown, ["0", "0.00012", "0.051", "1", "20.006", "123.46", "1000000"]);
        assert_eq!(number(None), "-");
    }
}
