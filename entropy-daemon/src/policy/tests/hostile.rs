//! Whatever a file holds, the answer is policies or problems that can be printed.

use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;

use crate::policy::parse;

const GOOD: &str = r#"# A file with everything that there is.
[[policy]]
name = "slow-db"
target = "app=db,tier!=test,!old"
direction = "both"
match = { peer = "app=web", protocol = "tcp", port = "5432-5440" }
seed = 7
loss = { rate = "2%" }

[[policy]]
target = "app=web"
partition = true
[policy.match]
peer = ["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"]
"#;

/// Parses, and checks what holds of every answer.
fn check(bytes: &[u8]) -> Result<(), TestCaseError> {
    match parse(Path::new("hostile.toml"), bytes) {
        Ok(policies) => {
            let names: std::collections::BTreeSet<_> = policies.iter().map(|p| &p.name).collect();
            prop_assert_eq!(names.len(), policies.len());
            for policy in &policies {
                prop_assert!(!policy.faults.is_empty() || policy.faults.loss.is_some());
                prop_assert!((1..=63).contains(&policy.name.len()), "{}", policy.name);
            }
        }
        Err(problems) => {
            let places: Vec<_> = problems.iter().map(|problem| problem.position).collect();
            prop_assert!(places.is_sorted(), "not in order: {}", problems);
            for problem in &problems {
                let text = problem.to_string();
                prop_assert_eq!(text.matches('\n').count(), 1, "{:?}", text);
                let bad = |c: char| (c.is_control() && c != '\n') || "\u{202e}\u{2066}".contains(c);
                prop_assert!(!text.contains(bad), "{:?}", text);
                prop_assert!(text.len() < 2000, "{}", text);
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check(&bytes)?;
    }

    #[test]
    fn arbitrary_text(text in ".{0,200}") {
        check(text.as_bytes())?;
    }

    #[test]
    fn arbitrary_values(
        key in "name|target|direction|match|seed|loss|partition|match\\.(peer|port|protocol)",
        value in prop_oneof![
            ".{0,40}".prop_map(|text| format!("{text:?}")),
            "[-0-9a-z.:/%,!= ]{0,20}".prop_map(|text| format!("\"{text}\"")),
            any::<i64>().prop_map(|number| number.to_string()),
            any::<f64>().prop_map(|number| format!("{number:?}")),
            "\\[(\"[0-9a-f:./]{0,20}\",?){0,4}\\]",
            "\\{ ?(peer|rate|port) ?= ?(1|\"a=b\"|\"2%\") ?\\}",
        ],
    ) {
        let policy = "[[policy]]\ntarget = \"app\"\nloss = \"2%\"\n";
        check(format!("{policy}{key} = {value}\n").as_bytes())?;
        check(format!("[[policy]]\n{key} = {value}\n{policy}").as_bytes())?;
    }

    #[test]
    fn a_good_file_with_a_piece_replaced(
        from in any::<Index>(), length in 0..20_usize, piece in "[\\[\\]{}=\",.#'%!a-c0-9\n\u{202e}\u{7} ]{0,4}",
    ) {
        let mut text: Vec<u8> = GOOD.into();
        let from = from.index(text.len());
        let to = (from + length).min(text.len());
        text.splice(from..to, piece.bytes());
        check(&text)?;
    }

    #[test]
    fn a_good_file_with_lines_removed_doubled_and_moved(
        lines in prop::collection::vec(0..GOOD.lines().count(), 0..30),
    ) {
        let all: Vec<&str> = GOOD.lines().collect();
        let text: Vec<&str> = lines.into_iter().map(|line| all[line]).collect();
        check(text.join("\n").as_bytes())?;
    }
}

#[test]
fn the_good_file_is_good() {
    assert_eq!(parse(Path::new("good.toml"), GOOD.as_bytes()).unwrap().len(), 2);
}

#[test]
fn a_file_full_of_problems_is_answered_soon_and_in_brief() {
    for line in [
        "a=1\n",
        "a=",
        "[[policy]]\n",
        "[",
        "\"",
        "[[policy]]\nname=\"x\"\n",
        "=\u{e9}",
        "policy=[{",
    ] {
        let text = line.repeat(super::super::file::MAX_BYTES / line.len());
        let start = std::time::Instant::now();
        let problems = parse(Path::new("full.toml"), text.as_bytes()).unwrap_err();
        assert!(problems.iter().count() <= 100);
        assert!(problems.to_string().len() < 100_000);
        assert!(start.elapsed().as_secs() < 20, "{line:?} took {:?}", start.elapsed());
    }
}

#[test]
fn problems_beyond_the_first_hundred_are_counted() {
    let text: String = (0..150).map(|index| format!("strange-{index} = 1\n")).collect();
    let problems = parse(Path::new("full.toml"), text.as_bytes()).unwrap_err();
    assert_eq!((problems.iter().count(), problems.len()), (100, 150));
    assert!(problems.to_string().ends_with("\nand 50 more problems"));
}
