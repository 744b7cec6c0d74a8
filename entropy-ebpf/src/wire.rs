//! The wire: a veth pair whose entrance can do nothing for its packets, so that super-packets become
//! frames there, and get the checksums that packets between containers of one host never have. What
//! happens to single frames happens at its exit.
//!
//! All packets of a rule that looks at frames cross the wire, damaged or not: so they keep their order.
//! Number of the hook and departure travel with them as through the line.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        __sk_buff, BPF_CSUM_LEVEL_RESET, BPF_F_MARK_MANGLED_0, BPF_F_RECOMPUTE_CSUM, TC_ACT_SHOT,
    },
    helpers::{
        bpf_csum_level, bpf_ktime_get_ns, bpf_loop, bpf_redirect,
        generated::{bpf_l4_csum_replace, bpf_skb_ecn_set_ce, bpf_skb_store_bytes},
    },
    programs::TcContext,
};
use entropy_common::{
    decide::{
        Scratch,
        wire::{count as count_damage, cross},
    },
    fault::corrupt::Damage,
    rule::{Direction, HookKey, MAX_RULES, RuleSet},
    stats::Event,
};

use crate::{
    hook::{entropy_read, rule_set},
    line::{DELIVERY_MONO, UNSPEC, copy_to, go_on, hook_of, set_departure, set_tag, tag},
    maps::{ENTROPY_HOOKS, ENTROPY_LEASE, ENTROPY_LINE, ENTROPY_SCRATCH, Kernel, count},
};

/// ifindex of the wire's entrance, for a packet that is to cross it; 0, and counted, if there is none.
#[inline(always)]
pub(crate) fn entrance() -> u32 {
    let wire = ENTROPY_LINE.get(0).map_or(0, |line| line.wire);
    if wire == 0 {
        count(Event::NotWired);
    }
    wire
}

/// The packet crosses the wire at once, and twice if it is sent twice.
///
/// It goes itself and not as a copy: nothing holds it up there, and its socket learns that it is sent
/// only behind the wire, which keeps a sender from filling the kernel's backlog with frames.
#[inline(always)]
pub(crate) fn send(ctx: &TcContext, slot: u32, entrance: u32, twice: bool) -> i32 {
    set_tag(ctx, slot);
    // TCP of this host notes when it wanted the packet to leave. That is no delay of ours.
    set_departure(ctx, 0, UNSPEC);
    if twice && copy_to(ctx, entrance, 0) {
        count(Event::Wired);
    }
    count(Event::Wired);
    // SAFETY: the helper has no conditions; it only notes the target.
    unsafe { bpf_redirect(entrance, 0) as i32 }
}

/// At the wire's exit: a frame is lost, or damaged, or neither, and goes on.
#[inline(always)]
pub(crate) fn leave(ctx: &TcContext) -> i32 {
    let Some((key, direction)) = hook_of(tag(ctx)) else {
        count(Event::Stray);
        return TC_ACT_SHOT;
    };
    count(Event::Frame);
    if is_lost(ctx, key, direction) {
        return TC_ACT_SHOT;
    }
    let line = if has_departure(ctx) { crate::line::entrance() } else { 0 };
    if line == 0 {
        return go_on(ctx, key, direction);
    }
    count(Event::Waited);
    // SAFETY: the helper has no conditions; it only notes the target.
    unsafe { bpf_redirect(line, 0) as i32 }
}

/// Whether the frame is to wait in the line. (Its time may also be that of its arrival.)
#[inline(always)]
fn has_departure(ctx: &TcContext) -> bool {
    let skb: *mut __sk_buff = ctx.as_ptr().cast();
    // SAFETY: the context is valid while the program runs.
    let kind = unsafe { (*skb).tstamp_type };
    u32::from(kind) == DELIVERY_MONO
}

/// Does to a frame what the rules of its hook decide, but for losing it: true if it is lost.
#[inline(always)]
fn is_lost(ctx: &TcContext, key: HookKey, direction: Direction) -> bool {
    // SAFETY: the value is copied at once, and what it may have become by then is checked below.
    let Some(hook) = (unsafe { ENTROPY_HOOKS.get(key) }).copied() else { return false };
    let Some(set) = rule_set(key, hook) else { return false };
    // SAFETY: the helper has no conditions.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    if !ENTROPY_LEASE.get(0).is_some_and(|lease| lease.holds(now_ns)) {
        return false;
    }
    let Some(scratch) = ENTROPY_SCRATCH.get_ptr_mut(0) else { return false };
    if entropy_read(ctx.skb.skb) == 0 {
        return false;
    }
    decide(ctx, set, direction, scratch, now_ns)
}

