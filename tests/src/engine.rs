//! A private Docker engine for tests.
//!
//! Each engine lives in a network and a mount namespace of its own: its bridges, packet filter
//! rules, forwarding switches and mounts are not the machine's, and an engine that runs on the
//! machine notices nothing. What has to see the engine's side of a container's interface, the
//! daemon under test above all, is run inside with [`Engine::enter`].

mod api;
pub mod between;
mod cleanup;
mod image;
mod namespace;
mod podman;
mod programs;

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

pub use self::api::Api;
pub use self::image::{IMAGE, import_image};
use self::namespace::Namespaces;
pub use self::podman::Podman;
use self::programs::Programs;

/// How long the engine may take to answer: under software emulation it needs about 16 s.
const START_LIMIT: Duration = Duration::from_secs(180);
/// How long it may take to stop before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// How many bytes of the engine's log an error shows.
const LOG_TAIL: usize = 4000;

/// How an engine is to be run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Whether containers go on running while the engine is stopped.
    pub live_restore: bool,
}

/// A running engine. Dropping it ends it and everything in it.
pub struct Engine {
    /// Holds the socket, the log and the mount points.
    folder: tempfile::TempDir,
    options: Options,
    programs: Programs,
    namespaces: Namespaces,
    /// The cgroup below which all its containers are.
    cgroup: String,
    /// `None` after a kill and while it is stopped.
    daemon: Option<Child>,
}

impl Engine {
    /// Starts an engine and waits until it answers.
    ///
    /// # Errors
    /// When this is not root, there is no dockerd, or it does not answer; the message holds the
    /// tail of its log.
    pub fn start() -> Result<Self> {
        Self::start_with(Options::default())
    }

