use std::{os::fd::AsRawFd as _, path::PathBuf};

use proptest::prelude::*;

use super::*;
use crate::{
    docker::{Attachment, EngineVersion},
    endpoints::{
        Reach,
        testing::{attachment, container, on},
    },
    netlink::testing::{OtherNamespace, in_namespace},
};

fn web() -> Container {
    container("web", "app=web")
}

fn stopped(container: Container) -> Container {
    Container { state: State::Stopped, ..container }
}

fn ids(world: &World) -> Vec<&str> {
    world.containers.keys().map(String::as_str).collect()
}

fn connected() -> Update {
    Update::Connected(EngineVersion { engine: "20.10".into(), api: "1.41".into() })
}

fn snapshot(containers: Vec<Container>) -> Update {
    Update::Snapshot { containers, unknown: Vec::new() }
}

/// A world after these updates.
fn after(updates: impl IntoIterator<Item = Update>) -> World {
    let mut world = World::default();
    for update in updates {
        world.note(update);
    }
    world
}

#[test]
fn nothing_is_complete_before_the_first_snapshot() {
    let mut world = after([connected(), Update::Changed(web())]);
    assert!(!world.complete);
    assert!(world.note(snapshot(Vec::new())), "an empty one is news too");
    assert!(world.complete);
    world.note(Update::Disconnected { reason: "test".into() });
    assert!(world.complete, "what is known stays known");
}

#[test]
fn a_snapshot_replaces_all_that_was_known() {
    let mut world = after([snapshot(vec![web(), container("db", "")])]);
    assert_eq!(ids(&world), ["DB", "WEB"]);
    let changed = Container { pid: Some(7), ..web() };
    assert!(world.note(snapshot(vec![changed.clone(), container("new", "")])));
    assert_eq!(ids(&world), ["NEW", "WEB"]);
    assert_eq!(world.containers["WEB"], changed);
    let unknown = vec!["WEB".to_owned(), "never seen".to_owned()];
    let containers = vec![container("db", "")];
    assert!(world.note(Update::Snapshot { containers, unknown }));
    assert_eq!(ids(&world), ["DB", "WEB"], "what cannot be looked at stays as it was known");
    assert_eq!(world.containers["WEB"], changed);
}

#[test]
fn a_change_is_news_only_if_something_is_different() {
    let mut world = World::default();
    assert!(world.note(Update::Changed(web())), "new");
    assert!(!world.note(Update::Changed(web())), "the same");
    for state in [State::Created, State::Restarting, State::Paused, State::Running] {
        assert!(world.note(Update::Changed(Container { state, ..web() })), "{state:?}");
        assert_eq!(world.containers["WEB"].state, state);
    }
    let renamed = Container { name: "renamed".into(), ..web() };
    assert!(world.note(Update::Changed(renamed)));
    assert_eq!(ids(&world), ["WEB"], "the same container under another name");
}

#[test]
fn a_stopped_container_is_no_part_of_the_world() {
    let mut world = after([Update::Changed(web()), Update::Changed(container("db", ""))]);
    assert!(world.note(Update::Changed(stopped(web()))));
    assert_eq!(ids(&world), ["DB"]);
    assert!(!world.note(Update::Changed(stopped(web()))), "no news");
    assert!(world.note(Update::Changed(web())), "started again");
    assert_eq!(ids(&world), ["DB", "WEB"]);
}

#[test]
fn a_container_that_is_gone_is_no_part_of_the_world() {
    let mut world = after([Update::Changed(web())]);
    assert!(!world.note(Update::Gone("another".into())));
    assert!(world.note(Update::Gone("WEB".into())));
    assert!(!world.note(Update::Gone("WEB".into())));
    assert_eq!(ids(&world), [""; 0]);
}

#[test]
fn an_engine_that_does_not_answer_changes_nothing() {
    let mut world = after([snapshot(vec![web()])]);
    let unknown = Update::Unknown { id: "WEB".into(), reason: "test".into() };
    for update in [unknown, Update::Disconnected { reason: "test".into() }, connected()] {
        assert!(!world.note(update));
        assert_eq!(ids(&world), ["WEB"]);
    }
}

fn update() -> impl Strategy<Value = Update> {
    let states = [State::Created, State::Running, State::Paused, State::Restarting, State::Stopped];
    let known = |number: u8| container(&number.to_string(), "");
    let container = (0..3_u8, prop::sample::select(states.to_vec()))
        .prop_map(move |(number, state)| Container { state, ..known(number) });
    // The watcher's snapshots hold no stopped ones.
    let running = (0..3_u8).prop_map(known);
    prop_oneof![
        4 => container.prop_map(Update::Changed),
        2 => (0..3_u8).prop_map(|number| Update::Gone(number.to_string())),
        1 => prop::collection::vec(running, 0..3).prop_map(snapshot),
        1 => Just(Update::Unknown { id: "0".into(), reason: "test".into() }),
        1 => Just(Update::Disconnected { reason: "test".into() }),
        1 => Just(connected()),
    ]
}

