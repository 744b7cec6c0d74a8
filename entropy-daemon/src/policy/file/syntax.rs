//! Files that are not TOML: what to say about it, and what can still be said about the rest.

use std::collections::HashSet;
use std::ops::Range;

use toml::de::Error;

use crate::policy::problem::Mistake;
use crate::policy::report::{Finding, Source};
use crate::policy::text::{plain, quoted};

const DUPLICATE: &str = "duplicate key";
const UNQUOTED: &str = "string values must be quoted";

/// Errors after which the parser knows where it is at the end of the line, by how they begin.
/// After all others the keys that follow may have gone into the wrong table.
const CONFINED_TO_LINE: &[&str] = &[
    DUPLICATE,
    UNQUOTED,
    "unexpected key or value",
    "invalid basic string",
    "invalid literal string",
    "invalid boolean",
    "invalid date",
    "invalid time",
    "invalid fraction",
    "invalid mantissa",
    "invalid decimal",
    "missing escaped value",
    "unexpected leading zero",
    "`_` may only go between digits",
];

/// Where the TOML of a file is broken.
pub(crate) struct Breaks<'s, 't> {
    source: &'s Source<'t>,
    /// Offset, and whether the rest of the line is all that is lost.
    places: Vec<(usize, bool)>,
}

impl<'s, 't> Breaks<'s, 't> {
    pub(crate) fn new(source: &'s Source<'t>, errors: &[Error]) -> Self {
        let confined = |e: &Error| CONFINED_TO_LINE.iter().any(|m| e.message().starts_with(m));
        let mut places: Vec<_> = errors.iter().map(|e| (start(e), confined(e))).collect();
        places.sort_unstable();
        Self { source, places }
    }

    /// Those of `findings`, from one part of the file, that can be trusted. In a broken part
    /// nothing is known to be missing, and what stands in a broken line, or behind a break that
    /// does not end with its line, is guesswork of the parser.
    pub(crate) fn before(&self, findings: Vec<Finding>, part: Range<usize>) -> Vec<Finding> {
        let from = self.places.partition_point(|(at, _)| *at < part.start);
        let inside = self.places[from..].iter().take_while(|(at, _)| *at <= part.end);
        let inside: Vec<_> = inside.collect();
        if inside.is_empty() {
            return findings;
        }
        let open = inside.iter().find(|(_, confined)| !confined);
        let end = open.map_or(part.end, |(at, _)| self.source.line_start(*at));
        let lines: HashSet<usize> = inside.iter().map(|(at, _)| self.source.line(*at)).collect();
        let sound =
            |at: usize| at >= part.start && at < end && !lines.contains(&self.source.line(at));
        findings.into_iter().filter(|f| !f.absence && f.at.is_some_and(sound)).collect()
    }
}

/// What is wrong with the TOML: the first error of each line (the parser stumbles several times
/// over the same stone), and every key that is given twice.
pub(crate) fn findings(source: &Source<'_>, errors: &[Error]) -> Vec<Finding> {
    let mut errors: Vec<&Error> = errors.iter().collect();
    errors.sort_by_key(|error| start(error));
    let mut lines = HashSet::new();
    let first_of_line = |error: &&Error| {
        error.message().starts_with(DUPLICATE) || lines.insert(source.line(start(error)))
    };
    errors
        .into_iter()
        .filter(first_of_line)
        .map(|error| Finding::of_file(Some(start(error)), mistake(source, error)))
        .collect()
}

fn start(error: &Error) -> usize {
    error.span().map_or(0, |span| span.start)
}

fn mistake(source: &Source<'_>, error: &Error) -> Mistake {
    let span = error.span().unwrap_or_default();
    let text = source.text.get(span).unwrap_or_default();
    let message = error.message();
    if message.starts_with(DUPLICATE) {
        let help = match text {
            "policy" => "begin every policy with a line [[policy]]",
            _ => "keep one of the two",
        };
        return Mistake::new(format!("{} is defined twice", quoted(text)), help);
    }
    if message.starts_with(UNQUOTED) {
        return unquoted(source, start(error));
    }
    if let Some((_, reason, help)) = PLAINER.iter().find(|(m, ..)| message.starts_with(m)) {
        return Mistake::new(format!("not valid TOML: {reason}"), *help);
    }
    match message.split_once(", expected ") {
        None | Some((_, "nothing")) => {
            let reason = message.trim_end_matches(", expected nothing");
            let help = "correct the line; text needs quotes around it, such as \"2%\"";
            Mistake::new(format!("not valid TOML: {}", plain(reason)), help)
        }
        Some((reason, expected)) => {
            let help = format!("what can stand here: {}", plain(expected));
            Mistake::new(format!("not valid TOML: {}", plain(reason)), help)
        }
    }
}

/// What the parser says of the commonest errors, by how it begins, in plainer words.
const PLAINER: &[(&str, &str, &str)] = &[
    ("key with no value", "a key without a value", "write it as key = value"),
    ("invalid basic string, expected `\"`", "text without a closing quote", "end it with \""),
    ("unclosed array table", "a header without its closing brackets", "write [[policy]]"),
    ("unclosed array", "a list without its closing bracket", "end it with ]"),
    ("unclosed inline table", "a table without its closing brace", "end it with }"),
    (
        "missing inline table opening",
        "a brace that closes nothing",
        "remove it, or close the list before it",
    ),
    ("invalid boolean", "not true or false", "write true or false, in small letters"),
    ("missing escaped value", "a backslash with nothing to escape", "write \\\\ for a backslash"),
    ("unexpected leading zero", "a number with a leading zero", "remove the zero"),
    (
        "unexpected key or value",
        "something behind the value",
        "begin a new line, or put quotes around text",
    ),
    ("cannot recurse further", "nested too deeply", "a policy needs two levels"),
];

/// A value that is neither a string nor anything else.
fn unquoted(source: &Source<'_>, at: usize) -> Mistake {
    let rest = source.text.get(at..).unwrap_or_default();
    let line = rest.lines().next().unwrap_or_default();
    let value = line.split('#').next().unwrap_or_default().trim();
    if value.is_empty() {
        return Mistake::new(
            "not valid TOML: a key without a value",
            "write a value after the \"=\"",
        );
    }
    let simple = !value.contains(['"', '\'', '[', ']', '{', '}', ',']);
    let help = if simple { format!("write {}", quoted(value)) } else { example() };
    let word = value.split([',', ' ', ']', '}']).next().unwrap_or_default();
    let shown = if simple { value } else { word };
    Mistake::new(format!("not valid TOML: {} needs quotes around it", plain(shown)), help)
}

fn example() -> String {
    "write text in double quotes, such as \"app=web\"".to_owned()
}
