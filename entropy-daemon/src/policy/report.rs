//! Walking a spanned TOML document: every key of every table is either known or a problem, and
//! every problem knows its place.

use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Mistake, Position, Problem};
use super::text::{self, closest, quoted};

/// The text of a file, and where its lines begin.
pub(crate) struct Source<'t> {
    pub(crate) text: &'t str,
    line_starts: Vec<usize>,
}

impl<'t> Source<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        let after_newlines = text.match_indices('\n').map(|(at, _)| at + 1);
        Self { text, line_starts: std::iter::once(0).chain(after_newlines).collect() }
    }

    /// Line of a byte offset, from 1.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= at)
    }

    /// Offset at which the line of `at` begins.
    pub(crate) fn line_start(&self, at: usize) -> usize {
        self.line_starts[self.line(at) - 1]
    }

    pub(crate) fn position(&self, at: usize) -> Position {
        let before = self.text.get(self.line_start(at)..at).unwrap_or_default();
        Position { line: self.line(at), column: before.chars().count() + 1 }
    }
}

/// A problem whose place is still a byte offset.
pub(crate) struct Finding {
    /// `None` if it concerns the file as a whole.
    pub(crate) at: Option<usize>,
    pub(crate) policy: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) mistake: Mistake,
    /// Whether it says that something is not there.
    pub(crate) absence: bool,
}

impl Finding {
    /// A finding outside of any policy.
    pub(crate) fn of_file(at: Option<usize>, mistake: Mistake) -> Self {
        Self { at, policy: None, key: None, mistake, absence: false }
    }

    pub(crate) fn into_problem(self, file: &Path, source: &Source<'_>) -> Problem {
        Problem {
            file: PathBuf::from(file),
            position: self.at.map(|at| source.position(at)),
            policy: self.policy,
            key: self.key,
            reason: self.mistake.reason,
            help: self.mistake.help,
        }
    }
}

/// Collects what is wrong with a file, or with one policy of it.
pub(crate) struct Report {
    policy: Option<String>,
    pub(crate) findings: Vec<Finding>,
}

impl Report {
    /// `policy` is how its problems call it; `None` for the file outside of its policies.
    pub(crate) fn new(policy: Option<String>) -> Self {
        Self { policy, findings: Vec::new() }
    }

    /// Something wrong at a key or value.
    pub(crate) fn wrong(&mut self, at: usize, key: &str, mistake: Mistake) {
        self.add(at, Some(key.to_owned()), mistake, false);
    }

    /// Something missing in the table that begins at `at`; `key` is `None` for a policy.
    pub(crate) fn missing(&mut self, at: usize, key: Option<&str>, mistake: Mistake) {
        self.add(at, key.map(str::to_owned), mistake, true);
    }

    fn add(&mut self, at: usize, key: Option<String>, mistake: Mistake, absence: bool) {
        let policy = self.policy.clone();
        self.findings.push(Finding { at: Some(at), policy, key, mistake, absence });
    }
}

/// One value and the path of keys to it.
pub(crate) struct Field<'d> {
    /// `match.port`, relative to the policy.
    pub(crate) path: String,
    pub(crate) value: &'d Spanned<DeValue<'d>>,
}

impl<'d> Field<'d> {
    /// Byte offset of the value.
    pub(crate) fn at(&self) -> usize {
        self.value.span().start
    }

    /// Reports a mistake in the value.
    pub(crate) fn wrong(&self, report: &mut Report, mistake: Mistake) {
        report.wrong(self.at(), &self.path, mistake);
    }

    /// Reports that the value is of another type than `expected` (`a string`).
    pub(crate) fn not_a(&self, report: &mut Report, expected: &str, help: impl Into<String>) {
        let reason = format!("must be {expected}, not {}", describe(self.value.get_ref()));
        self.wrong(report, Mistake::new(reason, help));
    }

    /// The value if it is a string; reported if not.
    pub(crate) fn string(&self, report: &mut Report, help: &str) -> Option<&'d str> {
        let text = self.value.get_ref().as_str();
        if text.is_none() {
            self.not_a(report, "a string", help);
        }
        text
    }

    /// The value of `result`; its mistake is reported.
    pub(crate) fn accept<T>(&self, report: &mut Report, result: Result<T, Mistake>) -> Option<T> {
        result.map_err(|mistake| self.wrong(report, mistake)).ok()
    }
}

