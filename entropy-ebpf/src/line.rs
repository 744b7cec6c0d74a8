//! The line: two devices of the daemon's own, where packets wait in `fq` for their departure, and where
//! packets end that vanish without their sender being told.
//!
//! A packet carries the number of its hook through the line in `skb->tc_index`, and its departure in
//! `skb->tstamp`. `skb->mark` belongs to other people.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{__sk_buff, BPF_F_INGRESS, TC_ACT_SHOT},
    helpers::{
        bpf_clone_redirect, bpf_get_prandom_u32, bpf_redirect,
        generated::{bpf_get_hash_recalc, bpf_set_hash, bpf_set_hash_invalid, bpf_skb_set_tstamp},
    },
    programs::TcContext,
};
use entropy_common::{
    decide::Verdict,
    rule::{Direction, HookKey, SINK},
    stats::Event,
};

use crate::maps::{ENTROPY_LINE, ENTROPY_SLOTS, count};

/// `BPF_SKB_TSTAMP_UNSPEC` and `BPF_SKB_TSTAMP_DELIVERY_MONO` of include/uapi/linux/bpf.h.
pub(crate) const UNSPEC: u32 = 0;
pub(crate) const DELIVERY_MONO: u32 = 1;

/// Spreads small numbers over all bits (include/linux/hash.h).
const GOLDEN_RATIO_32: u32 = 0x61c8_8647;

/// `skb->tc_index` of a packet.
#[inline(always)]
pub(crate) fn tag(ctx: &TcContext) -> u32 {
    // SAFETY: the context is valid while the program runs.
    unsafe { (*ctx.skb.skb).tc_index }
}

/// Sets `skb->tc_index`.
#[inline(always)]
pub(crate) fn set_tag(ctx: &TcContext, tag: u32) {
    // SAFETY: the context is valid while the program runs, and programs of this type may write here.
    unsafe { (*ctx.skb.skb).tc_index = tag };
}

#[inline(always)]
pub(crate) fn set_departure(ctx: &TcContext, departure_ns: u64, kind: u32) -> bool {
    // SAFETY: the helper takes any time, and says so if the packet cannot carry one.
    unsafe { bpf_skb_set_tstamp(ctx.as_ptr().cast(), departure_ns, kind) == 0 }
}

/// ifindex of the line's entrance; 0 while there is none.
#[inline(always)]
pub(crate) fn entrance() -> u32 {
    ENTROPY_LINE.get(0).map_or(0, |line| line.entrance)
}

/// A copy goes to an interface. True if it was taken.
#[inline(always)]
pub(crate) fn copy_to(ctx: &TcContext, ifindex: u32, flags: u64) -> bool {
    // SAFETY: the helper has no conditions; no pointer into the packet is used after it.
    unsafe { bpf_clone_redirect(ctx.as_ptr().cast(), ifindex, flags) == 0 }
}

/// The packet waits in the line, twice if it is sent twice; by way of the wire, if that is one. The
/// program's return code; none if it cannot wait.
///
/// Who waits must have no owner: a packet in a queue counts as unsent for its TCP socket (TCP small
/// queues), which brings a connection almost to a stop. A copy has none. The packet itself loses its
/// owner in the line's queue, where that does so; but not a bare acknowledgement, and not as far as the
/// queue's flows are concerned: what must not share one with others of its socket is copied, too.
#[inline(always)]
pub(crate) fn wait(
    ctx: &TcContext,
    key: HookKey,
    slot: u32,
    wire: u32,
    verdict: &Verdict,
    is_bare: bool,
) -> Option<i32> {
    let line = ENTROPY_LINE.get(0)?;
    // The helper takes IPv4 and IPv6 only; a frame whose VLAN tag is in its bytes is neither.
    if line.entrance == 0 || !set_departure(ctx, verdict.departure_ns, DELIVERY_MONO) {
        count(Event::NotHeld);
        return None;
    }
    let (entrance, event) =
        if wire == 0 { (line.entrance, Event::Waited) } else { (wire, Event::Wired) };
    set_tag(ctx, slot);
    // SAFETY: the context is valid, and programs of this type may write here. fq lets packets of the
    // priority TC_PRIO_CONTROL (7) pass at once; on its way into or out of a container a packet loses
    // its priority anyway.
    unsafe { (*ctx.skb.skb).priority = 0 };
    set_flow(ctx, slot, verdict.own_hash);
    if verdict.duplicate && copy_to(ctx, entrance, 0) {
        count(event);
    }
    if line.disowns != 0 && !verdict.own_hash && !is_bare {
        count(event);
        // SAFETY: the helper has no conditions; it only notes the target.
        return Some(unsafe { bpf_redirect(entrance, 0) } as i32);
    }
    if copy_to(ctx, entrance, 0) {
        count(event);
        return Some(end(ctx, Direction::from_number(key.direction)?));
    }
    // Better early than lost.
    set_departure(ctx, 0, UNSPEC);
    set_tag(ctx, 0);
    count(Event::NotHeld);
    None
}

