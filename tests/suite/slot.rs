//! Packets leave in slots, between namespaces: no daemon, no engine, only programs and devices.

use anyhow::{Context as _, Result};
use entropy_common::{
    fault::{
        delay::{Delay, MAX_DELAY_NS},
        slot::{NUMBER_BITS, Slot},
    },
    memory::Word,
    rule::{Direction, Rule},
};
use entropy_tests::{
    clock::now_ns,
    clocked::{COUNT, Clocked},
    needs_root,
    netns::{Line, Netns},
};

use crate::bridged::Bridged;

const SLOT_NS: u64 = 20_000_000;
const PACKETS: u32 = 4;
/// How many a burst takes.
const SLOTS: u64 = COUNT as u64 / PACKETS as u64;

#[test]
fn a_burst_leaves_in_slots_of_four_in_its_order() -> Result<()> {
    needs_root!();
    if !Netns::kernel_has_qdisc("fq")? {
        entropy_tests::skip!("needs the VM: sch_fq is missing in this kernel");
    }
    let mut host = Bridged::new()?.with_line(Line::WHOLE)?;
    let slot = Slot::new(Delay::constant(SLOT_NS), MAX_DELAY_NS, PACKETS, 0);
    host.rule(17, Rule { slot: slot.context("slots")?, ..Rule::NONE })?;
    for direction in Direction::ALL {
        let [from, to] = host.ends(direction);
        let way = Clocked::new(from, to, Bridged::target(direction, false))?;
        way.send()?;
        let arrivals: Vec<u64> = (0..COUNT as u64)
            .map(|number| {
                let came = way.receive(1)?;
                assert_eq!(came.first().map(|(number, _)| *number), Some(number), "out of order");
                Ok(now_ns())
            })
            .collect::<Result<_>>()?;
        let state = host.object.state(1 + direction as u32)?;
        assert_eq!((state.delayed, state.queue_dropped), (COUNT as u64, 0), "{state:?}");
        // They were sent faster than they leave: each slot was filled, and the next one is open.
        let word = state.memory.words[Word::Slot as usize];
        assert_eq!(word & ((1 << NUMBER_BITS) - 1), SLOTS + 1, "{state:?}");
        let begins_ns = |slot: u64| (word >> NUMBER_BITS) - SLOT_NS * (SLOTS - slot);
        for (slot, arrivals) in (0..).zip(arrivals.chunks(PACKETS as usize)) {
            assert!(arrivals.iter().all(|at| *at >= begins_ns(slot)), "slot {slot}: {arrivals:?}");
        }
        assert!(arrivals[0] < begins_ns(SLOTS - 1), "all in the last slot: {arrivals:?}");
        assert!(way.is_silent()?, "one came twice");
    }
    Ok(())
}
