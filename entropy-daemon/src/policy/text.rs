//! Text that came from a file, made fit for a message, and the search for what was meant.

/// Characters of a quoted value that a message shows.
const SHOWN_CHARS: usize = 60;

/// Words longer than this are no typing mistakes; also bounds the work of [`closest`].
const LONGEST_TYPO: usize = 32;

/// `text` in double quotes, escaped, and shortened if it is long.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text, true))
}

/// `text` escaped, and shortened if it is long, without quotes around it.
pub(crate) fn plain(text: &str) -> String {
    escaped(text, false)
}

/// A key as it would be written in a file: bare where TOML allows it, else in quotes.
pub(crate) fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !name.is_empty() && name.chars().all(bare) { plain(name) } else { quoted(name) }
}

/// A character in a message: itself in single quotes, or escaped.
pub(crate) fn character(c: char) -> String {
    format!("'{}'", if matches!(c, '"' | '\'') { c.to_string() } else { escape(c) })
}

/// A path, with everything escaped that could move the cursor or turn the text around.
pub(crate) fn path(path: &std::path::Path) -> String {
    path.to_string_lossy()
        .chars()
        .map(|c| if is_mark(c) { c.to_string() } else { escape(c) })
        .collect()
}

fn escaped(text: &str, in_quotes: bool) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    for c in chars.by_ref().take(SHOWN_CHARS) {
        match c {
            '"' | '\\' if !in_quotes => out.push(c),
            '\'' => out.push(c),
            _ => out.push_str(&escape(c)),
        }
    }
    if chars.next().is_some() {
        out.push('…');
    }
    out
}

const fn is_mark(c: char) -> bool {
    matches!(c, '"' | '\'' | '\\')
}

/// `char::escape_debug` takes every control, format (right-to-left marks among them), combining
/// and unassigned character to `\u{..}` and leaves what prints on its own.
fn escape(c: char) -> String {
    c.escape_debug().to_string()
}

/// The word of `known` that `word` was probably meant to be: the same but for case, the beginning
/// of it, its plural, or at most one edit in three characters away from it.
pub(crate) fn closest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let word = word.to_lowercase();
    let length = word.chars().count();
    if length == 0 || length > LONGEST_TYPO {
        return None;
    }
    let score = |candidate: &str| {
        let stem = word.chars().count() >= 3 && candidate.starts_with(&word);
        let plural = word.strip_suffix("ies").is_some_and(|w| candidate == format!("{w}y"));
        if stem || plural { 0 } else { edits(&word, candidate) }
    };
    let allowed = |candidate: &str| candidate.chars().count().max(length) / 3;
    known
        .into_iter()
        .map(|candidate| (score(candidate), candidate))
        .filter(|(edits, candidate)| *edits <= allowed(candidate))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Edit distance in which two neighbours swapped count as one (optimal string alignment).
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_direction_characters_are_escaped() {
        assert_eq!(quoted("a\u{1b}[31m\n\u{202e}b"), r#""a\u{1b}[31m\n\u{202e}b""#);
        assert_eq!(quoted("\u{200b}\u{feff}\0"), r#""\u{200b}\u{feff}\0""#);
        assert_eq!(quoted(r#"say "hi"\"#), r#""say \"hi\"\\""#);
        assert_eq!(character('\u{2066}'), r"'\u{2066}'");
        assert_eq!(character('"'), "'\"'");
        assert_eq!(path(std::path::Path::new("a\nb\u{202e}'\"\\")), "a\\nb\\u{202e}'\"\\");
    }

    #[test]
    fn long_text_is_shortened() {
        assert_eq!(quoted(&"x".repeat(60)), format!("\"{}\"", "x".repeat(60)));
        assert_eq!(quoted(&"x".repeat(61)), format!("\"{}…\"", "x".repeat(60)));
    }

    #[test]
    fn ordinary_text_of_other_languages_stays_readable() {
        assert_eq!(quoted("größe=東京"), "\"größe=東京\"");
    }

    #[test]
    fn keys_are_quoted_where_toml_wants_it() {
        assert_eq!(key("loss"), "loss");
        assert_eq!(key("a b"), "\"a b\"");
        assert_eq!(key(""), "\"\"");
    }

    #[test]
    fn typing_mistakes_find_the_word_that_was_meant() {
        let known = ["name", "target", "direction", "match", "loss", "protocol", "port", "policy"];
        for (word, meant) in [
            ("traget", "target"),
            ("Target", "target"),
            ("targets", "target"),
            ("dir", "direction"),
            ("proto", "protocol"),
            ("los", "loss"),
            ("losss", "loss"),
            ("mtach", "match"),
            ("ports", "port"),
            ("policies", "policy"),
        ] {
            assert_eq!(closest(word, known), Some(meant), "{word}");
        }
        for word in ["", "x", "delay", "containers", "http", "pot-luck", &"l".repeat(100_000)] {
            assert_eq!(closest(word, known), None, "{word}");
        }
    }
}
