//! Headers, read from a frame's bytes.

use network_types::{
    eth::EthHdr,
    ip::{Ipv4Hdr, Ipv6Hdr},
    vlan::VlanHdr,
};

/// A header that can be read straight from packet bytes.
///
/// # Safety
/// Every bit pattern must be a valid value, and there must be no padding.
pub unsafe trait Header: Copy {}

// SAFETY: byte arrays and one integer.
unsafe impl Header for EthHdr {}
// SAFETY: as above.
unsafe impl Header for VlanHdr {}
// SAFETY: bytes.
unsafe impl<const N: usize> Header for [u8; N] {}
// SAFETY: integers.
unsafe impl<const N: usize> Header for [u32; N] {}

/// Words of an IPv4 header without options, and of an IPv6 header.
///
/// These two are read as words and not as the structs of byte arrays that they are: an address that is
/// copied byte by byte is a third of all instructions that a packet takes.
pub(super) type Ipv4Words = [u32; Ipv4Hdr::LEN / 4];
/// As above.
pub(super) type Ipv6Words = [u32; Ipv6Hdr::LEN / 4];

/// A frame, from its Ethernet header on.
pub trait Frame {
    /// Length in bytes.
    fn length(&self) -> u32;

    /// The header at `offset`; `None` when the frame ends before the header does.
    fn read<T: Header>(&self, offset: u32) -> Option<T>;
}

impl Frame for [u8] {
    fn length(&self) -> u32 {
        u32::try_from(self.len()).unwrap_or(u32::MAX)
    }

    fn read<T: Header>(&self, offset: u32) -> Option<T> {
        let start = usize::try_from(offset).ok()?;
        let bytes = self.get(start..start.checked_add(size_of::<T>())?)?;
        // SAFETY: the slice has the size of T, and any bytes are a valid T.
        Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
    }
}
