//! Label expressions that pick containers.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::problem::Mistake;
use super::text::{character, quoted};

/// More terms than anybody writes by hand; keeps the check for contradictions small.
const MAX_TERMS: usize = 64;

const EXAMPLE_HELP: &str = "name at least one label, such as \"app=web\"";

/// A label expression: terms separated by commas, all of which must hold.
///
/// The model is the equality-based selector of Kubernetes:
///
/// | term | holds for a container |
/// |---|---|
/// | `K` | with the label `K`, whatever its value |
/// | `K=V`, `K==V` | whose label `K` has the value `V` |
/// | `K!=V` | whose label `K` has another value, **or that has no label `K`** |
/// | `!K` | without the label `K` |
///
/// Spaces around names, operators and values do not count. Values are compared as they are, with
/// case, and may be empty; they may hold spaces, but neither a comma nor `=` (`app=web tier=db` is
/// a forgotten comma far more often than a value).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Selector {
    terms: Vec<Term>,
}

/// One term of a [`Selector`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Term {
    /// `K`: the label is there.
    Exists(String),
    /// `!K`: the label is not there.
    Absent(String),
    /// `K=V`: the label is there and has this value.
    Equals(String, String),
    /// `K!=V`: the label is not there or has another value.
    NotEquals(String, String),
}

impl Selector {
    /// Whether a container with these labels is picked.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.terms.iter().all(|term| term.matches(labels))
    }

    /// The terms, in the order they were written; at least one.
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// Parses `text`, or says all that is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, Vec<Mistake>> {
        if let Some(mistake) = check_whole(text) {
            return Err(vec![mistake]);
        }
        let (mut terms, mut mistakes) = (Vec::new(), Vec::new());
        for part in text.split(',') {
            match part.trim().parse() {
                Ok(term) => terms.push(term),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        mistakes.extend(contradiction(&terms));
        if mistakes.is_empty() { Ok(Self { terms }) } else { Err(mistakes) }
    }
}

impl FromStr for Selector {
    type Err = Mistake;

