//! The main loop's side of the control API.

use std::{sync::Arc, time::Instant};

use tokio::sync::oneshot;

use super::Daemon;
use crate::{
    api::{Change, Command, Desk, View, types::Effect},
    clock,
    datapath::Kernel,
    policies::Refusal,
    runtime::Halted,
};

/// Commands that are obeyed before anything else is looked at.
const AT_ONCE: usize = 1000;

/// Who is answered when the round is over.
pub(super) struct Waiting {
    effect: Effect,
    /// The policy whose lease is counted from the answer on: before it the client does not renew it.
    leased: Option<String>,
    answer: oneshot::Sender<Result<Effect, Refusal>>,
}

impl Daemon {
    /// Does what is asked for, and what is asked for behind it, up to [`AT_ONCE`]: the lease has to be renewed,
    /// too. Who has to wait for a round is returned, the others are answered.
    pub(super) fn obey_all(&mut self, first: Option<Command>, desk: &mut Desk) -> Vec<Waiting> {
        let (mut waiting, mut done) = (Vec::new(), 0);
        let mut next = first;
        while let Some(Command { change, answer }) = next {
            let (needs_round, leased) = (needs_round(&change), leased(&change));
            match self.obey(change) {
                Ok(effect) if needs_round && effect != Effect::Unchanged => {
                    waiting.push(Waiting { effect, leased, answer });
                }
                // Who has gone meanwhile does not want to know.
                result => {
                    self.publish_policies(desk);
                    drop(answer.send(result));
                }
            }
            done += 1;
            next = if done < AT_ONCE { desk.commands.try_recv().ok() } else { None };
        }
        waiting
    }

    /// Says that what they asked for is in force. Who has gone meanwhile does not want to know.
    pub(super) fn answer(&mut self, waiting: Vec<Waiting>, kernel: &Kernel, desk: &Desk) {
        if waiting.is_empty() {
            return;
        }
        let leased = waiting.iter().filter_map(|waiting| waiting.leased.as_ref());
        for name in leased {
            // Gone again, or without a lease by now.
            let _: Result<(), Refusal> = self.policies.renew(name, Instant::now());
        }
        self.publish(kernel, desk);
        for Waiting { effect, answer, .. } in waiting {
            drop(answer.send(Ok(effect)));
        }
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
            earlier: self.earlier(),
            guard: Arc::clone(&self.guard),
            engine: self.world.engine.clone(),
            files: self.policies.problem().map(str::to_owned),
            untimed: kernel.untimed().map(str::to_owned),
            unwired: kernel.unwired().map(str::to_owned),
            ..View::default()
        });
        desk.view.send_replace(Arc::new(view));
        // Without a clock they are checked.
        self.checks.need(self.reconciler.acts(clock::monotonic_ns().unwrap_or(0)));
    }

    /// What is waited for while an earlier version's rules stand.
    fn earlier(&self) -> Option<String> {
        let waits = self.must_know_policies && self.round.is_none();
        let until = match self.world.complete {
            true => "the policy files are mended",
            false => "the container engine answers",
        };
        waits.then(|| format!("what the version before has put in force stays until {until}"))
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

/// The policy that a change gives a lease to.
fn leased(change: &Change) -> Option<String> {
    match change {
        Change::Put(put) => put.ttl.map(|_| put.policy.name.clone()),
        _ => None,
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
