//! `cleanup`: remove what a killed daemon left.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use entropy_daemon::{
    datapath::{
        Lock, Ownership, bpffs_is_mounted,
        cleanup::{self, Report},
        inspect,
    },
    doctor::Leftovers,
    netlink::Netlink,
};
use serde::Serialize;

use crate::{
    FAILURE,
    args::Format,
    output::{self, text},
};

/// What `cleanup --output json` writes.
#[derive(Debug, Serialize)]
struct Document {
    /// One line for each thing removed.
    removed: Vec<String>,
    /// One line for each thing that is still there, and why.
    problems: Vec<String>,
}

impl From<Report> for Document {
    fn from(report: Report) -> Self {
        let problems = report.problems.iter().map(|problem| format!("{problem:#}")).collect();
        Self { removed: report.removed, problems }
    }
}

pub(crate) async fn run(format: Format) -> Result<ExitCode> {
    let netlink = Netlink::new().context("open netlink")?;
    let document = Document::from(clean(&netlink).await?);
    match format {
        Format::Json => output::print_json(&document)?,
        Format::Table => {
            output::print(&document.removals())?;
            for problem in &document.problems {
                output::note(&format!("entropyctl: not removed: {}", text::line(problem)));
            }
        }
    }
    Ok(if document.problems.is_empty() { 0 } else { FAILURE }.into())
}

async fn clean(netlink: &Netlink) -> Result<Report> {
    // No daemon can run without bpffs, and there is no place for a lock.
    if !bpffs_is_mounted() && Leftovers::find(netlink).await.is_ok_and(|left| left.is_empty()) {
        return Ok(Report::default());
    }
    // Until the end: a daemon that starts meanwhile must not lose what it makes.
    let _lock = match Lock::take().context("make sure that no daemon runs")? {
        Ownership::Mine(lock) => lock,
        Ownership::Taken => bail!("{}", refusal(inspect::lock_holder().ok().flatten())),
    };
    Ok(cleanup::remove(netlink).await)
}

fn refusal(holder: Option<u32>) -> String {
    let process = holder.map_or_else(String::new, |process| format!(" (pid {process})"));
    let stop = holder.map_or_else(
        || "`systemctl stop entropyd`".to_owned(),
        |process| format!("`systemctl stop entropyd` or `kill {process}`"),
    );
    format!(
        "an entropyd{process} runs on this host: stop it with {stop}, and it removes everything itself"
    )
}

impl Document {
    /// For standard output.
    fn removals(&self) -> String {
        if self.removed.is_empty() && self.problems.is_empty() {
            return "nothing to remove\n".into();
        }
        self.removed.iter().map(|thing| format!("removed {}\n", text::line(thing))).collect()
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn everything_removed_has_its_line_and_nothing_is_said_to_be_nothing() {
        let removed = vec!["filter entropy_from on veth1".into(), "line entropy0\n".into()];
        let document = Document { removed, problems: vec![] };
        assert_eq!(
            document.removals(),
            "removed filter entropy_from on veth1\nremoved line entropy0\\n\n"
        );
        assert_eq!(Document::from(Report::default()).removals(), "nothing to remove\n");
    }

    #[test]
    fn what_stays_is_told_with_its_cause() {
        let problems = vec![anyhow!("busy").context("remove the line")];
        let document = Document::from(Report { removed: vec![], problems });
        assert_eq!(document.problems, ["remove the line: busy"]);
        assert_eq!(document.removals(), "");
    }

    #[test]
    fn a_running_daemon_is_named_with_the_way_to_stop_it() {
        assert!(refusal(Some(42)).contains("kill 42"));
        assert!(refusal(None).contains("systemctl stop entropyd"));
    }
}
