//! Starts QEMU through virtme-ng, follows the command's output and the kernel's console, and ends
//! the machine whatever happens.

use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{Kernel, Machine, guest};
use crate::setup::{engine, qemu, toolchain, vm as setup};
use crate::{exec, place, signals};

/// How much of the console is shown when a machine failed.
const CONSOLE_TAIL: usize = 40;
/// How long the kernel may take to reach the script.
const BOOT_LIMIT: Duration = Duration::from_secs(180);
/// The same where the processor helps.
const KVM_BOOT_LIMIT: Duration = Duration::from_secs(30);
/// What on the console means that the results of this machine are worth nothing.
const FATAL: [&str; 6] = [
    "Kernel panic",
    "self-detected stall",
    "soft lockup",
    "BUG: unable to handle",
    "BUG: kernel NULL pointer",
    "Oops:",
];
/// What on the console means that the processor's help does not work here.
const NO_KVM: [&str; 3] = ["KVM internal error", "KVM: entry failed", "failed to initialize kvm"];

/// One run of a machine.
pub(super) struct Plan<'a> {
    pub(super) kernel: Kernel,
    pub(super) image: PathBuf,
    pub(super) machine: &'a Machine,
    pub(super) command: &'a [String],
    /// What its files are told apart by from those of another machine.
    pub(super) place: usize,
}

/// What the machine says, and where.
enum Said {
    Output(String),
    Console(String),
}

/// Runs the command and returns its exit code. Where `/dev/kvm` exists and does not work, which
/// only a trial shows, starts again under emulation and remembers that.
pub(super) fn run(plan: &Plan, mut line: impl FnMut(&str)) -> Result<u8> {
    signals::watch();
    fs::write(script_file(plan.place), guest::script(plan.command, plan.place))
        .context("write the guest's script")?;
    let distrust = place::vm().join("kvm-does-not-work");
    let opens = fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
    // Only an emulator counts.
    let usable = opens && !plan.machine.counted;
    if usable && fs::read_to_string(&distrust).ok() != boot_id() {
        if let Some(code) = attempt(plan, true, &mut line)? {
            return Ok(code);
        }
        exec::say("/dev/kvm does not work here, going on under emulation");
        // Only a remark for the next run: without it that run tries again.
        let _ = fs::write(&distrust, boot_id().unwrap_or_default());
    }
    attempt(plan, false, &mut line)?.context("it did not start")
}

/// Identifies this start of this machine.
fn boot_id() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()
}

/// Where the guest finds its script.
fn script_file(number: usize) -> PathBuf {
    place::vm().join(format!("guest-{number}.sh"))
}

/// One start. `None` when the machine never began because the processor's help does not work.
fn attempt(plan: &Plan, kvm: bool, line: &mut impl FnMut(&str)) -> Result<Option<u8>> {
    let share = place::vm_share();
    for name in [guest::STARTED, guest::CODE] {
        forget(&share.join(guest::of(name, plan.place)))?;
    }
    let mut child = command(plan, kvm).spawn().context("start vng")?;
    let (sender, receiver) = mpsc::channel();
    listen(child.stdout.take(), sender.clone(), Said::Output);
    listen(child.stderr.take(), sender, Said::Console);
    // Ends the machine on every way out of here.
    let mut running = Running { child };
    let mut console = Console::new(plan)?;
    let verdict = follow(plan, kvm, &receiver, &mut console, line);
    running.end();
    match verdict {
        Ok(End::Over) => {}
        Ok(End::NoKvm) => return Ok(None),
        Err(error) if signals::caught() => return Err(error),
        Err(error) => bail!("{error:#}; {}", console.tail()),
    }
    let code = fs::read_to_string(share.join(guest::of(guest::CODE, plan.place))).ok();
    match code.and_then(|text| text.trim().parse().ok()) {
        Some(code) => Ok(Some(code)),
        None => bail!("it ended before the command did; {}", console.tail()),
    }
}

/// The command that starts the machine.
fn command(plan: &Plan, kvm: bool) -> Command {
    // What else this machine does, the suite on its own kernel above all, goes first.
    let mut vng = Command::new("nice");
    vng.args(["-n", "10"]).arg(setup::virtme_bin().join("vng"));
    vng.args([
        "-v",
        "--force-9p",
        "--append",
        "apparmor=0 mitigations=off rcupdate.rcu_expedited=1",
        "--run",
    ])
    .arg(&plan.image)
    .args(["--memory", &plan.machine.memory, "--cpus", &plan.machine.cpus.to_string()])
    .arg("--rwdir")
    .arg(place::vm_share())
    .arg("--exec")
    .arg(format!("bash {}", guest::quote(&script_file(plan.place).to_string_lossy())));
    if !kvm {
        vng.arg("--disable-kvm");
        if plan.machine.counted {
            let firmware = qemu::firmware().map(|folder| format!("-L {} ", folder.display()));
            vng.arg(format!(
                "--qemu-opts={}-accel tcg,thread=single -icount shift=2,sleep=off",
                firmware.unwrap_or_default()
            ));
        } else if !(plan.machine.has_room() && qemu::emulates_patching()) {
            vng.arg("--qemu-opts=-accel tcg,thread=single");
        }
    }
    // virtme looks for its own parts and for busybox on PATH.
    let busybox = engine::busybox();
    let mut path = setup::virtme_bin().into_os_string();
    path.push(":");
    path.push(qemu::folder());
    path.push(":");
    path.push(toolchain::path_with(busybox.parent().unwrap_or(Path::new("/bin"))));
    path.push(":/usr/local/sbin:/usr/sbin:/sbin");
    vng.env("PATH", path)
        .current_dir(place::root())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own: QEMU is a grandchild, and all of them have to go together.
        .process_group(0);
    vng
}