proptest! {
    #[test]
    fn in_any_order_the_last_word_about_a_container_counts(
        updates in prop::collection::vec(update(), 0..30),
    ) {
        let mut world = World::default();
        for update in &updates {
            let before = world.containers.clone();
            let news = world.note(update.clone());
            let is_snapshot = matches!(update, Update::Snapshot { .. });
            prop_assert_eq!(news, is_snapshot || before != world.containers);
        }
        for id in ["0", "1", "2"] {
            let last_word = updates.iter().rev().find_map(|update| match update {
                Update::Snapshot { containers: all, .. } => Some(all.iter().rev().find(|c| c.id == id)),
                Update::Changed(c) if c.id == id => Some(Some(c).filter(|c| c.state != State::Stopped)),
                Update::Gone(gone) if gone == id => Some(None),
                _ => None,
            });
            prop_assert_eq!(world.containers.get(id), last_word.flatten());
        }
    }
}

/// Interfaces of each target by name, or why there are none.
async fn found(world: &World, netlink: &Netlink) -> Vec<(String, Result<Vec<String>, String>)> {
    let targets = world.targets(netlink).await.unwrap();
    let found = |target: Target| {
        let reach = match target.reach {
            Reach::Endpoints(endpoints) => {
                Ok(endpoints.into_iter().map(|endpoint| endpoint.interface.name).collect())
            }
            Reach::Unsupported(reason) => Err(reason),
        };
        (target.container.name, reach)
    };
    targets.into_iter().map(found).collect()
}

fn with_namespace(container: Container, sandbox_key: Option<PathBuf>, pid: Option<i32>) -> Update {
    let container = on(container, &[attachment("front", "aa", &["172.18.0.2"])]);
    Update::Changed(Container { sandbox_key, pid, ..container })
}

#[test]
fn the_veth_of_a_container_is_found_by_its_namespace_file_or_its_process() {
    in_namespace(|| async {
        let netlink = Netlink::new().unwrap();
        let (first, second) = (OtherNamespace::new(), OtherNamespace::new());
        netlink.add_veth("vfirst", "eth0", Some((first.file.as_raw_fd(), 2))).await;
        netlink.add_veth("vsecond", "eth0", Some((second.file.as_raw_fd(), 3))).await;
        let gone = Some(PathBuf::from("/nonexistent"));
        let z = Container { id: "0".into(), ..container("z", "") };
        let world = after([
            with_namespace(z, Some(first.path()), None),
            with_namespace(container("by-process", ""), None, Some(second.tid)),
            // The file goes first when a container ends, and some engines tell none that exists.
            with_namespace(container("by-either", ""), gone.clone(), Some(second.tid)),
            with_namespace(container("ended", ""), gone, None),
        ]);
        let expected = [
            ("by-either".to_owned(), Ok(vec!["vsecond".to_owned()])),
            ("by-process".to_owned(), Ok(vec!["vsecond".to_owned()])),
            ("ended".to_owned(), Ok(vec![])),
            ("z".to_owned(), Ok(vec!["vfirst".to_owned()])),
        ];
        assert_eq!(found(&world, &netlink).await, expected, "and sorted by name, not by id");
    });
}

#[test]
fn the_veth_of_a_container_that_is_being_started_is_awaited_and_then_found_by_its_address() {
    in_namespace(|| async {
        let netlink = Netlink::new().unwrap();
        let other = OtherNamespace::new();
        netlink.add_veth("host", "inside", None).await;
        let bridge = netlink.add_bridge("bridge").await;
        let host = netlink.index_of("host").await;
        netlink.set_master(host, bridge).await;
        let inside = netlink.link(netlink.index_of("inside").await).await.unwrap().unwrap();
        let place = Attachment {
            mac: inside.mac.map(|mac| mac.to_uppercase()),
            ..attachment("front", "aa", &["172.18.0.2"])
        };
        let web = Container { state: State::Created, ..on(container("web", ""), &[place]) };
        let mut world = after([Update::Changed(web.clone())]);
        let targets = world.targets(&netlink).await.unwrap();
        let names: Vec<&str> = targets[0].coming.iter().map(|to| &*to.name).collect();
        assert_eq!(names, ["host"]);
        assert_eq!(found(&world, &netlink).await, [("web".to_owned(), Ok(vec![]))]);
        netlink.move_link(inside.index, &other.file).await;
        let expected = [("web".to_owned(), Ok(vec!["host".to_owned()]))];
        assert_eq!(found(&world, &netlink).await, expected, "in the container's namespace");
        assert!(world.targets(&netlink).await.unwrap()[0].coming.is_empty());
        // Then it runs, and the engine says where.
        let running = Container { state: State::Running, sandbox_key: Some(other.path()), ..web };
        world.note(Update::Changed(running));
        assert_eq!(found(&world, &netlink).await, expected);
    });
}

#[test]
fn a_namespace_that_no_veth_leads_to_and_the_hosts_own_are_unsupported() {
    in_namespace(|| async {
        let netlink = Netlink::new().unwrap();
        let lonely = OtherNamespace::new();
        let own = PathBuf::from("/proc/thread-self/ns/net");
        let world = after([
            with_namespace(container("lonely", ""), Some(lonely.path()), None),
            with_namespace(container("own", ""), Some(own), None),
        ]);
        let found = found(&world, &netlink).await;
        let [(_, Err(lonely)), (_, Err(own))] = &found[..] else { panic!("{found:?}") };
        assert!(lonely.starts_with("network front: no host veth"), "{lonely}");
        assert!(own.starts_with("host network"), "{own}");
    });
}
