//! Rules: the kernel's record of injections.

mod matcher;

pub use self::matcher::{
    ANY_ICMP, ANY_PAYLOAD, ANY_PROTOCOL, Match, WITH_PAYLOAD, WITHOUT_PAYLOAD,
};
use crate::{
    fault::{
        corrupt::Corrupt, delay::Delay, duplicate::Duplicate, loss::Loss, partition::Partition,
        rate::Rate, reorder::Reorder, slot::Slot,
    },
    record,
};

/// Most rules that one hook can have.
pub const MAX_RULES: usize = 16;
/// Most shields that one hook can have.
pub const MAX_SHIELDS: usize = 4;
/// Most hooks of a host.
pub const MAX_HOOKS: u32 = 65_534;
/// What a packet carries in `skb->tc_index` into the line when it is to be freed at the exit. No hook
/// has this number.
pub const SINK: u16 = u16::MAX;
/// Most rules of a host, over all hooks.
pub const MAX_TOTAL_RULES: u32 = 65_536;
/// Most addresses and networks of a host's peer groups, over all groups.
pub const MAX_PEERS: u32 = 65_536;

/// The way of a packet, as the container sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Direction {
    /// From the container: the ingress hook of its host veth.
    Egress = 0,
    /// To the container: the egress hook of its host veth.
    Ingress = 1,
}

impl Direction {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Egress, Self::Ingress];

    /// The name that policies and tables use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Egress => "egress",
            Self::Ingress => "ingress",
        }
    }

    /// The direction with this number, if it is one.
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Egress),
            1 => Some(Self::Ingress),
            _ => None,
        }
    }
}

record! {
    /// One direction of one interface.
    #[derive(PartialOrd, Ord)]
    pub struct HookKey {
        /// The host veth.
        pub ifindex: u32,
        /// [`Direction`] as a number.
        pub direction: u32,
    }
}

impl HookKey {
    /// The key of a direction of an interface.
    #[inline(always)]
    #[must_use]
    pub const fn new(ifindex: u32, direction: Direction) -> Self {
        Self { ifindex, direction: direction as u32 }
    }
}

record! {
    /// What is on a hook. Rules are replaced by pointing to another set, in one write.
    pub struct Hook {
        /// Number of the rule set.
        pub set: u32,
        /// Number of the hook, 1 to [`MAX_HOOKS`], which its packets carry through line and wire.
        pub slot: u32,
    }
}

record! {
    /// An injection, for one direction.
    pub struct Rule {
        /// Start of the time in force, in nanoseconds of `CLOCK_MONOTONIC`.
        pub active_from_ns: u64,
        /// End of the time in force, exclusive; `u64::MAX` for none.
        pub active_until_ns: u64,
        /// Seed of all its decisions.
        pub seed: u64,
        /// Delay.
        pub delay: Delay,
        /// Reordering.
        pub reorder: Reorder,
        /// Loss.
        pub loss: Loss,
        /// Bandwidth.
        pub rate: Rate,
        /// Slots.
        pub slot: Slot,
        /// Number of the rule, key of its [`RuleState`](crate::stats::RuleState).
        pub id: u32,
        /// Which packets.
        pub matcher: Match,
        /// Duplicates.
        pub duplicate: Duplicate,
        /// Damage.
        pub corrupt: Corrupt,
        /// Partition.
        pub partition: Partition,
        #[doc(hidden)]
        pub _pad: u32,
    }
}

impl Rule {
    /// A rule that is always in force, matches every packet and does nothing.
    pub const NONE: Self = Self {
        active_from_ns: 0,
        active_until_ns: u64::MAX,
        seed: 0,
        id: 0,
        matcher: Match::ALL,
        delay: Delay::NONE,
        reorder: Reorder::NONE,
        loss: Loss::NONE,
        rate: Rate::NONE,
        slot: Slot::NONE,
        duplicate: Duplicate::NONE,
        corrupt: Corrupt::NONE,
        partition: Partition::NONE,
        _pad: 0,
    };

    /// Whether the rule is in force at `now_ns`.
    #[inline(always)]
    #[must_use]
    pub const fn in_force(&self, now_ns: u64) -> bool {
        self.active_from_ns <= now_ns && now_ns < self.active_until_ns
    }

    /// Whether it can make a packet leave at another time.
    #[inline(always)]
    #[must_use]
    pub const fn is_timed(&self) -> bool {
        self.delay.acts() || self.reorder.acts() || self.rate.acts() || self.slot.acts()
    }

    /// Whether its packets cross the wire, where it decides about each frame.
    #[inline(always)]
    #[must_use]
    pub const fn is_wired(&self) -> bool {
        self.corrupt.acts() || self.loss.is_by_segment()
    }
}

