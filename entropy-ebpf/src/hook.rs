//! One packet on a container's veth: look up, look at, decide.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::{bpf_ktime_get_ns, bpf_loop},
    programs::TcContext,
};
use entropy_common::{
    decide::{SLOT_STEPS, Scratch, Verdict, delay, look, look_and_delay, shields, take_slot},
    packet::{Packet, Unfit},
    rule::{Direction, Hook, HookKey, MAX_RULES, MAX_SHIELDS, RuleSet},
    stats::Event,
};

use crate::{
    apply::{PASS, carry_out},
    frame::{FarFrame, NearFrame},
    line,
    maps::{ENTROPY_HOOKS, ENTROPY_LEASE, ENTROPY_RULES, ENTROPY_SCRATCH, Kernel, count},
};

/// The verdict on a packet.
#[inline(always)]
pub(crate) fn classify(ctx: &TcContext, direction: Direction) -> i32 {
    // SAFETY: the context is valid while the program runs.
    let ifindex = unsafe { (*ctx.skb.skb).ifindex };
    let key = HookKey::new(ifindex, direction);
    // SAFETY: the value is copied at once, and what it may have become by then is checked below.
    let Some(hook) = (unsafe { ENTROPY_HOOKS.get(key) }).copied() else { return PASS };
    if line::tag(ctx) == hook.slot {
        // Back from the line, or a copy made here: it has been decided about.
        line::set_tag(ctx, 0);
        return PASS;
    }
    let Some(set) = rule_set(key, hook) else { return PASS };
    count(Event::Packet);
    // SAFETY: the helper has no conditions.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    if !ENTROPY_LEASE.get(0).is_some_and(|lease| lease.holds(now_ns)) {
        count(Event::LeaseExpired);
        return PASS;
    }
    let Some(scratch) = ENTROPY_SCRATCH.get_ptr_mut(0) else { return PASS };
    if entropy_read(ctx.skb.skb) == 0 {
        return PASS;
    }
    decide(set, direction, scratch, now_ns);
    // SAFETY: this CPU's own, and nobody else is in it while the program runs.
    if unsafe { &(*scratch).progress }.must_take_slots() {
        entropy_slots(hook.set, now_ns);
    }
    entropy_apply(ctx.skb.skb, direction as u32, hook.slot)
}

/// Reads the packet's facts; 1 if there are any.
///
/// A global function: the verifier checks it once and by itself, and knows nothing of how it ended.
/// Inlined, each way through the headers would be followed through the rules too (Linux 6.1: 330 000
/// instructions instead of 25 000). And what it has on the stack is gone before the rules need theirs.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn entropy_read(skb: *mut __sk_buff) -> i32 {
    let Some(scratch) = ENTROPY_SCRATCH.get_ptr_mut(0) else { return 0 };
    // SAFETY: this CPU's own, and nobody else is in it while the program runs.
    let Scratch { packet, near, .. } = unsafe { &mut *scratch };
    let frame = NearFrame::new(&TcContext::new(skb), near);
    let result = packet.read(&frame);
    if frame.is_short() {
        return entropy_read_far(skb);
    }
    note(skb, packet, result)
}

/// The same for a packet whose headers are long, or that is cut off.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn entropy_read_far(skb: *mut __sk_buff) -> i32 {
    let Some(scratch) = ENTROPY_SCRATCH.get_ptr_mut(0) else { return 0 };
    // SAFETY: this CPU's own, and nobody else is in it while the program runs.
    let packet = unsafe { &mut (*scratch).packet };
    let result = packet.read(&FarFrame(&TcContext::new(skb)));
    note(skb, packet, result)
}

/// Adds what the bytes do not say, or counts the packet as one that has no facts.
#[inline(always)]
fn note(skb: *mut __sk_buff, packet: &mut Packet, result: Result<(), Unfit>) -> i32 {
    let event = match result {
        Ok(()) => {
            // SAFETY: the context is valid while the program runs.
            let segments = unsafe { (*skb).gso_segs };
            packet.segments = if segments == 0 { 1 } else { segments };
            return 1;
        }
        Err(Unfit::NotIp) => Event::NotIp,
        Err(Unfit::NeighbourDiscovery) => Event::NeighbourDiscovery,
        Err(Unfit::Malformed) => Event::Malformed,
    };
    count(event);
    0
}

/// Does to a packet what was decided.
///
/// A global function, too: what stays on the stack of the caller while the packet is read leaves no
/// place for this (512 bytes for both).
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn entropy_apply(skb: *mut __sk_buff, direction: u32, slot: u32) -> i32 {
    let ctx = TcContext::new(skb);
    // SAFETY: the context is valid while the program runs.
    let key = HookKey { ifindex: unsafe { (*skb).ifindex }, direction };
    let Some(scratch) = ENTROPY_SCRATCH.get_ptr(0) else { return PASS };
    // SAFETY: this CPU's own, and nobody else is in it while the program runs.
    carry_out(&ctx, key, slot, unsafe { &*scratch })
}