/// What the loop over the rules works on.
struct Pass<'a> {
    set: &'a RuleSet,
    scratch: *mut Scratch,
    now_ns: u64,
    direction: Direction,
}

/// The shared pass, each rule's in the body of a loop that the verifier checks once.
#[inline(always)]
fn decide(
    ctx: &TcContext,
    set: &RuleSet,
    direction: Direction,
    scratch: *mut Scratch,
    now_ns: u64,
) -> bool {
    let mut pass = Pass { set, scratch, now_ns, direction };
    let rules = set.count.min(MAX_RULES as u32);
    let context = (&raw mut pass).cast::<c_void>();
    // SAFETY: this CPU's own, and nobody else is in it while the program runs.
    let Scratch { crossing, .. } = unsafe { &mut *scratch };
    crossing.begin();
    // SAFETY: the callback takes what it is given here.
    unsafe { bpf_loop(rules, cross_step as *mut c_void, context, 0) };
    if crossing.lost != 0 {
        return true;
    }
    if crossing.mark_ce != 0 {
        // SAFETY: the helper looks for itself whether the packet can be marked.
        unsafe { bpf_skb_ecn_set_ce(ctx.as_ptr().cast()) };
    }
    if crossing.corrupted != 0 && entropy_damage(ctx.skb.skb) != 0 {
        // SAFETY: as above.
        unsafe { bpf_loop(rules, count_step as *mut c_void, context, 0) };
    }
    false
}

unsafe extern "C" fn cross_step(index: u64, pass: *mut Pass<'_>) -> i64 {
    // SAFETY: `decide` gives a valid one.
    let pass = unsafe { &*pass };
    let Some(rule) = pass.set.rules.get(index as usize) else { return 1 };
    // SAFETY: see `decide`.
    let Scratch { packet, crossing, .. } = unsafe { &mut *pass.scratch };
    cross(index as usize, rule, pass.direction, packet, pass.now_ns, &Kernel, crossing);
    0
}

unsafe extern "C" fn count_step(index: u64, pass: *mut Pass<'_>) -> i64 {
    // SAFETY: `decide` gives a valid one.
    let pass = unsafe { &*pass };
    let Some(rule) = pass.set.rules.get(index as usize) else { return 1 };
    // SAFETY: see `decide`.
    let Scratch { crossing, .. } = unsafe { &mut *pass.scratch };
    count_damage(index as usize, rule, &Kernel, crossing);
    0
}

/// Damages a frame as was decided; 1 if it could be.
///
/// A global function, for the reasons of [`entropy_read`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn entropy_damage(skb: *mut __sk_buff) -> i32 {
    let ctx = TcContext::new(skb);
    let Some(scratch) = ENTROPY_SCRATCH.get_ptr(0) else { return 0 };
    // SAFETY: this CPU's own, and nobody else is in it while the program runs.
    let Scratch { packet, crossing, .. } = unsafe { &*scratch };
    crossing.damage(packet).is_some_and(|damage| turn(&ctx, &damage)).into()
}

/// Turns the bit; true if it could be.
#[inline(always)]
fn turn(ctx: &TcContext, damage: &Damage) -> bool {
    let Ok(old) = ctx.load::<u8>(damage.byte as usize) else { return false };
    let new = old ^ damage.mask;
    let skb: *mut __sk_buff = ctx.as_ptr().cast();
    // What a network card has found to be right is looked at again by nobody, unless it is told.
    // SAFETY: the helper has no conditions.
    unsafe { bpf_csum_level(skb, u64::from(BPF_CSUM_LEVEL_RESET)) };
    let mut flags = u64::from(BPF_F_RECOMPUTE_CSUM);
    if damage.checksum != 0 {
        // The sum over all bytes, where a card has made one, stays: checksum and byte cancel out.
        flags = 0;
        if !mend(skb, damage, old, new) {
            return false;
        }
    }
    let from = (&raw const new).cast::<c_void>();
    // SAFETY: one byte that lives during the call; the helper checks the offset.
    unsafe { bpf_skb_store_bytes(skb, damage.byte, from, 1, flags) == 0 }
}

/// Makes the checksum one of the new byte in place of the old one.
#[inline(always)]
fn mend(skb: *mut __sk_buff, damage: &Damage, old: u8, new: u8) -> bool {
    let word = |byte: u8| u64::from((u16::from(byte) << damage.shift).to_be());
    let optional = if damage.optional { u64::from(BPF_F_MARK_MANGLED_0) } else { 0 };
    let flags = optional | size_of::<u16>() as u64;
    // SAFETY: the helper checks the offset; no pointer into the packet is used after it.
    unsafe { bpf_l4_csum_replace(skb, damage.checksum, word(old), word(new), flags) == 0 }
}
