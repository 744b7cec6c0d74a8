//! Files that are wrong: each kind with all that is said about it.
//!
//! `wrong.txt` has one section for each kind: `=== kind`, the file, `---`, and every problem as it
//! is displayed.

use std::collections::BTreeSet;
use std::path::Path;

use crate::policy::parse;

struct Case {
    kind: &'static str,
    text: &'static str,
    expected: &'static str,
}

fn cases() -> impl Iterator<Item = Case> {
    let sections = include_str!("wrong.txt").split("=== ").skip(1);
    sections.map(|section| {
        let (kind, rest) = section.split_once('\n').unwrap();
        let (text, expected) = rest.split_once("---\n").unwrap();
        Case { kind, text, expected: expected.trim_end() }
    })
}

fn problems(text: &[u8]) -> Option<String> {
    parse(Path::new("f.toml"), text).err().map(|problems| problems.to_string())
}

#[test]
fn every_kind_of_wrong_file_is_explained_exactly() {
    let mut different = Vec::new();
    for Case { kind, text, expected } in cases() {
        let problems = problems(text.as_bytes()).unwrap_or_else(|| "no problem at all".to_owned());
        if problems != expected {
            different.push(format!("=== {kind}\n{problems}\n--- instead of\n{expected}"));
        }
    }
    assert!(different.is_empty(), "\n{}", different.join("\n"));
}

#[test]
fn there_are_many_kinds_and_none_twice() {
    let kinds: BTreeSet<_> = cases().map(|case| case.kind).collect();
    assert_eq!(kinds.len(), cases().count());
    assert!(kinds.len() >= 55);
}

#[test]
fn files_that_are_no_text_are_explained_exactly() {
    let utf8 = "save the file as UTF-8 text";
    for (text, expected) in [
        (&b"[[policy]]\nname = \"\xfc\"\n"[..], "f.toml:2:9: byte 0xfc is not UTF-8"),
        (b"# caf\xc3\xa9 \xc3", "f.toml:1:8: byte 0xc3 is not UTF-8"),
        (b"\xff\xfe[\0[\0", "f.toml:1:1: is UTF-16, not UTF-8"),
        (b"\xfe\xff\0[\0[", "f.toml:1:1: is UTF-16, not UTF-8"),
        (b"[[policy]]\n\0\xfc", "f.toml:2:1: contains a NUL byte"),
        (b"\x7fELF\x02\x01\x01\0", "f.toml:1:8: contains a NUL byte"),
    ] {
        assert_eq!(problems(text), Some(format!("{expected}\n  help: {utf8}")));
    }
    let long = vec![b'#'; super::super::file::MAX_BYTES + 1];
    let expected =
        "f.toml: is longer than 1 MiB\n  help: split it; a policy takes a few hundred bytes";
    assert_eq!(problems(&long).as_deref(), Some(expected));
}

#[test]
fn places_do_not_count_the_byte_order_mark_and_count_characters() {
    let text = "\u{feff}policy = [{ target = \"größe=東\", los = \"2%\" }]\n";
    let expected = "f.toml:1:33: policy #1: los: unknown key\n  help: did you mean \"loss\"?";
    assert_eq!(problems(text.as_bytes()).as_deref(), Some(expected));
}

#[test]
fn all_problems_of_a_file_come_in_the_order_of_their_places() {
    let text = "\
version = 1
[[policy]]
name = \"web\"
target = \"app=web,\"
direction = \"out\"
match = { peer = [\"10.0.0.1/8\", \"x\"], protocol = \"TCP\", port = 0 }
seed = -1
loss = \"2\"
partition = \"yes\"
schedule = \"1%\"
[[policy]]
loss = 5%
seed = \"x\"
[[policy]]
name = \"web\"
target = \"app=db\"
";
    let expected = [
        "f.toml:1:1: version: unknown key",
        "f.toml:4:10: policy web: target: \"app=web,\" has an empty term",
        "f.toml:5:13: policy web: direction: \"out\" is no direction",
        "f.toml:6:19: policy web: match.peer[0]: \"10.0.0.1/8\" has bits set beyond its prefix",
        "f.toml:6:33: policy web: match.peer[1]: \"x\" is no address or network",
        "f.toml:6:50: policy web: match.protocol: \"TCP\" is no name of a protocol",
        "f.toml:6:64: policy web: match.port: 0 is no port",
        "f.toml:7:8: policy web: seed: -1 is out of range",
        "f.toml:8:8: policy web: loss: \"2\" has no unit",
        "f.toml:9:13: policy web: partition: \"yes\" is no partition",
        "f.toml:10:12: policy web: schedule: must be a table, not the string \"1%\"",
        "f.toml:12:8: not valid TOML: 5% needs quotes around it",
        "f.toml:13:8: policy #2: seed: must be an integer, not the string \"x\"",
        "f.toml:14:1: policy web: has no fault",
        "f.toml:15:8: policy web: name: the policy at f.toml:2 has the same name",
    ];
    let problems = problems(text.as_bytes()).unwrap();
    let reasons: Vec<_> = problems.lines().filter(|line| !line.starts_with("  help: ")).collect();
    assert_eq!(reasons, expected);
}
