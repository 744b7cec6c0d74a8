//! One connection to an engine: questions with bounded waits, and the event stream.

mod networks;

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bollard::{
    API_DEFAULT_VERSION, BollardRequest, Docker,
    errors::Error as BollardError,
    models::{ContainerSummaryStateEnum, EventMessage, EventMessageTypeEnum, SystemVersion},
    query_parameters::{
        EventsOptionsBuilder, InspectContainerOptions, ListContainersOptions,
        ListContainersOptionsBuilder,
    },
};
use futures_util::{Stream, StreamExt as _};

use self::networks::Known;
use super::{Container, Endpoint};

/// How often, and after which pauses, a network is asked for a container that has a place there.
const PLACE_TRIES: u32 = 50;
const PLACE_PAUSE: Duration = Duration::from_millis(5);

/// How long the engine may take to begin the event stream, in seconds. Docker does so at once;
/// an engine that waits for the first event is asked again, which does no harm.
const STREAM_TIMEOUT_S: u64 = 60;

/// How far back the event stream starts, for an engine whose clock runs behind ours.
const EVENTS_BACK: Duration = Duration::from_secs(5);

/// Events after which a container may look different. `died` and `remove` are Podman's words.
const ACTIONS: [&str; 12] = [
    "create",
    "start",
    "die",
    "died",
    "destroy",
    "remove",
    "rename",
    "pause",
    "unpause",
    "update",
    "connect",
    "disconnect",
];

/// An engine that cannot be used now.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// It cannot be reached, or the connection broke.
    #[error("{operation}: {reason}")]
    Unreachable {
        /// What was tried.
        operation: &'static str,
        /// The cause, in words.
        reason: String,
    },
    /// It did not answer in time.
    #[error("{operation}: no answer within {} ms", waited.as_millis())]
    Timeout {
        /// What was tried.
        operation: &'static str,
        /// How long.
        waited: Duration,
    },
    /// It answered, but with an error or with something else than asked for.
    #[error("{operation}: {reason}")]
    Answer {
        /// What was tried.
        operation: &'static str,
        /// The cause, in words.
        reason: String,
        /// The HTTP status, if that was an error.
        status: Option<u16>,
    },
}

impl EngineError {
    fn new(operation: &'static str, error: BollardError, waited: Duration) -> Self {
        let reason = chain(&error);
        match error {
            BollardError::RequestTimeoutError => Self::Timeout { operation, waited },
            BollardError::DockerResponseServerError { status_code, message } => {
                let reason = format!("HTTP status {status_code}: {}", message.trim());
                Self::Answer { operation, reason, status: Some(status_code) }
            }
            BollardError::JsonDataError { .. }
            | BollardError::JsonSerdeError { .. }
            | BollardError::StrParseError { .. } => {
                Self::Answer { operation, reason, status: None }
            }
            _ => Self::Unreachable { operation, reason },
        }
    }

    /// Whether the engine knows no container of that name. Podman says so by a status of 500 while it
    /// removes one.
    fn says_no_such_container(&self) -> bool {
        match self {
            Self::Answer { status: Some(404), .. } => true,
            Self::Answer { status: Some(500), reason, .. } => {
                reason.to_ascii_lowercase().contains("no such container")
            }
            _ => false,
        }
    }
}

/// An error with all its causes in one line; bollard's own text often leaves them out.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

/// What an engine says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineVersion {
    /// Version of the engine, such as `20.10.24`.
    pub engine: String,
    /// Version of the API that is spoken with it, such as `1.41`; empty if it does not say.
    pub api: String,
}

/// What a look at one container showed.
#[derive(Debug)]
pub(super) enum Look {
    Present(Box<Container>),
    Gone,
    /// The engine is well, but cannot tell about this one.
    Failed(EngineError),
}

/// A connection to a container engine. Every question opens a socket of its own.
#[derive(Debug)]
pub struct Engine {
    docker: Docker,
    timeout: Duration,
    version: EngineVersion,
    /// What is known of each network by id; it never changes.
    networks: Mutex<HashMap<String, Known>>,
}

impl Engine {
    /// Connects and agrees on an API version: the newest that both sides know.
    ///
    /// # Errors
    ///
    /// Fails if the engine cannot be reached or does not say sensibly within `timeout` what it is.
    pub async fn connect(endpoint: &Endpoint, timeout: Duration) -> Result<Self, EngineError> {
        let operation = "connect to the container engine";
        let docker = open(endpoint).map_err(|e| EngineError::new(operation, e, timeout))?;
        let answer = bounded(operation, timeout, docker.version()).await?;
        let (prefix, api) = negotiate(&answer);
        let docker = match prefix {
            Some(prefix) => docker.with_request_modifier(move |r| versioned(r, &prefix)),
            None => docker,
        };
        let engine = answer.version.unwrap_or_else(|| "unknown".into());
        let version = EngineVersion { engine, api };
        Ok(Self { docker, timeout, version, networks: Mutex::default() })
    }

    /// What the engine says about itself.
    #[must_use]
    pub fn version(&self) -> &EngineVersion {
        &self.version
    }

