//! Which containers the guard keeps from being hit, and why.

use std::collections::BTreeMap;

use super::{Target, peers::identity};
use crate::{docker::Container, settings::Guard};

/// What the guard says of the containers that there are. Those that share a namespace are hit together or
/// not at all: what one of them is kept from, all are.
#[derive(Debug)]
pub(crate) struct Refusals<'a> {
    guard: &'a Guard,
    targets: &'a [Target],
    /// By the container that a namespace belongs to: one in it that must not be hit, and why.
    shared: BTreeMap<&'a str, (&'a str, String)>,
}

impl<'a> Refusals<'a> {
    pub(crate) fn new(guard: &'a Guard, targets: &'a [Target]) -> Self {
        let containers = || targets.iter().map(|target| &target.container);
        let mut shared = BTreeMap::new();
        for container in containers() {
            if let Some(reason) = guard.refusal(&container.labels) {
                let entry = shared.entry(identity(container, containers()));
                entry.or_insert((container.name.as_str(), reason));
            }
        }
        Self { guard, targets, shared }
    }

    /// Why a container must not be hit; `None` if it may.
    pub(crate) fn of(&self, container: &'a Container) -> Option<String> {
        let own = self.guard.refusal(&container.labels);
        own.or_else(|| {
            let all = self.targets.iter().map(|target| &target.container);
            let (name, reason) = self.shared.get(identity(container, all))?;
            Some(format!("it shares its network with {name}, and {reason}"))
        })
    }
}
