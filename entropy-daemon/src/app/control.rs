//! The main loop's side of the control API.

use std::{sync::Arc, time::Instant};

use tokio::sync::oneshot;
use tracing::error;

use super::Daemon;
use crate::{
    api::{Change, Command, Desk, View, types::Effect},
    clock,
    datapath::Kernel,
    plan::Plan,
    policies::Refusal,
    runtime::Halted,
    schedule::Window,
    stop::Tripped,
};

/// Who is answered when the round is over.
pub(super) struct Waiting {
    effect: Effect,
    answer: oneshot::Sender<Result<Effect, Refusal>>,
}

impl Waiting {
    /// Says that it is in force. Who has gone meanwhile does not want to know.
    pub(super) fn answer(self) {
        drop(self.answer.send(Ok(self.effect)));
    }
}

impl Daemon {
    /// Does what is asked for, and all that is asked for behind it. Who has to wait for a round is
    /// returned, the others are answered.
    pub(super) fn obey_all(&mut self, first: Command, desk: &mut Desk) -> Vec<Waiting> {
        let mut waiting = Vec::new();
        let mut next = Some(first);
        while let Some(Command { change, answer }) = next {
            let needs_round = needs_round(&change);
            match self.obey(change) {
                Ok(effect) if needs_round && effect != Effect::Unchanged => {
                    waiting.push(Waiting { effect, answer });
                }
                // Who has gone meanwhile does not want to know.
                result => {
                    self.publish_policies(desk);
                    drop(answer.send(result));
                }
            }
            next = desk.commands.try_recv().ok();
        }
        waiting
    }

    fn obey(&mut self, change: Change) -> Result<Effect, Refusal> {
        let now = Instant::now();
        match change {
            Change::Put(put) => {
                let since_ns = clock::monotonic_ns().map_err(anyhow::Error::from)?;
                self.policies.put(*put, since_ns, now)
            }
            Change::Delete(name) => self.policies.delete(&name).map(|()| Effect::Done),
            Change::Renew(name) => self.policies.renew(&name, now).map(|()| Effect::Done),
            Change::Pause(name, paused) => {
                let changed = self.policies.pause(&name, paused)?;
                Ok(if changed { Effect::Done } else { Effect::Unchanged })
            }
            Change::Release => {
                let was = self.brake.release()?;
                // Not only when it would have been due.
                self.lease.renewed = None;
                Ok(if was { Effect::Done } else { Effect::Unchanged })
            }
        }
    }

    /// When the next policy ends if its client is not heard of.
    pub(super) fn next_end(&self) -> Option<tokio::time::Instant> {
        self.policies.next_end().map(tokio::time::Instant::from_std)
    }

    /// Policies that are paused keep their rules, with all they have counted, and no window.
    pub(super) fn hold_paused(&self, plan: &mut Plan) {
        let names = self.policies.paused().iter().cloned();
        plan.windows.extend(names.map(|name| (name, Window::NEVER)));
    }

    /// The end of all faults, until somebody resumes.
    pub(super) fn halt(&mut self, tripped: &Tripped) {
        let Tripped { rule, reason, failures } = tripped;
        let reason = format!("stop rule {rule}, {failures} failures in a row, the last: {reason}");
        if let Err(error) = self.brake.halt(&reason) {
            error!("{error:#}");
        }
    }

    /// Tells the service manager.
    pub(super) fn say_halted(&mut self) {
        if let Some(Halted { reason, .. }) = self.brake.halted() {
            self.manager.status(format!("halted: {reason}"));
        }
    }

    /// Lets clients see how things are.
    pub(super) fn publish(&self, kernel: &Kernel, desk: &Desk) {
        let view = self.with_policies(View {
            round: self.round.clone(),
            stuck: self.stuck.clone(),
            guard: Arc::clone(&self.guard),
            engine: self.world.engine.clone(),
            files: self.policies.problem().map(str::to_owned),
            untimed: kernel.untimed().map(str::to_owned),
            unwired: kernel.unwired().map(str::to_owned),
            ..View::default()
        });
        desk.view.send_replace(Arc::new(view));
    }

    /// The same, where nothing but the policies can have changed.
    fn publish_policies(&self, desk: &Desk) {
        desk.view.send_modify(|view| *view = Arc::new(self.with_policies(View::clone(view))));
    }

    fn with_policies(&self, view: View) -> View {
        View {
            policies: self.policies.shared(),
            of_files: self.policies.of_files(),
            paused: self.policies.paused().clone(),
            leases: self.policies.leases(),
            ..view
        }
    }
}

/// Whether the kernel has to be made to follow.
fn needs_round(change: &Change) -> bool {
    match change {
        Change::Put(put) => !put.dry_run,
        Change::Delete(_) | Change::Pause(..) | Change::Release => true,
        Change::Renew(_) => false,
    }
}
