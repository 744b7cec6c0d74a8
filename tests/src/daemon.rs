//! The daemon under test: its policies, its life, its log, its traces in the kernel.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    os::{fd::AsRawFd as _, unix::process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    ptr,
};

use anyhow::{Context as _, Result, bail, ensure};
use entropy_common::rule::Direction;
use entropy_daemon::{
    datapath::{Lock, Ownership, cleanup, inspect},
    netlink::Netlink,
};
use tempfile::TempDir;

use crate::{
    docker::Interface,
    object, skip, snapshot,
    wait::{patience, until, until_true},
};

/// Where the policies are in an installation's directory; beside it are the logs, which a daemon
/// would take for changed policies.
const POLICIES: &str = "policies";
/// The runtime directory, and the control socket in it.
const RUNTIME: &str = "run";
const SOCKET: &str = "run/entropyd.sock";

/// The right to run a daemon on this host: there can be one only, and it sees all containers.
#[derive(Debug)]
struct Turn(#[expect(dead_code, reason = "the lock is on the open file")] File);

impl Turn {
    fn wait() -> Result<Self> {
        let path = std::env::temp_dir().join("entropy-tests.lock");
        let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
        // SAFETY: flock takes a descriptor that is open.
        while unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) } != 0 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error).context("lock the host for one daemon");
            }
        }
        Ok(Self(file))
    }
}

/// Where the programs under test are: `ENTROPY_BIN_DIR`, else beside the suite.
fn program(name: &str) -> Result<PathBuf> {
    let path = match std::env::var_os("ENTROPY_BIN_DIR") {
        Some(directory) => PathBuf::from(directory).join(name),
        None => {
            let suite = std::env::current_exe().context("find the suite's own file")?;
            suite.parent().and_then(Path::parent).unwrap_or(Path::new("/")).join(name)
        }
    };
    if !path.is_file() {
        bail!("{} is not built, or ENTROPY_BIN_DIR is not set", path.display());
    }
    Ok(path)
}

/// The daemon's program.
///
/// # Errors
/// When it is not built.
pub fn entropyd() -> Result<PathBuf> {
    program("entropyd")
}

/// A directory of policies and all that is needed to run a daemon with it. While it lives no other
/// test runs one; when it is dropped nothing of a daemon is left on the host.
#[derive(Debug)]
pub struct Installation {
    directory: TempDir,
    docker_host: String,
    _turn: Turn,
}

impl Installation {
    /// Waits for its turn. `docker_host` is made when the turn has come.
    ///
    /// # Errors
    /// When what an earlier test left cannot be removed.
    pub fn new() -> Result<Self> {
        let turn = Turn::wait()?;
        clean()?;
        let directory = tempfile::Builder::new().prefix("entropy-policies-").tempdir()?;
        fs::create_dir(directory.path().join(POLICIES)).context("make a directory of policies")?;
        Ok(Self { directory, docker_host: String::new(), _turn: turn })
    }

    /// Sets the engine that the daemon is to follow.
    pub fn follow(&mut self, docker_host: &str) {
        docker_host.clone_into(&mut self.docker_host);
    }

    /// A directory for what else a test needs.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Where the policies are.
    #[must_use]
    pub fn policies(&self) -> PathBuf {
        self.directory.path().join(POLICIES)
    }