    /// Asks for a sign of life.
    pub(super) async fn ping(&self) -> Result<(), EngineError> {
        bounded("ping the container engine", self.timeout, self.docker.ping()).await.map(drop)
    }

    /// Ids of all containers that run, paused ones included.
    pub(super) async fn live_ids(&self) -> Result<Vec<String>, EngineError> {
        let list = self.docker.list_containers(None::<ListContainersOptions>);
        let containers = bounded("list containers", self.timeout, list).await?;
        Ok(containers.into_iter().filter_map(|container| container.id).collect())
    }

    /// Looks at one container. A container that the engine chokes on (its lock is held for ever,
    /// its record is damaged) is told from an engine that is in trouble itself.
    pub(super) async fn look(&self, id: &str) -> Result<Look, EngineError> {
        match self.inspect(id).await {
            Ok(Some(container)) => Ok(Look::Present(Box::new(container))),
            Ok(None) => Ok(Look::Gone),
            Err(error @ EngineError::Timeout { .. }) => {
                self.ping().await.map(|()| Look::Failed(error))
            }
            Err(error @ EngineError::Answer { .. }) => Ok(Look::Failed(error)),
            Err(error @ EngineError::Unreachable { .. }) => Err(error),
        }
    }

    /// Asks about one container; none if there is none.
    async fn inspect(&self, id: &str) -> Result<Option<Container>, EngineError> {
        let operation = "inspect container";
        let inspect = self.docker.inspect_container(id, None::<InspectContainerOptions>);
        let answer = match bounded(operation, self.timeout, inspect).await {
            Err(error) if error.says_no_such_container() => return Ok(None),
            answer => answer?,
        };
        let Some(mut container) = Container::from_inspect(answer) else {
            let reason = "no id in the answer".into();
            return Err(EngineError::Answer { operation, reason, status: None });
        };
        for attachment in &mut container.attachments {
            let Known { driver, bridge } = self.known(&attachment.network_id).await;
            (attachment.driver, attachment.bridge) = (driver, bridge);
        }
        Ok(Some(container))
    }

