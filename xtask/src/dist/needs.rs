//! Which packages the programs need, read out of them.

use std::cmp::max;
use std::fs;

use anyhow::{Context, Result, bail};
use object::Endianness;
use object::elf::FileHeader64;
use object::read::elf::FileHeader as _;

use super::Programs;

/// The libraries that come with the C library's package.
const LIBC: [&str; 5] =
    ["libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1", "libpthread.so.0"];
/// The unwinder's library.
const LIBGCC: &str = "libgcc_s.so.1";

/// Two or three numbers.
type Version = Vec<u32>;

/// What `Depends` is to say.
pub(super) fn of(programs: &Programs) -> Result<String> {
    let mut libc = Version::new();
    let mut libgcc = false;
    for program in [&programs.daemon, &programs.control] {
        let what = || format!("read what {} needs", program.display());
        let bytes = fs::read(program).with_context(what)?;
        for (library, version) in versions(&bytes).with_context(what)? {
            match library.as_str() {
                LIBGCC => libgcc = true,
                library if LIBC.contains(&library) => {
                    libc = max(libc, glibc(&version).with_context(what)?);
                }
                other => bail!("{}: no package is known for {other}", program.display()),
            }
        }
    }
    let numbers: Vec<_> = libc.iter().map(u32::to_string).collect();
    let gcc = if libgcc { ", libgcc-s1" } else { "" };
    Ok(format!("libc6 (>= {}){gcc}", numbers.join(".")))
}

/// The libraries that a program links, and what version of their interfaces.
fn versions(bytes: &[u8]) -> Result<Vec<(String, String)>> {
    let header = FileHeader64::<Endianness>::parse(bytes).context("no ELF file")?;
    let endian = header.endian()?;
    let sections = header.sections(endian, bytes)?;
    let Some((mut needed, strings)) = sections.gnu_verneed(endian, bytes)? else {
        return Ok(Vec::new());
    };
    let strings = sections.strings(endian, bytes, strings)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut found = Vec::new();
    while let Some((library, mut versions)) = needed.next()? {
        let library = text(library.file(endian, strings)?);
        while let Some(version) = versions.next()? {
            found.push((library.clone(), text(version.name(endian, strings)?)));
        }
    }
    Ok(found)
}

/// The numbers in `GLIBC_2.34`.
fn glibc(name: &str) -> Result<Version> {
    let numbers = name.strip_prefix("GLIBC_").context("no version of glibc")?;
    let numbers = numbers.split('.').map(str::parse).collect::<Result<_, _>>();
    numbers.with_context(|| format!("{name} is no version of glibc"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let newest = ["GLIBC_2.4", "GLIBC_2.34", "GLIBC_2.3.4"].map(|name| glibc(name).unwrap());
        assert_eq!(newest.iter().max().unwrap(), &[2, 34]);
        assert!(glibc("GLIBC_PRIVATE").is_err());
    }

    #[test]
    fn this_program_needs_the_c_library() {
        let bytes = fs::read(std::env::current_exe().unwrap()).unwrap();
        let versions = versions(&bytes).unwrap();
        assert!(versions.iter().any(|(library, _)| library == "libc.so.6"), "{versions:?}");
    }
}
