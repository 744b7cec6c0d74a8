//! Text of others, made fit for a terminal, and quantities for people.

use entropy_daemon::network::Network;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// `text` with everything escaped that could move the cursor, turn the text around or hide: control,
/// format, combining and unassigned characters.
pub(crate) fn line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\'' | '\\' => out.push(c),
            _ => out.extend(c.escape_debug()),
        }
    }
    out
}

/// As [`line()`], and line breaks stay.
pub(crate) fn lines(text: &str) -> String {
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// As [`line()`], cut to `limit` columns of a terminal.
pub(crate) fn cell(text: &str, limit: usize) -> String {
    // Enough for the cell even if nothing is escaped; the rest could be very long.
    let mut rest = text.chars();
    let start: String = rest.by_ref().take(limit + 1).collect();
    let escaped = line(&start);
    if rest.next().is_none() && escaped.width() <= limit {
        return escaped;
    }
    let mut width = 0;
    let fits = |c: &char| {
        width += c.width().unwrap_or(0);
        width < limit
    };
    let mut cut: String = escaped.chars().take_while(fits).collect();
    cut.push('…');
    cut
}

/// Columns that a text takes on a terminal.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// A network in CIDR notation, a single address without its length.
pub(crate) fn network(network: &Network) -> String {
    let not = if network.excluded { "!" } else { "" };
    if network.net.prefix_len() == network.net.max_prefix_len() {
        format!("{not}{}", network.net.addr())
    } else {
        network.to_string()
    }
}

/// A number with a noun: `1 policy`, `2 policies`.
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// A duration in nanoseconds as seconds: `4.2 s`.
pub(crate) fn seconds(ns: u64) -> String {
    let tenths = ns / 100_000_000;
    format!("{}.{} s", tenths / 10, tenths % 10)
}

/// A share of a whole as a percentage with four significant digits, so that one in a million does
/// not look like none: `2 %`, `1.983 %`, `0.0001 %`; `-` of nothing. All and nothing are exact: a
/// share that is almost one never shows as 100 %.
pub(crate) fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".into();
    }
    let percent = part as f64 / whole as f64 * 100.0;
    if part == 0 || part >= whole {
        return format!("{percent} %");
    }
    // Of a number below one, the zeros after the point are not significant.
    let magnitude = percent.log10().floor() as i32;
    let decimals = usize::try_from(3 - magnitude).unwrap_or(0).min(12);
    let text = format!("{percent:.decimals$}");
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "100" { ">99.99 %".into() } else { format!("{text} %") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_trick_a_terminal_is_escaped() {
        assert_eq!(line("a\x1b[31mb\n"), r"a\u{1b}[31mb\n");
        assert_eq!(line("\u{202e}\u{2066}\u{200b}"), r"\u{202e}\u{2066}\u{200b}");
        assert_eq!(line(r#"größe="東京"\"#), r#"größe="東京"\"#);
        assert_eq!(lines("a\r\nb"), "a\\r\nb");
    }

    #[test]
    fn long_text_is_cut_to_the_columns_it_takes() {
        assert_eq!(cell("abcde", 5), "abcde");
        assert_eq!(cell("abcdef", 5), "abcd…");
        // Two columns each.
        assert_eq!(cell("東京都", 6), "東京都");
        assert_eq!(cell("東京都庁", 6), "東京…");
        assert_eq!(cell("\x1b\x1b", 5), "\\u{1…");
        assert!(width(&cell(&"東".repeat(1000), 20)) <= 20);
        assert_eq!(cell(&"x".repeat(1_000_000), 5), "xxxx…");
    }

    #[test]
    fn shares_keep_what_matters_of_them() {
        for (part, whole, shown) in [
            (0, 0, "-"),
            (0, 10, "0 %"),
            (10, 10, "100 %"),
            (2, 100, "2 %"),
            (1, 3, "33.33 %"),
            (1983, 100_000, "1.983 %"),
            (1, 1_000_000, "0.0001 %"),
            (12_345, 1_000_000_000, "0.001234 %"),
            (999_999_999, 1_000_000_000, ">99.99 %"),
            (9_999, 10_000, "99.99 %"),
            (1, 10, "10 %"),
        ] {
            assert_eq!(share(part, whole), shown, "{part} of {whole}");
        }
    }

    #[test]
    fn durations_and_counts_read_well() {
        assert_eq!(seconds(4_249_000_000), "4.2 s");
        assert_eq!(seconds(0), "0.0 s");
        assert_eq!(count(1, "policy", "policies"), "1 policy");
        assert_eq!(count(0, "policy", "policies"), "0 policies");
    }
}
