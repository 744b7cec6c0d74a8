//! A host that changes by chance: containers come, go, restart, share namespaces and change their
//! addresses, policies are edited.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::Path,
};

use proptest::prelude::*;

use crate::{
    docker::{Container, NetworkMode},
    endpoints::{
        of_container,
        testing::{attachment, container, link, on, veth},
    },
    netlink::{Link, NetnsId},
    plan::{Plan, Target, plan},
    policy::{Policy, parse},
    settings::Guard,
};

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
const LABELS: [&str; 4] = ["app=web", "app=db", "app=web,tier", "app=db,tier"];
const NETWORKS: [&str; 3] = ["0", "1", "2"];
const TARGETS: [&str; 3] = ["app=web", "app=db", "tier"];
const PEERS: [&str; 5] = [
    "",
    "peer = 'app=db'",
    "peer = 'tier'",
    "peer = 'app=gone'",
    "peer = ['10.0.0.0/8', 'fd00::1']",
];
const DIRECTIONS: [&str; 3] = ["egress", "ingress", "both"];

/// One change.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Nothing,
    /// A container starts, or restarts: with new interfaces on these networks.
    Start {
        who: usize,
        labels: usize,
        networks: [bool; 3],
    },
    /// A container starts in the namespace of another.
    Join {
        who: usize,
        labels: usize,
        owner: usize,
    },
    HostNetwork {
        who: usize,
        labels: usize,
    },
    Stop {
        who: usize,
    },
    NewAddresses {
        who: usize,
    },
    Edit(Vec<Draft>),
}

/// A policy; its name is its place in the file.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    target: usize,
    peer: usize,
    direction: usize,
    loss_percent: u8,
}

fn draft() -> impl Strategy<Value = Draft> {
    (0..TARGETS.len(), 0..PEERS.len(), 0..DIRECTIONS.len(), 1..4_u8).prop_map(
        |(target, peer, direction, loss_percent)| Draft { target, peer, direction, loss_percent },
    )
}

/// Any change.
pub(super) fn change() -> impl Strategy<Value = Change> {
    let (who, labels) = (0..NAMES.len(), 0..LABELS.len());
    prop_oneof![
        1 => Just(Change::Nothing),
        6 => (who.clone(), labels.clone(), any::<[bool; 3]>())
            .prop_map(|(who, labels, networks)| Change::Start { who, labels, networks }),
        1 => (who.clone(), labels.clone(), who.clone())
            .prop_map(|(who, labels, owner)| Change::Join { who, labels, owner }),
        1 => (who.clone(), labels).prop_map(|(who, labels)| Change::HostNetwork { who, labels }),
        2 => who.clone().prop_map(|who| Change::Stop { who }),
        2 => who.prop_map(|who| Change::NewAddresses { who }),
        4 => prop::collection::vec(draft(), 0..5).prop_map(Change::Edit),
        // More than a hook takes.
        1 => prop::collection::vec(draft(), 17..25).prop_map(Change::Edit),
    ]
}

/// The host as it is.
#[derive(Debug, Default)]
pub(super) struct Host {
    containers: BTreeMap<usize, Container>,
    links: Vec<Link>,
    policies: Vec<Policy>,
    last_index: u32,
    last_address: u8,
}

impl Host {
    /// Changes something.
    pub(super) fn change(&mut self, change: &Change) {
        match *change {
            Change::Nothing => {}
            Change::Start { who, labels, networks } => self.start(who, labels, networks),
            Change::Join { who, labels, owner } => {
                let mode = NetworkMode::Container(NAMES[owner].into());
                self.stop(who);
                let container = container(NAMES[who], LABELS[labels]);
                self.containers.insert(who, Container { network_mode: mode, ..container });
            }
            Change::HostNetwork { who, labels } => {
                self.stop(who);
                let container = container(NAMES[who], LABELS[labels]);
                let container = Container { network_mode: NetworkMode::Host, ..container };
                self.containers.insert(who, container);
            }
            Change::Stop { who } => self.stop(who),
            Change::NewAddresses { who } => {
                let mut last = self.last_address;
                let container = self.containers.get_mut(&who);
                for network in container.into_iter().flat_map(|c| &mut c.attachments) {
                    last = last.wrapping_add(1);
                    network.addresses = addresses(last);
                }
                self.last_address = last;
            }
            Change::Edit(ref drafts) => self.policies = policies(drafts),
        }
    }

    fn start(&mut self, who: usize, labels: usize, networks: [bool; 3]) {
        self.stop(who);
        let mut attachments = Vec::new();
        for (number, name) in NETWORKS.into_iter().enumerate().filter(|(n, _)| networks[*n]) {
            self.last_index += 1;
            self.last_address = self.last_address.wrapping_add(1);
            self.links.push(veth(100 + self.last_index, who as i32, Some(number as u32 + 1)));
            let mut attachment = attachment(name, name, &[]);
            attachment.addresses = addresses(self.last_address);
            attachments.push(attachment);
        }
        self.containers.insert(who, on(container(NAMES[who], LABELS[labels]), &attachments));
    }

    fn stop(&mut self, who: usize) {
        self.containers.remove(&who);
        self.links.retain(|link| link.peer_netns != Some(who as i32));
    }

    /// What should be in the kernel.
    pub(super) fn plan(&self) -> Plan {
        let bridge = |number: usize| link(number as u32 + 1, &format!("br-{number}"), "bridge");
        let links: Vec<_> = (0..3).map(bridge).chain(self.links.iter().cloned()).collect();
        let target = |(who, container): (&usize, &Container)| {
            let owner = match &container.network_mode {
                NetworkMode::Container(owner) => NAMES.iter().position(|name| name == owner),
                _ => None,
            };
            let netns = NetnsId::Id(owner.unwrap_or(*who) as i32);
            let reach = of_container(container, Some(netns), &links);
            Target { container: container.clone(), reach, coming: Vec::new() }
        };
        let targets: Vec<_> = self.containers.iter().map(target).collect();
        let mut plan = plan(&self.policies, &targets, 1, &Guard::default(), &BTreeSet::new());
        // The host's own addresses come and go with its containers.
        let addresses = (0..self.containers.len() as u8).map(|n| IpAddr::from([192, 0, 2, n]));
        plan.shield(&Guard::default(), &addresses.collect());
        plan
    }
}

fn addresses(number: u8) -> Vec<IpAddr> {
    let v6 = format!("fd00::{number:x}");
    vec![[10, 0, 0, number].into(), v6.parse().unwrap()]
}

fn policies(drafts: &[Draft]) -> Vec<Policy> {
    let text = |(number, draft): (usize, &Draft)| {
        let Draft { target, peer, direction, loss_percent } = *draft;
        // Some with a table of their own.
        let delay = match (peer, loss_percent) {
            (0..3, 2..) => format!("delay = {{ p50 = '{loss_percent}ms', p99 = '9{peer}ms' }}\n"),
            _ => String::new(),
        };
        format!(
            "[[policy]]\nname = 'p{number}'\ntarget = '{}'\nmatch = {{ {} }}\ndirection = '{}'\n\
             loss = '{loss_percent}%'\n{delay}",
            TARGETS[target],
            if PEERS[peer].is_empty() { "protocol = 'tcp'" } else { PEERS[peer] },
            DIRECTIONS[direction],
        )
    };
    let text: String = drafts.iter().enumerate().map(text).collect();
    parse(Path::new("test.toml"), text.as_bytes()).unwrap_or_else(|problems| panic!("{problems}"))
}
