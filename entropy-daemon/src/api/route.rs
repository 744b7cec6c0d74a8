//! The routes.

use std::{sync::Arc, time::Duration, time::Instant};

use axum::{
    Router,
    body::Bytes,
    extract::{
        DefaultBodyLimit, Path, Query, Request, State,
        rejection::{BytesRejection, PathRejection, QueryRejection},
    },
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use entropy_common::names;
use serde::Deserialize;
use tokio::sync::oneshot;

use super::{
    Change, Command, Context, View,
    answer::{Refused, json, nothing},
    body, metrics,
    show::Scene,
    types::{Effect, Halt, Halting, Injections, Policies, Version},
};
use crate::{
    clock,
    datapath::inspect::{self, Snapshot},
    netlink::{FqStatistics, Netlink},
    policies::Put,
    policy::Span,
};

/// Largest body in bytes: that of the largest policy file.
const LARGEST_BODY: usize = 1 << 20;
/// Shortest and longest time that a policy stays without hearing from its client.
const TTL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(24 * 60 * 60));

type Answer = Result<Response, Refused>;
type Name = Result<Path<String>, PathRejection>;
type Body = Result<Bytes, BytesRejection>;
type Asked<T> = Result<Query<T>, QueryRejection>;

/// All routes.
pub(super) fn router(context: Context) -> Router {
    let one = get(policy).put(replace).delete(delete);
    Router::new()
        .route("/v1/policies", get(policies).post(create))
        .route("/v1/policies/{name}", one)
        .route("/v1/policies/{name}/pause", post(pause))
        .route("/v1/policies/{name}/resume", post(resume))
        .route("/v1/policies/{name}/lease", put(renew))
        .route("/v1/injections", get(injections))
        .route("/v1/containers", get(containers))
        .route("/v1/halt", post(halt))
        .route("/v1/resume", post(release))
        .route("/v1/health", get(health))
        .route("/v1/version", get(version))
        .route("/metrics", get(metrics_text))
        .fallback(unknown)
        .method_not_allowed_fallback(not_allowed)
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(middleware::from_fn(guard))
        .with_state(context)
}

/// Browsers say where a page comes from that makes them ask: no page has any business here. And an
/// answer without a body has no type, which some clients would try to read.
async fn guard(request: Request, next: Next) -> Response {
    if request.headers().contains_key(header::ORIGIN) {
        let error = "requests of web pages are refused (header Origin)";
        return Refused::new(StatusCode::FORBIDDEN, error).into_response();
    }
    let is_head = request.method() == Method::HEAD;
    let mut response = next.run(request).await;
    if is_head {
        response.headers_mut().remove(header::CONTENT_TYPE);
    }
    response
}

async fn unknown(request: Request) -> Refused {
    let path = request.uri().path().escape_debug().to_string();
    let error = format!("there is no {path}: see README, Control");
    Refused::new(StatusCode::NOT_FOUND, error)
}

async fn not_allowed(request: Request) -> Refused {
    let (method, path) = (request.method(), request.uri().path().escape_debug());
    let error = format!("{path} does not take {method}: see README, Control");
    Refused::new(StatusCode::METHOD_NOT_ALLOWED, error)
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    ttl: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

impl Options {
    fn ttl(&self) -> Result<Option<Duration>, Refused> {
        let Some(text) = &self.ttl else { return Ok(None) };
        let span =
            text.parse::<Span>().map_err(|mistake| Refused::bad(format!("ttl: {mistake}")))?;
        let ttl = Duration::from_nanos(span.nanoseconds());
        if ttl < TTL.0 || ttl > TTL.1 {
            return Err(Refused::bad(format!("ttl: {span} is not between 1s and 24h")));
        }
        Ok(Some(ttl))
    }
}

fn named(name: Name) -> Result<String, Refused> {
    name.map(|Path(name)| name).map_err(|error| Refused::bad(error.body_text()))
}

fn bytes(body: Body) -> Result<Bytes, Refused> {
    body.map_err(|error| Refused::new(error.status(), error.body_text()))
}

fn asked<T>(query: Asked<T>) -> Result<T, Refused> {
    query.map(|Query(options)| options).map_err(|error| Refused::bad(error.body_text()))
}

fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok())
}

