//! The summary: a table, every skip, every failure, and one line for machines.

use anyhow::Result;

use super::tally::Tally;
use super::{Outcome, Stage};

/// How a reason begins that a virtual machine makes up for.
const NEEDS_VM: &str = "needs the VM";
/// How a reason begins that the stage on this machine makes up for.
const RUNS_HERE: &str = "runs on the machine";

/// What was wrong with a stage besides tests that failed.
pub(super) fn problem(result: Result<()>, tally: &Tally) -> Option<String> {
    match result {
        Err(error) => Some(format!("{error:#}")),
        Ok(()) if tally.passed() + tally.failed == 0 => Some("no test ran".to_owned()),
        Ok(()) => None,
    }
}

/// The summary's lines and the exit code. With `strict`, a skip that no stage makes up for is a
/// failure.
pub(super) fn summary(outcomes: &[Outcome], strict: bool) -> (Vec<String>, u8) {
    let mut lines = table(outcomes);
    // After the skips, where whoever sees only the end of the output finds them.
    let mut failures = Vec::new();
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for outcome in outcomes {
        let Outcome { stage, tally, problem, .. } = outcome;
        passed += tally.passed();
        failed += tally.failed;
        skipped += tally.skipped.len();
        for (name, reason) in &tally.skipped {
            let fails = strict && !made_up_for(name, reason, outcomes);
            let word = if fails { "SKIPPED (an error where CI is set)" } else { "SKIPPED" };
            lines.push(format!("{word} in {}: {name}: {reason}", stage.name()));
            failed += u32::from(fails);
        }
        for name in &tally.failures {
            failures.push(format!("FAILED in {}: {name}", stage.name()));
            failures.extend(tally.last_words(name).into_iter().map(|line| format!("    {line}")));
        }
        if let Some(problem) = problem {
            failures.push(format!("FAILED: stage {}: {problem}", stage.name()));
            failed += 1;
        }
    }
    lines.append(&mut failures);
    let skipped = if skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
    lines.push(format!("{passed} passed, {failed} failed{skipped}"));
    (lines, u8::from(failed > 0))
}

/// One line per stage.
fn table(outcomes: &[Outcome]) -> Vec<String> {
    let mut lines = vec!["stage      passed  failed  skipped      time".to_owned()];
    for Outcome { stage, tally, took, problem } in outcomes {
        let note = if problem.is_some() { "  did not run to its end" } else { "" };
        lines.push(format!(
            "{:<8} {:>8} {:>7} {:>8} {:>7.1} s{note}",
            stage.name(),
            tally.passed(),
            tally.failed,
            tally.skipped.len(),
            took.as_secs_f64(),
        ));
    }
    lines
}

/// Whether a stage of the kind that the reason names ran the test.
fn made_up_for(name: &str, reason: &str, outcomes: &[Outcome]) -> bool {
    let in_vm = |stage: Stage| matches!(stage, Stage::V6_1 | Stage::V6_12);
    let ran = |kind: &dyn Fn(Stage) -> bool| {
        outcomes.iter().any(|outcome| kind(outcome.stage) && outcome.tally.has_run(name))
    };
    (reason.starts_with(NEEDS_VM) && ran(&in_vm))
        || (reason.starts_with(RUNS_HERE) && ran(&|stage| stage == Stage::Host))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn outcome(stage: Stage, output: &str, skips: &str) -> Outcome {
        let mut tally = Tally::default();
        output.lines().for_each(|line| tally.line(line));
        tally.skips(skips);
        Outcome { stage, tally, took: Duration::ZERO, problem: None }
    }

    #[test]
    fn skip_is_an_error_in_ci_unless_a_virtual_machine_ran_the_test() {
        let ok = "test a ... ok\ntest result: ok. 1 passed; 0 failed\n";
        let here = || outcome(Stage::Host, ok, "a\tneeds the VM: no netem\n");
        let there = outcome(Stage::V6_12, ok, "");
        let code = |outcomes: &[Outcome], strict| summary(outcomes, strict).1;
        assert_eq!(code(&[here(), there], true), 0);
        assert_eq!(code(&[here()], true), 1);
        assert_eq!(code(&[here()], false), 0);
        let other = outcome(Stage::Host, ok, "a\tno time\n");
        assert_eq!(code(&[other, outcome(Stage::V6_12, ok, "")], true), 1);
        let nowhere = outcome(Stage::V6_12, ok, "a\tneeds the VM: another one\n");
        assert_eq!(code(&[here(), nowhere], true), 1);
        let left = || outcome(Stage::V6_1, ok, "a\truns on the machine: no kernel matter\n");
        assert_eq!(code(&[outcome(Stage::Host, ok, ""), left()], true), 0);
        assert_eq!(code(&[left()], true), 1);
    }

    #[test]
    fn last_line_counts_all_stages() {
        let one = outcome(Stage::Unit, "test result: FAILED. 3 passed; 1 failed\n", "");
        let mut other = outcome(Stage::Host, "test result: ok. 2 passed; 0 failed\n", "x\ty\n");
        other.problem = Some("the machine died".to_owned());
        let (lines, code) = summary(&[one, other], false);
        assert_eq!(lines.last().unwrap(), "5 passed, 2 failed, 1 skipped");
        assert_eq!(code, 1);
    }

    #[test]
    fn stage_without_tests_is_a_problem() {
        assert!(problem(Ok(()), &Tally::default()).is_some());
        let ran = outcome(Stage::Unit, "test result: ok. 1 passed; 0 failed\n", "");
        assert!(problem(Ok(()), &ran.tally).is_none());
    }
}
