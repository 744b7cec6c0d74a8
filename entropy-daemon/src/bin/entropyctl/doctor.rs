//! `doctor`: what this host has, lacks, and how to mend it.

use std::process::ExitCode;

use anyhow::Result;
use entropy_daemon::doctor::{self, Check, Options, Status};
use serde::Serialize;

use crate::{
    FAILURE,
    args::{Doctor, Format},
    output::{self, Colour, Style, text},
};

/// Columns of a check's name, and of a status.
const NAME: usize = 12;
const STATUS: usize = 7;

/// What `doctor --output json` writes.
#[derive(Debug, Serialize)]
struct Document<'a> {
    /// Whether everything is there that entropyd needs.
    ready: bool,
    /// What was looked at, in order.
    checks: &'a [Check],
}

pub(crate) async fn run(arguments: Doctor, format: Format) -> Result<ExitCode> {
    let docker = arguments.engine.endpoint();
    let Doctor { policies, config, .. } = arguments;
    let checks = doctor::examine(&Options { policies, settings: config, docker }).await;
    let ready = checks.iter().all(Check::is_ready);
    match format {
        Format::Json => output::print_json(&Document { ready, checks: &checks })?,
        Format::Table => output::print(&render(&checks, Style::of_stdout()))?,
    }
    Ok(if ready { 0 } else { FAILURE }.into())
}

fn render(checks: &[Check], style: Style) -> String {
    let mut out = String::new();
    for check in checks {
        let (word, colour) = word(check);
        let padding = " ".repeat(STATUS - word.len());
        let finding = text::lines(&check.finding).replace('\n', &format!("\n{}", indent()));
        out.push_str(&format!(
            "{}{padding}  {:NAME$}  {finding}\n",
            style.paint(colour, word),
            check.name
        ));
        for (what, said) in [("disables", &check.disables), ("mend", &check.mend)] {
            if let Some(said) = said {
                out.push_str(&format!("{}{what}: {}\n", indent(), text::line(said)));
            }
        }
    }
    out.push('\n');
    out.push_str(&summary(checks));
    out
}

fn indent() -> String {
    " ".repeat(STATUS + 2 + NAME + 2)
}

fn word(check: &Check) -> (&'static str, Colour) {
    match (check.status, check.needed) {
        (Status::Ok, _) => ("ok", Colour::Green),
        (Status::Warning, _) => ("warning", Colour::Yellow),
        (Status::Missing, true) => ("missing", Colour::Red),
        (Status::Missing, false) => ("missing", Colour::Yellow),
        (Status::Unknown, _) => ("unknown", Colour::Yellow),
    }
}

fn summary(checks: &[Check]) -> String {
    let names = |status: &[Status]| {
        let chosen = checks.iter().filter(|c| !c.is_ready() && status.contains(&c.status));
        chosen.map(|check| check.name).collect::<Vec<_>>().join(", ")
    };
    let (missing, unknown) = (names(&[Status::Missing]), names(&[Status::Unknown]));
    match (missing.is_empty(), unknown.is_empty()) {
        (true, true) => "ready: everything that entropyd needs is here\n".into(),
        (true, false) => format!("not known whether ready: could not look at {unknown}\n"),
        (false, true) => format!("not ready: mend {missing}\n"),
        (false, false) => {
            format!("not ready: mend {missing}; could not look at {unknown}\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &'static str, status: Status, needed: bool) -> Check {
        let finding = "found".to_owned();
        Check { name, status, needed, finding, disables: None, mend: None }
    }

    #[test]
    fn each_check_has_its_line_and_below_it_what_it_disables_and_how_to_mend_it() {
        let broken = Check {
            finding: "refused:\nline 2\x1b".into(),
            disables: Some("everything".into()),
            mend: Some("mount -t bpf bpf /sys/fs/bpf".into()),
            ..check("bpffs", Status::Missing, true)
        };
        let shown = render(&[check("kernel", Status::Ok, false), broken], Style::PLAIN);
        let expected = "\
ok       kernel        found
missing  bpffs         refused:
                       line 2\\u{1b}
                       disables: everything
                       mend: mount -t bpf bpf /sys/fs/bpf

not ready: mend bpffs
";
        assert_eq!(shown, expected);
    }

    #[test]
    fn the_last_line_says_what_keeps_the_host_from_being_ready() {
        let missing = check("docker", Status::Missing, true);
        let optional = check("fq", Status::Missing, false);
        let unknown = check("programs", Status::Unknown, true);
        assert!(summary(std::slice::from_ref(&optional)).starts_with("ready"));
        assert_eq!(summary(&[missing.clone(), optional]), "not ready: mend docker\n");
        assert_eq!(
            summary(&[missing, unknown]),
            "not ready: mend docker; could not look at programs\n"
        );
    }

    #[test]
    fn the_document_has_stable_words() {
        let checks = [check("fq", Status::Missing, false)];
        let json = serde_json::to_value(Document { ready: true, checks: &checks }).unwrap();
        let expected = serde_json::json!({"ready": true, "checks": [{
            "name": "fq", "status": "missing", "needed": false, "finding": "found",
            "disables": null, "mend": null,
        }]});
        assert_eq!(json, expected);
    }
}
