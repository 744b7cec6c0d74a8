//! Requests as clients send them, and a main loop that knows policies and no kernel.

use axum::{
    body::{Body as Content, to_bytes},
    http::Request,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tower::ServiceExt as _;

use super::*;
use crate::{brake::Brake, policies::Policies, runtime::Runtime};

struct Site {
    _directory: TempDir,
    router: Router,
    brake: Arc<Brake>,
}

/// What a request came to.
struct Answered {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Answered {
    fn json(&self) -> Value {
        assert_eq!(self.headers["content-type"], "application/json");
        serde_json::from_str(&self.text).unwrap()
    }

    /// Why it was refused.
    fn error(&self) -> String {
        let body = self.json();
        assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
        body["error"].as_str().unwrap().to_owned()
    }
}

impl Site {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (files, run) = (directory.path().join("policies"), directory.path().join("run"));
        std::fs::create_dir(&files).unwrap();
        let text = "[[policy]]\nname = \"filed\"\ntarget = \"app=web\"\nloss = \"1%\"\n";
        std::fs::write(files.join("filed.toml"), text).unwrap();
        let runtime = Runtime::at(&run);
        runtime.make().unwrap();
        let brake = Arc::new(Brake::new(runtime.clone(), None));
        let mut policies = Policies::watch(&files, runtime);
        policies.load();
        let (commands, waiting) = mpsc::channel(4);
        let (view, viewed) = watch::channel(Arc::new(view_of(&policies)));
        tokio::spawn(serve(policies, waiting, view, Arc::clone(&brake)));
        let context =
            Context { view: viewed, commands, brake: Arc::clone(&brake), activity: Arc::default() };
        Self { _directory: directory, router: router(context), brake }
    }

    async fn send(&self, request: Request<Content>) -> Answered {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 1 << 22).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        Answered { status: parts.status.as_u16(), headers: parts.headers, text }
    }

    async fn ask(&self, method: &str, path: &str) -> Answered {
        self.send(Request::builder().method(method).uri(path).body(Content::empty()).unwrap()).await
    }

    async fn give(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        body: impl Into<Content>,
    ) -> Answered {
        let request = Request::builder().method(method).uri(path).header("content-type", kind);
        self.send(request.body(body.into()).unwrap()).await
    }

    async fn put(&self, name: &str, policy: &Value) -> Answered {
        let path = format!("/v1/policies/{name}");
        self.give("PUT", &path, "application/json", policy.to_string()).await
    }
}

fn view_of(policies: &Policies) -> View {
    View {
        policies: policies.shared(),
        of_files: policies.of_files(),
        paused: policies.paused().clone(),
        leases: policies.leases(),
        ..View::default()
    }
}

/// A main loop.
async fn serve(
    mut policies: Policies,
    mut commands: mpsc::Receiver<Command>,
    view: watch::Sender<Arc<View>>,
    brake: Arc<Brake>,
) {
    while let Some(Command { change, answer }) = commands.recv().await {
        let now = Instant::now();
        let result = match change {
            Change::Put(put) => policies.put(*put, 0, now),
            Change::Delete(name) => policies.delete(&name).map(|()| Effect::Done),
            Change::Pause(name, paused) => policies
                .pause(&name, paused)
                .map(|changed| if changed { Effect::Done } else { Effect::Unchanged }),
            Change::Renew(name) => policies.renew(&name, now).map(|()| Effect::Done),
            Change::Release => {
                Ok(if brake.release().unwrap() { Effect::Done } else { Effect::Unchanged })
            }
        };
        view.send_replace(Arc::new(view_of(&policies)));
        answer.send(result).unwrap();
    }
}

fn lossy() -> Value {
    json!({ "target": "app=web", "loss": { "rate": "2%", "burst": 3 } })
}

