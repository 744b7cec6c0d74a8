//! Counting what the test harness prints, and the skips that tests write down.

use std::collections::{BTreeMap, BTreeSet};

/// Most lines of a failed test's output that the summary repeats.
const LAST_WORDS: usize = 12;

/// The counts of a stage.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Tests that the harness counts as passed, skipped ones among them.
    ok: u32,
    pub(super) failed: u32,
    /// The names of tests that ended well.
    names: BTreeSet<String>,
    /// The names of tests that failed.
    pub(super) failures: Vec<String>,
    /// What tests that failed have printed, by name.
    printed: BTreeMap<String, Vec<String>>,
    /// The test whose output the lines belong to that come now.
    printing: Option<String>,
    /// Skipped tests: name and reason.
    pub(super) skipped: Vec<(String, String)>,
}

impl Tally {
    /// Takes in one line of output.
    pub(super) fn line(&mut self, line: &str) {
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.printing = None;
            self.counts(counts);
            return;
        }
        // The harness repeats at its end what each failed test has printed, under such a heading.
        if let Some(name) =
            line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----"))
        {
            self.printing = Some(name.to_owned());
            return;
        }
        if line == "failures:" {
            self.printing = None;
            return;
        }
        if let Some(name) = &self.printing {
            self.printed.entry(name.clone()).or_default().push(line.to_owned());
            return;
        }
        let Some((name, result)) =
            line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... "))
        else {
            return;
        };
        // `--report-time` and `should panic` add to the name and to the result.
        let name = name.split(" - should panic").next().unwrap_or(name).to_owned();
        match result.split([' ', ',']).next() {
            Some("ok") => drop(self.names.insert(name)),
            Some("FAILED") => self.failures.push(name),
            Some("ignored") => self.skipped.push((name, "marked as ignored".to_owned())),
            _ => {}
        }
    }

    /// Takes in the numbers of a harness's last line: `ok. 3 passed; 0 failed; ...`.
    fn counts(&mut self, line: &str) {
        let words: Vec<_> = line.split([' ', ';', '.']).filter(|word| !word.is_empty()).collect();
        for pair in words.windows(2) {
            match (pair[0].parse::<u32>(), pair[1]) {
                (Ok(count), "passed") => self.ok += count,
                (Ok(count), "failed") => self.failed += count,
                _ => {}
            }
        }
    }

    /// Takes in the file in which tests write that they cannot run: a name, a tab, a reason.
    pub(super) fn skips(&mut self, file: &str) {
        for line in file.lines().filter(|line| !line.trim().is_empty()) {
            let (name, reason) = line.split_once('\t').unwrap_or((line, "no reason given"));
            if !self.skipped.iter().any(|(known, _)| known == name) {
                self.skipped.push((name.to_owned(), reason.to_owned()));
            }
        }
    }

    /// The last lines that a failed test has printed, without empty ones.
    pub(super) fn last_words(&self, name: &str) -> Vec<&str> {
        let printed = self.printed.get(name).map_or(&[][..], Vec::as_slice);
        let lines: Vec<&str> =
            printed.iter().map(String::as_str).filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(LAST_WORDS)..].to_vec()
    }

    /// Tests that ran and passed.
    pub(super) fn passed(&self) -> u32 {
        let skipped = self.skipped.iter().filter(|(name, _)| self.names.contains(name)).count();
        self.ok.saturating_sub(u32::try_from(skipped).unwrap_or(u32::MAX))
    }

    /// Whether the test `name` ran here and passed.
    pub(super) fn has_run(&self, name: &str) -> bool {
        self.names.contains(name) && !self.skipped.iter().any(|(skipped, _)| skipped == name)
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    fn tally(output: &str, skips: &str) -> Tally {
        let mut tally = Tally::default();
        output.lines().for_each(|line| tally.line(line));
        tally.skips(skips);
        tally
    }

    #[test]
    fn several_harnesses_are_added_up() {
        let tally = tally(
            "running 3 tests\ntest a ... ok\ntest b::c ... FAILED\ntest d ... ignored, slow\n\
             test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out\n\
             test e - should panic ... ok\n\
             test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n",
            "",
        );
        assert_eq!((tally.passed(), tally.failed), (2, 1));
        assert_eq!(tally.failures, ["b::c"]);
        assert_eq!(tally.skipped, [("d".to_owned(), "marked as ignored".to_owned())]);
        assert!(tally.has_run("e") && !tally.has_run("b::c"));
    }

    #[test]
    fn what_a_failed_test_printed_is_kept() {
        let printed: String = (0..20).map(|number| format!("line {number}\n\n")).collect();
        let tally = tally(
            &format!(
                "test a ... FAILED\n\nfailures:\n\n---- a stdout ----\n{printed}Error: no\n\n\
                 failures:\n    a\n\ntest result: FAILED. 0 passed; 1 failed\ntest b ... ok\n"
            ),
            "",
        );
        let words = tally.last_words("a");
        assert_eq!((words.len(), words[0], words[11]), (12, "line 9", "Error: no"));
        assert!(tally.last_words("b").is_empty() && tally.has_run("b"));
    }

    #[test]
    fn skipped_test_is_not_counted_as_passed() {
        let tally = tally(
            "test a ... ok\ntest b ... ok\ntest result: ok. 2 passed; 0 failed\n",
            "b\tneeds the VM: no netem\nb\tagain\n",
        );
        assert_eq!(tally.passed(), 1);
        assert_eq!(tally.skipped.len(), 1);
        assert!(tally.has_run("a") && !tally.has_run("b"));
    }
}
