//! The shape of a policy file: TOML text to policies, with every problem of it.

pub(crate) mod nesting;
mod syntax;

use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::model::{Origin, Policy};
use super::problem::{Mistake, Problems};
use super::report::{Field, Finding, Key, Report, Shape, Source};
use super::validate::{self, Candidate};
use super::written;

/// Longest file that is read, in bytes. Ten thousand policies fit.
pub(crate) const MAX_BYTES: usize = 1 << 20;

/// Parses the text of one policy file. `file` is its name in messages and in [`Policy::origin`].
///
/// # Errors
/// All problems of the file, in the order of their places.
pub fn parse(file: &Path, text: &[u8]) -> Result<Vec<Policy>, Problems> {
    finish(vec![ReadFile::read(file, text)])
}

/// Reads a file that is one table of another shape than a policy file: the daemon's settings.
///
/// # Errors
/// All problems of the file, in the order of their places.
pub(crate) fn table<T: Default>(
    file: &Path,
    bytes: &[u8],
    shape: &Shape<T>,
) -> Result<T, Problems> {
    let mut value = T::default();
    let (text, wrong) = if bytes.len() > MAX_BYTES { ("", None) } else { decode(bytes) };
    let source = Source::new(text);
    let mut findings = Vec::new();
    if bytes.len() > MAX_BYTES {
        findings.push(Finding::of_file(None, too_long()));
    } else if let Some(wrong) = wrong {
        findings.push(wrong);
    } else {
        let (document, errors) = DeTable::parse_recoverable(text);
        let breaks = syntax::Breaks::new(&source, &errors);
        let mut report = Report::new(None);
        shape.walk(document.get_ref(), "", &mut value, &mut report);
        findings.extend(breaks.before(report.findings, 0..text.len()));
        findings.extend(syntax::findings(&source, &errors));
    }
    findings.sort_by_key(|finding| finding.at);
    let omitted = findings.len().saturating_sub(Problems::KEPT_PER_FILE);
    let kept = findings.into_iter().take(Problems::KEPT_PER_FILE);
    let problems = kept.map(|finding| finding.into_problem(file, &source)).collect();
    Problems::new(problems, omitted).map_or(Ok(value), Err)
}

/// A file after reading: its policies, not yet named, and its problems.
pub(crate) struct ReadFile<'t> {
    pub(crate) file: PathBuf,
    pub(crate) source: Source<'t>,
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) findings: Vec<Finding>,
}

impl<'t> ReadFile<'t> {
    /// A file that could not be read.
    pub(crate) fn unreadable(file: &Path, mistake: Mistake) -> Self {
        let findings = vec![Finding::of_file(None, mistake)];
        Self { file: file.into(), source: Source::new(""), candidates: Vec::new(), findings }
    }

    pub(crate) fn read(file: &Path, bytes: &'t [u8]) -> Self {
        if bytes.len() > MAX_BYTES {
            return Self::unreadable(file, too_long());
        }
        let (text, wrong) = decode(bytes);
        let mut read = Self {
            file: file.into(),
            source: Source::new(text),
            candidates: Vec::new(),
            findings: Vec::new(),
        };
        match wrong {
            Some(finding) => read.findings.push(finding),
            None => read.read_document(),
        }
        read
    }

    fn read_document(&mut self) {
        let text = self.source.text;
        let (document, errors) = DeTable::parse_recoverable(text);
        let breaks = syntax::Breaks::new(&self.source, &errors);
        let mut report = Report::new(None);
        ROOT.walk(document.get_ref(), "", &mut (), &mut report);
        self.findings.extend(breaks.before(report.findings, 0..text.len()));

        let policies = policies(document.get_ref());
        let starts = policies.iter().map(|(start, _)| *start);
        let ends = starts.skip(1).chain([text.len()]);
        for (index, (&(start, table), end)) in policies.iter().zip(ends).enumerate() {
            let origin = Origin {
                file: self.file.clone(),
                line: self.source.line(start),
                written: written::json(table),
                since_ns: None,
            };
            let (candidate, report) = validate::policy(table, start, index + 1, origin);
            self.candidates.push(candidate);
            self.findings.extend(breaks.before(report.findings, start..end));
        }
        self.findings.extend(syntax::findings(&self.source, &errors));
    }
}

