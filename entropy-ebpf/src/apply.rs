//! From verdict to return code.

use aya_ebpf::{
    EbpfContext as _, bindings::TC_ACT_UNSPEC, helpers::generated::bpf_skb_ecn_set_ce,
    programs::TcContext,
};
use aya_log_ebpf::debug;
use entropy_common::{
    decide::Scratch,
    rule::{Direction, HookKey},
};

use crate::{line, wire};

/// Go on as if we were not here: the next filter or TCX program has its say. (`TC_ACT_OK` would
/// end the chain. -1 is `TCX_NEXT`, too.)
pub(crate) const PASS: i32 = TC_ACT_UNSPEC;

/// Does to a packet what was decided.
#[inline(always)]
pub(crate) fn carry_out(ctx: &TcContext, key: HookKey, slot: u32, scratch: &Scratch) -> i32 {
    let Scratch { verdict, packet, .. } = scratch;
    let Some(direction) = Direction::from_number(key.direction) else { return PASS };
    if verdict.lost {
        debug!(ctx, "ifindex {} direction {}: lost", key.ifindex, key.direction);
        return line::end(ctx, direction);
    }
    if verdict.mark_ce {
        // SAFETY: the helper looks for itself whether the packet can be marked.
        unsafe { bpf_skb_ecn_set_ce(ctx.as_ptr().cast()) };
    }
    let wire = if verdict.wire { wire::entrance() } else { 0 };
    if verdict.departure_ns != 0 {
        let (ifindex, way) = (key.ifindex, key.direction);
        debug!(ctx, "ifindex {} direction {}: until {}", ifindex, way, verdict.departure_ns);
        let is_bare = packet.is_tcp() && packet.payload == 0;
        if let Some(code) = line::wait(ctx, key, slot, wire, verdict, is_bare) {
            return code;
        }
    }
    if wire != 0 {
        return wire::send(ctx, slot, wire, verdict.duplicate);
    }
    if verdict.duplicate {
        line::duplicate(ctx, direction, key, slot);
    }
    PASS
}