impl Context {
    fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }

    fn scene<'v>(&self, view: &'v View) -> Result<Scene<'v>, Refused> {
        let now_ns = clock::monotonic_ns().map_err(anyhow::Error::from)?;
        Ok(Scene { view, halted: self.brake.halted(), now_ns, now: Instant::now() })
    }

    /// Has the main loop do something, and waits until that is in force.
    async fn change(&self, change: Change) -> Result<Effect, Refused> {
        let (answer, answered) = oneshot::channel();
        let stopping = || {
            Refused::new(StatusCode::SERVICE_UNAVAILABLE, "entropyd is stopping: ask the next one")
        };
        self.commands.send(Command { change, answer }).await.map_err(|_| stopping())?;
        Ok(answered.await.map_err(|_| stopping())??)
    }

    /// One policy as it is now.
    fn show(&self, name: &str, status: StatusCode, effect: Option<Effect>) -> Answer {
        let view = self.view();
        let listed = view.listed().find(|listed| listed.policy.name == name);
        let missing = || crate::policies::Refusal::unknown(name);
        let mut policy = self.scene(&view)?.policy(listed.ok_or_else(missing)?);
        policy.effect = effect;
        Ok(json(status, &policy))
    }

    async fn put(&self, put: Put) -> Answer {
        let (name, dry_run) = (put.policy.name.clone(), put.dry_run);
        let effect = self.change(Change::Put(Box::new(put))).await?;
        if dry_run {
            return Ok(json(
                StatusCode::OK,
                &serde_json::json!({ "name": name, "effect": effect }),
            ));
        }
        let created = effect == Effect::Created;
        let status = if created { StatusCode::CREATED } else { StatusCode::OK };
        let mut response = self.show(&name, status, Some(effect))?;
        if let Ok(place) = HeaderValue::try_from(format!("/v1/policies/{name}"))
            && created
        {
            response.headers_mut().insert(header::LOCATION, place);
        }
        Ok(response)
    }
}

/// What is in the kernel now, or why that cannot be read.
async fn snapshot() -> Result<Snapshot, String> {
    let reason = match tokio::task::spawn_blocking(inspect::read).await {
        Ok(Ok(Some(snapshot))) => return Ok(snapshot),
        Ok(Ok(None)) => format!("nothing is pinned in {}", names::PIN_DIR),
        Ok(Err(error)) => format!("{error:#}"),
        Err(error) => error.to_string(),
    };
    tracing::warn!("the counters cannot be read: {reason}");
    Err(reason)
}

async fn policies(State(context): State<Context>) -> Answer {
    let view = context.view();
    let policies = context.scene(&view)?.policies();
    Ok(json(StatusCode::OK, &Policies { policies }))
}

async fn policy(State(context): State<Context>, name: Name) -> Answer {
    context.show(&named(name)?, StatusCode::OK, None)
}

async fn create(
    State(context): State<Context>,
    query: Asked<Options>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let options = asked(query)?;
    let policy = body::policy(content_type(&headers), &bytes(body)?, None)?;
    let ttl = options.ttl()?;
    context.put(Put { policy, create: true, dry_run: options.dry_run, ttl }).await
}

async fn replace(
    State(context): State<Context>,
    name: Name,
    query: Asked<Options>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let (name, options) = (named(name)?, asked(query)?);
    let policy = body::policy(content_type(&headers), &bytes(body)?, Some(&name))?;
    let ttl = options.ttl()?;
    context.put(Put { policy, create: false, dry_run: options.dry_run, ttl }).await
}

