use std::slice;

use super::{
    testing::{attachment, container, link, on, veth},
    *,
};
use crate::docker::State;

const NETNS: i32 = 4;
const DOCKER0: u32 = 3;
const FRONT: u32 = 20;
const BACK: u32 = 21;
const GATEWAY_BRIDGE: u32 = 23;

/// Docker's default bridge, two networks of users, and one whose bridge has a name of its own.
fn bridges() -> Vec<Link> {
    vec![
        link(1, "lo", "loopback"),
        link(DOCKER0, "docker0", "bridge"),
        link(FRONT, "br-aaaaaaaaaaaa", "bridge"),
        link(BACK, "br-bbbbbbbbbbbb", "bridge"),
        link(22, "own-bridge", "bridge"),
        link(GATEWAY_BRIDGE, "docker_gwbridge", "bridge"),
    ]
}

fn default_network() -> Attachment {
    attachment("bridge", "dddddddddddddd", &["172.17.0.2"])
}

fn front() -> Attachment {
    attachment("front", "aaaaaaaaaaaaaa", &["172.18.0.2"])
}

fn back() -> Attachment {
    attachment("back", "bbbbbbbbbbbbbb", &["172.19.0.2"])
}

/// Interface and network of each endpoint of a container in namespace [`NETNS`].
fn found(container: &Container, veths: &[Link]) -> Vec<(u32, String)> {
    let links = [bridges(), veths.to_vec()].concat();
    match of_container(container, Some(NetnsId::Id(NETNS)), &links) {
        Reach::Endpoints(endpoints) => endpoints
            .into_iter()
            .map(|endpoint| {
                assert_eq!(endpoint.container, container.id);
                assert_eq!(endpoint.interface.name, format!("veth{}", endpoint.interface.index));
                (endpoint.interface.index, endpoint.network)
            })
            .collect(),
        Reach::Unsupported(reason) => panic!("unsupported: {reason}"),
    }
}

fn reason(container: &Container, netns: Option<NetnsId>, links: &[Link]) -> String {
    match of_container(container, netns, links) {
        Reach::Unsupported(reason) => reason,
        Reach::Endpoints(endpoints) => panic!("not unsupported but {endpoints:?}"),
    }
}

#[test]
fn only_veths_into_the_containers_namespace_are_its_endpoints() {
    let web = on(container("web", ""), &[default_network()]);
    let other_kind = Link { kind: Some("vxlan".into()), ..veth(31, NETNS, Some(DOCKER0)) };
    let no_kind = Link { kind: None, ..veth(32, NETNS, Some(DOCKER0)) };
    let on_this_side = Link { peer_netns: None, ..veth(33, NETNS, None) };
    let veths = [
        other_kind,
        no_kind,
        on_this_side,
        veth(34, NETNS + 1, Some(DOCKER0)),
        veth(35, -1, Some(DOCKER0)),
        veth(36, NETNS, Some(DOCKER0)),
    ];
    assert_eq!(found(&web, &veths), [(36, "bridge".into())]);
}

#[test]
fn the_networks_of_a_container_are_told_by_their_bridges() {
    let web = on(container("web", ""), &[back(), default_network(), front()]);
    let veths =
        [veth(40, NETNS, Some(FRONT)), veth(41, NETNS, Some(DOCKER0)), veth(42, NETNS, Some(BACK))];
    let expected = [(40, "front".into()), (41, "bridge".into()), (42, "back".into())];
    assert_eq!(found(&web, &veths), expected);
}

#[test]
fn the_only_veth_is_on_the_only_network_whatever_its_bridge_is_called() {
    let web = on(container("web", ""), &[front()]);
    assert_eq!(found(&web, &[veth(40, NETNS, Some(22))]), [(40, "front".into())]);
    assert_eq!(found(&web, &[veth(40, NETNS, None)]), [(40, "front".into())]);
}

#[test]
fn veths_whose_network_cannot_be_told_are_numbered() {
    let web = on(container("web", ""), &[front(), attachment("own", "cc", &[])]);
    let veths = [veth(40, NETNS, Some(FRONT)), veth(41, NETNS, Some(22))];
    assert_eq!(found(&web, &veths), [(40, "front".into()), (41, "#1".into())]);
    // Of a bridge that cannot be seen, and of none.
    let veths = [veth(40, NETNS, Some(99)), veth(41, NETNS, None)];
    assert_eq!(found(&web, &veths), [(40, "#0".into()), (41, "#1".into())]);
}

#[test]
fn a_bridge_of_another_network_names_nothing() {
    let web = on(container("web", ""), &[front(), attachment("not-bridge", "cc", &[])]);
    let veths = [veth(40, NETNS, Some(BACK)), veth(41, NETNS, Some(DOCKER0))];
    assert_eq!(found(&web, &veths), [(40, "#0".into()), (41, "#1".into())]);
}

