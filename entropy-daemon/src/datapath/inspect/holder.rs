//! Who holds the lock, without taking it.

use std::{fs, io, os::unix::fs::MetadataExt as _};

use super::super::pins;

/// Process id of the daemon, or of the cleanup, that runs on this host. Looks only: whoever takes
/// the lock meanwhile is not disturbed. A process of another pid namespace is not seen.
///
/// # Errors
/// When the pins' directory may not be looked at, or `/proc/locks` not be read.
pub fn lock_holder() -> io::Result<Option<u32>> {
    let directory = match fs::metadata(pins::top()) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let device = directory.dev();
    // As `lock_get_status` of the kernel's fs/locks.c prints it.
    let file =
        format!("{:02x}:{:02x}:{}", libc::major(device), libc::minor(device), directory.ino());
    Ok(holder_in(&fs::read_to_string("/proc/locks")?, &file))
}

/// The process with an exclusive `flock` on a file, in the text of `/proc/locks`:
/// `1: FLOCK  ADVISORY  WRITE 4711 00:1f:42 0 EOF`, with `->` after the number of one that waits.
fn holder_in(locks: &str, file: &str) -> Option<u32> {
    locks.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        if words.next()? != "FLOCK" || words.nth(1)? != "WRITE" {
            return None;
        }
        let process = words.next()?.parse().ok()?;
        (words.next()? == file).then_some(process)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_lock_is_told_from_those_who_wait_or_read_or_lock_elsewhere() {
        let locks = "\
1: FLOCK  ADVISORY  WRITE 10 00:1f:41 0 EOF
2: POSIX  ADVISORY  WRITE 11 00:1f:42 0 EOF
3: FLOCK  ADVISORY  READ 12 00:1f:42 0 EOF
4: -> FLOCK  ADVISORY  WRITE 13 00:1f:42 0 EOF
5: FLOCK  ADVISORY  WRITE 14 00:1f:42 0 EOF
";
        assert_eq!(holder_in(locks, "00:1f:42"), Some(14));
        assert_eq!(holder_in(locks, "00:1f:43"), None);
        assert_eq!(holder_in("", "00:1f:42"), None);
        assert_eq!(holder_in("1:\nnonsense\n", "00:1f:42"), None);
    }
}
