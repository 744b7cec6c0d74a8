//! Every map, and how the programs count in them.

use core::{arch::asm, mem::offset_of};

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    macros::map,
    maps::{Array, HashMap, LpmTrie, PerCpuArray, lpm_trie::Key},
};
use entropy_common::{
    decide::{Environment, Tally},
    lease::Lease,
    peer::{PeerEntry, PeerKey},
    rule::{
        Hook, HookKey, Label, LabelKey, Line, MAX_HOOKS, MAX_PEERS, MAX_TOTAL_RULES, Owned, RuleSet,
    },
    stats::{Event, RuleState},
};

// Without BPF_F_NO_PREALLOC the maps would take their greatest size from the start: some 50 MB on a
// host with three containers.

#[map]
pub(crate) static ENTROPY_HOOKS: HashMap<HookKey, Hook> =
    HashMap::with_max_entries(MAX_HOOKS, BPF_F_NO_PREALLOC);

/// Twice as many as hooks, because a replaced set stays for a while.
#[map]
pub(crate) static ENTROPY_RULES: HashMap<u32, RuleSet> =
    HashMap::with_max_entries(2 * MAX_HOOKS, BPF_F_NO_PREALLOC);

#[map]
pub(crate) static ENTROPY_STATE: HashMap<u32, RuleState> =
    HashMap::with_max_entries(MAX_TOTAL_RULES, BPF_F_NO_PREALLOC);

#[map]
pub(crate) static ENTROPY_PEERS: LpmTrie<PeerKey, PeerEntry> =
    LpmTrie::with_max_entries(MAX_PEERS, 0);

#[map]
pub(crate) static ENTROPY_LEASE: Array<Lease> = Array::with_max_entries(1, 0);

#[map]
pub(crate) static ENTROPY_EVENTS: PerCpuArray<u64> =
    PerCpuArray::with_max_entries(Event::ALL.len() as u32, 0);

#[map]
pub(crate) static ENTROPY_LINE: Array<Line> = Array::with_max_entries(1, 0);

/// The daemon's notes for a cleanup after a crash; no program reads them.
#[map]
pub(crate) static ENTROPY_OWNED: HashMap<u32, Owned> =
    HashMap::with_max_entries(MAX_HOOKS, BPF_F_NO_PREALLOC);

/// Counts an event on this CPU.
#[inline(always)]
pub(crate) fn count(event: Event) {
    if let Some(counter) = ENTROPY_EVENTS.get_ptr_mut(event.index()) {
        // SAFETY: the pointer is to this CPU's own counter; programs of this type are not preempted
        // by one another on the same CPU within one increment that matters: a lost count of an
        // event is harmless, and rules are counted atomically.
        unsafe { *counter += 1 };
    }
}

/// Names for people who read the maps; no program reads them.
#[map]
pub(crate) static ENTROPY_LABELS: HashMap<LabelKey, Label> =
    HashMap::with_max_entries(MAX_TOTAL_RULES, BPF_F_NO_PREALLOC);

/// The maps, as decisions see them.
pub(crate) struct Kernel;

impl Environment for Kernel {
    type Tally = KernelTally;

    #[inline(always)]
    fn is_peer(&self, key: &PeerKey) -> bool {
        ENTROPY_PEERS
            .get(Key::new(PeerKey::BITS, *key))
            .is_some_and(|entry| *entry == PeerEntry::MEMBER)
    }

    #[inline(always)]
    fn tally(&self, rule: u32) -> Option<KernelTally> {
        let state = ENTROPY_STATE.get_ptr_mut(rule);
        if state.is_none() {
            count(Event::NoState);
        }
        state.map(KernelTally)
    }
}

/// A rule's counters in the map.
pub(crate) struct KernelTally(*mut RuleState);

impl KernelTally {
    /// Adds to the counter at an offset within the record, atomically over all CPUs, and returns what
    /// was there before.
    ///
    /// In assembly because rustc gives the BPF target no read-modify-write atomics (`atomic_cas` is
    /// false in its target description), though the instruction set has them from v3 on (Linux 5.12).
    #[inline(always)]
    fn add(&self, offset: usize, amount: u64) -> u64 {
        let counter = self.0.wrapping_byte_add(offset);
        let before;
        // SAFETY: the counter lies in a map value, which the kernel frees after the program's end at
        // the earliest, and everybody changes it with atomic operations.
        unsafe {
            asm!(
                "{amount} = atomic_fetch_add((u64 *)({counter} + 0), {amount})",
                counter = in(reg) counter,
                amount = inlateout(reg) amount => before,
                options(nostack, preserves_flags),
            );
        }
        before
    }
}

impl Tally for KernelTally {
    #[inline(always)]
    fn seen(&self) {
        self.add(offset_of!(RuleState, seen), 1);
    }

    #[inline(always)]
    fn matched(&self, bytes: u32) -> u64 {
        self.add(offset_of!(RuleState, matched_bytes), u64::from(bytes));
        self.add(offset_of!(RuleState, matched), 1)
    }

    #[inline(always)]
    fn lost(&self, bytes: u32) {
        self.add(offset_of!(RuleState, lost), 1);
        self.add(offset_of!(RuleState, lost_bytes), u64::from(bytes));
    }
}
