//! Three containers that most tests share, because a container takes half a minute to start under
//! emulation. Nobody stops, restarts or reconnects them.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use anyhow::{Result, anyhow, ensure};
use entropy_tests::docker::{Docker, Network};
use entropy_tests::threads::outcome;

use super::Running;

/// The cast: `app=web`, `app=db` and `app=client` in one network.
pub(crate) struct Cast {
    pub(crate) web: Running,
    pub(crate) db: Running,
    pub(crate) client: Running,
    // The containers go before their network.
    pub(crate) network: Network,
}

/// Theirs is the thread that has the turn.
static CAST: Mutex<Option<Arc<Cast>>> = Mutex::new(None);

impl Cast {
    /// The cast of this process, made anew if somebody has removed it.
    pub(super) fn call(docker: &Docker) -> Result<Arc<Self>> {
        let mut cast = CAST.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cast) = &*cast
            && cast.is_alive()
        {
            return Ok(Arc::clone(cast));
        }
        *cast = None;
        docker.remove_lasting()?;
        // SAFETY: the function may run at any time and has no arguments.
        let registered = unsafe { libc::atexit(dismiss) };
        ensure!(registered == 0, "register the removal of the shared containers");
        let new = Arc::new(Self::new(&docker.lasting())?);
        *cast = Some(Arc::clone(&new));
        Ok(new)
    }

    fn new(docker: &Docker) -> Result<Self> {
        let network = docker.network("cast", 0)?;
        let [web, db, client] = run_all(docker, ["web", "db", "client"], &network)?;
        Ok(Self { web, db, client, network })
    }

    fn is_alive(&self) -> bool {
        [&self.web, &self.db, &self.client].iter().all(|one| one.container.pid().is_ok())
    }
}

/// Runs containers with the label `app=NAME` at the same time.
fn run_all<const N: usize>(
    docker: &Docker,
    names: [&str; N],
    network: &Network,
) -> Result<[Running; N]> {
    let run =
        |name: &str| Running::new(docker.run(name, &format!("app={name}"), network)?, network);
    let run = &run;
    let all = thread::scope(|scope| {
        let threads = names.map(|name| scope.spawn(move || run(name)));
        threads.map(|thread| outcome(thread.join()))
    });
    let all = all.into_iter().collect::<Result<Vec<_>>>()?;
    all.try_into().map_err(|_| anyhow!("not as many containers as names"))
}

/// Statics are not dropped.
extern "C" fn dismiss() {
    // If a thread is still in there, the next run removes them.
    if let Ok(mut cast) = CAST.try_lock() {
        cast.take();
    }
}
