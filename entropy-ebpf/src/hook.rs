//! One packet on a container's veth: look up, look at, decide.

use aya_ebpf::{helpers::bpf_ktime_get_ns, programs::TcContext};
use aya_log_ebpf::debug;
use entropy_common::{
    decide::decide,
    packet::{Packet, Unfit},
    rule::{Direction, HookKey, RuleSet},
    stats::Event,
};

use crate::{
    apply::{PASS, lose},
    frame::SkbFrame,
    maps::{ENTROPY_HOOKS, ENTROPY_LEASE, ENTROPY_RULES, Kernel, count},
};

/// The verdict on a packet.
#[inline(always)]
pub(crate) fn classify(ctx: &TcContext, direction: Direction) -> i32 {
    // SAFETY: the context is valid while the program runs.
    let ifindex = unsafe { (*ctx.skb.skb).ifindex };
    let Some(set) = rule_set(HookKey::new(ifindex, direction)) else { return PASS };
    count(Event::Packet);
    // SAFETY: the helper has no conditions.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    if !ENTROPY_LEASE.get(0).is_some_and(|lease| lease.holds(now_ns)) {
        count(Event::LeaseExpired);
        return PASS;
    }
    let packet = match Packet::parse(&SkbFrame(ctx)) {
        Ok(packet) => packet,
        Err(unfit) => {
            count(match unfit {
                Unfit::NotIp => Event::NotIp,
                Unfit::NeighbourDiscovery => Event::NeighbourDiscovery,
                Unfit::Malformed => Event::Malformed,
            });
            return PASS;
        }
    };
    let verdict = decide(set, direction, &packet, now_ns, &Kernel);
    if !verdict.lost {
        return PASS;
    }
    debug!(ctx, "ifindex {} direction {}: lost {} bytes", ifindex, direction as u32, packet.length);
    lose(ctx, direction)
}

/// The rules of a hook. One look-up where there are none.
#[inline(always)]
fn rule_set(key: HookKey) -> Option<&'static RuleSet> {
    // SAFETY: the value is copied at once, and what it may have become by then is checked below.
    let hook = unsafe { ENTROPY_HOOKS.get(key) }?;
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