/// Says which packets of the line the packet waits behind: none, or those of its own flow and hook.
///
/// A flow of `fq` lets nothing out before the packet that it last found too early. So what passes the
/// line twice, on its way out of one container and into another, must be of two flows.
#[inline(always)]
fn set_flow(ctx: &TcContext, slot: u32, alone: bool) {
    let skb: *mut __sk_buff = ctx.as_ptr().cast();
    let hash = if alone {
        // SAFETY: the helper has no conditions.
        unsafe { bpf_get_prandom_u32() }
    } else {
        // SAFETY: the helper has no conditions.
        let hash = unsafe { bpf_get_hash_recalc(skb) };
        hash.wrapping_add(slot.wrapping_mul(GOLDEN_RATIO_32))
    };
    // SAFETY: the helper takes any number.
    unsafe { bpf_set_hash(skb, hash) };
}

/// The packet goes on at once, and a copy of it before.
#[inline(always)]
pub(crate) fn duplicate(ctx: &TcContext, direction: Direction, key: HookKey, slot: u32) {
    // The copy comes to this hook, too, and is known by its tag.
    set_tag(ctx, slot);
    if !copy_to(ctx, key.ifindex, way_on(direction)) {
        count(Event::NotHeld);
    }
    set_tag(ctx, 0);
}

/// The packet ends, and its sender is not told.
///
/// A drop at an egress hook is reported to a sender on this host (`NET_XMIT_DROP`: `ENOBUFS` for
/// UDP, congestion for TCP), which loss on a real wire never is. Such packets are sent into the line
/// instead, which counts as sent, and freed at its exit. TCX has no `TC_ACT_STOLEN` that would do.
#[inline(always)]
pub(crate) fn end(ctx: &TcContext, direction: Direction) -> i32 {
    let entrance = entrance();
    if matches!(direction, Direction::Ingress) && entrance != 0 && is_from_this_host(ctx) {
        set_tag(ctx, SINK as u32);
        set_departure(ctx, 0, UNSPEC);
        count(Event::Sunk);
        // SAFETY: the helper has no conditions; it only notes the target.
        return unsafe { bpf_redirect(entrance, 0) } as i32;
    }
    TC_ACT_SHOT
}

/// A packet that came in through no interface was made by this host.
#[inline(always)]
fn is_from_this_host(ctx: &TcContext) -> bool {
    // SAFETY: the context is valid while the program runs.
    unsafe { (*ctx.skb.skb).ingress_ifindex == 0 }
}

/// At the line's exit: on to where the packet was going.
#[inline(always)]
pub(crate) fn leave(ctx: &TcContext) -> i32 {
    let slot = tag(ctx);
    if slot == SINK as u32 {
        count(Event::Freed);
        return TC_ACT_SHOT;
    }
    let Some((key, direction)) = hook_of(slot) else {
        count(Event::Stray);
        return TC_ACT_SHOT;
    };
    count(Event::Released);
    go_on(ctx, key, direction)
}

/// The hook that a packet in the line or the wire belongs to.
#[inline(always)]
pub(crate) fn hook_of(slot: u32) -> Option<(HookKey, Direction)> {
    // SAFETY: the value is copied at once; a number is not given to another hook as long as packets
    // may carry it.
    let key = unsafe { ENTROPY_SLOTS.get(slot) }.copied()?;
    Some((key, Direction::from_number(key.direction)?))
}

/// To where the packet was going when its hook took it.
#[inline(always)]
pub(crate) fn go_on(ctx: &TcContext, key: HookKey, direction: Direction) -> i32 {
    set_departure(ctx, 0, UNSPEC);
    let skb: *mut __sk_buff = ctx.as_ptr().cast();
    // SAFETY: the helper has no conditions. The hash was for the line, not for who comes after it.
    unsafe { bpf_set_hash_invalid(skb) };
    // SAFETY: the helper has no conditions; it only notes the target.
    unsafe { bpf_redirect(key.ifindex, way_on(direction)) as i32 }
}

/// The way on from a hook: packets from a container come in through its veth, packets to it go out.
#[inline(always)]
fn way_on(direction: Direction) -> u64 {
    match direction {
        Direction::Egress => BPF_F_INGRESS as u64,
        Direction::Ingress => 0,
    }
}
