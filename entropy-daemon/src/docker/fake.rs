//! An engine for tests: a little of Docker's API over a unix socket, with faults to order.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    sync::broadcast,
    task::JoinHandle,
};

use super::Endpoint;

/// How a request is answered instead of properly.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    /// With this status and error message.
    Status(u16, &'static str),
    /// With 200 and this body.
    Body(&'static str),
    /// With the head of an answer that says there is more to come, which never comes.
    HalfAnAnswer,
    /// Not at all.
    Hang,
}

#[derive(Debug, Clone)]
enum StreamItem {
    Line(String),
    End,
}

type Hook = Box<dyn FnOnce(&State) + Send>;

/// What the engine knows, shared with its connections.
pub(super) struct State {
    containers: Mutex<BTreeMap<String, Value>>,
    faults: Mutex<HashMap<String, Fault>>,
    requests: Mutex<Vec<String>>,
    on_list: Mutex<Option<Hook>>,
    events: broadcast::Sender<StreamItem>,
    /// Past events with their time in seconds since 1970, for streams that ask for them.
    history: Mutex<Vec<(u64, String)>>,
}

pub(super) struct FakeEngine {
    directory: TempDir,
    state: Arc<State>,
    /// Ends the connections with the engine: their tasks listen to it.
    stop: broadcast::Sender<()>,
    task: Option<JoinHandle<()>>,
}

impl FakeEngine {
    pub(super) fn new() -> Self {
        let state = State {
            containers: Mutex::default(),
            faults: Mutex::default(),
            requests: Mutex::default(),
            on_list: Mutex::default(),
            events: broadcast::channel(4096).0,
            history: Mutex::default(),
        };
        let directory = tempfile::tempdir().unwrap();
        let stop = broadcast::channel(1).0;
        let mut engine = Self { directory, state: Arc::new(state), stop, task: None };
        engine.start();
        engine
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("docker.sock")
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        Endpoint::parse(&format!("unix://{}", self.socket().display())).unwrap()
    }

    pub(super) fn start(&mut self) {
        let listener = UnixListener::bind(self.socket()).unwrap();
        let (state, stop) = (Arc::clone(&self.state), self.stop.clone());
        self.task = Some(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (state, mut stopped) = (Arc::clone(&state), stop.subscribe());
                tokio::spawn(async move {
                    tokio::select! {
                        () = serve(stream, &state) => {}
                        _ = stopped.recv() => {}
                    }
                });
            }
        }));
    }

    /// Ends like an engine that is killed: connections break, the socket is gone.
    pub(super) fn stop(&mut self) {
        self.task.take().unwrap().abort();
        std::fs::remove_file(self.socket()).unwrap();
        let _ = self.stop.send(());
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// All requests so far, as `METHOD PATH?QUERY`.
    pub(super) fn requests(&self) -> Vec<String> {
        self.state.requests.lock().unwrap().clone()
    }

    pub(super) fn count(&self, part: &str) -> usize {
        self.requests().iter().filter(|request| request.contains(part)).count()
    }
}

impl Drop for FakeEngine {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

impl State {
    /// Adds or changes a container, without an event.
    pub(super) fn put(&self, id: &str, status: &str) {
        let container = json!({
            "Id": id, "Name": format!("/{id}name"),
            "State": {"Status": status, "Pid": 4711},
            "HostConfig": {"NetworkMode": "front"},
            "Config": {"Labels": {"app": id}},
            "NetworkSettings": {
                "SandboxKey": format!("/run/docker/netns/{id}"),
                "Networks": {"front": {"NetworkID": "net1", "IPAddress": "172.18.0.2"}},
            },
        });
        self.containers.lock().unwrap().insert(id.into(), container);
    }

    pub(super) fn remove(&self, id: &str) {
        self.containers.lock().unwrap().remove(id);
    }

    /// Says that something happened to a container.
    pub(super) fn emit(&self, action: &str, id: &str) {
        self.emit_event(&json!({"Type": "container", "Action": action, "Actor": {"ID": id}}));
    }

    pub(super) fn emit_event(&self, event: &Value) {
        let mut history = self.history.lock().unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let line = format!("{event}\n");
        history.push((now, line.clone()));
        let _ = self.events.send(StreamItem::Line(line));
    }

    /// Sends something to all open streams that is no event.
    pub(super) fn emit_garbage(&self, line: &str) {
        let _ = self.events.send(StreamItem::Line(format!("{line}\n")));
    }

    /// A new stream: what was since then, and what comes.
    fn subscribe(&self, since: u64) -> (Vec<String>, broadcast::Receiver<StreamItem>) {
        let history = self.history.lock().unwrap();
        let past = history.iter().filter(|(time, _)| *time >= since).map(|(_, line)| line.clone());
        (past.collect(), self.events.subscribe())
    }

    pub(super) fn end_streams(&self) {
        let _ = self.events.send(StreamItem::End);
    }

