//! Keys with dots without end. The parser limits how deep tables are nested, but makes a table of each part
//! of a key, and who walks through them, or drops them, does so by recursion.

/// Most parts of a key: three times as many as any that means something.
const MOST: usize = 12;

/// Where a key with too many parts stands. What is no TOML may be found as well.
pub(crate) fn excess(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut dots) = (0, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' | b'\'' => {
                at = behind_string(bytes, at, *byte);
                continue;
            }
            b'#' => {
                at +=
                    bytes[at..].iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len() - at);
                continue;
            }
            b'.' => dots += 1,
            b'=' | b'\n' | b',' | b'{' | b'}' | b'[' | b']' => dots = 0,
            _ => {}
        }
        if dots >= MOST {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// What follows a string that begins at `at`; of one that does not end, the end of its line or of the text.
fn behind_string(bytes: &[u8], at: usize, quote: u8) -> usize {
    let long = [quote; 3];
    let is_long = bytes[at..].starts_with(&long);
    let mut at = at + if is_long { 3 } else { 1 };
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' if quote == b'"' => at += 2,
            b'\n' if !is_long => return at,
            _ if is_long && bytes[at..].starts_with(&long) => return at + 3,
            byte if !is_long && *byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_count_and_not_what_looks_like_one() {
        let many = ["a"; MOST + 1].join(".");
        let few = ["a"; MOST].join(".");
        for text in [
            format!("{few} = 1"),
            format!("x = \"{many}\""),
            format!("x = '{many}'"),
            format!("x = \"\"\"\n\"{many}\" \\\" \"\"\""),
            format!("x = '''\n'{many}''' # '{many}"),
            format!("# {many}"),
            format!("x = \"\\\"{many}\""),
            "x = [1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5, 9.5, 1.5, 2.5, 3.5, 4.5, 5.5]".to_owned(),
            format!("x = {{ {few} = 1.5, {few} = 2 }}"),
        ] {
            assert_eq!(excess(&text), None, "{text}");
        }
        let quoted = ["'a'"; MOST + 1].join(" . ");
        for text in [
            format!("{many} = 1"),
            format!("x = '' \n[{many}]"),
            format!("x = {{ {many} = 1 }}"),
            format!("{quoted} = 1"),
            format!("x = \"not closed\n{many} = 1"),
        ] {
            assert!(excess(&text).is_some(), "{text}");
        }
    }
}
