//! What is wrong with a policy file, said so that it can be mended.

use std::fmt;
use std::path::PathBuf;

use super::text;

/// What is wrong with one value, and what would be right; where it stands is for the caller to say.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{reason}: {help}")]
pub struct Mistake {
    /// What is wrong, with the value in it.
    pub reason: String,
    /// What to write instead.
    pub help: String,
}

impl Mistake {
    pub(crate) fn new(reason: impl Into<String>, help: impl Into<String>) -> Self {
        Self { reason: reason.into(), help: help.into() }
    }
}

/// A place in a file; lines and columns count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// One problem of a policy file.
///
/// Displayed as one or two lines, free of control characters whatever the file holds:
/// ```text
/// policies/web.toml:7:9: policy slow-db: match.port: 70000 is no port number
///   help: ports are 1 to 65535
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Problem {
    /// The file, as it was named to the loader.
    pub file: PathBuf,
    /// Where in the file; `None` if the problem is the file itself.
    pub position: Option<Position>,
    /// The policy: its name, or `#2` for the second of the file if it has no valid name.
    pub policy: Option<String>,
    /// The key inside the policy (`match.port`), or of the file if `policy` is `None`.
    pub key: Option<String>,
    /// What is wrong.
    pub reason: String,
    /// What would be right.
    pub help: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", text::path(&self.file))?;
        if let Some(Position { line, column }) = self.position {
            write!(f, "{line}:{column}:")?;
        }
        if let Some(policy) = &self.policy {
            write!(f, " policy {policy}:")?;
        }
        if let Some(key) = &self.key {
            write!(f, " {key}:")?;
        }
        write!(f, " {}\n  help: {}", self.reason, self.help)
    }
}

/// All problems of one or more files, in the order of the files and of the places in them.
/// Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    list: Vec<Problem>,
    omitted: usize,
}

impl Problems {
    /// Problems of one file beyond this are counted, not kept: a file of another kind can have one
    /// in every line.
    pub(crate) const KEPT_PER_FILE: usize = 100;

    /// `None` if there are no problems.
    pub(crate) fn new(list: Vec<Problem>, omitted: usize) -> Option<Self> {
        (!list.is_empty()).then_some(Self { list, omitted })
    }

    /// The problems, at most 100 of each file.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.list.iter()
    }

    /// How many problems there are, those beyond the first 100 of a file included.
    // `is_empty` would always be false.
    #[expect(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.list.len() + self.omitted
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            write!(f, "{}{problem}", if index == 0 { "" } else { "\n" })?;
        }
        match self.omitted {
            0 => Ok(()),
            omitted => write!(f, "\nand {omitted} more problems"),
        }
    }
}

impl std::error::Error for Problems {}

impl<'p> IntoIterator for &'p Problems {
    type Item = &'p Problem;
    type IntoIter = std::slice::Iter<'p, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