#[tokio::test]
async fn a_policy_comes_and_goes() {
    let site = Site::new();
    let created = site.put("lossy", &lossy()).await;
    assert_eq!(
        (created.status, &created.headers["location"]),
        (201, &HeaderValue::from_static("/v1/policies/lossy"))
    );
    let document = created.json();
    assert_eq!(document["effect"], "created");
    assert_eq!(document["source"], "api");
    let mut written = lossy();
    written["name"] = "lossy".into();
    assert_eq!(document["policy"], written);
    let again = site.put("lossy", &lossy()).await;
    assert_eq!((again.status, &again.json()["effect"]), (200, &json!("unchanged")));
    let mut other = lossy();
    other["loss"] = "3%".into();
    let dry = site
        .give("PUT", "/v1/policies/lossy?dry_run=true", "application/json", other.to_string())
        .await;
    assert_eq!((dry.status, dry.json()), (200, json!({ "name": "lossy", "effect": "replaced" })));
    assert_eq!(site.put("lossy", &other).await.json()["effect"], "replaced");
    let list = site.ask("GET", "/v1/policies").await.json();
    let names: Vec<_> = list["policies"].as_array().unwrap().iter().map(|p| &p["name"]).collect();
    assert_eq!(names, ["filed", "lossy"]);
    let gone = site.ask("DELETE", "/v1/policies/lossy").await;
    assert_eq!((gone.status, gone.text.as_str()), (204, ""));
    assert!(!gone.headers.contains_key("content-type"), "an empty answer has no type");
    assert_eq!(site.ask("GET", "/v1/policies/lossy").await.status, 404);
}

#[tokio::test]
async fn toml_is_taken_as_it_stands_in_a_file() {
    let site = Site::new();
    let text = "[[policy]]\nname = \"cut\"\ntarget = \"app=web\"\npartition = true\n";
    let created = site.give("POST", "/v1/policies", "application/toml", text).await;
    assert_eq!(created.status, 201, "{}", created.text);
    let again = site.give("POST", "/v1/policies", "application/toml", text).await;
    assert_eq!(again.status, 409);
    assert!(again.error().contains("PUT /v1/policies/cut"), "{}", again.text);
}

#[tokio::test]
async fn a_request_that_is_refused_says_why_in_one_shape() {
    let site = Site::new();
    let json = "application/json";
    for (method, path, kind, body, status, why) in [
        ("GET", "/v1/policies/none", json, "", 404, "entropyctl get policies"),
        ("DELETE", "/v1/policies/none", json, "", 404, "no policy none"),
        ("PUT", "/v1/policies/none/lease", json, "", 404, "no policy none"),
        ("POST", "/v1/policies/none/pause", json, "", 404, "no policy none"),
        ("GET", "/v2/policies", json, "", 404, "there is no /v2/policies"),
        ("PATCH", "/v1/policies", json, "", 405, "does not take PATCH"),
        ("PUT", "/v1/policies/x", "text/plain", "x", 415, "application/toml"),
        ("PUT", "/v1/policies/x", json, "a=1&b=2", 400, "looks like a form"),
        ("PUT", "/v1/policies/x", json, "{}", 422, "target"),
        ("PUT", "/v1/policies/x?tll=3s", json, "{}", 400, "tll"),
        ("PUT", "/v1/policies/filed/lease", json, "", 409, "filed.toml:1"),
        ("DELETE", "/v1/policies/filed", json, "", 409, "edit the file"),
        ("POST", "/v1/halt", json, "{\"raeson\": 1}", 400, "raeson"),
    ] {
        let answer = site.give(method, path, kind, body).await;
        let error = answer.error();
        assert!(answer.status == status && error.contains(why), "{method} {path}: {error}");
    }
    let filed = site.put("filed", &lossy()).await;
    assert_eq!(filed.status, 409);
    for ttl in ["5", "10ms", "25h"] {
        let path = format!("/v1/policies/x?ttl={ttl}");
        let answer = site.give("PUT", &path, json, lossy().to_string()).await;
        assert!(answer.status == 400 && answer.error().starts_with("ttl: "), "{}", answer.text);
    }
    let long = "x".repeat(LARGEST_BODY + 1);
    assert_eq!(site.give("PUT", "/v1/policies/x", json, long).await.status, 413);
    assert_eq!(
        site.ask("GET", "/v1/policies").await.json()["policies"].as_array().unwrap().len(),
        1
    );
}

#[tokio::test]
async fn a_web_page_is_refused_and_a_head_has_no_type() {
    let site = Site::new();
    let request = Request::get("/v1/version").header("origin", "http://localhost");
    let answer = site.send(request.body(Content::empty()).unwrap()).await;
    assert!(answer.status == 403 && answer.error().contains("Origin"), "{}", answer.text);
    let answer = site.ask("HEAD", "/v1/version").await;
    assert_eq!((answer.status, answer.text.as_str()), (200, ""));
    assert!(!answer.headers.contains_key("content-type"));
}

