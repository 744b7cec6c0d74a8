//! Tests that cannot run here say so, loudly, and are listed.
//!
//! A skip that looks like a pass hides a test for ever. The harness knows no skipping, so a line
//! goes past its capture of output, and the runner collects the names from a file.

use std::{
    fs::OpenOptions,
    io::{Write as _, stderr},
};

/// Ends a test that cannot run here, for a reason given as to `format!`. The test must return a
/// [`Result`](anyhow::Result).
#[macro_export]
macro_rules! skip {
    ($($reason:tt)+) => {{
        $crate::skip::record($crate::test_name!(), &::std::format!($($reason)+));
        return ::core::result::Result::Ok(());
    }};
}

/// Skips a test when it does not run as root.
#[macro_export]
macro_rules! needs_root {
    () => {
        if !$crate::skip::is_root() {
            $crate::skip!("needs root");
        }
    };
}

/// Path of the function that it stands in, as the harness names it: `topic::what_is_expected`.
///
/// Not the name of the thread: with one test thread the harness runs tests on the main one.
#[macro_export]
macro_rules! test_name {
    () => {{
        fn here() {}
        let name = ::core::any::type_name_of_val(&here);
        let name = name.strip_suffix("::here").unwrap_or(name);
        name.split_once("::").map_or(name, |(_, path)| path)
    }};
}

/// Whether all is to be run, and as often as the claims say, however long it takes (`ENTROPY_FULL`).
#[must_use]
pub fn nothing() -> bool {
    std::env::var_os("ENTROPY_FULL").is_some()
}

/// Says that a test is skipped, on standard error and in the file that `ENTROPY_SKIPS` names, one
/// line of name, tab and reason each.
pub fn record(test: &str, reason: &str) {
    // Not eprintln!, which the harness captures and throws away when the test "passes".
    let _ = writeln!(stderr(), "SKIPPED {test}: {reason}");
    let Some(list) = std::env::var_os("ENTROPY_SKIPS") else { return };
    // One write, so that tests of other threads and processes do not cut into the line.
    let line = format!("{test}\t{}\n", reason.replace(['\n', '\t'], " "));
    let written = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&list)
        .and_then(|mut file| file.write_all(line.as_bytes()));
    if let Err(error) = written {
        let _ = writeln!(stderr(), "cannot record a skipped test in {}: {error}", list.display());
    }
}

/// Whether the tests run as root.
#[must_use]
pub fn is_root() -> bool {
    // SAFETY: geteuid has no arguments and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// The version of the kernel that this is a virtual machine with (`ENTROPY_VM`), or `None` on the
/// machine itself. Virtual machines are emulated in software, 10 to 30 times slower.
#[must_use]
pub fn virtual_machine() -> Option<String> {
    std::env::var("ENTROPY_VM").ok().filter(|version| !version.is_empty())
}

/// Whether tests do less here, in a virtual machine, where all takes long, unless all is to be run.
#[must_use]
pub fn saves_time() -> bool {
    virtual_machine().is_some() && !nothing()
}

/// Packets of a measurement: so many, and a fiftieth of them in a virtual machine, where they take as
/// long, unless all is to be run. What the kernel makes of each is held against the prediction there, too:
/// the number is for the rates and for what happens rarely, which the kernel's version does not change.
#[must_use]
pub fn packets(here: u32) -> u32 {
    if saves_time() { here / 50 } else { here }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_test_knows_its_name() {
        assert_eq!(test_name!(), "skip::tests::a_test_knows_its_name");
    }
}