/// How following a machine ended without an error.
enum End {
    Over,
    NoKvm,
}

/// Follows the machine until it ends, fails, or its time is up.
fn follow(
    plan: &Plan,
    kvm: bool,
    said: &Receiver<Said>,
    console: &mut Console,
    line: &mut impl FnMut(&str),
) -> Result<End> {
    let start = Instant::now();
    let boot_limit = if kvm { KVM_BOOT_LIMIT } else { BOOT_LIMIT };
    let mut started = false;
    let sign = place::vm_share().join(guest::of(guest::STARTED, plan.place));
    loop {
        match said.recv_timeout(Duration::from_millis(100)) {
            Ok(Said::Output(text)) => line(&text),
            Ok(Said::Console(text)) => {
                let fatal = FATAL.iter().any(|sign| text.contains(sign));
                let no_kvm = NO_KVM.iter().any(|sign| text.contains(sign));
                console.keep(&text);
                if kvm && no_kvm {
                    return Ok(End::NoKvm);
                }
                if fatal && kvm && !started {
                    return Ok(End::NoKvm);
                }
                if fatal {
                    drain(said, console);
                    bail!("the kernel reported `{}`", text.trim());
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            // Some machines offer KVM and then refuse a register or an instruction, in ever other
            // words: whatever ends before the script began is the processor's help failing.
            Err(RecvTimeoutError::Disconnected) => {
                return Ok(if kvm && !sign.exists() { End::NoKvm } else { End::Over });
            }
        }
        started = started || sign.exists();
        if !started && start.elapsed() > boot_limit {
            if kvm {
                return Ok(End::NoKvm);
            }
            bail!("it did not start within {} s", boot_limit.as_secs());
        }
        if start.elapsed() > plan.machine.lifetime() {
            bail!("the command did not end within {} s", plan.machine.timeout);
        }
        if signals::caught() {
            bail!("interrupted");
        }
    }
}

/// Keeps what the console says in the second after something fatal: the trace.
fn drain(said: &Receiver<Said>, console: &mut Console) {
    let end = Instant::now() + Duration::from_secs(1);
    while let Ok(said) = said.recv_timeout(end.saturating_duration_since(Instant::now())) {
        if let Said::Console(text) = said {
            console.keep(&text);
        }
    }
}

/// Sends each line of a stream on, without carriage returns, from a thread of its own.
fn listen(stream: Option<impl Read + Send + 'static>, to: Sender<Said>, kind: fn(String) -> Said) {
    let Some(stream) = stream else { return };
    thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut bytes = Vec::new();
        while matches!(reader.read_until(b'\n', &mut bytes), Ok(read) if read > 0) {
            let text = String::from_utf8_lossy(&bytes).replace(['\r', '\n'], "");
            if to.send(kind(text)).is_err() {
                return;
            }
            bytes.clear();
        }
    });
}

/// Removes a file that may not be there.
fn forget(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", file.display()))
        }
        _ => Ok(()),
    }
}

/// The console's log: a file, and its last lines.
struct Console {
    path: PathBuf,
    file: fs::File,
    last: Vec<String>,
}

impl Console {
    /// Begins a new log.
    fn new(plan: &Plan) -> Result<Self> {
        let (kernel, number) = (plan.kernel.name(), plan.place);
        let path = place::vm().join(format!("console-{kernel}-{number}.log"));
        let file = fs::File::create(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self { path, file, last: Vec::new() })
    }

    /// Adds one line.
    fn keep(&mut self, text: &str) {
        // A full disk must not end the machine.
        let _: io::Result<()> = writeln!(self.file, "{text}");
        if self.last.len() == CONSOLE_TAIL {
            self.last.remove(0);
        }
        self.last.push(text.to_owned());
    }

    /// The last lines, for an error message.
    fn tail(&self) -> String {
        let log = self.path.display();
        format!("the console ({log}) ended with:\n    {}", self.last.join("\n    "))
    }
}

/// The process group of a machine; dropping it ends it.
struct Running {
    child: Child,
}

impl Running {
    /// Ends the whole group: politely, and after three seconds by force.
    fn end(&mut self) {
        let asked = Instant::now();
        let mut signal = libc::SIGTERM;
        while matches!(self.child.try_wait(), Ok(None)) {
            signals::send_group(self.child.id(), signal);
            if asked.elapsed() > Duration::from_secs(3) {
                signal = libc::SIGKILL;
            }
            thread::sleep(Duration::from_millis(100));
        }
        // vng may be gone before QEMU is.
        signals::send_group(self.child.id(), libc::SIGKILL);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}
