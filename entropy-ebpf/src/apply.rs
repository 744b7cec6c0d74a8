//! From verdict to return code.

use aya_ebpf::{
    bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC},
    helpers::bpf_redirect,
    programs::TcContext,
};
use entropy_common::{rule::Direction, stats::Event};

use crate::maps::{ENTROPY_LINE, count};

/// Go on as if we were not here: the next filter or TCX program has its say. (`TC_ACT_OK` would
/// end the chain. -1 is `TCX_NEXT`, too.)
pub(crate) const PASS: i32 = TC_ACT_UNSPEC;

/// The packet vanishes, and its sender is not told.
///
/// A drop at an egress hook is reported to a sender on this host (`NET_XMIT_DROP`: `ENOBUFS` for
/// UDP, congestion for TCP), which loss on a real wire never is. Such packets are sent into the line
/// instead, which counts as sent, and freed at its exit. TCX has no `TC_ACT_STOLEN` that would do.
#[inline(always)]
pub(crate) fn lose(ctx: &TcContext, direction: Direction) -> i32 {
    if matches!(direction, Direction::Ingress) && is_from_this_host(ctx) {
        let entrance = ENTROPY_LINE.get(0).map_or(0, |line| line.entrance);
        if entrance != 0 {
            count(Event::Sunk);
            // SAFETY: the helper has no conditions; it only notes the target.
            return unsafe { bpf_redirect(entrance, 0) } as i32;
        }
    }
    TC_ACT_SHOT
}

/// A packet that came in through no interface was made by this host.
#[inline(always)]
fn is_from_this_host(ctx: &TcContext) -> bool {
    // SAFETY: the context is valid while the program runs.
    unsafe { (*ctx.skb.skb).ingress_ifindex == 0 }
}
