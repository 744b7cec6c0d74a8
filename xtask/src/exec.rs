//! Child processes: quiet ones with progress, captured ones, and ones the user watches.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How many of a failed child's last lines are shown.
const TAIL_LINES: usize = 30;
/// How often a long step shows what it is doing, when nobody looks at a terminal.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// Says one line about what is happening.
pub(crate) fn say(line: &str) {
    eprintln!("xtask: {line}");
}

/// Hands on one line of a command's own output.
pub(crate) fn out(line: &str) {
    // A reader that has seen enough, as in `| head`, must not end the run.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// The same for one of several that run side by side, under its name.
pub(crate) fn out_of(name: &str, line: &str) {
    out(&format!("{name:<5}| {line}"));
}

/// Runs one step that does work: says what it is at the start and how long it took at the end.
pub(crate) fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    say(&format!("{what} ..."));
    let start = Instant::now();
    let result = work().with_context(|| format!("{what}: failed"))?;
    say(&format!("{what}: done in {:.1} s", start.elapsed().as_secs_f64()));
    Ok(result)
}

/// Runs a child without input, showing its last line of output now and then.
///
/// # Errors
/// When it cannot be started or fails; the message holds the tail of its output.
pub(crate) fn quiet(command: &mut Command) -> Result<()> {
    let shown = display(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start `{shown}`"))?;
    let (sender, lines) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        forward(stdout, sender.clone());
    }
    if let Some(stderr) = child.stderr.take() {
        forward(stderr, sender);
    }
    let tail = follow(&lines);
    let status = child.wait().with_context(|| format!("wait for `{shown}`"))?;
    if !status.success() {
        let tail: Vec<_> = tail.into();
        bail!("`{shown}` failed ({status}); its last output was:\n    {}", tail.join("\n    "));
    }
    Ok(())
}

/// Sends each line of `stream` on from a thread of its own.
fn forward(stream: impl Read + Send + 'static, to: mpsc::Sender<String>) {
    thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while matches!(reader.read_until(b'\n', &mut line), Ok(read) if read > 0) {
            let text = String::from_utf8_lossy(&line);
            // Progress bars overwrite themselves: the part after the last return is the newest.
            let newest = text.trim_end().rsplit('\r').next().unwrap_or_default().to_owned();
            if to.send(newest).is_err() {
                return;
            }
            line.clear();
        }
    });
}

/// Collects the last lines until every sender is gone and shows progress on the way.
fn follow(lines: &mpsc::Receiver<String>) -> VecDeque<String> {
    let terminal = std::io::stderr().is_terminal();
    let every = if terminal { Duration::from_millis(200) } else { REPORT_EVERY };
    let mut tail = VecDeque::new();
    let (mut reported, mut spin) = (Instant::now(), 0_usize);
    loop {
        match lines.recv_timeout(Duration::from_millis(200)) {
            Ok(line) if line.is_empty() => {}
            Ok(line) => {
                if tail.len() == TAIL_LINES {
                    tail.pop_front();
                }
                tail.push_back(line);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if reported.elapsed() >= every {
            reported = Instant::now();
            spin += 1;
            progress(terminal, spin, tail.back().map_or("", String::as_str));
        }
    }
    if terminal {
        eprint!("\r\x1b[K");
    }
    tail
}

/// Shows the newest line: in place on a terminal, as a line of its own elsewhere.
fn progress(terminal: bool, spin: usize, line: &str) {
    let short: String = line.trim().chars().take(90).collect();
    if terminal {
        eprint!("\r\x1b[K  {} {short}", ['|', '/', '-', '\\'][spin % 4]);
        // Only decoration: a terminal that went away is noticed by the real output.
        let _ = std::io::stderr().flush();
    } else if !short.is_empty() {
        say(&format!("  {short}"));
    }
}

/// Runs a child whose output the user sees as it is, without input.
///
/// # Errors
/// When it cannot be started or fails.
pub(crate) fn shown(command: &mut Command) -> Result<()> {
    let status = status(command.stdin(Stdio::null()))?;
    if !status.success() {
        bail!("`{}` failed ({status})", display(command));
    }
    Ok(())
}

/// Runs a child whose output the user sees and returns how it ended.
///
/// # Errors
/// When it cannot be started.
pub(crate) fn status(command: &mut Command) -> Result<ExitStatus> {
    command.status().with_context(|| format!("start `{}`", display(command)))
}

/// Runs a short child and returns its standard output.
///
/// # Errors
/// When it cannot be started or fails; the message holds its standard error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = display(command);
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("start `{shown}`"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("`{shown}` failed ({}): {}", output.status, stderr.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("output of `{shown}` is not UTF-8"))
}

/// The exit code that stands for a child's end: its own, or 128 and the signal as in a shell.
pub(crate) fn code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}

/// The command line for messages: program and arguments, without the environment.
pub(crate) fn display(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Finds a program on PATH or where administration programs are when PATH leaves them out.
pub(crate) fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"];
    std::env::split_paths(&path)
        .chain(usual.iter().map(Into::into))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    // SAFETY: geteuid has no preconditions and cannot fail.
    unsafe { libc::geteuid() == 0 }
}
