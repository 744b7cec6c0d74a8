//! The watcher against an engine that does what tests order.

use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc::Receiver;

use super::{
    fake::{FakeEngine, Fault},
    *,
};

/// Long enough for a machine that compiles meanwhile.
const PATIENCE: Duration = Duration::from_secs(20);

fn timing() -> Timing {
    Timing {
        backoff_first: Duration::from_millis(10),
        backoff_longest: Duration::from_millis(50),
        retry_first: Duration::from_millis(20),
        retry_longest: Duration::from_millis(100),
        ..Timing::default()
    }
}

/// For tests of an engine that does not answer.
fn impatient() -> Timing {
    let short = Duration::from_millis(300);
    Timing { request: short, probe: short, ..timing() }
}

async fn next(updates: &mut Receiver<Update>) -> Update {
    tokio::time::timeout(PATIENCE, updates.recv()).await.expect("an update in time").unwrap()
}

/// Connects and returns the names in the first snapshot.
async fn first_snapshot(updates: &mut Receiver<Update>) -> Vec<String> {
    let connected = next(updates).await;
    assert!(matches!(connected, Update::Connected(_)), "{connected:?}");
    snapshot(updates).await
}

async fn snapshot(updates: &mut Receiver<Update>) -> Vec<String> {
    match next(updates).await {
        Update::Snapshot { containers, .. } => containers.into_iter().map(|c| c.id).collect(),
        other => panic!("{other:?}"),
    }
}

async fn changed(updates: &mut Receiver<Update>) -> Container {
    match next(updates).await {
        Update::Changed(container) => container,
        other => panic!("{other:?}"),
    }
}

async fn disconnected(updates: &mut Receiver<Update>) -> String {
    match next(updates).await {
        Update::Disconnected { reason } => reason,
        other => panic!("{other:?}"),
    }
}