    /// Writes a policy file, in one step as an editor does.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, file: &str, text: &str) -> Result<()> {
        let draft = self.directory.path().join(format!("{file}.draft"));
        fs::write(&draft, text).with_context(|| format!("write {}", draft.display()))?;
        fs::rename(&draft, self.policies().join(file)).context("put a policy file in place")
    }

    /// Removes a policy file.
    ///
    /// # Errors
    /// When it is not there.
    pub fn remove(&self, file: &str) -> Result<()> {
        fs::remove_file(self.policies().join(file)).with_context(|| format!("remove {file}"))
    }

    /// The command that runs a daemon here.
    ///
    /// # Errors
    /// When it is not built.
    pub fn command(&self) -> Result<Command> {
        Ok(self.command_of(&entropyd()?))
    }

    /// The same for a copy of [`entropyd`].
    #[must_use]
    pub fn command_of(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .arg("--policies")
            .arg(self.policies())
            .args(["--docker", &self.docker_host])
            .arg("--runtime-dir")
            .arg(self.directory.path().join(RUNTIME))
            .env("RUST_LOG", "info")
            .stdin(Stdio::null());
        command
    }

    /// Starts a daemon in the namespaces of the calling thread, with further arguments, and waits
    /// until it has its maps and its control socket.
    ///
    /// # Errors
    /// When it ends before that.
    pub fn start(&self, arguments: &[&str]) -> Result<Daemon> {
        let mut command = self.command()?;
        command.args(arguments);
        self.spawn(command)
    }

    /// Starts a daemon by a command that was made here.
    ///
    /// # Errors
    /// When it ends before that.
    pub fn spawn(&self, command: Command) -> Result<Daemon> {
        let mut daemon = self.launch(command)?;
        until_true("entropyd can be asked", patience(30), || {
            if let Some(status) = daemon.poll()? {
                bail!("entropyd ended with {status}:\n{}", daemon.log());
            }
            Ok(daemon.log().contains("control socket"))
        })?;
        Ok(daemon)
    }

    /// As [`Installation::spawn`], but waits for nothing.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch(&self, mut command: Command) -> Result<Daemon> {
        let (log, path) = tempfile::Builder::new()
            .prefix("log-")
            .tempfile_in(self.directory.path())?
            .keep()
            .context("keep the log")?;
        command.stdout(log.try_clone()?).stderr(log);
        // SAFETY: prctl is a system call, which is all the closure does after the fork.
        unsafe { command.pre_exec(die_with_parent) };
        let child = command.spawn().context("start entropyd")?;
        Ok(Daemon { child, log: path, ended: None })
    }

    /// Runs `entropyctl` to its end.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn entropyctl(&self, arguments: &[&str]) -> Result<Output> {
        self.control()?.args(arguments).output().context("run entropyctl")
    }

    /// The command that asks the daemon here.
    ///
    /// # Errors
    /// When it is not built.
    pub fn control(&self) -> Result<Command> {
        let mut command = Command::new(program("entropyctl")?);
        command.env("ENTROPY_SOCKET", self.socket()).stdin(Stdio::null());
        Ok(command)
    }

    /// The daemon's control socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join(SOCKET)
    }

    /// The daemon's runtime directory.
    #[must_use]
    pub fn runtime(&self) -> PathBuf {
        self.directory.path().join(RUNTIME)
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        if let Err(error) = clean() {
            eprintln!("a daemon's traces stay: {error:#}");
        }
    }
}