#[test]
fn what_the_engine_says_of_a_bridge_counts_and_not_its_name() {
    let named = |network: &str, id: &str, bridge: &str| Attachment {
        bridge: Some(bridge.into()),
        ..attachment(network, id, &[])
    };
    // Twelve digits that are those of another network.
    let web =
        on(container("web", ""), &[named("own", "cc", "virbr0"), named("odd", "dd", "br-db")]);
    let links = [
        link(30, "virbr0", "bridge"),
        link(31, "br-db", "bridge"),
        veth(40, NETNS, Some(30)),
        veth(41, NETNS, Some(31)),
        veth(42, NETNS, Some(FRONT)),
    ];
    let links = [bridges(), links.to_vec()].concat();
    let starting = Container { state: State::Created, ..web.clone() };
    assert_eq!(indexes(&candidates(&starting, &[].into(), &links)), [40, 41]);
    let Reach::Endpoints(endpoints) = of_container(&web, Some(NetnsId::Id(NETNS)), &links) else {
        panic!("endpoints")
    };
    let named: Vec<_> = endpoints.iter().map(|endpoint| endpoint.network.as_str()).collect();
    assert_eq!(named, ["own", "odd", "#2"]);
    // Not the first digits of just any length: this network's id begins with `db`.
    let db = on(container("db", ""), &[attachment("db", "db", &[]), front()]);
    let Reach::Endpoints(endpoints) = of_container(&db, Some(NetnsId::Id(NETNS)), &links) else {
        panic!("endpoints")
    };
    assert_eq!(endpoints[1].network, "#1");
}

#[test]
fn a_container_in_the_namespace_of_another_has_that_ones_veths() {
    let mut sidecar = container("sidecar", "");
    sidecar.network_mode = NetworkMode::Container("WEB".into());
    assert_eq!(found(&sidecar, &[veth(40, NETNS, Some(FRONT))]), [(40, "#0".into())]);
}

#[test]
fn host_network_is_unsupported_however_it_came_about() {
    let mut host = container("host", "");
    host.network_mode = NetworkMode::Host;
    let mut shares_with_it = container("sidecar", "");
    shares_with_it.network_mode = NetworkMode::Container("HOST".into());
    for netns in [None, Some(NetnsId::SameNamespace), Some(NetnsId::Unassigned)] {
        assert!(reason(&host, netns, &bridges()).starts_with("host network"), "{netns:?}");
    }
    let reason = reason(&shares_with_it, Some(NetnsId::SameNamespace), &bridges());
    assert!(reason.starts_with("host network"), "{reason}");
}

#[test]
fn network_none_is_unsupported() {
    let mut none = on(container("none", ""), &[attachment("none", "ee", &[])]);
    none.network_mode = NetworkMode::None;
    let reason = reason(&none, Some(NetnsId::Unassigned), &bridges());
    assert!(reason.starts_with("network none"), "{reason}");
}

#[test]
fn a_running_container_without_a_host_veth_is_unsupported_and_its_networks_are_named() {
    let mac =
        on(container("mac", ""), &[attachment("lan", "f0", &[]), attachment("wan", "f1", &[])]);
    for (netns, state) in [
        (NetnsId::Unassigned, State::Running),
        (NetnsId::Id(NETNS), State::Running),
        (NetnsId::Id(NETNS), State::Paused),
    ] {
        let mac = Container { state, ..mac.clone() };
        let reason = reason(&mac, Some(netns), &[veth(40, NETNS + 1, None)]);
        assert!(reason.starts_with("network lan, wan: no host veth"), "{reason}");
    }
}

#[test]
fn a_container_that_starts_or_ends_has_no_endpoints_yet_and_is_not_unsupported() {
    let web = on(container("web", ""), &[front()]);
    let none = Reach::Endpoints(Vec::new());
    let created = Container { state: State::Created, ..web.clone() };
    let restarting = Container { state: State::Restarting, ..web.clone() };
    assert_eq!(of_container(&created, Some(NetnsId::Unassigned), &bridges()), none);
    assert_eq!(of_container(&restarting, None, &bridges()), none);
    assert_eq!(of_container(&web, None, &[veth(40, NETNS, None)]), none, "namespace not known");
    let disconnected = container("web", "");
    assert_eq!(of_container(&disconnected, Some(NetnsId::Unassigned), &bridges()), none);
    // Before its first packet, and so before it runs, the veth of a starting container is found.
    assert_eq!(found(&created, &[veth(40, NETNS, Some(FRONT))]), [(40, "front".into())]);
}

