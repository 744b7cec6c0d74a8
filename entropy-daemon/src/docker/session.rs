//! One connection to an engine: open the stream, list, follow.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    pin::Pin,
    time::Duration,
};

use futures_util::{
    FutureExt as _, Stream, StreamExt as _, TryStreamExt as _,
    future::BoxFuture,
    stream::{self, FuturesUnordered},
};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use super::{
    Container, Engine, EngineError, State, Timing, Update,
    engine::{Event, Look},
    watcher::{NobodyListens, Outbox},
};

/// Containers looked at at the same time.
const PARALLEL: usize = 16;

/// With so many updates waiting for the reader, no further containers are looked at; events for
/// them are noted, each container once.
const OUTBOX_ENOUGH: usize = 64;

/// Why a session ended.
#[derive(Debug)]
pub(super) enum Ended {
    Engine(EngineError),
    NobodyListens,
}

impl From<EngineError> for Ended {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

impl From<NobodyListens> for Ended {
    fn from(_: NobodyListens) -> Self {
        Self::NobodyListens
    }
}

/// Answer to a question that runs beside the event stream.
enum Done {
    Looked(Question, Result<Look, EngineError>),
    Starting(Question, Result<Option<Container>, EngineError>),
    Pinged(Result<(), EngineError>),
}

/// What was asked about a container, and when: the later the number.
type Question = (String, u64);

type Events<'a> = Pin<&'a mut (dyn Stream<Item = Result<Event, EngineError>> + Send)>;

/// A container that the engine could not tell about.
#[derive(Debug)]
struct Retry {
    due: Instant,
    pause: Duration,
    reason: String,
}

pub(super) struct Session<'a> {
    engine: &'a Engine,
    timing: &'a Timing,
    outbox: &'a mut Outbox,
    /// Containers to look at, in the order of their events, each once.
    pending: VecDeque<String>,
    /// Containers being looked at. One of them that has a new event waits in `pending`, so that
    /// the later look is told later.
    in_flight: HashSet<String>,
    /// Questions about containers with a new place on a network whose answers will be news: nothing that
    /// was asked later has been answered.
    starting: BTreeSet<Question>,
    /// How many questions were asked.
    asked: u64,
    questions: FuturesUnordered<BoxFuture<'a, Done>>,
    retries: HashMap<String, Retry>,
}

impl<'a> Session<'a> {
    pub(super) fn new(engine: &'a Engine, timing: &'a Timing, outbox: &'a mut Outbox) -> Self {
        Self {
            engine,
            timing,
            outbox,
            pending: VecDeque::new(),
            in_flight: HashSet::new(),
            starting: BTreeSet::new(),
            asked: 0,
            questions: FuturesUnordered::new(),
            retries: HashMap::new(),
        }
    }

    pub(super) async fn run(mut self) -> Ended {
        let mut events = std::pin::pin!(self.engine.events());
        let ended = async {
            self.list(events.as_mut()).await?;
            self.follow(events.as_mut()).await
        };
        match ended.await {
            Ok(never) => match never {},
            Err(ended) => ended,
        }
    }

    /// Tells what runs, while the event stream is open already and being read: the engine drops
    /// events that nobody takes.
    async fn list(&mut self, mut events: Events<'_>) -> Result<(), Ended> {
        let mut listing = std::pin::pin!(look_at_all(self.engine));
        let looks = loop {
            tokio::select! {
                // In this order the stream is asked for before the list.
                biased;
                event = events.next() => self.note(event)?,
                delivered = self.outbox.deliver() => delivered?,
                looks = &mut listing => break looks?,
            }
        };
        let mut containers: Vec<Container> = Vec::with_capacity(looks.len());
        let mut failures = Vec::new();
        for (id, look) in looks {
            match look {
                Look::Present(container) => containers.push(*container),
                Look::Gone => {}
                Look::Failed(error) => failures.push((id, error)),
            }
        }
        containers.sort_by(|a, b| a.id.cmp(&b.id));
        let unknown = failures.iter().map(|(id, _)| id.clone()).collect();
        self.outbox.push(Update::Snapshot { containers, unknown });
        for (id, error) in failures {
            self.failed(id, &error);
        }
        Ok(())
    }