    /// Starts an engine with `options`.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub fn start_with(options: Options) -> Result<Self> {
        let programs = Programs::find()?;
        let folder = tempfile::Builder::new()
            .prefix("entropy-engine-")
            .tempdir()
            .context("create a folder for the engine")?;
        for name in ["data", "exec", "bin"] {
            fs::create_dir(folder.path().join(name)).context("create the engine's folders")?;
        }
        fs::write(folder.path().join("daemon.json"), "{}")
            .context("write the engine's settings")?;
        let namespaces = Namespaces::new(&folder.path().join("data"))
            .context("create the engine's namespaces (is this root?)")?;
        let cgroup = format!("/{}", name_of(folder.path()));
        let mut engine = Self { folder, options, programs, namespaces, cgroup, daemon: None };
        engine.launch()?;
        Ok(engine)
    }

    /// The socket that the engine answers on.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("docker.sock")
    }

    /// The value of `DOCKER_HOST` for clients.
    pub fn docker_host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// A plain client of the engine's API.
    pub fn api(&self) -> Api {
        Api::new(self.socket())
    }

    /// Makes `command` run where the engine runs: in its namespaces, with `DOCKER_HOST` set and
    /// the engine's client (`docker`) last on PATH. The command's current directory,
    /// if it is to have another one, must be set before.
    ///
    /// # Errors
    /// When the current directory cannot be determined.
    pub fn enter<'a>(&self, command: &'a mut Command) -> Result<&'a mut Command> {
        command.env("DOCKER_HOST", self.docker_host());
        self.programs.append_path(command, self.folder.path().join("bin"));
        self.namespaces.enter(command)?;
        Ok(command)
    }

    /// Moves the calling thread, and it alone, into the engine's network namespace for as long as
    /// the guard lives.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn enter_network(&self) -> Result<namespace::NetworkGuard> {
        self.namespaces.enter_network()
    }

    /// Stops the engine as a service manager would and starts it again. Containers go on running
    /// if [`Options::live_restore`] was set and are stopped otherwise.
    ///
    /// # Errors
    /// When it does not stop or does not come back.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.launch()
    }

    /// Stops the engine. Its containers remain as they are with [`Options::live_restore`].
    ///
    /// # Errors
    /// When it had to be killed.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut daemon) = self.daemon.take() else { return Ok(()) };
        cleanup::signal(daemon.id(), libc::SIGTERM);
        if cleanup::wait(&mut daemon, STOP_LIMIT).is_some() {
            return Ok(());
        }
        let _ = daemon.kill();
        let _ = daemon.wait();
        bail!("dockerd did not stop within {} s; {}", STOP_LIMIT.as_secs(), self.log_tail())
    }

    /// Kills the engine's daemon, as a crash would. Its containers' processes go on running.
    ///
    /// # Errors
    /// When the process cannot be killed.
    pub fn kill(&mut self) -> Result<()> {
        let Some(mut daemon) = self.daemon.take() else { return Ok(()) };
        daemon.kill().context("kill dockerd")?;
        daemon.wait().context("wait for dockerd")?;
        Ok(())
    }

    /// Starts dockerd and waits for an answer. Also the way back after [`Engine::stop`] and
    /// [`Engine::kill`].
    ///
    /// # Errors
    /// When it ends or does not answer in time; the message holds the tail of its log.
    pub fn launch(&mut self) -> Result<()> {
        if self.daemon.is_some() {
            return Ok(());
        }
        // Left by a daemon that was killed. A new one refuses to start while its own is there, and
        // waits in vain for a containerd that is dead, or a zombie where nobody reaps orphans.
        for name in ["docker.pid", "exec/containerd/containerd.pid"] {
            let _ = fs::remove_file(self.folder.path().join(name));
        }
        let mut command = self.dockerd()?;
        self.daemon = Some(command.spawn().context("start dockerd")?);
        let result = self.await_answer();
        if result.is_err() {
            let _ = self.kill();
        }
        result
    }

    /// The command that runs dockerd in its namespaces.
    fn dockerd(&self) -> Result<Command> {
        let folder = self.folder.path();
        let at = |name: &str| folder.join(name).into_os_string();
        let mut command = Command::new(&self.programs.dockerd);
        command.arg("--host").arg(self.docker_host());
        for (option, name) in [
            ("--data-root", "data"),
            ("--exec-root", "exec"),
            ("--pidfile", "docker.pid"),
            ("--config-file", "daemon.json"),
        ] {
            command.arg(option).arg(at(name));
        }
        command.arg("--cgroup-parent").arg(&self.cgroup).arg("--userland-proxy=false");
        if self.options.live_restore {
            command.arg("--live-restore");
        }
        self.programs.prepare(&mut command);
        if !self.programs.choose_iptables(&self.namespaces, &folder.join("bin"), &mut command)? {
            // Containers still reach one another; only published ports and NAT are missing.
            eprintln!("entropy-lab: iptables does not work here, the engine runs without it");
            command.arg("--iptables=false");
        }
        let log = File::options().create(true).append(true).open(self.log())?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("clone the log's handle")?)
            .stderr(log)
            // An interrupt on the terminal is for the laboratory, which then stops the engine.
            .process_group(0);
        self.namespaces.enter(&mut command)?;
        Ok(command)
    }

    /// Polls until the engine answers.
    fn await_answer(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        let api = self.api();
        loop {
            if api.ping() {
                return Ok(());
            }
            if let Some(daemon) = &mut self.daemon
                && let Some(status) = daemon.try_wait().context("look after dockerd")?
            {
                bail!("dockerd ended ({status}); {}", self.log_tail());
            }
            if Instant::now() > deadline {
                let limit = START_LIMIT.as_secs();
                bail!("dockerd did not answer within {limit} s; {}", self.log_tail());
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Where dockerd and containerd log to.
    fn log(&self) -> PathBuf {
        self.folder.path().join("dockerd.log")
    }

    /// The end of the log, for error messages.
    fn log_tail(&self) -> String {
        let log = fs::read(self.log()).unwrap_or_default();
        let start = log.len().saturating_sub(LOG_TAIL);
        format!("its log ends with:\n{}", String::from_utf8_lossy(&log[start..]))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // With live restore the daemon would leave the containers behind.
        if self.daemon.is_some()
            && let Err(error) = self.api().remove_containers()
        {
            eprintln!("entropy-lab: removing containers: {error:#}");
        }
        if let Err(error) = self.stop() {
            eprintln!("entropy-lab: {error:#}");
        }
        // The order matters: a shim that sees its container die cleans up after it.
        cleanup::kill_cgroup(&self.cgroup);
        cleanup::kill_inside(&self.namespaces);
        cleanup::remove_cgroup(&self.cgroup);
    }
}

/// The last part of a path, as text.
fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