    /// What can be said of a container while it is being started: the engine answers no closer look until
    /// its process runs (it holds the container's lock), but knows of its networks by then. None if it is
    /// not being started. `network` is the id of one where it has been given a place just now: engines tell
    /// so some milliseconds before they name the container there.
    pub(super) async fn starting(
        &self,
        id: &str,
        network: &str,
    ) -> Result<Option<Container>, EngineError> {
        let filters = HashMap::from([("id", vec![id.to_owned()])]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let list = self.docker.list_containers(Some(options));
        let list = bounded("list containers", self.timeout, list).await?;
        let summary = list.into_iter().find(|summary| summary.id.as_deref() == Some(id));
        let Some(mut summary) = summary else { return Ok(None) };
        if matches!(
            summary.state,
            Some(ContainerSummaryStateEnum::RUNNING | ContainerSummaryStateEnum::PAUSED)
        ) {
            return Ok(None);
        }
        let networks = summary.network_settings.take().and_then(|settings| settings.networks);
        let Some(mut container) = Container::starting(summary) else { return Ok(None) };
        // A network may have nearly any name, but its id is not told before the first start.
        let others = networks.unwrap_or_default().into_iter().filter_map(|(name, settings)| {
            let known = settings.network_id.filter(|known| is_id(known));
            known.or_else(|| is_network(&name).then_some(name))
        });
        let mut others: Vec<String> = others.filter(|other| other != network).collect();
        others.sort_unstable();
        for _ in 0..PLACE_TRIES {
            container.attachments.clear();
            let joined = self.place_on(network, id).await?;
            let is_told = joined.as_ref().is_some_and(|place| place.mac.is_some());
            for other in &others {
                match self.place_on(other, id).await {
                    Ok(place) => {
                        let place = place.filter(|place| place.network_id != network);
                        container.attachments.extend(place);
                    }
                    Err(error) => tracing::debug!(%error, other, "a network of {}", container.name),
                }
            }
            container.attachments.extend(joined);
            if is_told {
                break;
            }
            tokio::time::sleep(PLACE_PAUSE).await;
        }
        container.attachments.sort_by(|a, b| a.network_name.cmp(&b.network_name));
        Ok(Some(container))
    }

    /// Opens the event stream, from a little before now on.
    pub(super) fn events(&self) -> impl Stream<Item = Result<Event, EngineError>> + use<> {
        let types = ["container", "network"].map(str::to_owned).to_vec();
        let actions = ACTIONS.map(str::to_owned).to_vec();
        let filters = HashMap::from([("type", types), ("event", actions)]);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let since = now.saturating_sub(EVENTS_BACK).as_secs().to_string();
        let options = EventsOptionsBuilder::new().since(&since).filters(&filters).build();
        let waited = Duration::from_secs(STREAM_TIMEOUT_S);
        self.docker.events(Some(options)).filter_map(move |item| {
            std::future::ready(match item {
                Ok(event) => Event::read(event).map(Ok),
                Err(error) => Some(Err(EngineError::new("follow events", error, waited))),
            })
        })
    }
}

fn open(endpoint: &Endpoint) -> Result<Docker, BollardError> {
    if endpoint.is_local() {
        Docker::connect_with_unix(endpoint.as_str(), STREAM_TIMEOUT_S, API_DEFAULT_VERSION)
    } else {
        Docker::connect_with_http(endpoint.as_str(), STREAM_TIMEOUT_S, API_DEFAULT_VERSION)
    }
}

/// Waits for an answer, body included: bollard's own limit ends with the answer's head.
async fn bounded<T>(
    operation: &'static str,
    timeout: Duration,
    question: impl Future<Output = Result<T, BollardError>>,
) -> Result<T, EngineError> {
    match tokio::time::timeout(timeout, question).await {
        Ok(answer) => answer.map_err(|error| EngineError::new(operation, error, timeout)),
        Err(_) => Err(EngineError::Timeout { operation, waited: timeout }),
    }
}

/// The newest API version that both sides know, as a path prefix and as text. bollard asks without
/// one, which an engine answers with its newest, whatever that looks like by then.
fn negotiate(answer: &SystemVersion) -> (Option<String>, String) {
    let parse = |text: &Option<String>| -> Option<(usize, usize)> {
        let (major, minor) = text.as_deref()?.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    let ours = (API_DEFAULT_VERSION.major_version, API_DEFAULT_VERSION.minor_version);
    let Some(newest) = parse(&answer.api_version) else { return (None, String::new()) };
    let oldest = parse(&answer.min_api_version).unwrap_or_default();
    let (major, minor) = ours.min(newest).max(oldest.min(newest));
    (Some(format!("/v{major}.{minor}")), format!("{major}.{minor}"))
}

fn versioned(mut request: BollardRequest, prefix: &str) -> BollardRequest {
    let uri = request.uri();
    if let (Some(scheme), Some(authority), Some(path)) =
        (uri.scheme_str(), uri.authority(), uri.path_and_query())
        && !path.as_str().starts_with("/v1.")
        && let Ok(uri) = format!("{scheme}://{authority}{prefix}{path}").parse()
    {
        *request.uri_mut() = uri;
    }
    request
}

/// Something happened to a container, which is to be looked at again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// Id of the container.
    pub(super) container: String,
    /// Id of the network where it got a place: it may be about to start then.
    pub(super) joined: Option<String>,
}

impl Event {
    fn read(event: EventMessage) -> Option<Self> {
        let actor = event.actor?;
        let (container, joined) = match event.typ? {
            EventMessageTypeEnum::CONTAINER => (actor.id?, None),
            EventMessageTypeEnum::NETWORK => {
                let has_joined = event.action.as_deref() == Some("connect");
                (
                    actor.attributes?.remove("container")?,
                    actor.id.filter(|id| has_joined && is_id(id)),
                )
            }
            _ => return None,
        };
        // It becomes part of a path.
        is_id(&container).then_some(Self { container, joined })
    }
}

/// Whether a network's name can become part of a path as it is. Docker takes nearly any.
fn is_network(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

fn is_id(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn newest_common_version_is_spoken() {
        let spoken = |newest: &str, oldest: &str| {
            let answer = json!({"ApiVersion": newest, "MinAPIVersion": oldest});
            negotiate(&serde_json::from_value(answer).unwrap()).1
        };
        assert_eq!(spoken("1.41", "1.12"), "1.41");
        assert_eq!(spoken("1.50", "1.24"), "1.50");
        let ours = API_DEFAULT_VERSION.to_string();
        assert_eq!(spoken("1.99", "1.44"), ours);
        // An engine that has dropped what we know is asked for the oldest that it still speaks.
        assert_eq!(spoken("1.99", "1.98"), "1.98");
        assert_eq!(spoken("1.41", "1.99"), "1.41");
        assert_eq!(spoken("1.41", "?"), "1.41");
        assert_eq!(spoken("latest", ""), "");
        assert_eq!(negotiate(&SystemVersion::default()), (None, String::new()));
    }

    #[test]
    fn events_name_their_container() {
        let of = |event: Value| {
            let event = Event::read(serde_json::from_value(event).unwrap())?;
            Some((event.container, event.joined.is_some()))
        };
        let container = json!({"Type": "container", "Action": "die", "Actor": {"ID": "ab12"}});
        assert_eq!(of(container), Some(("ab12".to_owned(), false)));
        let network = json!({
            "Type": "network", "Action": "connect",
            "Actor": {"ID": "net", "Attributes": {"container": "cd34", "name": "front"}},
        });
        assert_eq!(of(network), Some(("cd34".to_owned(), true)));
        for nobody in [
            json!({}),
            json!({"Type": "network", "Action": "create", "Actor": {"ID": "net"}}),
            json!({"Type": "container", "Actor": {"ID": "../images"}}),
            json!({"Type": "container", "Actor": {"ID": ""}}),
            json!({"Type": "image", "Actor": {"ID": "ab12"}}),
            json!({"Type": "container"}),
        ] {
            assert_eq!(of(nobody.clone()), None, "{nobody}");
        }
    }
}
