//! Rust source as the rules see it: without comments and without the content of literals.

/// Replaces comments and the content of string and character literals with blanks. Lines stay
/// lines, so that positions remain true.
pub(super) fn code_only(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut code = source.as_bytes().to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = token_end(bytes, at);
        if let Some(end) = end {
            for byte in &mut code[at..end] {
                if *byte != b'\n' {
                    *byte = b' ';
                }
            }
        }
        at = end.unwrap_or(at + 1);
    }
    // Blanking whole tokens leaves whole characters.
    String::from_utf8_lossy(&code).into_owned()
}

/// The end of the comment or literal that begins at `at`; `None` when none begins there.
fn token_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    let part_of_name = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    match rest {
        [b'/', b'/', ..] => Some(at + position(rest, b"\n")),
        [b'/', b'*', ..] => Some(at + block_comment(rest)),
        [b'"', ..] => Some(at + quoted(rest, b'"')),
        [b'r', b'"' | b'#', ..] if !part_of_name => raw_string(rest).map(|length| at + length),
        [b'b', b'r', b'"' | b'#', ..] if !part_of_name => {
            raw_string(&rest[1..]).map(|length| at + 1 + length)
        }
        [b'\'', b'\\', ..] => Some(at + quoted(rest, b'\'')),
        // Anything else after a quote that is closed one character on is a literal; else it is
        // a lifetime.
        [b'\'', first, ..] => {
            let width = match first {
                0..=0x7f => 1,
                0x80..=0xdf => 2,
                0xe0..=0xef => 3,
                _ => 4,
            };
            (rest.get(1 + width) == Some(&b'\'')).then_some(at + width + 2)
        }
        _ => None,
    }
}

/// Where `what` begins in `bytes`, or their length.
fn position(bytes: &[u8], what: &[u8]) -> usize {
    bytes.windows(what.len()).position(|window| window == what).unwrap_or(bytes.len())
}

/// The length of a block comment; they nest.
fn block_comment(bytes: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at.min(bytes.len())
}

/// The length of a literal with escapes.
fn quoted(bytes: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

/// The length of a raw string; `None` for a raw name (`r#type`).
fn raw_string(bytes: &[u8]) -> Option<usize> {
    let hashes = bytes[1..].iter().take_while(|&&byte| byte == b'#').count();
    if bytes.get(1 + hashes) != Some(&b'"') {
        return None;
    }
    let body = 2 + hashes;
    let end = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
    Some((body + position(&bytes[body..], &end) + end.len()).min(bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::code_only;

    #[test]
    fn comments_and_literals_are_blanked_and_lines_kept() {
        let source =
            "a // aya::x\n/* b /* c */ d */ e\n\"f \\\" g\" h r#\"i\"j\"# k 'l' b'\\'' m\n";
        let code = code_only(source);
        assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a", "e", "h", "k", "b", "m"]);
        assert_eq!(code.lines().count(), source.lines().count());
    }

    #[test]
    fn lifetimes_and_raw_names_are_code() {
        let source = "fn f<'a>(x: &'a str, r#type: u8, ü: char) { 'ü' }";
        let code = code_only(source);
        assert!(code.contains("'a str") && code.contains("r#type"), "{code}");
        assert!(code.contains("ü: char") && !code.contains("'ü'"), "{code}");
    }

    #[test]
    fn unfinished_tokens_do_not_panic() {
        for source in ["\"abc", "/* abc", "r#\"abc", "'", "'\\", "b'", "//", "\"\\"] {
            assert_eq!(code_only(source).len(), source.len());
        }
    }
}
