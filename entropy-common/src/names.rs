//! Names that the kernel sees: maps, programs, filters, devices, pins.
//!
//! The eBPF object is compared with these by a test, so that a rename on one side fails there and
//! not on a user's host.

/// Directory of this layout's pinned maps. The version counts changes of the records in this crate:
/// a daemon never reads the maps of another layout.
pub const PIN_DIR: &str = "/sys/fs/bpf/entropy/v5";

/// Hook to rule set: [`HookKey`](crate::rule::HookKey) -> [`Hook`](crate::rule::Hook).
pub const MAP_HOOKS: &str = "ENTROPY_HOOKS";
/// Rule set number to [`RuleSet`](crate::rule::RuleSet).
pub const MAP_RULES: &str = "ENTROPY_RULES";
/// Rule number to [`RuleState`](crate::stats::RuleState).
pub const MAP_STATE: &str = "ENTROPY_STATE";
/// Peer groups: longest-prefix match of [`PeerKey`](crate::peer::PeerKey) ->
/// [`PeerEntry`](crate::peer::PeerEntry).
pub const MAP_PEERS: &str = "ENTROPY_PEERS";
/// The one [`Lease`](crate::lease::Lease).
pub const MAP_LEASE: &str = "ENTROPY_LEASE";
/// Per-CPU event counters, indexed by [`Event`](crate::stats::Event).
pub const MAP_EVENTS: &str = "ENTROPY_EVENTS";
/// The one [`Line`](crate::rule::Line).
pub const MAP_LINE: &str = "ENTROPY_LINE";
/// What the daemon has put on interfaces: ifindex -> [`Owned`](crate::rule::Owned). Only user space
/// reads it.
pub const MAP_OWNED: &str = "ENTROPY_OWNED";
/// Names for people: [`LabelKey`](crate::rule::LabelKey) -> [`Label`](crate::rule::Label). Only user
/// space reads it.
pub const MAP_LABELS: &str = "ENTROPY_LABELS";

/// Delay distributions: table number to [`TABLE_ENTRIES`](crate::fault::delay::TABLE_ENTRIES) values.
pub const MAP_TABLES: &str = "ENTROPY_TABLES";
/// What a program knows of its packet, per CPU. Means nothing outside a program.
pub const MAP_SCRATCH: &str = "ENTROPY_SCRATCH";
/// Number of a hook to [`HookKey`](crate::rule::HookKey): where packets that waited in the line go
/// on to.
pub const MAP_SLOTS: &str = "ENTROPY_SLOTS";

/// Pin of the link that holds [`PROGRAM_EXIT`], where the kernel has links: packets that wait when the
/// daemon is killed still find their way out.
pub const LINK_EXIT: &str = "exit_link";

/// The same for [`PROGRAM_WIRE`].
pub const LINK_WIRE: &str = "wire_link";

/// Every pin of a link.
pub const LINKS: [&str; 2] = [LINK_EXIT, LINK_WIRE];

/// Every map of the object that is pinned.
pub const MAPS: [&str; 12] = [
    MAP_HOOKS,
    MAP_RULES,
    MAP_STATE,
    MAP_PEERS,
    MAP_LEASE,
    MAP_EVENTS,
    MAP_LINE,
    MAP_OWNED,
    MAP_LABELS,
    MAP_TABLES,
    MAP_SCRATCH,
    MAP_SLOTS,
];

/// Classifier on the ingress hook of a host veth: packets from the container (its egress).
pub const PROGRAM_FROM: &str = "entropy_from";
/// Classifier on the egress hook of a host veth: packets to the container (its ingress).
pub const PROGRAM_TO: &str = "entropy_to";
/// Classifier on the hook of [`LINE_EXIT`] that meets what is sent into the line.
pub const PROGRAM_EXIT: &str = "entropy_exit";
/// Classifier on the ingress hook of [`WIRE_EXIT`].
pub const PROGRAM_WIRE: &str = "entropy_wire";

/// Every program of the object.
pub const PROGRAMS: [&str; 4] = [PROGRAM_FROM, PROGRAM_TO, PROGRAM_EXIT, PROGRAM_WIRE];

/// Priority of our clsact filters. Low, so that they see a packet before a foreign filter ends its
/// way, but not the lowest, which others like to take.
pub const FILTER_PRIORITY: u16 = 5;
/// Handle of our clsact filters.
pub const FILTER_HANDLE: u32 = 0xe;

/// Entrance of the line: where classifiers send packets.
pub const LINE_ENTRANCE: &str = "entropy0";
/// Exit of the line: the device below the entrance, or its veth peer.
pub const LINE_EXIT: &str = "entropy1";
/// Entrance of the wire: what crosses it becomes frames as on a physical link.
pub const WIRE_ENTRANCE: &str = "entropy2";
/// Exit of the wire, the entrance's veth peer.
pub const WIRE_EXIT: &str = "entropy3";

/// Longest name of a map or program, without the terminating zero (`BPF_OBJ_NAME_LEN - 1`,
/// include/uapi/linux/bpf.h).
pub const OBJECT_NAME_MAX: usize = 15;
/// Longest name of an interface, without the terminating zero (`IFNAMSIZ - 1`).
pub const INTERFACE_NAME_MAX: usize = 15;

const fn all_fit(names: &[&str], longest: usize) -> bool {
    let mut index = 0;
    while index < names.len() {
        if names[index].is_empty() || names[index].len() > longest {
            return false;
        }
        index += 1;
    }
    true
}

const _: () = {
    assert!(all_fit(&MAPS, OBJECT_NAME_MAX));
    assert!(all_fit(&PROGRAMS, OBJECT_NAME_MAX));
    assert!(all_fit(&[LINE_ENTRANCE, LINE_EXIT, WIRE_ENTRANCE, WIRE_EXIT], INTERFACE_NAME_MAX));
};
