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
// SAFETY: bytes and byte arrays, 20 of them: no padding with an alignment of four.
unsafe impl Header for Aligned<Ipv4Hdr> {}
// SAFETY: as above, 40 of them.
unsafe impl Header for Aligned<Ipv6Hdr> {}
// SAFETY: bytes.
unsafe impl<const N: usize> Header for [u8; N] {}

/// A header of byte arrays, read to where its words can be taken as words.
#[derive(Clone, Copy)]
#[repr(C, align(4))]
pub(super) struct Aligned<T>(pub(super) T);

const _: () = assert!(size_of::<Aligned<Ipv4Hdr>>() == 20 && size_of::<Aligned<Ipv6Hdr>>() == 40);

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