#[tokio::test]
async fn policies_of_files_can_be_paused_too() {
    let site = Site::new();
    let paused = site.ask("POST", "/v1/policies/filed/pause").await.json();
    assert_eq!((&paused["state"], &paused["effect"]), (&json!("paused"), &json!("done")));
    let again = site.ask("POST", "/v1/policies/filed/pause").await.json();
    assert_eq!(again["effect"], "unchanged");
    let resumed = site.ask("POST", "/v1/policies/filed/resume").await.json();
    assert_eq!(resumed["state"], "pending", "no round has been");
}

#[tokio::test]
async fn a_lease_is_told_and_renewed() {
    let site = Site::new();
    let path = "/v1/policies/x?ttl=3s";
    let created = site.give("PUT", path, "application/json", lossy().to_string()).await;
    assert_eq!(created.json()["lease"]["ttl_ns"], 3_000_000_000_u64);
    let renewed = site.ask("PUT", "/v1/policies/x/lease").await.json();
    assert!(renewed["lease"]["left_ns"].as_u64().unwrap() > 2_000_000_000, "{renewed}");
    assert_eq!(site.put("y", &lossy()).await.status, 201);
    let answer = site.ask("PUT", "/v1/policies/y/lease").await;
    assert!(answer.status == 409 && answer.error().contains("no lease"), "{}", answer.text);
}

#[tokio::test]
async fn a_halt_is_told_until_it_is_undone() {
    let site = Site::new();
    let halted = site.give("POST", "/v1/halt", "application/json", "{\"reason\": \"lunch\"}").await;
    assert_eq!(halted.json()["halted"]["reason"], "lunch");
    assert_eq!(site.brake.halted().unwrap().reason, "lunch");
    let health = site.ask("GET", "/v1/health").await.json();
    assert_eq!(
        (&health["status"], &health["reasons"][0]),
        (&json!("halted"), &json!("halted: lunch"))
    );
    assert_eq!(site.ask("GET", "/v1/policies/filed").await.json()["state"], "halted");
    assert_eq!(site.ask("POST", "/v1/halt").await.json()["changed"], false);
    let resumed = site.ask("POST", "/v1/resume").await.json();
    assert_eq!((&resumed["halted"], &resumed["changed"]), (&Value::Null, &json!(true)));
    assert_eq!(site.ask("POST", "/v1/resume").await.json()["changed"], false);
}

#[tokio::test]
async fn before_the_engine_has_spoken_all_is_pending_and_said_to_be() {
    let site = Site::new();
    assert_eq!(site.ask("GET", "/v1/policies/filed").await.json()["state"], "pending");
    let health = site.ask("GET", "/v1/health").await.json();
    assert_eq!(health["status"], "degraded");
    assert_eq!(health["reasons"], json!(["the container engine has not answered yet"]));
    let injections = site.ask("GET", "/v1/injections").await.json();
    assert_eq!(injections, json!({ "injections": [] }));
    assert_eq!(site.ask("GET", "/v1/containers").await.json(), json!({ "containers": [] }));
    let metrics = site.ask("GET", "/metrics").await;
    assert_eq!(metrics.headers["content-type"], metrics::CONTENT_TYPE);
    assert!(metrics.text.contains("\nentropy_policies{source=\"file\",state=\"pending\"} 1\n"));
}

#[tokio::test]
async fn who_asks_a_daemon_that_ends_is_told() {
    let (commands, _) = mpsc::channel(1);
    let (_, view) = watch::channel(Arc::new(View::default()));
    let brake = Arc::new(Brake::new(Runtime::at(std::path::Path::new("/nonexistent")), None));
    let router =
        router(Context { view, commands, brake: Arc::clone(&brake), activity: Arc::default() });
    let site = Site { _directory: tempfile::tempdir().unwrap(), router, brake };
    let answer = site.ask("DELETE", "/v1/policies/x").await;
    assert!(answer.status == 503 && answer.error().contains("stopping"), "{}", answer.text);
}