/// Names the policies of all files, and returns either all of them or all problems.
pub(crate) fn finish(mut files: Vec<ReadFile<'_>>) -> Result<Vec<Policy>, Problems> {
    validate::names::assign(&mut files);
    let (mut policies, mut problems, mut omitted) = (Vec::new(), Vec::new(), 0);
    for ReadFile { file, source, candidates, mut findings } in files {
        findings.sort_by_key(|finding| finding.at);
        omitted += findings.len().saturating_sub(Problems::KEPT_PER_FILE);
        let kept = findings.into_iter().take(Problems::KEPT_PER_FILE);
        problems.extend(kept.map(|finding| finding.into_problem(&file, &source)));
        policies.extend(candidates.into_iter().filter_map(|candidate| candidate.policy));
    }
    Problems::new(problems, omitted).map_or(Ok(policies), Err)
}

pub(crate) fn too_long() -> Mistake {
    Mistake::new("is longer than 1 MiB", "split it; a policy takes a few hundred bytes")
}

/// The text of a file without byte order mark; up to the first thing that is no text, if there is
/// such a thing.
fn decode(bytes: &[u8]) -> (&str, Option<Finding>) {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let help = "save the file as UTF-8 text";
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return ("", Some(Finding::of_file(Some(0), Mistake::new("is UTF-16, not UTF-8", help))));
    }
    let (text, wrong) = match std::str::from_utf8(bytes) {
        Ok(text) => (text, None),
        Err(error) => {
            let at = error.valid_up_to();
            let text = std::str::from_utf8(&bytes[..at]).unwrap_or_default();
            (text, Some((at, format!("byte 0x{:02x} is not UTF-8", bytes[at]))))
        }
    };
    let nul = text.find('\0').map(|at| (at, "contains a NUL byte".to_owned()));
    let finding =
        nul.or(wrong).map(|(at, why)| Finding::of_file(Some(at), Mistake::new(why, help)));
    let nested = || {
        let mistake = Mistake::new("a key has too many parts", "no key here has more than four");
        nesting::excess(text).map(|at| Finding::of_file(Some(at), mistake))
    };
    (text, finding.or_else(nested))
}

const ROOT: Shape<()> = Shape {
    keys: &[Key { name: "policy", read: |(), field, report| check_policies(field, report) }],
    other_versions: &[],
    elsewhere: &[
        ("name", BELOW_POLICY),
        ("target", BELOW_POLICY),
        ("direction", BELOW_POLICY),
        ("match", "write [policy.match] for a table of the policy above it"),
        ("seed", BELOW_POLICY),
        ("schedule", BELOW_POLICY),
        ("ramp", BELOW_POLICY),
        ("loss", BELOW_POLICY),
        ("delay", BELOW_POLICY),
        ("reorder", BELOW_POLICY),
        ("duplicate", BELOW_POLICY),
        ("corrupt", BELOW_POLICY),
        ("rate", BELOW_POLICY),
        ("slot", BELOW_POLICY),
        ("partition", BELOW_POLICY),
    ],
};

const BELOW_POLICY: &str = "write it below a line [[policy]]";

/// The tables of the policies, with the offsets at which they begin.
fn policies<'d>(document: &'d DeTable<'d>) -> Vec<(usize, &'d DeTable<'d>)> {
    let with_start = |value: &'d Spanned<DeValue<'d>>| {
        value.get_ref().as_table().map(|table| (value.span().start, table))
    };
    match document.get("policy") {
        Some(list) if list.get_ref().is_array() => list
            .get_ref()
            .as_array()
            .into_iter()
            .flat_map(|l| l.iter())
            .filter_map(with_start)
            .collect(),
        // `[policy]`: reported, but what is in it may be wrong as well.
        single => single.and_then(with_start).into_iter().collect(),
    }
}

fn check_policies(field: &Field<'_>, report: &mut Report) {
    let help = "begin each policy with a line [[policy]]";
    let DeValue::Array(policies) = field.value.get_ref() else {
        field.not_a(report, "a list of tables", help);
        return;
    };
    for policy in policies.iter().filter(|policy| !policy.get_ref().is_table()) {
        Field { path: field.path.clone(), value: policy }.not_a(report, "a list of tables", help);
    }
}