    fn from_str(text: &str) -> Result<Self, Mistake> {
        Self::parse(text).map_err(|mut mistakes| mistakes.swap_remove(0))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.terms.iter().enumerate() {
            write!(f, "{}{term}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl Term {
    /// The name of the label that the term is about.
    pub fn key(&self) -> &str {
        match self {
            Self::Exists(key) | Self::Absent(key) => key,
            Self::Equals(key, _) | Self::NotEquals(key, _) => key,
        }
    }

    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let found = labels.get(self.key());
        match self {
            Self::Exists(_) => found.is_some(),
            Self::Absent(_) => found.is_none(),
            Self::Equals(_, value) => found == Some(value),
            Self::NotEquals(_, value) => found != Some(value),
        }
    }

    /// Whether no container can have both.
    fn excludes(&self, other: &Self) -> bool {
        let excludes = |a: &Self, b: &Self| match (a, b) {
            (Self::Equals(_, a), Self::Equals(_, b)) => a != b,
            (Self::Equals(_, a), Self::NotEquals(_, b)) => a == b,
            (Self::Exists(_) | Self::Equals(..), Self::Absent(_)) => true,
            _ => false,
        };
        self.key() == other.key() && (excludes(self, other) || excludes(other, self))
    }
}

impl FromStr for Term {
    type Err = Mistake;

    fn from_str(text: &str) -> Result<Self, Mistake> {
        if let Some(negated) = text.strip_prefix('!') {
            if negated.starts_with('=') {
                return Err(no_key(text));
            }
            if let Some((key, value)) = negated.split_once('=') {
                let reason = format!("{} mixes \"!\" and \"=\"", quoted(text));
                let help = format!("write {}", quoted(&format!("{}!={value}", key.trim())));
                return Err(Mistake::new(reason, help));
            }
            return Ok(Self::Absent(checked_key(negated, text)?));
        }
        let Some((left, right)) = text.split_once('=') else {
            return Ok(Self::Exists(checked_key(text, text)?));
        };
        if let Some(key) = left.strip_suffix('!') {
            return Ok(Self::NotEquals(checked_key(key, text)?, checked_value(right, text)?));
        }
        let right = right.strip_prefix('=').unwrap_or(right);
        Ok(Self::Equals(checked_key(left, text)?, checked_value(right, text)?))
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists(key) => write!(f, "{key}"),
            Self::Absent(key) => write!(f, "!{key}"),
            Self::Equals(key, value) => write!(f, "{key}={value}"),
            Self::NotEquals(key, value) => write!(f, "{key}!={value}"),
        }
    }
}

/// What can only be seen in the whole expression.
fn check_whole(text: &str) -> Option<Mistake> {
    if text.trim().is_empty() {
        return Some(Mistake::new("the selector is empty", EXAMPLE_HELP));
    }
    if let Some(operator) =
        [" in ", " notin ", " in(", " notin("].iter().find(|o| text.contains(**o))
        && text.contains('(')
    {
        let operator = operator.trim().trim_end_matches('(');
        return Some(Mistake::new(
            format!("{} uses {operator} (...), which selectors do not have", quoted(text)),
            if operator == "in" {
                "write one policy for each value"
            } else {
                "write a term for each value, such as \"app!=web,app!=db\""
            },
        ));
    }
    let parts = || text.split(',').map(str::trim);
    if parts().any(str::is_empty) {
        let rest = parts().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(",");
        let help = if rest.is_empty() {
            EXAMPLE_HELP.to_owned()
        } else {
            format!("write {}", quoted(&rest))
        };
        return Some(Mistake::new(format!("{} has an empty term", quoted(text)), help));
    }
    (parts().count() > MAX_TERMS).then(|| {
        let reason = format!("{} has more than {MAX_TERMS} terms", quoted(text));
        Mistake::new(reason, "put a label of its own on these containers")
    })
}

fn contradiction(terms: &[Term]) -> Option<Mistake> {
    let pairs = terms.iter().enumerate().flat_map(|(i, a)| terms[..i].iter().map(move |b| (b, a)));
    let (first, second) = pairs.into_iter().find(|(a, b)| a.excludes(b))?;
    let reason = format!(
        "{} and {} cannot both hold",
        quoted(&first.to_string()),
        quoted(&second.to_string())
    );
    let help = match (first, second) {
        (Term::Equals(..), Term::Equals(..)) => "write one policy for each value",
        _ => "remove one of the two",
    };
    Some(Mistake::new(reason, help))
}

/// The name of a label: Docker takes any; these are all that occur, and leave out the characters
/// that give away another syntax.
fn checked_key(key: &str, term: &str) -> Result<String, Mistake> {
    let key = key.trim();
    if key.is_empty() {
        return Err(no_key(term));
    }
    let allowed = |c: char| c.is_alphanumeric() || "._-/@+~$".contains(c);
    let Some(wrong) = key.chars().find(|c| !allowed(*c)) else { return Ok(key.to_owned()) };
    let reason = format!("label name {} contains {}", quoted(key), character(wrong));
    let help = match (wrong, key.split_once(':')) {
        (':', Some((name, value))) if key == term => {
            let better = format!("{}={}", name.trim(), value.trim());
            format!("write {}", quoted(&better))
        }
        (' ', _) => "separate terms with a comma, such as \"app=web,tier\"".to_owned(),
        _ => "write K, K=V, K!=V or !K, such as \"app=web\"".to_owned(),
    };
    Err(Mistake::new(reason, help))
}

fn no_key(term: &str) -> Mistake {
    let reason = format!("{} has no label name", quoted(term));
    Mistake::new(reason, "write the name of a label, such as \"app\"")
}

fn checked_value(value: &str, term: &str) -> Result<String, Mistake> {
    let value = value.trim();
    let reason = |what: &str| format!("the value in {} {what}", quoted(term));
    if value.contains('=') {
        let help = "separate terms with a comma, such as \"app=web,tier=db\"";
        return Err(Mistake::new(reason("contains \"=\""), help));
    }
    if let Some(mark) = value.chars().next().filter(|c| matches!(c, '"' | '\'')) {
        let better = value.trim_matches(mark);
        let help = format!("write {}", quoted(&term.replace(value, better)));
        return Err(Mistake::new(reason("is in quotes"), help));
    }
    match value.chars().find(|c| c.is_control()) {
        Some(wrong) => {
            let what = format!("contains {}", character(wrong));
            Err(Mistake::new(reason(&what), "remove it; a value is one line of text"))
        }
        None => Ok(value.to_owned()),
    }
}

#[cfg(test)]
mod tests;