/// If the suite is killed, the daemon must not stay and hold the host's lock.
fn die_with_parent() -> io::Result<()> {
    // SAFETY: these options take numbers only.
    let done = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Removes all traces of a daemon that does not run any more.
fn clean() -> Result<()> {
    let _lock = until("no entropyd of somebody else runs", patience(10), || {
        Ok(match Lock::take()? {
            Ownership::Mine(lock) => Some(lock),
            Ownership::Taken => None,
        })
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(async { anyhow::Ok(cleanup::remove(&Netlink::new()?).await) })?;
    match report.problems.into_iter().next() {
        Some(problem) => Err(problem),
        None => Ok(()),
    }
}

/// A running daemon. Dropping it kills it; then its log goes to the test's output, which is shown
/// when the test fails.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Daemon {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its exit status, if it has ended.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn poll(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().context("look after entropyd")?;
        }
        Ok(self.ended)
    }

    /// Waits until its log contains a text.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn await_log(&self, text: &str) -> Result<()> {
        until_true(&format!("log line {text:?}"), patience(20), || Ok(self.log().contains(text)))
    }

    /// How often its log has a text in it.
    #[must_use]
    pub fn count_log(&self, text: &str) -> usize {
        self.log().matches(text).count()
    }

    /// Number of its open descriptors.
    ///
    /// # Errors
    /// When it has ended.
    pub fn descriptors(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.pid()))?.count())
    }

    /// Sets how high its descriptors may be numbered, one less, and returns what that was.
    ///
    /// # Errors
    /// When it has ended.
    pub fn limit_descriptors(&self, limit: u64) -> Result<u64> {
        let pid = libc::pid_t::try_from(self.pid())?;
        let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        let failed = || io::Error::last_os_error();
        // SAFETY: a null pointer sets nothing; the other one is valid during the call.
        let got = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, ptr::null(), &raw mut old) };
        ensure!(got == 0, "ask for the limit: {}", failed());
        let new = libc::rlimit { rlim_cur: limit, ..old };
        // SAFETY: as above, the other way round.
        let set =
            unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &raw const new, ptr::null_mut()) };
        ensure!(set == 0, "set the limit: {}", failed());
        Ok(old.rlim_cur)
    }

    /// The lowest number that none of its descriptors has.
    ///
    /// # Errors
    /// When it has ended.
    pub fn next_descriptor(&self) -> Result<u64> {
        let mut taken = BTreeSet::new();
        for entry in fs::read_dir(format!("/proc/{}/fd", self.pid()))? {
            taken.insert(entry?.file_name().to_string_lossy().parse::<u64>()?);
        }
        (0..).find(|number| !taken.contains(number)).context("no number is left")
    }

    /// Has it hand over to the program as it is installed now, and waits until that one has looked at the
    /// containers.
    ///
    /// # Errors
    /// When that does not come about in time.
    pub fn upgrade(&self) -> Result<()> {
        let (over, news) = ("taking over from version", "connected to container engine");
        let before = (self.count_log(over), self.count_log(news));
        self.signal(libc::SIGUSR2)?;
        until_true("another version has taken over", patience(20), || {
            Ok((self.count_log(over), self.count_log(news)) == (before.0 + 1, before.1 + 1))
        })
        .with_context(|| self.log())
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: libc::c_int) -> Result<()> {
        let pid = libc::pid_t::try_from(self.pid())?;
        // SAFETY: kill takes numbers only, and the child has not been waited for.
        if self.ended.is_some() || unsafe { libc::kill(pid, signal) } != 0 {
            bail!("entropyd has ended");
        }
        Ok(())
    }

    /// Sends a signal and waits for its end.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn end(mut self, signal: libc::c_int) -> Result<(ExitStatus, String)> {
        self.signal(signal)?;
        let status = until("entropyd ends", patience(20), || self.poll())?;
        Ok((status, self.log()))
    }

    /// Asks it to end and makes sure that it says it went well.
    ///
    /// # Errors
    /// When it does not end, or with another code than 0.
    pub fn stop(self) -> Result<()> {
        let (status, log) = self.end(libc::SIGTERM)?;
        if !status.success() {
            bail!("entropyd ended with {status}:\n{log}");
        }
        Ok(())
    }

    /// Kills it as the machine's lack of memory would.
    ///
    /// # Errors
    /// When it does not end.
    pub fn kill(self) -> Result<()> {
        self.end(libc::SIGKILL).map(drop)
    }

    /// What is in the kernel now. `None` while there is nothing, or the daemon is at work on it.
    #[must_use]
    pub fn maps(&self) -> Option<inspect::Snapshot> {
        inspect::read().ok().flatten()
    }

    /// The rule of a policy on an interface.
    #[must_use]
    pub fn rule(
        &self,
        policy: &str,
        at: &Interface,
        direction: Direction,
    ) -> Option<inspect::RuleEntry> {
        let hooks = self.maps()?.hooks;
        let hook = hooks
            .into_iter()
            .find(|hook| hook.ifindex == at.veth.index && hook.direction == direction)?;
        hook.rules.into_iter().find(|rule| rule.policy == policy)
    }

    /// How many packets a policy has lost on an interface; zero where it is not in force.
    #[must_use]
    pub fn lost(&self, policy: &str, at: &Interface, direction: Direction) -> u64 {
        self.rule(policy, at, direction).map_or(0, |rule| rule.state.lost)
    }

    /// Waits until a policy is in force on an interface, in either direction: rules, programs, lease.
    ///
    /// # Errors
    /// When it is not in time.
    pub fn await_on(&self, policy: &str, at: &Interface) -> Result<()> {
        let what = format!("policy {policy} is in force on {}", at.veth.name);
        until_true(&what, patience(20), || {
            let has_rule = |way: &Direction| self.rule(policy, at, *way).is_some();
            let ways: Vec<_> = Direction::ALL.into_iter().filter(has_rule).collect();
            let attached = attached(&at.veth)?;
            Ok(!ways.is_empty()
                && self.maps().is_some_and(|maps| maps.lease_left_ns > 0)
                && ways.iter().all(|way| attached.contains(way)))
        })
    }

    /// Waits until no policy and no program is on an interface any more.
    ///
    /// # Errors
    /// When there still is one after a while.
    pub fn await_off(&self, at: &Interface) -> Result<()> {
        until_true(&format!("{} is free", at.veth.name), patience(20), || {
            let maps = self.maps();
            let on = |hook: &inspect::HookEntry| hook.ifindex == at.veth.index;
            let are_clear = maps.is_some_and(|maps| !maps.hooks.iter().any(on));
            Ok(are_clear && attached(&at.veth)?.is_empty())
        })
    }
}

/// The directions whose program is on a link.
///
/// # Errors
/// When the kernel refuses.
pub fn attached(link: &snapshot::Link) -> Result<Vec<Direction>> {
    let mut lines = snapshot::filters(link)?;
    lines.extend(snapshot::tcx_programs(link));
    let is_on = |way: &Direction| lines.iter().any(|line| line.contains(object::program_of(*way)));
    Ok(Direction::ALL.into_iter().filter(is_on).collect())
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let finished = self.ended.is_some() && !std::thread::panicking();
        if !finished {
            println!("what the kernel holds: {:#?}", inspect::read());
        }
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !finished {
            println!("the log of entropyd {}:\n{}", self.child.id(), self.log());
        }
    }
}

/// Why no daemon can be tested here, if so.
#[must_use]
pub fn obstacle() -> Option<&'static str> {
    if !skip::is_root() {
        return Some("needs root");
    }
    if !entropy_daemon::datapath::bpffs_is_mounted() {
        return Some("needs a BPF file system: mount -t bpf bpf /sys/fs/bpf");
    }
    None
}