    async fn follow(&mut self, mut events: Events<'_>) -> Result<std::convert::Infallible, Ended> {
        let first_probe = Instant::now() + self.timing.probe;
        let mut probes = interval_at(first_probe, self.timing.probe);
        probes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.start_questions();
            let retry_due = self.retries.values().map(|retry| retry.due).min();
            tokio::select! {
                event = events.next() => self.note(event)?,
                Some(done) = self.questions.next() => self.take(done)?,
                delivered = self.outbox.deliver() => delivered?,
                _ = probes.tick() => self.questions.push(self.engine.ping().map(Done::Pinged).boxed()),
                () = until(retry_due) => self.retry_due_ones(),
            }
        }
    }

    /// Notes that a container is to be looked at.
    fn note(&mut self, event: Option<Result<Event, EngineError>>) -> Result<(), Ended> {
        let Some(event) = event else {
            let reason = "the engine ended the event stream".into();
            return Err(EngineError::Unreachable { operation: "follow events", reason }.into());
        };
        let Event { container, joined } = event?;
        if let Some(network) = joined {
            let engine = self.engine;
            let question = self.question(container);
            self.starting.insert(question.clone());
            let asked = async move {
                let answer = engine.starting(&question.0, &network).await;
                Done::Starting(question, answer)
            };
            self.questions.push(asked.boxed());
        } else {
            self.look_at(container);
        }
        Ok(())
    }

    fn question(&mut self, container: String) -> Question {
        self.asked += 1;
        (container, self.asked)
    }

    /// Answers about a container to what was asked before this question are no news any more.
    fn outdate(&mut self, (container, number): &Question) {
        self.starting.retain(|(other, asked)| other != container || asked >= number);
    }

    fn look_at(&mut self, id: String) {
        if !self.pending.contains(&id) {
            self.pending.push_back(id);
        }
    }

    fn start_questions(&mut self) {
        while self.in_flight.len() < PARALLEL && self.outbox.len() < OUTBOX_ENOUGH {
            let next = self.pending.iter().position(|id| !self.in_flight.contains(id));
            let Some(id) = next.and_then(|position| self.pending.remove(position)) else { return };
            self.in_flight.insert(id.clone());
            let engine = self.engine;
            let question = self.question(id);
            let asked = async move {
                let look = engine.look(&question.0).await;
                Done::Looked(question, look)
            };
            self.questions.push(asked.boxed());
        }
    }

    fn take(&mut self, done: Done) -> Result<(), Ended> {
        let (question, look) = match done {
            Done::Pinged(result) => return result.map_err(Ended::from),
            Done::Starting(question, answer) => {
                self.starts(question, answer);
                return Ok(());
            }
            Done::Looked(question, look) => (question, look?),
        };
        let id = question.0.clone();
        self.in_flight.remove(&id);
        match look {
            Look::Present(container) => {
                self.retries.remove(&id);
                if container.state != State::Created {
                    self.outdate(&question);
                }
                self.outbox.push(Update::Changed(*container));
            }
            Look::Gone => {
                self.retries.remove(&id);
                self.outdate(&(id.clone(), u64::MAX));
                self.outbox.push(Update::Gone(id));
            }
            Look::Failed(error) => self.failed(id, &error),
        }
        Ok(())
    }

    /// What is known of a container that is being started, unless a look has told more meanwhile; and the
    /// next look, which the engine answers when it runs.
    fn starts(&mut self, question: Question, answer: Result<Option<Container>, EngineError>) {
        self.outdate(&question);
        let is_news = self.starting.remove(&question);
        let id = question.0;
        match answer {
            Ok(Some(container)) if is_news => self.outbox.push(Update::Changed(container)),
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, id, "known when it runs, not before"),
        }
        self.look_at(id);
    }

    /// One container that cannot be looked at is told about, and looked at again later.
    fn failed(&mut self, id: String, error: &EngineError) {
        let reason = error.to_string();
        let before = self.retries.get(&id);
        if before.is_none_or(|retry| retry.reason != reason) {
            self.outbox.push(Update::Unknown { id: id.clone(), reason: reason.clone() });
        }
        let pause = before.map_or(self.timing.retry_first, |retry| retry.pause * 2);
        let pause = pause.min(self.timing.retry_longest);
        self.retries.insert(id, Retry { due: Instant::now() + pause, pause, reason });
    }

    fn retry_due_ones(&mut self) {
        let now = Instant::now();
        let longest = self.timing.retry_longest;
        let mut due = Vec::new();
        for (id, retry) in &mut self.retries {
            if retry.due <= now {
                due.push(id.clone());
                // Until the look is over; it sets the next time itself.
                retry.due = now + longest;
            }
        }
        due.into_iter().for_each(|id| self.look_at(id));
    }
}

/// Looks at everything that runs. Ends early if the engine is in trouble.
async fn look_at_all(engine: &Engine) -> Result<Vec<(String, Look)>, EngineError> {
    let ids = engine.live_ids().await?;
    engine.learn_drivers().await;
    let looks = ids.into_iter().map(|id| async move {
        let look = engine.look(&id).await?;
        Ok((id, look))
    });
    stream::iter(looks).buffer_unordered(PARALLEL).try_collect().await
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
