//! Which containers a policy is for.

use std::collections::BTreeMap;
use std::fmt;

use glob::Pattern;

use super::selector::Selector;
use super::units::Rate;

/// Which containers a policy is for: all conditions must hold, and of those for which they do some are
/// picked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The labels of the container.
    pub labels: Option<Selector>,
    /// Patterns of which the container's name must match one; empty for any name.
    pub names: Vec<Pattern>,
    /// How many of the matching containers are hit; `None` for all of them.
    pub pick: Option<Pick>,
}

/// A choice among the containers that match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pick {
    /// Each with this probability, whatever becomes of the others: of many containers about this share.
    Share(Rate),
    /// So many of them, or all if there are fewer; at least 1. When one goes, one other takes its
    /// place.
    Count(u32),
}

impl Target {
    /// Whether a container of this name and with these labels meets the conditions.
    #[must_use]
    pub fn matches(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        self.labels.as_ref().is_none_or(|selector| selector.matches(labels))
            && (self.names.is_empty() || self.names.iter().any(|pattern| pattern.matches(name)))
    }
}

impl From<Selector> for Target {
    fn from(labels: Selector) -> Self {
        Self { labels: Some(labels), names: Vec::new(), pick: None }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        parts.extend(self.labels.as_ref().map(Selector::to_string));
        if !self.names.is_empty() {
            let names: Vec<_> = self.names.iter().map(Pattern::as_str).collect();
            parts.push(format!("name {}", names.join(" or ")));
        }
        let all = parts.join(", ");
        match self.pick {
            None => f.write_str(&all),
            Some(Pick::Share(share)) => write!(f, "{share} of {all}"),
            Some(Pick::Count(count)) => write!(f, "{count} of {all}"),
        }
    }
}
