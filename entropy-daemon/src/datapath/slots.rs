//! Numbers of hooks, which their packets carry through the line.

use std::collections::{HashMap, HashSet};

use entropy_common::rule::{HookKey, MAX_HOOKS};

use super::Error;

/// Which hook has which number.
#[derive(Debug, Default)]
pub(super) struct Slots {
    of: HashMap<HookKey, u32>,
    /// Those of hooks and those that packets may still carry.
    taken: HashSet<u32>,
    last: u32,
}

impl Slots {
    /// The numbers that hooks have, and others that packets may still carry.
    pub(super) fn recovered(
        of: HashMap<HookKey, u32>,
        left: impl IntoIterator<Item = u32>,
    ) -> Self {
        let taken: HashSet<u32> = of.values().copied().chain(left).collect();
        let last = taken.iter().copied().max().unwrap_or_default();
        Self { of, taken, last }
    }

    /// The number of a hook, a new one if it has none. Numbers go round, so that one comes back as
    /// late as possible.
    pub(super) fn of(&mut self, hook: HookKey) -> Result<u32, Error> {
        if let Some(slot) = self.of.get(&hook) {
            return Ok(*slot);
        }
        let free = (1..=MAX_HOOKS)
            .map(|step| (self.last + step - 1) % MAX_HOOKS + 1)
            .find(|slot| !self.taken.contains(slot));
        let Some(slot) = free else {
            return Err(Error::Other(anyhow::anyhow!(
                "all {MAX_HOOKS} numbers of hooks are taken"
            )));
        };
        self.last = slot;
        self.taken.insert(slot);
        self.of.insert(hook, slot);
        Ok(slot)
    }

    /// The hook has no rules any more. Returns the number that its packets may still carry.
    pub(super) fn leave(&mut self, hook: HookKey) -> Option<u32> {
        self.of.remove(&hook)
    }

    /// No packet carries the number any more.
    pub(super) fn free(&mut self, slot: u32) {
        self.taken.remove(&slot);
    }
}

#[cfg(test)]
mod tests {
    use entropy_common::rule::Direction;

    use super::*;

    fn hook(ifindex: u32) -> HookKey {
        HookKey::new(ifindex, Direction::Egress)
    }

    #[test]
    fn recovered_numbers_are_kept_and_those_left_are_given_to_nobody_before_they_are_free() {
        let mut slots = Slots::recovered([(hook(7), MAX_HOOKS)].into(), [1]);
        assert_eq!(slots.of(hook(7)).unwrap(), MAX_HOOKS);
        assert_eq!(slots.of(hook(8)).unwrap(), 2, "after the last one comes 1, which is taken");
        slots.free(1);
        assert_eq!(slots.of(hook(9)).unwrap(), 3);
    }

    #[test]
    fn a_number_is_kept_and_never_shared_while_packets_may_carry_it() {
        let mut slots = Slots::default();
        assert_eq!(slots.of(hook(7)).unwrap(), 1);
        assert_eq!(slots.of(hook(7)).unwrap(), 1);
        assert_eq!(slots.of(hook(8)).unwrap(), 2);
        assert_eq!(slots.leave(hook(7)), Some(1));
        assert_eq!(slots.leave(hook(7)), None);
        for ifindex in 10..10 + MAX_HOOKS - 2 {
            assert!(slots.of(hook(ifindex)).unwrap() > 2);
        }
        assert!(slots.of(hook(7)).is_err(), "number 1 waits for its packets");
        slots.free(1);
        assert_eq!(slots.of(hook(7)).unwrap(), 1);
    }
}
