//! Writing results: tables for people, JSON for programs.

pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod windows;

use std::io::{self, ErrorKind, IsTerminal as _, Write as _, stderr, stdout};

use anyhow::{Context as _, Result};
use serde::Serialize;

/// Writes to standard output at once. Whoever closes it early (`| head`) has seen enough: that is no
/// failure.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut stdout = stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("write output"),
        _ => Ok(()),
    }
}

/// Writes one JSON document to standard output.
pub(crate) fn print_json(document: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(document).context("make JSON of the result")?;
    print(&format!("{text}\n"))
}

/// Writes a note to standard error, where there is nobody to tell if that fails.
pub(crate) fn note(text: &str) {
    drop(writeln!(stderr(), "{text}"));
}

/// Says on standard error why the operation failed, and what to do about a missing right.
pub(crate) fn complain(error: &anyhow::Error) {
    note(&format!("entropyctl: {}", text::line(&format!("{error:#}"))));
    if is_permission(error) {
        note(
            "  help: run it as root, or with CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON and the right to read bpffs",
        );
    }
}

fn is_permission(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == ErrorKind::PermissionDenied)
    })
}

/// How standard output may be coloured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    colours: bool,
}

/// The colours in use.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Colour {
    Red,
    Green,
    Yellow,
}

impl Style {
    /// Colours on a terminal only, and not where NO_COLOR (no-color.org) forbids them.
    pub(crate) fn of_stdout() -> Self {
        let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { colours: stdout().is_terminal() && !forbidden && !dumb }
    }

    /// No colours at all.
    #[cfg(test)]
    pub(crate) const PLAIN: Self = Self { colours: false };

    pub(crate) fn paint(self, colour: Colour, text: &str) -> String {
        let code = match colour {
            Colour::Red => 31,
            Colour::Green => 32,
            Colour::Yellow => 33,
        };
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_added_only_where_it_may_be() {
        assert_eq!(Style::PLAIN.paint(Colour::Red, "x"), "x");
        assert_eq!(Style { colours: true }.paint(Colour::Red, "x"), "\x1b[31mx\x1b[0m");
    }

    #[test]
    fn a_missing_right_is_found_below_its_context() {
        let denied = io::Error::from_raw_os_error(libc::EPERM);
        assert!(is_permission(&anyhow::Error::new(denied).context("open").context("read")));
        let absent = io::Error::from_raw_os_error(libc::ENOENT);
        assert!(!is_permission(&anyhow::Error::new(absent)));
    }
}
