//! `run`: a policy for a while, with a look at what it does, that ends with this process.
//!
//! The policy has a lease in the daemon, which is renewed every second: when this process is killed,
//! the daemon ends the policy. Its length stands in the policy itself, too, so that the kernel ends it
//! when there is no daemon either.

mod live;
mod policy;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use entropy_daemon::api::{
    Client, ClientError, Method,
    types::{Injection, Injections, Policy, State},
};
use serde::Serialize;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{MissedTickBehavior, interval, sleep},
};

use self::{live::Screen, policy::Wanted};
use crate::{
    FAILURE, USAGE,
    args::{Format, control::Socket, run::Run},
    control::{client, policy_path},
    output::{self, text},
};

/// How long the policy outlives this process.
const TTL: &str = "3s";
/// How often the daemon hears from it, and the table is drawn.
const PERIOD: Duration = Duration::from_secs(1);
/// How long an answer is waited for, and how long a daemon that gives none: it may be restarting.
const ANSWER: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(15);

/// What `run --output json` writes at its end.
#[derive(Debug, Serialize)]
struct Document {
    /// Name of the policy.
    policy: String,
    /// What was in force.
    faults: serde_json::Map<String, serde_json::Value>,
    /// For how long, in seconds.
    seconds: f64,
    /// What it came to.
    injections: Vec<Injection>,
}

/// Why it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It was to last so long.
    Over,
    /// Somebody has said so.
    Signal,
    /// Somebody else has deleted the policy.
    Deleted,
}

pub(crate) async fn run(arguments: &Run, socket: &Socket, format: Format) -> Result<ExitCode> {
    let wanted = match Wanted::of(arguments) {
        Ok(wanted) => wanted,
        Err(problems) => {
            output::note(&problems);
            return Ok(USAGE.into());
        }
    };
    // From here on nothing ends this process unseen.
    let mut signals = Signals::new()?;
    let client = client(socket);
    let path = format!("/v1/policies?ttl={TTL}");
    // The answer comes when it is in force, and may have to wait for hundreds of programs.
    let created = tokio::select! {
        created = client.send::<Policy>(Method::POST, &path, &wanted.policy) => Some(created?),
        () = signals.next() => None,
    };
    let session = Session { client: client.patient(ANSWER), wanted, start: Instant::now() };
    let followed = match created {
        Some(_) => session.follow(&mut signals, format).await,
        None => Ok(End::Signal),
    };
    let last = session.injections().await;
    let removed = session.remove().await;
    let end = followed?;
    let injections = last.unwrap_or_default();
    session.conclude(end, injections, format)?;
    removed.context("the daemon ends the policy when it does not hear from it, in 3 s")?;
    Ok(if end == End::Deleted { FAILURE } else { 0 }.into())
}

struct Session {
    client: Client,
    wanted: Wanted,
    start: Instant,
}

impl Session {
    /// Keeps the policy alive and shows what it does, until it is to end.
    async fn follow(&self, signals: &mut Signals, format: Format) -> Result<End> {
        let mut screen = Screen::new(format);
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            let rest = self.wanted.length.map(|length| length.saturating_sub(self.start.elapsed()));
            let looked = async {
                ticks.tick().await;
                self.look().await
            };
            let looked = tokio::select! {
                () = signals.next() => return Ok(End::Signal),
                () = sleep(rest.unwrap_or_default()), if rest.is_some() => return Ok(End::Over),
                looked = looked => looked,
            };
            match looked {
                Ok((policy, injections)) => {
                    heard = Instant::now();
                    screen.draw(&self.wanted, &policy, &injections, self.start.elapsed())?;
                    if policy.state == State::Over {
                        return Ok(End::Over);
                    }
                }
                Err(error) if error.is_status(404) => return Ok(End::Deleted),
                Err(error) if heard.elapsed() > PATIENCE => return Err(error.into()),
                Err(error) => screen.say(&format!("waiting for entropyd: {error}"))?,
            }
        }
    }

    /// Says that this process lives, and asks how things are.
    async fn look(&self) -> Result<(Policy, Vec<Injection>), ClientError> {
        let path = format!("{}/lease", policy_path(&self.wanted.name));
        let policy = self.client.act(Method::PUT, &path).await?;
        Ok((policy, self.injections().await?))
    }

    async fn injections(&self) -> Result<Vec<Injection>, ClientError> {
        let all: Injections = self.client.get("/v1/injections").await?;
        let is_ours = |injection: &Injection| injection.policy == self.wanted.name;
        Ok(all.injections.into_iter().filter(is_ours).collect())
    }

    /// Removes the policy. One that is gone is fine.
    async fn remove(&self) -> Result<(), ClientError> {
        match self.client.delete(&policy_path(&self.wanted.name)).await {
            Err(error) if !error.is_status(404) => Err(error),
            _ => Ok(()),
        }
    }

    fn conclude(&self, end: End, injections: Vec<Injection>, format: Format) -> Result<()> {
        let elapsed = self.start.elapsed();
        if format == Format::Json {
            let document = Document {
                policy: self.wanted.name.clone(),
                faults: self.wanted.policy.clone(),
                seconds: (elapsed.as_secs_f64() * 10.0).round() / 10.0,
                injections,
            };
            return output::print_json(&document);
        }
        let how = match end {
            End::Over => "is over",
            End::Signal => "was ended",
            End::Deleted => "was deleted by somebody else, or the daemon did not hear from it",
        };
        let time = text::seconds(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX));
        let summary = live::summary(&injections);
        output::print(&format!("{} {how} after {time}: {summary}\n", self.wanted.name))
    }
}

/// What asks this process to end.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let signals = kinds.map(|kind| signal(kind).context("listen for signals"));
        let [Ok(interrupt), Ok(terminate), Ok(hangup)] = signals else {
            bail!("signals cannot be listened for");
        };
        Ok(Self([interrupt, terminate, hangup]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
