//! The rules of the house: who may use what, and what lies where.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::source::code_only;

/// Everything that may lie at the top, besides what git ignores.
const TOP_LEVEL: [&str; 16] = [
    ".cargo",
    ".ci",
    ".clippy.toml",
    ".git",
    ".gitignore",
    ".rustfmt.toml",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "entropy-common",
    "entropy-daemon",
    "entropy-ebpf",
    "policies",
    "tests",
];
/// The last of them, and what is made and not kept.
const MADE: [&str; 2] = ["xtask", "target"];
/// The most lines that a file of code may have.
const LONGEST: usize = 500;
/// What counts as code for that.
const CODE: [&str; 4] = ["rs", "sh", "toml", "md"];

/// In the daemon only the files below `home` may use these crates.
struct Import {
    crates: &'static [&'static str],
    home: &'static str,
}

/// Who may use what in the daemon.
const IMPORTS: [Import; 3] = [
    Import { crates: &["aya", "aya_log"], home: "datapath" },
    Import { crates: &["bollard"], home: "docker" },
    Import {
        crates: &["rtnetlink", "netlink_packet_core", "netlink_packet_route"],
        home: "netlink",
    },
];

/// A place where a rule does not hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Violation {
    file: PathBuf,
    /// Counted from one; zero for the whole file.
    line: usize,
    rule: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        let place = self.file.display();
        match self.line {
            0 => write!(out, "{place}: {}", self.rule),
            line => write!(out, "{place}:{line}: {}", self.rule),
        }
    }
}

/// Checks the repository at `root`.
pub(super) fn check(root: &Path) -> io::Result<Vec<Violation>> {
    let mut violations = top_level(root)?;
    let mut files = Vec::new();
    collect(root, &mut files)?;
    for file in files {
        let Some(extension) = file.extension().and_then(|extension| extension.to_str()) else {
            continue;
        };
        if !CODE.contains(&extension) {
            continue;
        }
        let text = fs::read_to_string(&file)?;
        let name = file.strip_prefix(root).unwrap_or(&file);
        violations.extend(check_file(name, &text));
    }
    Ok(violations)
}

/// The top level holds what it is to hold and nothing else.
fn top_level(root: &Path) -> io::Result<Vec<Violation>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root)? {
        found.push(entry?.file_name().to_string_lossy().into_owned());
    }
    let allowed: Vec<_> = TOP_LEVEL.iter().chain(&MADE).copied().collect();
    let whole =
        |name: &str, rule: &str| Violation { file: name.into(), line: 0, rule: rule.to_owned() };
    let extra = found.iter().filter(|name| !allowed.contains(&name.as_str()));
    let extra = extra.map(|name| whole(name, "does not belong to the fixed top level"));
    let needed = allowed.iter().filter(|name| ![".git", "target"].contains(name));
    let missing = needed.filter(|name| !found.iter().any(|other| other == *name));
    let missing = missing.map(|name| whole(name, "is missing from the fixed top level"));
    Ok(extra.chain(missing).collect())
}