/// Has the packet wait for the slots of its rules.
///
/// A global function, too, which finds the rules again: what happened before leads here in many ways.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn entropy_slots(set: u32, now_ns: u64) -> i32 {
    // SAFETY: as for `rule_set`; the caller has just found it.
    let Some(set) = (unsafe { ENTROPY_RULES.get(set) }) else { return 0 };
    let Some(scratch) = ENTROPY_SCRATCH.get_ptr_mut(0) else { return 0 };
    // The direction is for conditions, which have been looked at.
    let mut pass = Pass { set, scratch, now_ns, direction: Direction::Egress };
    let count = set.count.min(MAX_RULES as u32);
    let context = (&raw mut pass).cast::<c_void>();
    let steps = count * SLOT_STEPS as u32;
    // SAFETY: the callback takes what it is given here.
    unsafe { bpf_loop(steps, slot_step as *mut c_void, context, 0) };
    // SAFETY: this CPU's own, and nobody else is in it while the program runs.
    let Scratch { progress, verdict, .. } = unsafe { &mut *scratch };
    *verdict = progress.verdict(now_ns);
    0
}

/// The rules of a hook.
#[inline(always)]
pub(crate) fn rule_set(key: HookKey, hook: Hook) -> Option<&'static RuleSet> {
    // SAFETY: a set is removed a second after the last hook stopped pointing to it, so what is found
    // here is not written to while this program runs (see the daemon's datapath).
    let set = unsafe { ENTROPY_RULES.get(hook.set) };
    // The hook's own value may be recycled between the two look-ups; the set says whose it is.
    let fitting = set.filter(|set| set.hook == key);
    if fitting.is_none() {
        count(Event::Stale);
    }
    fitting
}

/// What the loop over the rules works on. It lives on the stack of the program, where the verifier
/// knows what the pointers point to.
struct Pass<'a> {
    set: &'a RuleSet,
    scratch: *mut Scratch,
    now_ns: u64,
    direction: Direction,
}

/// The shared passes, each rule's in the body of a loop that the verifier checks once.
///
/// Not inlined: what this needs on the stack must not be there while the packet is read.
#[inline(never)]
fn decide(set: &RuleSet, direction: Direction, scratch: *mut Scratch, now_ns: u64) {
    let mut pass = Pass { set, scratch, now_ns, direction };
    let count = set.count.min(MAX_RULES as u32);
    let context = (&raw mut pass).cast::<c_void>();
    // SAFETY: this CPU's own, and nobody else is in it while the program runs.
    let Scratch { progress, verdict, .. } = unsafe { &mut *scratch };
    progress.begin();
    let shield_count = set.shield_count.min(MAX_SHIELDS as u32);
    if shield_count != 0 {
        // SAFETY: the callback takes what it is given here.
        unsafe { bpf_loop(shield_count, shield_step as *mut c_void, context, 0) };
        if progress.shielded != 0 {
            crate::maps::count(Event::Shielded);
            *verdict = Verdict::default();
            return;
        }
    }
    if count == 1 {
        // What nearly every set has, and a loop costs.
        alone(&pass);
    } else {
        // SAFETY: the callback takes what it is given here.
        unsafe { bpf_loop(count, look_step as *mut c_void, context, 0) };
        if progress.must_delay() {
            // SAFETY: as above.
            unsafe { bpf_loop(count, delay_step as *mut c_void, context, 0) };
        }
    }
    progress.depart(now_ns, &Kernel);
    *verdict = progress.verdict(now_ns);
}

unsafe extern "C" fn shield_step(index: u64, pass: *mut Pass<'_>) -> i64 {
    // SAFETY: `decide` gives a valid one.
    let pass = unsafe { &*pass };
    let Some(shield) = pass.set.shields.get(index as usize) else { return 1 };
    // SAFETY: see `decide`.
    let Scratch { packet, progress, .. } = unsafe { &mut *pass.scratch };
    if !shields(shield, pass.direction, packet, &Kernel) {
        return 0;
    }
    progress.shielded = 1;
    1
}

#[inline(never)]
fn alone(pass: &Pass<'_>) {
    // SAFETY: see `decide`.
    let Scratch { packet, progress, .. } = unsafe { &mut *pass.scratch };
    let rule = &pass.set.rules[0];
    look_and_delay(rule, pass.direction, packet, pass.now_ns, &Kernel, progress);
}

unsafe extern "C" fn look_step(index: u64, pass: *mut Pass<'_>) -> i64 {
    // SAFETY: `decide` gives a valid one.
    let pass = unsafe { &*pass };
    let Some(rule) = pass.set.rules.get(index as usize) else { return 1 };
    // SAFETY: see `decide`.
    let Scratch { packet, progress, .. } = unsafe { &mut *pass.scratch };
    look(index as usize, rule, pass.direction, packet, pass.now_ns, &Kernel, progress);
    0
}

unsafe extern "C" fn delay_step(index: u64, pass: *mut Pass<'_>) -> i64 {
    // SAFETY: `decide` gives a valid one.
    let pass = unsafe { &*pass };
    let Some(rule) = pass.set.rules.get(index as usize) else { return 1 };
    // SAFETY: see `decide`.
    let Scratch { packet, progress, .. } = unsafe { &mut *pass.scratch };
    delay(index as usize, rule, packet, pass.now_ns, &Kernel, progress);
    0
}

/// As many for each rule as there are.
unsafe extern "C" fn slot_step(step: u64, pass: *mut Pass<'_>) -> i64 {
    let (index, step) = (step as usize / SLOT_STEPS, step as usize % SLOT_STEPS);
    // SAFETY: `decide` gives a valid one.
    let pass = unsafe { &*pass };
    let Some(rule) = pass.set.rules.get(index) else { return 1 };
    // SAFETY: see `decide`.
    let Scratch { packet, progress, .. } = unsafe { &mut *pass.scratch };
    take_slot(index, step, rule, packet, pass.now_ns, &Kernel, progress);
    0
}
