//! Following an engine for as long as the daemon lives, through all its restarts.

use std::{collections::VecDeque, time::Duration};

use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep},
};

use super::{
    Container, Endpoint, Engine, EngineError, EngineVersion,
    backoff::Backoff,
    session::{Ended, Session},
};

/// Updates that may wait for the reader. Beyond it containers are looked at later, then once.
const QUEUE_LEN: usize = 256;

/// What the reader is told, in order for each container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// An engine answers; a snapshot follows.
    Connected(EngineVersion),
    /// All containers that run, paused ones included. What is not in it does not run.
    Snapshot {
        /// Those that could be looked at.
        containers: Vec<Container>,
        /// Ids of those that could not.
        unknown: Vec<String>,
    },
    /// A container as it is now, whatever its state.
    Changed(Container),
    /// The container with this id does not exist any more.
    Gone(String),
    /// The engine cannot say how this container is. It is asked again from time to time; until it
    /// answers, what was known about the container is the best guess.
    Unknown {
        /// The container's id.
        id: String,
        /// Why, in words.
        reason: String,
    },
    /// The engine cannot be reached or used; attempts go on. Containers most likely still run.
    Disconnected {
        /// Why, in words.
        reason: String,
    },
}

/// Waits and limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// Longest wait for one answer.
    pub request: Duration,
    /// Pause between signs of life while following.
    pub probe: Duration,
    /// First pause before connecting again; it doubles with each attempt.
    pub backoff_first: Duration,
    /// Longest pause before connecting again, and the time after which a connection counts as
    /// good, so that the next pause is the first again.
    pub backoff_longest: Duration,
    /// First pause before a container that could not be looked at is looked at again; it doubles.
    pub retry_first: Duration,
    /// Longest such pause.
    pub retry_longest: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            request: Duration::from_secs(10),
            probe: Duration::from_secs(15),
            backoff_first: Duration::from_millis(100),
            backoff_longest: Duration::from_secs(5),
            retry_first: Duration::from_secs(1),
            retry_longest: Duration::from_secs(60),
        }
    }
}

/// A task that follows an engine. Dropping it, or the receiver, ends the task.
#[derive(Debug)]
pub struct Watcher {
    task: JoinHandle<()>,
}

impl Watcher {
    /// Starts to follow the engine at `endpoint`, which need not be there yet.
    #[must_use]
    pub fn spawn(endpoint: Endpoint, timing: Timing) -> (Self, mpsc::Receiver<Update>) {
        let (updates, receiver) = mpsc::channel(QUEUE_LEN);
        let task = tokio::spawn(async move {
            // The only end is that nobody listens any more.
            let Err(NobodyListens) = follow(&endpoint, &timing, updates).await;
        });
        (Self { task }, receiver)
    }
}

#[cfg(test)]
impl Watcher {
    pub(super) async fn ended(&mut self) {
        let _ = (&mut self.task).await;
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The receiver is gone.
#[derive(Debug)]
pub(super) struct NobodyListens;

/// Updates on their way to a reader that may be slower than the engine.
#[derive(Debug)]
pub(super) struct Outbox {
    sender: mpsc::Sender<Update>,
    waiting: VecDeque<Update>,
}

impl Outbox {
    pub(super) fn push(&mut self, update: Update) {
        self.waiting.push_back(update);
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Hands over one waiting update; never ends while there is none. Cancelling loses nothing.
    pub(super) async fn deliver(&mut self) -> Result<(), NobodyListens> {
        if self.waiting.is_empty() {
            self.sender.closed().await;
            return Err(NobodyListens);
        }
        let place = self.sender.reserve().await.map_err(|_| NobodyListens)?;
        if let Some(update) = self.waiting.pop_front() {
            place.send(update);
        }
        Ok(())
    }

    async fn deliver_all(&mut self) -> Result<(), NobodyListens> {
        while !self.waiting.is_empty() {
            self.deliver().await?;
        }
        Ok(())
    }
}

async fn follow(
    endpoint: &Endpoint,
    timing: &Timing,
    sender: mpsc::Sender<Update>,
) -> Result<std::convert::Infallible, NobodyListens> {
    let mut outbox = Outbox { sender, waiting: VecDeque::new() };
    let mut backoff = Backoff::new(timing.backoff_first, timing.backoff_longest);
    // One outage is told once, however many attempts it takes, unless its cause changes.
    let mut told = None;
    loop {
        let started = Instant::now();
        let (error, was_connected) = attempt(endpoint, timing, &mut outbox).await?;
        let reason = error.to_string();
        if was_connected || told.as_ref() != Some(&reason) {
            outbox.push(Update::Disconnected { reason: reason.clone() });
            told = Some(reason);
        }
        outbox.deliver_all().await?;
        if started.elapsed() > timing.backoff_longest {
            backoff.reset();
        }
        tokio::select! {
            () = sleep(backoff.pause()) => {}
            () = outbox.sender.closed() => return Err(NobodyListens),
        }
    }
}

/// One connection from its beginning to its end. Tells whether it was one.
async fn attempt(
    endpoint: &Endpoint,
    timing: &Timing,
    outbox: &mut Outbox,
) -> Result<(EngineError, bool), NobodyListens> {
    let engine = match Engine::connect(endpoint, timing.request).await {
        Ok(engine) => engine,
        Err(error) => return Ok((error, false)),
    };
    outbox.push(Update::Connected(engine.version().clone()));
    match Session::new(&engine, timing, outbox).run().await {
        Ended::Engine(error) => Ok((error, true)),
        Ended::NobodyListens => Err(NobodyListens),
    }
}
