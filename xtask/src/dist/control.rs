//! What the package says of itself, and what is done when it comes and goes.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};

use super::content::{assets, units};
use super::deb::{Entry, checksums};
use super::{NAME, VERSION};

/// The scripts that dpkg runs.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// What only the build knows.
pub(super) struct About {
    pub(super) architecture: &'static str,
    /// Packages that the programs cannot do without.
    pub(super) needs: String,
    /// In KiB.
    pub(super) size: u64,
}

/// The files of the package's control archive.
pub(super) fn all(about: &About, content: &[Entry]) -> Result<Vec<Entry>> {
    let mut files = vec![
        Entry::file("control", 0o644, control(about).into_bytes()),
        Entry::file("md5sums", 0o644, checksums(content).into_bytes()),
    ];
    for name in SCRIPTS {
        let path = assets().join("debian").join(name);
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let text = text.replace("@UNITS@", &units());
        files.push(Entry::file(name, 0o755, text.into_bytes()));
    }
    Ok(files)
}

/// Who answers for the package: whoever makes it, named as Debian's own tools want it.
pub(super) fn maintainer() -> String {
    let set = |name: &str, or: &str| std::env::var(name).unwrap_or_else(|_| or.to_owned());
    format!(
        "{} <{}>",
        set("DEBFULLNAME", "Entropy developers"),
        set("DEBEMAIL", "entropy@localhost")
    )
}

fn control(about: &About) -> String {
    let About { architecture, needs, size } = about;
    let maintainer = maintainer();
    format!(
        "Package: {NAME}
Version: {VERSION}
Architecture: {architecture}
Maintainer: {maintainer}
Installed-Size: {size}
Depends: {needs}
Recommends: docker.io | docker-ce
Section: net
Priority: optional
Description: injects network failures into Docker containers
 A daemon that makes packets of chosen containers vanish, wait, overtake one
 another, double, break or squeeze through a narrow link, by eBPF programs on
 the host side of their interfaces. Without policies in /etc/entropy/policies
 it does nothing.
"
    )
}

/// The copyright file of one licence's text. The other licence is in every Debian system.
pub(super) fn copyright(mit: &str) -> String {
    let mut text = String::from(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: Entropy

Files: *
Copyright: The Entropy developers
License: MIT or Apache-2.0

License: Apache-2.0
 On Debian systems, the full text is in /usr/share/common-licenses/Apache-2.0.

License: MIT
",
    );
    for line in mit.lines().map(str::trim_end) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, " {}", if line.is_empty() { "." } else { line });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_of_a_licence_ends_its_paragraph() {
        let text = copyright("one\n\ntwo\n");
        assert!(text.ends_with("License: MIT\n one\n .\n two\n"), "{text}");
    }

    #[test]
    fn the_scripts_name_the_units() {
        let about = About { architecture: "amd64", needs: "libc6".into(), size: 1 };
        for script in &all(&about, &[]).unwrap()[2..] {
            let text = script.text().unwrap();
            assert!(text.starts_with("#!/bin/sh\n") && text.contains("set -e"), "{text}");
            assert!(!text.contains('@') && text.contains("entropyd.service"), "{text}");
        }
    }
}