/// Waits until the watcher has asked for `part` that often.
async fn asked(engine: &FakeEngine, part: &str, times: usize) {
    let poll = async {
        while engine.count(part) < times {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, poll).await.expect(part);
}

#[tokio::test]
async fn running_containers_are_listed_then_followed() {
    let engine = FakeEngine::new();
    engine.state().put("a", "running");
    engine.state().put("b", "paused");
    engine.state().put("c", "exited");
    let (_watcher, mut updates) = Watcher::spawn(engine.endpoint(), timing());
    let version = EngineVersion { engine: "20.10.24".into(), api: "1.41".into() };
    assert_eq!(next(&mut updates).await, Update::Connected(version));
    assert_eq!(snapshot(&mut updates).await, ["a", "b"]);

    engine.state().put("c", "running");
    engine.state().emit("start", "c");
    let container = changed(&mut updates).await;
    assert_eq!((container.id.as_str(), container.state), ("c", State::Running));
    assert_eq!(container.attachments[0].driver.as_deref(), Some("bridge"));
    engine.state().put("c", "exited");
    engine.state().emit("die", "c");
    assert_eq!(changed(&mut updates).await.state, State::Stopped);
    engine.state().remove("c");
    engine.state().emit("destroy", "c");
    assert_eq!(next(&mut updates).await, Update::Gone("c".into()));
}

#[tokio::test]
async fn network_events_lead_to_their_container() {
    let engine = FakeEngine::new();
    let (_watcher, mut updates) = Watcher::spawn(engine.endpoint(), timing());
    assert!(first_snapshot(&mut updates).await.is_empty());
    engine.state().put("a", "running");
    engine
        .state()
        .emit_event(&json!({"Type": "network", "Action": "create", "Actor": {"ID": "n"}}));
    let attributes = json!({"container": "a", "name": "front"});
    let actor = json!({"ID": "net1", "Attributes": attributes});
    let event = json!({"Type": "network", "Action": "connect", "Actor": actor});
    engine.state().emit_event(&event);
    assert_eq!(changed(&mut updates).await.id, "a");
}

#[tokio::test]
async fn a_container_that_is_being_started_is_known_before_the_engine_lets_it_be_looked_at() {
    let engine = FakeEngine::new();
    let (_watcher, mut updates) = Watcher::spawn(engine.endpoint(), timing());
    assert!(first_snapshot(&mut updates).await.is_empty());
    engine.state().put("a", "exited");
    engine.state().fault("/containers/a/json", Fault::Hang);
    let actor = json!({"ID": "net1", "Attributes": {"container": "a", "name": "front"}});
    let event = json!({"Type": "network", "Action": "connect", "Actor": actor});
    engine.state().emit_event(&event);
    let starting = changed(&mut updates).await;
    assert_eq!((starting.id.as_str(), starting.name.as_str()), ("a", "aname"));
    assert_eq!((starting.state, starting.sandbox_key, starting.pid), (State::Created, None, None));
    assert_eq!(starting.labels["app"], "a");
    let [place] = &starting.attachments[..] else { panic!("{:?}", starting.attachments) };
    assert_eq!((place.network_name.as_str(), place.network_id.as_str()), ("front net", "net1"));
    assert_eq!(place.bridge.as_deref(), Some("br-front"));
    assert_eq!(place.mac.as_deref(), Some("02:42:ac:12:00:02"));
    assert_eq!(place.addresses, ["172.18.0.2".parse::<std::net::IpAddr>().unwrap()]);

    // One that runs is looked at only.
    engine.state().put("b", "running");
    let actor = json!({"ID": "net1", "Attributes": {"container": "b", "name": "front"}});
    engine.state().emit_event(&json!({"Type": "network", "Action": "connect", "Actor": actor}));
    let running = changed(&mut updates).await;
    assert_eq!((running.id.as_str(), running.state), ("b", State::Running));
}

#[tokio::test]
async fn event_between_stream_and_list_is_not_missed() {
    let engine = FakeEngine::new();
    engine.state().put("a", "running");
    engine.state().on_list(|state| {
        // After the list was made: "b" is not in it, "a" is gone when it is looked at.
        state.put("b", "running");
        state.emit("start", "b");
        state.remove("a");
        state.emit("destroy", "a");
    });
    let (_watcher, mut updates) = Watcher::spawn(engine.endpoint(), timing());
    assert!(first_snapshot(&mut updates).await.is_empty());
    let mut seen = [next(&mut updates).await, next(&mut updates).await];
    seen.sort_by_key(|update| matches!(update, Update::Gone(_)));
    let [Update::Changed(container), Update::Gone(gone)] = seen else { panic!("{seen:?}") };
    assert_eq!((container.id.as_str(), gone.as_str()), ("b", "a"));
}

#[tokio::test]
async fn stream_is_asked_for_first_with_filters_and_all_requests_only_read() {
    let engine = FakeEngine::new();
    engine.state().put("a", "running");
    let (_watcher, mut updates) = Watcher::spawn(engine.endpoint(), timing());
    first_snapshot(&mut updates).await;
    asked(&engine, "/events", 1).await;
    let requests = engine.requests();
    assert_eq!(requests[0], "GET /version");
    // What bollard leaves out is put in: the version that both sides know.
    for request in &requests[1..] {
        assert!(request.starts_with("GET /v1.41/"), "{request}");
    }
    let events = requests.iter().find(|request| request.contains("/events")).unwrap();
    for part in ["since=", "container", "network", "connect", "rename", "unpause"] {
        assert!(events.contains(part), "{events}");
    }
    let asked_at = |part: &str| requests.iter().position(|r| r.contains(part)).unwrap();
    assert!(asked_at("/containers/json") < asked_at("/containers/a/json"));
}

#[tokio::test]
async fn restart_of_the_engine_is_told_and_survived() {
    let mut engine = FakeEngine::new();
    engine.state().put("a", "running");
    let (_watcher, mut updates) = Watcher::spawn(engine.endpoint(), timing());
    assert_eq!(first_snapshot(&mut updates).await, ["a"]);
    asked(&engine, "/events", 1).await;
    engine.stop();
    disconnected(&mut updates).await;
    let reason = disconnected(&mut updates).await;
    assert!(reason.contains("docker.sock"), "{reason}");
    engine.state().remove("a");
    engine.state().put("b", "running");
    engine.start();
    assert_eq!(first_snapshot(&mut updates).await, ["b"]);
    engine.state().emit("update", "b");
    assert_eq!(changed(&mut updates).await.id, "b");
}

#[tokio::test]
async fn engine_that_comes_late_is_found() {
    let mut engine = FakeEngine::new();
    engine.stop();
    let (_watcher, mut updates) = Watcher::spawn(engine.endpoint(), timing());
    let reason = disconnected(&mut updates).await;
    assert!(reason.starts_with("connect to the container engine: "), "{reason}");
    engine.start();
    assert!(first_snapshot(&mut updates).await.is_empty());
}

#[tokio::test]
async fn ended_and_damaged_streams_are_opened_again() {
    let engine = FakeEngine::new();
    let (_watcher, mut updates) = Watcher::spawn(engine.endpoint(), timing());
    first_snapshot(&mut updates).await;
    asked(&engine, "/events", 1).await;
    engine.state().end_streams();
    assert!(disconnected(&mut updates).await.contains("ended the event stream"));
    for (opened, garbage) in [(2, "]]garbage"), (3, r#"{"Type": 7}"#), (4, "\u{0}\u{1}")] {
        first_snapshot(&mut updates).await;
        asked(&engine, "/events", opened).await;
        engine.state().emit_garbage(garbage);
        disconnected(&mut updates).await;
    }
    first_snapshot(&mut updates).await;
}

#[tokio::test]
async fn senseless_answers_end_the_attempt_not_the_watcher() {
    let engine = FakeEngine::new();
    let refused = Fault::Status(500, "ordered");
    let faults = [Fault::Body("<html>"), Fault::Body("[1]"), Fault::Body(""), refused];
    for fault in faults {
        engine.state().fault("/version", fault);
        let (_watcher, mut updates) = Watcher::spawn(engine.endpoint(), timing());
        disconnected(&mut updates).await;
        engine.state().mend("/version");
        assert!(first_snapshot(&mut updates).await.is_empty());
    }
    engine.state().fault("/containers/json", Fault::Body(r#"{"a": 1}"#));
    let (_watcher, mut updates) = Watcher::spawn(engine.endpoint(), timing());
    assert!(matches!(next(&mut updates).await, Update::Connected(_)));
    assert!(disconnected(&mut updates).await.starts_with("list containers: "));
    engine.state().mend("/containers/json");
    while !matches!(next(&mut updates).await, Update::Snapshot { .. }) {}
}

#[tokio::test]
async fn engine_that_hangs_at_any_question_is_detected() {
    for path in ["/version", "/containers/json", "/networks"] {
        let fatal = path != "/networks";
        for fault in [Fault::Hang, Fault::HalfAnAnswer] {
            let engine = FakeEngine::new();
            engine.state().fault(path, fault);
            let (_watcher, mut updates) = Watcher::spawn(engine.endpoint(), impatient());
            if fatal {
                let told = async {
                    loop {
                        if let Update::Disconnected { reason } = next(&mut updates).await {
                            return reason;
                        }
                    }
                };
                assert!(told.await.contains("no answer within 300 ms"));
            }
            engine.state().mend(path);
            while !matches!(next(&mut updates).await, Update::Snapshot { .. }) {}
        }
    }
}

#[tokio::test]
async fn engine_that_hangs_while_followed_is_detected_by_its_silence() {
    let engine = FakeEngine::new();
    let (_watcher, mut updates) = Watcher::spawn(engine.endpoint(), impatient());
    first_snapshot(&mut updates).await;
    // Signs of life keep a silent stream open.
    asked(&engine, "/_ping", 3).await;
    assert_eq!(engine.count("/events"), 1);
    assert!(updates.is_empty());
    engine.state().fault("/_ping", Fault::Hang);
    assert!(disconnected(&mut updates).await.starts_with("ping the container engine: no answer"));
}

#[tokio::test]
async fn one_bad_container_does_not_stop_the_others() {
    let refused = Fault::Status(500, "ordered");
    for fault in [refused, Fault::Body("]"), Fault::Body("{}"), Fault::Hang] {
        let engine = FakeEngine::new();
        engine.state().put("bad", "running");
        engine.state().put("good", "running");
        engine.state().fault("/containers/bad/json", fault);
        let timing = Timing { request: Duration::from_millis(500), ..timing() };
        let (_watcher, mut updates) = Watcher::spawn(engine.endpoint(), timing);
        assert_eq!(first_snapshot(&mut updates).await, ["good"]);
        let Update::Unknown { id, reason } = next(&mut updates).await else { panic!() };
        assert_eq!(id, "bad");
        assert!(reason.starts_with("inspect container: "), "{reason}");
        // It is tried again without a word until it works.
        asked(&engine, "/containers/bad/json", 3).await;
        engine.state().mend("/containers/bad/json");
        assert_eq!(changed(&mut updates).await.id, "bad");
        assert_eq!(engine.count("/events"), 1);
    }
}

#[tokio::test]
async fn container_that_vanishes_before_it_is_looked_at_is_gone() {
    let engine = FakeEngine::new();
    let (_watcher, mut updates) = Watcher::spawn(engine.endpoint(), timing());
    first_snapshot(&mut updates).await;
    asked(&engine, "/events", 1).await;
    engine.state().emit("start", "fleeting");
    assert_eq!(next(&mut updates).await, Update::Gone("fleeting".into()));
    // Podman 4.3, of a container that it removes at this moment.
    let podmans = "container 1f2e does not exist in database: no such container";
    engine.state().fault("/containers/removed/json", Fault::Status(500, podmans));
    engine.state().emit("died", "removed");
    assert_eq!(next(&mut updates).await, Update::Gone("removed".into()));
    engine.state().put("back", "running");
    engine.state().emit("start", "back");
    assert_eq!(changed(&mut updates).await.id, "back");
}

#[tokio::test]
async fn five_hundred_containers_are_one_snapshot() {
    let engine = FakeEngine::new();
    let ids: Vec<_> = (0..500).map(|number| format!("c{number:03}")).collect();
    ids.iter().for_each(|id| engine.state().put(id, "running"));
    let (_watcher, mut updates) = Watcher::spawn(engine.endpoint(), timing());
    assert_eq!(first_snapshot(&mut updates).await, ids);
    // The driver of their common network is asked for about once, not 500 times.
    assert!(engine.count("/networks/net1") <= 16, "{}", engine.count("/networks/net1"));
}

#[tokio::test]
async fn burst_of_events_is_told_in_order_with_the_last_state_last() {
    let engine = FakeEngine::new();
    let (_watcher, mut updates) = Watcher::spawn(engine.endpoint(), timing());
    first_snapshot(&mut updates).await;
    asked(&engine, "/events", 1).await;
    for round in 0..200 {
        for id in ["a", "b", "c"] {
            engine.state().put(id, if round % 2 == 0 { "running" } else { "paused" });
            engine.state().emit("update", id);
        }
    }
    for id in ["a", "b", "c"] {
        engine.state().remove(id);
        engine.state().emit("destroy", id);
    }
    let mut gone = Vec::new();
    let mut told = 0;
    while gone.len() < 3 {
        told += 1;
        match next(&mut updates).await {
            Update::Gone(id) => gone.push(id),
            Update::Changed(container) => assert!(!gone.contains(&container.id)),
            other => panic!("{other:?}"),
        }
    }
    assert!(told < 600, "nothing was put together: {told}");
}

#[tokio::test]
async fn slow_reader_gets_every_container_once_it_reads() {
    let engine = FakeEngine::new();
    let (_watcher, mut updates) = Watcher::spawn(engine.endpoint(), timing());
    first_snapshot(&mut updates).await;
    asked(&engine, "/events", 1).await;
    let ids: Vec<_> = (0..600).map(|number| format!("c{number:03}")).collect();
    for id in &ids {
        engine.state().put(id, "running");
        engine.state().emit("start", id);
    }
    // Nobody reads until the queue is full and no further container is looked at.
    asked(&engine, "/containers/c3", 1).await;
    assert!(engine.count("/containers/c599/json") == 0);
    let mut seen: Vec<_> = Vec::new();
    while seen.len() < ids.len() {
        seen.push(changed(&mut updates).await.id);
    }
    seen.sort();
    assert_eq!(seen, ids);
}

#[tokio::test]
async fn watcher_ends_with_its_receiver_and_its_handle() {
    let engine = FakeEngine::new();
    let (watcher, mut updates) = Watcher::spawn(engine.endpoint(), timing());
    first_snapshot(&mut updates).await;
    drop(watcher);
    assert_eq!(tokio::time::timeout(PATIENCE, updates.recv()).await.unwrap(), None);

    let (mut watcher, mut updates) = Watcher::spawn(engine.endpoint(), timing());
    first_snapshot(&mut updates).await;
    drop(updates);
    tokio::time::timeout(PATIENCE, watcher.ended()).await.unwrap();
}
