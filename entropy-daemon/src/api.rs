//! The control API: HTTP and JSON over a unix socket, under `/v1`.
//!
//! Reading is answered from the [`View`] that the main loop publishes after each round, and from the
//! counters in the kernel; so it never waits for the loop and never keeps it waiting. What changes
//! something is a [`Command`], which the loop answers when the round after it is over: the client knows
//! then that the change is in force. Only a halt does not wait for the loop, see [`Brake`].

mod activity;
mod answer;
mod body;
mod client;
mod metrics;
mod route;
mod show;
mod socket;
pub mod types;
mod view;

use std::{path::Path, sync::Arc};

use anyhow::Result;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

pub use hyper::Method;

pub use self::client::{Client, ClientError, segment};
pub(crate) use self::view::{Engine, Round, View};
use self::{activity::Activity, socket::Socket, types::Effect};
use crate::{
    brake::Brake,
    policies::{Put, Refusal},
};

/// Where the socket is, if nobody says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/entropy/entropyd.sock";

/// Commands that wait for the main loop. Who comes then waits, too.
const WAITING: usize = 64;

/// A change that the main loop is asked for.
#[derive(Debug)]
pub(crate) enum Change {
    /// Add or replace a policy.
    Put(Box<Put>),
    /// Remove a policy.
    Delete(String),
    /// Put a policy out of force, or back into it.
    Pause(String, bool),
    /// Its client lives.
    Renew(String),
    /// Inject again after a halt.
    Release,
}

/// A change, and who waits for it.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) change: Change,
    pub(crate) answer: oneshot::Sender<Result<Effect, Refusal>>,
}

/// What the routes work with.
#[derive(Clone, Debug)]
struct Context {
    view: watch::Receiver<Arc<View>>,
    commands: mpsc::Sender<Command>,
    brake: Arc<Brake>,
    activity: Arc<Activity>,
}

/// The server. Dropping it ends it and removes its socket.
#[derive(Debug)]
pub(crate) struct Server {
    tasks: [JoinHandle<()>; 2],
    _socket: Socket,
}

/// The main loop's end of it.
#[derive(Debug)]
pub(crate) struct Desk {
    /// What is to be done.
    pub(crate) commands: mpsc::Receiver<Command>,
    /// What there is.
    pub(crate) view: watch::Sender<Arc<View>>,
}

impl Server {
    /// Listens. Commands wait until the main loop takes them.
    ///
    /// # Errors
    /// When another daemon answers at the socket, or it cannot be made.
    pub(crate) async fn start(path: &Path, brake: Arc<Brake>) -> Result<(Self, Desk)> {
        let (socket, listener) = Socket::open(path).await?;
        let (sender, commands) = mpsc::channel(WAITING);
        let (view, viewed) = watch::channel(Arc::new(View::default()));
        let activity = Arc::new(Activity::default());
        let context = Context {
            view: viewed.clone(),
            commands: sender,
            brake,
            activity: Arc::clone(&activity),
        };
        let serving = axum::serve(listener, route::router(context));
        let tasks = [
            // It has no end and no error.
            tokio::spawn(async move { drop(serving.await) }),
            tokio::spawn(async move { activity.follow(viewed).await }),
        ];
        Ok((Self { tasks, _socket: socket }, Desk { commands, view }))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}
