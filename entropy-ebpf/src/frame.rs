//! The packet's bytes, as the shared parser reads them.

use aya_ebpf::programs::TcContext;
use entropy_common::packet::{Frame, Header};

/// A packet in the kernel. Reads go through `bpf_skb_load_bytes`, which reaches all of a packet,
/// linear or not.
pub(crate) struct SkbFrame<'a>(pub(crate) &'a TcContext);

impl Frame for SkbFrame<'_> {
    #[inline(always)]
    fn length(&self) -> u32 {
        self.0.len()
    }

    #[inline(always)]
    fn read<T: Header>(&self, offset: u32) -> Option<T> {
        self.0.load(offset as usize).ok()
    }
}