record! {
    /// The rules of a hook, in the order of their policies.
    pub struct RuleSet {
        /// The hook that the set was made for. A program that finds another here has read a set
        /// that was just replaced, and lets the packet pass.
        pub hook: HookKey,
        /// How many of `rules` are used, at most [`MAX_RULES`].
        pub count: u32,
        /// How many of `shields` are used, at most [`MAX_SHIELDS`].
        pub shield_count: u32,
        /// The rules; the unused ones are [`Rule::NONE`].
        pub rules: [Rule; MAX_RULES],
        /// Packets that meet no rule and pass; the unused ones are [`Match::ALL`].
        pub shields: [Match; MAX_SHIELDS],
    }
}

impl RuleSet {
    /// The set of a hook. `None` for more than [`MAX_RULES`] rules.
    #[must_use]
    pub fn new(hook: HookKey, rules: &[Rule]) -> Option<Self> {
        let mut all = [Rule::NONE; MAX_RULES];
        all.get_mut(..rules.len())?.copy_from_slice(rules);
        let count = rules.len() as u32;
        Some(Self { hook, count, shield_count: 0, rules: all, shields: [Match::ALL; MAX_SHIELDS] })
    }

    /// The set with shields. `None` for more than [`MAX_SHIELDS`].
    #[must_use]
    pub fn with_shields(mut self, shields: &[Match]) -> Option<Self> {
        self.shields.get_mut(..shields.len())?.copy_from_slice(shields);
        self.shield_count = shields.len() as u32;
        Some(self)
    }

    /// The rules that are used.
    #[must_use]
    pub fn used(&self) -> &[Rule] {
        &self.rules[..(self.count as usize).min(MAX_RULES)]
    }

    /// The shields that are used.
    #[must_use]
    pub fn used_shields(&self) -> &[Match] {
        &self.shields[..(self.shield_count as usize).min(MAX_SHIELDS)]
    }
}

record! {
    /// The line and the wire, as the programs need to know them.
    pub struct Line {
        /// ifindex of the line's entrance; 0 while there is none.
        pub entrance: u32,
        /// ifindex of the wire's entrance; 0 while there is none.
        pub wire: u32,
        /// 1 where the line's queue takes packets from their owners; 0 where copies have to wait in it.
        pub disowns: u32,
    }
}

record! {
    /// What the daemon put on an interface. Written before it is done, so that a cleanup after a
    /// crash knows at least as much as was done.
    pub struct Owned {
        /// 1 when the interface had no clsact qdisc before ours.
        pub clsact: u32,
    }
}

/// Bytes of [`Label::name`].
pub const LABEL_NAME: usize = 64;
/// Bytes of [`Label::subject`].
pub const LABEL_SUBJECT: usize = 128;

/// What a [`Label`] is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Labelled {
    /// A rule: name of the policy, name of the container.
    Rule = 0,
    /// A peer group: as the policy wrote it.
    PeerGroup = 1,
}

record! {
    /// Key of a [`Label`].
    pub struct LabelKey {
        /// [`Labelled`] as a number.
        pub kind: u32,
        /// Number of the rule or peer group.
        pub number: u32,
    }
}

record! {
    /// What people call a number, so that the maps can be read without the daemon. No program reads
    /// it.
    pub struct Label {
        /// UTF-8, cut at a character and filled up with zeros.
        pub name: [u8; LABEL_NAME],
        /// UTF-8, cut at a character and filled up with zeros.
        pub subject: [u8; LABEL_SUBJECT],
    }
}

impl Label {
    /// A label; what is too long is cut.
    #[must_use]
    pub fn new(name: &str, subject: &str) -> Self {
        Self { name: filled(name), subject: filled(subject) }
    }

    /// The name and the subject.
    #[must_use]
    pub fn texts(&self) -> (&str, &str) {
        (text(&self.name), text(&self.subject))
    }
}

fn filled<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    let length = text.floor_char_boundary(N);
    bytes[..length].copy_from_slice(&text.as_bytes()[..length]);
    bytes
}

fn text(bytes: &[u8]) -> &str {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    core::str::from_utf8(&bytes[..end]).unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_cut_at_a_character() {
        // Two bytes each, after one of one byte: the 64th byte is in the middle of a character.
        const LONG: &str = "aäääääääääääääääääääääääääääääääääääääää";
        let label = Label::new(LONG, "web");
        assert_eq!(label.texts(), (&LONG[..63], "web"));
        assert_eq!(Label::new("", "").texts(), ("", ""));
    }
}