async fn delete(State(context): State<Context>, name: Name) -> Answer {
    context.change(Change::Delete(named(name)?)).await?;
    Ok(nothing())
}

async fn pause(State(context): State<Context>, name: Name) -> Answer {
    let name = named(name)?;
    let effect = context.change(Change::Pause(name.clone(), true)).await?;
    context.show(&name, StatusCode::OK, Some(effect))
}

async fn resume(State(context): State<Context>, name: Name) -> Answer {
    let name = named(name)?;
    let effect = context.change(Change::Pause(name.clone(), false)).await?;
    context.show(&name, StatusCode::OK, Some(effect))
}

async fn renew(State(context): State<Context>, name: Name) -> Answer {
    let name = named(name)?;
    context.change(Change::Renew(name.clone())).await?;
    context.show(&name, StatusCode::OK, None)
}

async fn injections(State(context): State<Context>) -> Answer {
    let (view, snapshot) = (context.view(), snapshot().await);
    let injections = context.scene(&view)?.injections(snapshot.as_ref().ok(), &context.activity);
    Ok(json(StatusCode::OK, &Injections { injections }))
}

async fn containers(State(context): State<Context>) -> Answer {
    let view = context.view();
    Ok(json(StatusCode::OK, &context.scene(&view)?.containers()))
}

async fn halt(State(context): State<Context>, body: Body) -> Answer {
    let body = bytes(body)?;
    let asked = match body.is_empty() {
        true => Halt::default(),
        false => {
            let map = body::object(&body)?;
            let halt = serde_json::from_value(map.into());
            halt.map_err(|error| Refused::bad(format!("a halt has a reason, no more: {error}")))?
        }
    };
    let reason = asked.reason.unwrap_or_else(|| "asked for over the API".to_owned());
    let changed = context.brake.halted().is_none();
    let halted = Some(context.brake.halt(&reason)?);
    Ok(json(StatusCode::OK, &Halting { halted, changed }))
}

async fn release(State(context): State<Context>) -> Answer {
    let changed = context.change(Change::Release).await? == Effect::Done;
    Ok(json(StatusCode::OK, &Halting { halted: context.brake.halted(), changed }))
}

async fn health(State(context): State<Context>) -> Answer {
    let (view, snapshot) = (context.view(), snapshot().await);
    let scene = context.scene(&view)?;
    let injections = scene.injections(snapshot.as_ref().ok(), &context.activity);
    Ok(json(StatusCode::OK, &scene.health(&injections, snapshot.as_ref().err())))
}

async fn version() -> Response {
    let version = Version {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        api: "v1".to_owned(),
        pid: std::process::id(),
    };
    json(StatusCode::OK, &version)
}

async fn metrics_text(State(context): State<Context>) -> Answer {
    let (view, snapshot) = (context.view(), snapshot().await);
    let scene = context.scene(&view)?;
    let injections = scene.injections(snapshot.as_ref().ok(), &context.activity);
    let queue = queue(snapshot.as_ref().ok().and_then(|snapshot| snapshot.line)).await;
    let text = metrics::render(&metrics::Facts {
        health: &scene.health(&injections, snapshot.as_ref().err()),
        policies: &scene.policies(),
        injections: &injections,
        containers: scene.containers().containers.len(),
        lease_left_ns: snapshot.as_ref().ok().map(|snapshot| snapshot.lease_left_ns),
        queue,
        events: snapshot.as_ref().map_or(&[], |snapshot| &snapshot.events),
    });
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

/// What waits in the line. That it cannot be asked is no reason to tell nothing else.
async fn queue(entrance: Option<u32>) -> Option<FqStatistics> {
    let entrance = entrance?;
    let statistics = match Netlink::new() {
        Ok(netlink) => netlink.fq_statistics(entrance).await,
        Err(error) => Err(error),
    };
    statistics.unwrap_or_else(|error| {
        tracing::warn!("the line's queue cannot be read: {error}");
        None
    })
}

#[cfg(test)]
mod tests;
