//! What the package installs.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::deb::{Entry, compress};
use super::{NAME, Programs, VERSION};
use crate::{exec, place};

/// Files of `entropy-daemon/dist` and where they go.
const PLAIN: [(&str, &str); 4] = [
    // Before the service: a socket cannot be opened for one that runs.
    ("entropyd.socket", "usr/lib/systemd/system/entropyd.socket"),
    ("entropyd.service", "usr/lib/systemd/system/entropyd.service"),
    ("entropy.sysusers", "usr/lib/sysusers.d/entropy.conf"),
    ("entropy.tmpfiles", "usr/lib/tmpfiles.d/entropy.conf"),
];
/// The shells whose completions are installed, and where they look for those of a program.
const SHELLS: [(&str, &str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/", ""),
    ("zsh", "usr/share/zsh/vendor-completions/_", ""),
    ("fish", "usr/share/fish/vendor_completions.d/", ".fish"),
];

/// The units that are started.
pub(super) fn units() -> String {
    let names = PLAIN.iter().filter_map(|(_, to)| to.strip_prefix("usr/lib/systemd/system/"));
    names.collect::<Vec<_>>().join(" ")
}

/// Everything.
pub(super) fn all(programs: &Programs) -> Result<Vec<Entry>> {
    let mut content = vec![
        // A folder of its own: the unit lets nothing be executed but what is in it.
        Entry::file("usr/lib/entropy/entropyd", 0o755, read(&programs.daemon)?),
        Entry::link("usr/sbin/entropyd", "../lib/entropy/entropyd"),
        Entry::file("usr/bin/entropyctl", 0o755, read(&programs.control)?),
        Entry::folder("etc/entropy/policies"),
    ];
    for (from, to) in PLAIN {
        content.push(Entry::file(to, 0o644, read(&assets().join(from))?));
    }
    completions(&programs.control, &mut content)?;
    pages(&programs.control, &mut content)?;
    documents(&mut content)?;
    Ok(content)
}

/// Where the units and scripts are.
pub(super) fn assets() -> std::path::PathBuf {
    place::root().join("entropy-daemon/dist")
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("read {}", file.display()))
}

fn completions(control: &Path, content: &mut Vec<Entry>) -> Result<()> {
    for program in ["entropyctl", "entropyd"] {
        for (shell, before, after) in SHELLS {
            let script = exec::output(Command::new(control).args(["completions", shell, program]))?;
            content.push(Entry::file(
                &format!("{before}{program}{after}"),
                0o644,
                script.into_bytes(),
            ));
        }
    }
    Ok(())
}

fn pages(control: &Path, content: &mut Vec<Entry>) -> Result<()> {
    let folder = place::target().join("dist/man");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    exec::output(Command::new(control).arg("man").arg("--dir").arg(&folder))?;
    for (name, page) in files(&folder)? {
        let to = format!("usr/share/man/man8/{name}.gz");
        content.push(Entry::file(&to, 0o644, compress(&page)?));
    }
    Ok(())
}

fn documents(content: &mut Vec<Entry>) -> Result<()> {
    let folder = format!("usr/share/doc/{NAME}");
    let changes = format!(
        "{NAME} ({VERSION}) unstable; urgency=medium\n\n  * Version {VERSION}.\n\n -- {}  {}\n",
        super::control::maintainer(),
        date()?
    );
    let readme = read(&place::root().join("README.md"))?;
    for (name, text) in [("changelog.gz", changes.as_bytes()), ("README.md.gz", &readme)] {
        content.push(Entry::file(&format!("{folder}/{name}"), 0o644, compress(text)?));
    }
    let licence =
        fs::read_to_string(place::root().join("LICENSE-MIT")).context("read the licence")?;
    let copyright = super::control::copyright(&licence);
    content.push(Entry::file(&format!("{folder}/copyright"), 0o644, copyright.into_bytes()));
    // Examples, where nothing loads them.
    for (name, text) in files(&place::root().join("policies"))? {
        content.push(Entry::file(&format!("{folder}/examples/{name}"), 0o644, text));
    }
    Ok(())
}

/// The package's time as a changelog wants it.
fn date() -> Result<String> {
    let mut date = Command::new("date");
    let at = format!("@{}", super::time());
    let text = exec::output(date.args(["--utc", "--rfc-email", "--date"]).arg(at))?;
    Ok(text.trim().to_owned())
}

/// The files of a folder, by name.
fn files(folder: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("list {}", folder.display()))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.push((name, read(&path)?));
    }
    files.sort();
    Ok(files)
}