/// All files below `folder` that are kept.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type()?.is_dir() {
            if name != ".git" && name != "target" {
                collect(&entry.path(), files)?;
            }
        } else if name != "Cargo.lock" {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// Checks one file, named relative to the root.
fn check_file(name: &Path, text: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut add = |line: usize, rule: String| {
        violations.push(Violation { file: name.to_owned(), line, rule });
    };
    if text.lines().count() > LONGEST && name != Path::new("README.md") {
        add(0, format!("has more than {LONGEST} lines"));
    }
    if name.extension().is_none_or(|extension| extension != "rs") {
        return violations;
    }
    if name.ends_with("mod.rs") {
        add(0, "`foo.rs` and `foo/` instead of `mod.rs`".to_owned());
    }
    let code = code_only(text);
    if name == Path::new("entropy-common/src/lib.rs") && !code.contains("#![no_std]") {
        add(0, "entropy-common is `#![no_std]`".to_owned());
    }
    let Ok(inner) = name.strip_prefix("entropy-daemon/src") else { return violations };
    for (index, line) in code.lines().enumerate() {
        for rule in daemon_rules(inner, line) {
            add(index + 1, rule);
        }
    }
    violations
}

/// What a line of the daemon's code breaks.
fn daemon_rules(file: &Path, line: &str) -> Vec<String> {
    let mut broken = Vec::new();
    for Import { crates, home } in &IMPORTS {
        let first = file.components().next().map(|first| first.as_os_str().to_string_lossy());
        let at_home = first.is_some_and(|first| first.trim_end_matches(".rs") == *home);
        for name in crates.iter().filter(|_| !at_home) {
            if mentions(line, name) {
                broken.push(format!("only `{home}` may use the crate `{name}`"));
            }
        }
    }
    let std_process = line.contains("process::") && words(line).any(|word| word == "Command");
    if std_process || line.contains("tokio::process") || line.contains("process::Stdio") {
        broken.push("the daemon starts no child process".to_owned());
    }
    broken
}

/// Whether a line names something of a crate: `aya::x`, `use aya;`, `extern crate aya`.
fn mentions(line: &str, name: &str) -> bool {
    let imported = line.contains("use ") || line.contains("extern crate ");
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = &line[at + name.len()..];
        let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
        let alone = !before.is_some_and(is_name) && !after.chars().next().is_some_and(is_name);
        // After a path (`crate::docker::bollard`) it is a module of ours; `::aya` is the crate.
        let inner =
            line[..at].ends_with("::") && line[..at].trim_end_matches(':').ends_with(is_name);
        alone && !inner && (after.starts_with("::") || imported)
    })
}

/// The names in a line.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(name: &str, text: &str) -> Vec<(usize, String)> {
        let found = check_file(Path::new(name), text);
        found.into_iter().map(|violation| (violation.line, violation.rule)).collect()
    }

    #[test]
    fn crates_are_used_only_in_their_own_module() {
        let text = "//! aya::Ebpf\nuse aya::Ebpf; // aya::\nlet x = \"bollard::Docker\";\n";
        assert_eq!(rules("entropy-daemon/src/datapath/load.rs", text), []);
        assert_eq!(rules("entropy-daemon/src/datapath.rs", text), []);
        assert_eq!(
            rules("entropy-daemon/src/app.rs", text),
            [(2, "only `datapath` may use the crate `aya`".to_owned())]
        );
        let wanted = ["use bollard;", "x::<rtnetlink::Handle>();", "::netlink_packet_core::X"];
        for line in wanted {
            assert_eq!(rules("entropy-daemon/src/plan.rs", line).len(), 1, "{line}");
        }
        let free = ["use crate::docker::bollard_error;", "aya_obj_like::x", "let aya = 1;"];
        for line in free {
            assert_eq!(rules("entropy-daemon/src/plan.rs", line), [], "{line}");
        }
        assert_eq!(rules("tests/suite/main.rs", "use aya::Ebpf;"), []);
    }

    #[test]
    fn daemon_starts_no_child_process() {
        let broken = ["use std::process::{Command, Stdio};", "tokio::process::Command::new()"];
        for line in broken {
            assert_eq!(rules("entropy-daemon/src/app.rs", line).len(), 1, "{line}");
        }
        let fine = ["use std::process::ExitCode;", "use clap::Command;", "std::process::id()"];
        for line in fine {
            assert_eq!(rules("entropy-daemon/src/app.rs", line), [], "{line}");
        }
        assert_eq!(rules("xtask/src/exec.rs", "use std::process::Command;"), []);
    }

    #[test]
    fn long_files_mod_rs_and_std_in_common_are_reported() {
        assert_eq!(rules("tests/suite/a.rs", &"\n".repeat(500)), []);
        assert_eq!(rules("tests/suite/a.rs", &"\n".repeat(501)).len(), 1);
        assert_eq!(rules("tests/suite/mod.rs", "").len(), 1);
        assert_eq!(rules("entropy-common/src/lib.rs", "//! #![no_std]\n").len(), 1);
        assert_eq!(rules("entropy-common/src/lib.rs", "#![no_std]\n"), []);
    }

    #[test]
    fn violation_names_file_line_and_rule() {
        let violation = Violation { file: "a/b.rs".into(), line: 7, rule: "no".to_owned() };
        assert_eq!(violation.to_string(), "a/b.rs:7: no");
    }
}
