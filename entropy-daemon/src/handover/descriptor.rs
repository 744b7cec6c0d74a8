//! Descriptors that another program goes on with.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A descriptor of its own, which stands as its number in what is handed over.
#[derive(Debug)]
pub struct Descriptor(OwnedFd);

impl Descriptor {
    /// A copy of a descriptor, which closes when a program is executed.
    ///
    /// # Errors
    /// When there are too many.
    pub fn copy(of: BorrowedFd<'_>) -> io::Result<Self> {
        of.try_clone_to_owned().map(Self)
    }

    /// Whether it stays open when a program is executed.
    ///
    /// # Errors
    /// Never while it is open.
    pub fn stay_open(&self, stays: bool) -> io::Result<()> {
        stay_open(self.0.as_raw_fd(), stays)
    }

    /// Its number.
    pub(super) fn number(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl From<Descriptor> for OwnedFd {
    fn from(descriptor: Descriptor) -> Self {
        descriptor.0
    }
}

impl From<OwnedFd> for Descriptor {
    fn from(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }
}

impl Serialize for Descriptor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i32(self.number())
    }
}

impl<'de> Deserialize<'de> for Descriptor {
    /// Takes the descriptor with this number over, which is not to survive another `execve`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = RawFd::deserialize(deserializer)?;
        stay_open(number, false)
            .map_err(|error| D::Error::custom(format!("descriptor {number}: {error}")))?;
        // SAFETY: it is open, and was left open for whoever reads its number here, once.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(number) }))
    }
}

/// Whether a descriptor stays open when a program is executed.
///
/// # Errors
/// When it is not open.
pub(crate) fn stay_open(descriptor: RawFd, stays: bool) -> io::Result<()> {
    let flags = if stays { 0 } else { libc::FD_CLOEXEC };
    // SAFETY: F_SETFD takes a number, and an error for a descriptor that is not open.
    if unsafe { libc::fcntl(descriptor, libc::F_SETFD, flags) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::Read as _,
        os::fd::{AsFd as _, IntoRawFd as _},
    };

    use super::*;

    fn flags(descriptor: RawFd) -> libc::c_int {
        // SAFETY: F_GETFD takes a number, and an error for a descriptor that is not open.
        unsafe { libc::fcntl(descriptor, libc::F_GETFD) }
    }

    #[test]
    fn a_number_stands_for_the_descriptor_which_closes_at_the_next_program() {
        let file = File::open("/dev/zero").unwrap();
        let copy = Descriptor::copy(file.as_fd()).unwrap();
        assert_eq!(flags(copy.number()), libc::FD_CLOEXEC);
        copy.stay_open(true).unwrap();
        let text = serde_json::to_string(&copy).unwrap();
        // What `execve` does: the number is all that is left of it.
        let number = OwnedFd::from(copy).into_raw_fd();
        assert_eq!((text.as_str(), flags(number)), (number.to_string().as_str(), 0));
        let taken: Descriptor = serde_json::from_str(&text).unwrap();
        assert_eq!(flags(number), libc::FD_CLOEXEC);
        let mut bytes = [1; 4];
        File::from(OwnedFd::from(taken)).read_exact(&mut bytes).unwrap();
        assert_eq!(bytes, [0; 4], "it is the file that was handed over");
    }

    #[test]
    fn a_number_that_is_not_open_is_refused() {
        let error = serde_json::from_str::<Descriptor>("1000000").unwrap_err();
        assert!(error.to_string().starts_with("descriptor 1000000: Bad file"), "{error}");
    }
}