/// A value in the words of a message.
pub(crate) fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the string {}", quoted(text)),
        DeValue::Integer(number) => format!("the integer {}", text::plain(&number.to_string())),
        DeValue::Float(number) => format!("the number {}", text::plain(&number.to_string())),
        DeValue::Boolean(value) => format!("the boolean {value}"),
        DeValue::Datetime(_) => "a date or time".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// One key of a table and what reads it into `T`.
pub(crate) struct Key<T> {
    pub(crate) name: &'static str,
    pub(crate) read: fn(&mut T, &Field<'_>, &mut Report),
}

/// All that a table may hold. Everything else in it is a problem.
pub(crate) struct Shape<T: 'static> {
    pub(crate) keys: &'static [Key<T>],
    /// Keys that other versions have.
    pub(crate) other_versions: &'static [&'static str],
    /// Keys that have their place elsewhere, and where.
    pub(crate) elsewhere: &'static [(&'static str, &'static str)],
}

/// What was found in a table.
#[derive(Default)]
pub(crate) struct Present {
    known: Vec<&'static str>,
    /// Keys that were probably meant by unknown ones.
    meant: Vec<&'static str>,
    /// Whether there is a key of another version, or one that resembles none.
    pub(crate) strange: bool,
}

impl Present {
    /// Whether the key is there, though perhaps with a wrong value.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.known.contains(&key)
    }

    /// Whether the key is there, but mistyped.
    pub(crate) fn has_mistyped(&self, key: &str) -> bool {
        self.meant.contains(&key)
    }
}

impl<T> Shape<T> {
    /// Reads every key of `table`, whose own path is `path` (empty for a policy), into `into`.
    pub(crate) fn walk(
        &self,
        table: &DeTable<'_>,
        path: &str,
        into: &mut T,
        report: &mut Report,
    ) -> Present {
        self.walk_with(table, path, into, report, |_, _, _, _| false)
    }

    /// The same, where `other` may take keys that are not in the list: true if it did.
    pub(crate) fn walk_with(
        &self,
        table: &DeTable<'_>,
        path: &str,
        into: &mut T,
        report: &mut Report,
        mut other: impl FnMut(&mut T, &str, &Field<'_>, &mut Report) -> bool,
    ) -> Present {
        let mut present = Present::default();
        for (key, value) in table {
            let name: &str = key.get_ref();
            let dot = if path.is_empty() { "" } else { "." };
            let path = format!("{path}{dot}{}", text::key(name));
            if let Some(known) = self.keys.iter().find(|known| known.name == name) {
                present.known.push(known.name);
                (known.read)(into, &Field { path, value }, report);
                continue;
            }
            let field = Field { path, value };
            if other(into, name, &field, report) {
                continue;
            }
            let path = field.path;
            let misplaced = self.elsewhere.iter().find(|(key, _)| *key == name);
            let other_version = self.other_versions.contains(&name);
            let meant = closest(name, self.keys.iter().map(|key| key.name))
                .filter(|_| !other_version && misplaced.is_none());
            present.meant.extend(meant);
            present.strange |= misplaced.is_none() && meant.is_none();
            let mistake = self.unknown(name, misplaced.map(|(_, place)| *place), meant);
            report.wrong(key.span().start, &path, mistake);
        }
        present
    }

    fn unknown(&self, name: &str, place: Option<&str>, meant: Option<&str>) -> Mistake {
        let keys = || self.keys.iter().map(|key| key.name).collect::<Vec<_>>().join(", ");
        if self.other_versions.contains(&name) {
            let help = format!("remove it; the keys here are {}", keys());
            return Mistake::new("this version of Entropy does not have this key", help);
        }
        match (place, meant) {
            (Some(place), _) => Mistake::new("does not belong here", place),
            (None, Some(meant)) => {
                Mistake::new("unknown key", format!("did you mean \"{meant}\"?"))
            }
            (None, None) => Mistake::new("unknown key", format!("the keys here are {}", keys())),
        }
    }
}
