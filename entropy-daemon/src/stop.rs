//! Stop rules: checks of the steady state that run beside the faults, and end them all when the system
//! under test is worse off than it should be.

mod check;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};
use tracing::{error, info, warn};

use crate::{
    brake::Brake,
    policy::Span,
    settings::{Check, StopRule},
};

/// The checks, each a task of its own. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Checks {
    _tasks: JoinSet<()>,
    is_needed: watch::Sender<bool>,
}

impl Checks {
    /// Starts to check, from when it is needed on. A rule that is broken pulls the brake itself, whatever
    /// the main loop is busy with.
    #[must_use]
    pub(crate) fn start(rules: &[StopRule], brake: &Arc<Brake>) -> Self {
        let (is_needed, need) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for rule in rules {
            tasks.spawn(follow(rule.clone(), Arc::clone(brake), need.clone()));
        }
        Self { _tasks: tasks, is_needed }
    }

    /// Says whether there is something in force that could be ended.
    pub(crate) fn need(&self, is_needed: bool) {
        self.is_needed.send_if_modified(|before| std::mem::replace(before, is_needed) != is_needed);
    }
}

async fn follow(rule: StopRule, brake: Arc<Brake>, mut need: watch::Receiver<bool>) {
    let mut ticks = interval(duration(rule.every));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut streak = Streak::default();
    loop {
        // What fails while nothing is injected is not our doing.
        if need.wait_for(|is_needed| *is_needed).await.is_err() {
            return;
        }
        ticks.tick().await;
        if !*need.borrow() || brake.halted().is_some() {
            streak = Streak::default();
            continue;
        }
        let result = once(&rule).await;
        match (&result, streak.failures) {
            (Err(reason), 0) => warn!("stop rule {}: {reason}", rule.name),
            (Ok(()), 1..) => info!("stop rule {}: well again", rule.name),
            _ => {}
        }
        if let Some(reason) = streak.note(&rule, result)
            && brake.halted().is_none()
            && let Err(error) = brake.halt(&reason)
        {
            error!("{error:#}");
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
    /// Takes note of a check. At the failure that is one too many it says why everything is halted, and
    /// begins anew.
    fn note(&mut self, rule: &StopRule, result: Result<(), String>) -> Option<String> {
        let Err(reason) = result else {
            self.failures = 0;
            return None;
        };
        self.failures += 1;
        if self.failures < rule.failures {
            return None;
        }
        let failures = std::mem::take(&mut self.failures);
        Some(format!("stop rule {}, {failures} failures in a row, the last: {reason}", rule.name))
    }
}

#[cfg(test)]
mod tests;
