//! The packet's bytes, as the shared parser reads them.

use core::{arch::asm, cell::Cell, ffi::c_void};

use aya_ebpf::{EbpfContext as _, helpers::generated::bpf_skb_load_bytes, programs::TcContext};
use entropy_common::{
    decide::NEAR_WORDS,
    packet::{Frame, Header},
};

/// Bytes in front of the copy, with which what follows an Ethernet header is aligned to four bytes.
const LEAD: u32 = 2;
/// Bytes of a packet that are copied at most.
const NEAR: u32 = 94;
/// Bytes of the longest header that is read: that of IPv6.
const LONGEST: usize = 40;

// What the mask of `within_copy` lets through, and a header behind it, lies within the words.
const _: () = assert!(NEAR + LEAD <= 128 && 127 + LONGEST <= 8 * NEAR_WORDS);

/// A packet's first bytes, where all headers of nearly every packet are.
///
/// They are copied at once, by a helper that reaches all of a packet, linear or not: a call for each
/// header takes as long as all the rest of reading. What lies behind them counts as not there, and is
/// noted: for such a packet there is [`FarFrame`]. One that does both would have the verifier follow
/// both ways at each header (Linux 6.18: 310 000 instructions instead of 25 000).
pub(crate) struct NearFrame<'a> {
    copy: &'a [u64; NEAR_WORDS],
    copied: u32,
    length: u32,
    /// Whether something was asked for that is in the packet and not in the copy.
    is_short: Cell<bool>,
}

impl<'a> NearFrame<'a> {
    /// Copies the packet's first bytes.
    #[inline(always)]
    pub(crate) fn new(ctx: &TcContext, copy: &'a mut [u64; NEAR_WORDS]) -> Self {
        let length = ctx.len();
        // One less and one more, because to this verifier only a sum can be known not to be 0.
        let bytes = within_copy(length.min(NEAR).wrapping_sub(1)) as u32 + 1;
        // SAFETY: LEAD lies within the words.
        let start = unsafe { copy.as_mut_ptr().cast::<u8>().add(LEAD as usize) }.cast::<c_void>();
        // SAFETY: so many bytes are there behind LEAD.
        let result = unsafe { bpf_skb_load_bytes(ctx.as_ptr().cast(), 0, start, bytes) };
        let copied = if result == 0 { bytes } else { 0 };
        Self { copy, copied, length, is_short: Cell::new(false) }
    }

    /// Whether the packet has to be read as a [`FarFrame`].
    #[inline(always)]
    pub(crate) fn is_short(&self) -> bool {
        self.is_short.get()
    }
}

impl Frame for NearFrame<'_> {
    #[inline(always)]
    fn length(&self) -> u32 {
        self.length
    }

    #[inline(always)]
    fn read<T: Header>(&self, offset: u32) -> Option<T> {
        const { assert!(size_of::<T>() <= LONGEST) };
        let (size, align) = (size_of::<T>() as u32, align_of::<T>() as u32);
        let is_aligned = (offset + LEAD).is_multiple_of(align);
        if offset > NEAR - size || offset + size > self.copied || !is_aligned {
            self.is_short.set(true);
            return None;
        }
        let copy = self.copy.as_ptr().cast::<u8>();
        // SAFETY: it lies within the words.
        let place = unsafe { copy.add(within_copy(offset + LEAD)) };
        // SAFETY: so many bytes were just written there, and they are aligned; any are a valid T.
        Some(unsafe { place.cast::<T>().read() })
    }
}

/// The same number, which is at most `NEAR`, said so that the verifier of Linux 6.1 knows it: it forgets
/// a comparison when the compiler has put the number on the stack in between. In assembly because the
/// compiler knows as well, and would leave it out.
#[inline(always)]
fn within_copy(index: u32) -> usize {
    let mut index = index as usize;
    // SAFETY: an instruction between registers.
    unsafe {
        asm!("{index} &= 127", index = inlateout(reg) index, options(pure, nomem, nostack));
    }
    index
}

/// All of a packet: every read goes through `bpf_skb_load_bytes`.
pub(crate) struct FarFrame<'a>(pub(crate) &'a TcContext);

impl Frame for FarFrame<'_> {
    #[inline(always)]
    fn length(&self) -> u32 {
        self.0.len()
    }

    #[inline(always)]
    fn read<T: Header>(&self, offset: u32) -> Option<T> {
        self.0.load(offset as usize).ok()
    }
}