    /// Answers requests for a path, given without version and query, with a fault from now on.
    pub(super) fn fault(&self, path: &str, fault: Fault) {
        self.faults.lock().unwrap().insert(path.into(), fault);
    }

    pub(super) fn mend(&self, path: &str) {
        self.faults.lock().unwrap().remove(path);
    }

    /// Does something once, after the next list is made and before it is sent.
    pub(super) fn on_list(&self, hook: impl FnOnce(&Self) + Send + 'static) {
        *self.on_list.lock().unwrap() = Some(Box::new(hook));
    }

    /// Of all containers, as the list says it: less than a look at one.
    fn summaries(&self) -> Vec<Value> {
        let containers = self.containers.lock().unwrap();
        let summary = |(id, container): (&String, &Value)| {
            json!({
                "Id": id, "Names": [container["Name"]], "Labels": container["Config"]["Labels"],
                "State": container["State"]["Status"], "HostConfig": container["HostConfig"],
                "NetworkSettings": {"Networks": container["NetworkSettings"]["Networks"]},
            })
        };
        containers.iter().map(summary).collect()
    }

    fn answer(&self, path: &str, query: &str) -> (u16, String) {
        if path == "/version" {
            let version = json!({
                "Version": "20.10.24", "ApiVersion": "1.41", "MinAPIVersion": "1.12",
            });
            return (200, version.to_string());
        }
        if path == "/containers/json" && query.contains("all=true") {
            return (200, Value::from(self.summaries()).to_string());
        }
        if path == "/containers/json" {
            let list: Vec<_> = self
                .containers
                .lock()
                .unwrap()
                .iter()
                .filter(|(_, c)| {
                    c["State"]["Status"] == "running" || c["State"]["Status"] == "paused"
                })
                .map(|(id, _)| json!({"Id": id}))
                .collect();
            let hook = self.on_list.lock().unwrap().take();
            if let Some(hook) = hook {
                hook(self);
            }
            return (200, Value::from(list).to_string());
        }
        let parts: Vec<_> = path.split('/').skip(1).collect();
        match parts[..] {
            ["_ping"] => (200, "OK".into()),
            ["networks"] => (200, "[]".into()),
            // Docker takes any name, so the daemon asks by id.
            ["networks", "net1"] => {
                let place = json!({
                    "MacAddress": "02:42:ac:12:00:02", "IPv4Address": "172.18.0.2/16", "IPv6Address": "",
                });
                let places: BTreeMap<_, _> = self
                    .containers
                    .lock()
                    .unwrap()
                    .keys()
                    .map(|id| (id.clone(), place.clone()))
                    .collect();
                let network = json!({
                    "Id": "net1", "Name": "front net", "Driver": "bridge", "Containers": places,
                    "Options": {"com.docker.network.bridge.name": "br-front"},
                });
                (200, network.to_string())
            }
            ["containers", id, "json"] => match self.containers.lock().unwrap().get(id) {
                Some(container) => (200, container.to_string()),
                None => (404, json!({"message": format!("No such container: {id}")}).to_string()),
            },
            _ => (404, json!({"message": "page not found"}).to_string()),
        }
    }
}

async fn serve(mut stream: UnixStream, state: &State) {
    let Some(request) = read_head(&mut stream).await else { return };
    let (method, target) = request.split_once(' ').unwrap();
    state.requests.lock().unwrap().push(format!("{method} {target}"));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = path.strip_prefix("/v1.41").unwrap_or(path);
    let fault = state.faults.lock().unwrap().get(path).cloned();
    let (status, body) = match fault {
        None if path == "/events" => return serve_events(stream, state, target).await,
        None => state.answer(path, query),
        Some(Fault::Status(status, message)) => (status, json!({"message": message}).to_string()),
        Some(Fault::Body(body)) => (200, body.to_owned()),
        Some(Fault::HalfAnAnswer) => {
            let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{";
            let _ = stream.write_all(head.as_bytes()).await;
            return std::future::pending().await;
        }
        Some(Fault::Hang) => return std::future::pending().await,
    };
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await;
}

/// Reads up to the empty line; returns method and target.
async fn read_head(stream: &mut UnixStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    Some(head.lines().next()?.strip_suffix(" HTTP/1.1")?.to_owned())
}

async fn serve_events(mut stream: UnixStream, state: &State, target: &str) {
    let since = target.split(['?', '&']).find_map(|part| part.strip_prefix("since="));
    let (past, mut events) = state.subscribe(since.unwrap().parse().unwrap());
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut sent = stream.write_all(head.as_bytes()).await;
    for line in past {
        sent = sent.and(stream.write_all(&chunk(&line)).await);
    }
    while sent.is_ok()
        && let Ok(StreamItem::Line(line)) = events.recv().await
    {
        sent = stream.write_all(&chunk(&line)).await;
    }
    let _ = stream.write_all(b"0\r\n\r\n").await;
}

fn chunk(line: &str) -> Vec<u8> {
    format!("{:x}\r\n{line}\r\n", line.len()).into_bytes()
}