/// What faults do not reach of a container in namespace [`NETNS`].
fn missed_with(container: &Container, veths: &[Link]) -> Option<String> {
    let links = [bridges(), veths.to_vec()].concat();
    match of_container(container, Some(NetnsId::Id(NETNS)), &links) {
        Reach::Endpoints(endpoints) => missed(container, &endpoints),
        Reach::Unsupported(reason) => panic!("{reason}"),
    }
}

#[test]
fn the_way_out_of_an_overlay_network_is_not_taken_for_the_network() {
    let overlay =
        Attachment { driver: Some("overlay".into()), ..attachment("mesh", "ee", &["10.0.1.2"]) };
    let way_out = [veth(40, NETNS, Some(GATEWAY_BRIDGE))];
    let task = on(container("task", ""), slice::from_ref(&overlay));
    assert_eq!(found(&task, &way_out), [(40, "docker_gwbridge".into())]);
    let reason = "network mesh (overlay): no host veth leads to the container there";
    assert_eq!(missed_with(&task, &way_out).as_deref(), Some(reason));
    // Beside a bridge with a name of its own.
    let both = on(container("task", ""), &[overlay, back()]);
    let veths = [veth(40, NETNS, Some(GATEWAY_BRIDGE)), veth(41, NETNS, Some(22))];
    assert_eq!(missed_with(&both, &veths).as_deref(), Some(reason));
}

#[test]
fn a_network_without_a_veth_beside_one_with_is_named() {
    let lan =
        Attachment { driver: Some("macvlan".into()), ..attachment("lan", "ff", &["192.0.2.9"]) };
    let web = on(container("web", ""), &[front(), lan.clone()]);
    let reason =
        Some("network lan (macvlan): no host veth leads to the container there".to_owned());
    assert_eq!(missed_with(&web, &[veth(40, NETNS, Some(FRONT))]), reason);
    // A bridge with a name of its own: which of the two it is, the drivers tell.
    assert_eq!(missed_with(&web, &[veth(40, NETNS, Some(22))]), reason);
    let both = [veth(40, NETNS, Some(FRONT)), veth(41, NETNS, Some(22))];
    assert_eq!(missed_with(&web, &both), None);
    assert_eq!(missed_with(&on(container("web", ""), &[front()]), &both[..1]), None);
    // While it starts, the rest may be on its way.
    let created = Container { state: State::Created, ..web };
    assert_eq!(missed_with(&created, &both[..1]), None);
}

const MAC: &str = "02:42:ac:12:00:02";

/// A container that is being started, with a place on the front network.
fn starting() -> Container {
    let place = Attachment { mac: Some(MAC.to_uppercase()), ..front() };
    Container { state: State::Created, ..on(container("web", ""), &[place]) }
}

fn indexes(links: &[&Link]) -> Vec<u32> {
    links.iter().map(|link| link.index).collect()
}

#[test]
fn candidates_are_on_the_networks_bridge_and_lead_to_nobody_that_is_known() {
    let on_host = Link { peer_netns: None, ..veth(40, 0, Some(FRONT)) };
    let links = [
        bridges(),
        vec![
            on_host,
            veth(41, NETNS, Some(FRONT)),
            veth(42, NETNS + 1, Some(FRONT)),
            veth(43, NETNS, Some(BACK)),
            veth(44, NETNS, Some(22)),
            veth(45, NETNS, None),
        ],
    ]
    .concat();
    let found = candidates(&starting(), &[NETNS + 1].into(), &links);
    assert_eq!(indexes(&found), [40, 41, 44], "44: the bridge's name does not say whose it is");
    let nowhere = Container { state: State::Created, ..container("web", "") };
    assert!(candidates(&nowhere, &[].into(), &links).is_empty());
}

#[test]
fn a_starting_container_is_behind_the_veth_whose_other_end_has_its_address() {
    let links =
        [bridges(), vec![veth(40, NETNS, Some(FRONT)), veth(41, NETNS + 1, Some(FRONT))]].concat();
    let starting = starting();
    let found = candidates(&starting, &[].into(), &links);
    let found = |inside: &[(u32, &str)]| {
        let inside = inside.iter().map(|(index, mac)| (*index, (*mac).to_owned())).collect();
        let (reach, coming) = of_starting(&starting, &found, &inside, &links);
        let Reach::Endpoints(endpoints) = reach else { panic!("{reach:?}") };
        let endpoints: Vec<_> =
            endpoints.iter().map(|found| (found.interface.index, found.network.clone())).collect();
        (endpoints, coming.into_iter().map(|interface| interface.index).collect::<Vec<_>>())
    };
    assert_eq!(found(&[]), (vec![], vec![40, 41]));
    // Before it is given its address, an end has another one.
    let random = "b6:00:00:00:00:01";
    assert_eq!(found(&[(40, random), (41, random)]), (vec![], vec![40, 41]));
    assert_eq!(found(&[(40, random), (41, MAC)]), (vec![(41, "front".to_owned())], vec![]));
}
