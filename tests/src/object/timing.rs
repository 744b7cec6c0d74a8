//! What delays need besides rules: the tables of distributions, and numbers for the hooks.

use std::sync::LazyLock;

use anyhow::{Context as _, Result};
use entropy_common::{
    fault::delay::{
        TABLE_ENTRIES,
        table::{Distribution, Table},
    },
    names,
    rule::HookKey,
};

use super::Object;

/// A table as it stands in the map.
pub(super) type Entries = [i32; TABLE_ENTRIES as usize];

/// The tables of the distributions that have a name, made once: each takes some milliseconds.
pub(super) fn named() -> &'static [Table] {
    static NAMED: LazyLock<Vec<Table>> =
        LazyLock::new(|| Distribution::ALL.into_iter().map(Distribution::table).collect());
    &NAMED
}

/// The number of a hook, which its packets carry through the line; never 0.
#[must_use]
pub const fn slot(hook: HookKey) -> u32 {
    hook.ifindex * 2 + hook.direction + 1
}

impl Object {
    /// Says which hook packets with this number belong to, or that none has it. Packets of a test run
    /// have the number 0, which no real one has.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_slot(&mut self, slot: u32, hook: Option<HookKey>) -> Result<()> {
        super::set(&mut self.hash(names::MAP_SLOTS)?, slot, hook.as_ref())
    }

    /// Writes tables of delays, numbered from 0.
    ///
    /// # Errors
    /// When there are more than the map takes, or the kernel refuses.
    pub fn set_tables(&mut self, tables: &[Table]) -> Result<()> {
        let mut map = self.array::<Entries>(names::MAP_TABLES)?;
        for (number, table) in (0_u32..).zip(tables) {
            let entries = <&Entries>::try_from(table.entries()).context("a table's length")?;
            map.set(number, entries, 0).with_context(|| format!("write table {number}"))?;
        }
        Ok(())
    }
}
