//! Every map, and how the programs count in them.

use core::arch::asm;

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    macros::map,
    maps::{Array, HashMap, LpmTrie, PerCpuArray, lpm_trie::Key},
};
use entropy_common::{
    decide::{Environment, Scratch, Tally},
    fault::delay::{MAX_TABLES, TABLE_ENTRIES, Tables},
    lease::Lease,
    memory::{Memory, Word},
    peer::{PeerEntry, PeerKey},
    rule::{
        Hook, HookKey, Label, LabelKey, Line, MAX_HOOKS, MAX_PEERS, MAX_TOTAL_RULES, Owned, RuleSet,
    },
    stats::{BUCKETS, Counter, Event, RuleState},
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
pub(crate) static ENTROPY_TABLES: Array<[i32; TABLE_ENTRIES as usize]> =
    Array::with_max_entries(MAX_TABLES, 0);

#[map]
pub(crate) static ENTROPY_SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

#[map]
pub(crate) static ENTROPY_LEASE: Array<Lease> = Array::with_max_entries(1, 0);

#[map]
pub(crate) static ENTROPY_EVENTS: PerCpuArray<u64> =
    PerCpuArray::with_max_entries(Event::ALL.len() as u32, 0);

#[map]
pub(crate) static ENTROPY_LINE: Array<Line> = Array::with_max_entries(1, 0);

/// Where packets that come out of the line go on to.
#[map]
pub(crate) static ENTROPY_SLOTS: HashMap<u32, HookKey> =
    HashMap::with_max_entries(MAX_HOOKS, BPF_F_NO_PREALLOC);

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

/// A number of an entry, made to be one of those that a table has.
///
/// In assembly because the compiler may find the mask needless, and the verifier of Linux 6.1, which
/// cannot follow the arithmetic before it, needs it.
#[inline(always)]
fn entry_number(index: u32) -> usize {
    let mut number = u64::from(index);
    // SAFETY: it changes the register only.
    unsafe {
        asm!(
            "{number} &= {mask}",
            number = inout(reg) number,
            mask = const TABLE_ENTRIES - 1,
            options(nomem, nostack, preserves_flags),
        );
    }
    number as usize
}

/// The maps, as decisions see them.
pub(crate) struct Kernel;

impl Tables for Kernel {
    #[inline(always)]
    fn table_entry(&self, table: u32, index: u32) -> i32 {
        let number = entry_number(index);
        ENTROPY_TABLES.get(table).and_then(|entries| entries.get(number)).map_or(0, |entry| *entry)
    }
}

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

/// Adds, atomically over all CPUs, and returns what was there before.
///
/// In assembly because rustc gives the BPF target no read-modify-write atomics (`atomic_cas` is
/// false in its target description), though the instruction set has them from v3 on (Linux 5.12).
///
/// # Safety
/// `counter` must point to an aligned u64 of a map value that stays valid until the program ends.
#[inline(always)]
unsafe fn add(counter: *mut u64, amount: u64) -> u64 {
    let before;
    // SAFETY: the caller vouches for the pointer; kernel and other CPUs use atomic operations too.
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

/// Puts `new` where `old` is expected, atomically; returns what was there.
///
/// # Safety
/// As for [`add`].
#[inline(always)]
unsafe fn compare_exchange(word: *mut u64, old: u64, new: u64) -> u64 {
    let before;
    // SAFETY: as in `add`. `cmpxchg` compares with and answers in r0.
    unsafe {
        asm!(
            "r0 = cmpxchg_64({word} + 0, r0, {new})",
            word = in(reg) word,
            new = in(reg) new,
            inlateout("r0") old => before,
            options(nostack, preserves_flags),
        );
    }
    before
}

/// Puts the step from `old` in its place; tries again with what it finds there instead, four times
/// in all.
///
/// Written out and not a loop: the verifier of Linux 6.1 would follow the loop's counter, and every
/// number that it knows at that point, as part of the state.
///
/// # Safety
/// As for [`add`].
#[inline(always)]
unsafe fn try_step(place: *mut u64, mut old: u64, step: &impl Fn(u64) -> u64) -> u64 {
    macro_rules! attempt {
        () => {
            // SAFETY: the caller vouches for the pointer.
            let seen = unsafe { compare_exchange(place, old, step(old)) };
            if seen == old {
                return old;
            }
            old = seen;
        };
    }
    attempt!();
    attempt!();
    attempt!();
    attempt!();
    old
}

impl Memory for KernelTally {
    #[inline(always)]
    fn update(&self, word: Word, step: impl Fn(u64) -> u64) -> u64 {
        // SAFETY: the field lies within the map value.
        let place = unsafe { (&raw mut (*self.0).memory.words).cast::<u64>() };
        // SAFETY: words are numbered below their count.
        let place = unsafe { place.add(word as usize) };
        // SAFETY: as above.
        let old = unsafe { place.read_volatile() };
        // SAFETY: as above.
        unsafe { try_step(place, old, &step) }
    }
}

impl Tally for KernelTally {
    #[inline(always)]
    fn add(&self, counter: Counter, amount: u64) -> u64 {
        // SAFETY: counters are numbered by their place in the record.
        let place = unsafe { self.0.cast::<u64>().add(counter as usize) };
        // SAFETY: it lies within the map value, which the kernel frees after the program's end at
        // the earliest.
        unsafe { add(place, amount) }
    }

    #[inline(always)]
    fn add_delay(&self, bucket: u32) {
        // SAFETY: the field lies within the map value.
        let buckets = unsafe { (&raw mut (*self.0).delays).cast::<u64>() };
        // SAFETY: the mask keeps it within the array.
        let place = unsafe { buckets.add(bucket as usize & (BUCKETS - 1)) };
        // SAFETY: as above.
        unsafe { add(place, 1) };
    }
}
