//! Stop rules: checks of the steady state that run beside the faults, and end them all when the system
//! under test is worse off than it should be.

mod check;

use std::time::Duration;

use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};
use tracing::{info, warn};

use crate::{
    policy::Span,
    settings::{Check, StopRule},
};

/// Why a stop rule halts the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tripped {
    /// Name of the rule.
    pub rule: String,
    /// What the last check found.
    pub reason: String,
    /// How many checks in a row had failed.
    pub failures: u32,
}

/// The checks, each a task of its own. Dropping it ends them.
#[derive(Debug)]
pub struct Checks {
    _tasks: JoinSet<()>,
}

impl Checks {
    /// Starts to check. A rule that is broken reports once, and again after it has been whole.
    #[must_use]
    pub fn start(rules: &[StopRule]) -> (Self, mpsc::Receiver<Tripped>) {
        // At most one report of each rule waits; the reader halts at the first one.
        let (sender, receiver) = mpsc::channel(rules.len().max(1));
        let mut tasks = JoinSet::new();
        for rule in rules {
            tasks.spawn(follow(rule.clone(), sender.clone()));
        }
        // Without rules the channel must stay open, or its end would look like news.
        if rules.is_empty() {
            tasks.spawn(async move {
                let _sender = sender;
                std::future::pending::<()>().await;
            });
        }
        (Self { _tasks: tasks }, receiver)
    }
}

async fn follow(rule: StopRule, reports: mpsc::Sender<Tripped>) {
    let mut ticks = interval(duration(rule.every));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut streak = Streak::default();
    loop {
        ticks.tick().await;
        let result = once(&rule).await;
        match (&result, streak.failures) {
            (Err(reason), 0) => warn!("stop rule {}: {reason}", rule.name),
            (Ok(()), 1..) => info!("stop rule {}: well again", rule.name),
            _ => {}
        }
        if let Some(tripped) = streak.note(&rule, result)
            && reports.send(tripped).await.is_err()
        {
            return;
        }
    }
}

async fn once(rule: &StopRule) -> Result<(), String> {
    let limit = duration(rule.timeout);
    let checked = match &rule.check {
        Check::Http { authority, target, status } => {
            timeout(limit, check::http(authority, target, *status)).await
        }
        Check::Tcp(address) => timeout(limit, check::tcp(address)).await,
    };
    checked.unwrap_or_else(|_| Err(format!("no answer within {}", rule.timeout)))
}

const fn duration(span: Span) -> Duration {
    Duration::from_nanos(span.nanoseconds())
}

/// Failures in a row.
#[derive(Debug, Default)]
struct Streak {
    failures: u32,
}

impl Streak {
    /// Takes note of a check; says so at the failure that is one too many, and at no later one.
    fn note(&mut self, rule: &StopRule, result: Result<(), String>) -> Option<Tripped> {
        let Err(reason) = result else {
            self.failures = 0;
            return None;
        };
        self.failures = self.failures.saturating_add(1);
        (self.failures == rule.failures).then(|| Tripped {
            rule: rule.name.clone(),
            reason,
            failures: self.failures,
        })
    }
}

#[cfg(test)]
mod tests;
