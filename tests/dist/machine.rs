//! A machine in the machine: systemd as the first process of namespaces of its own, over a copy of
//! the file system. The network and the kernel are the virtual machine's.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context as _, Result, bail};
use entropy_tests::wait::{patience, until, until_true};

use crate::root::{CLEAN, Root, output, said};

/// What the machine is to reach: nothing but what every service stands on. What is enabled on this
/// machine is none of the tests' business.
const TARGET: (&str, &str) = (
    "etc/systemd/system/entropy-tests.target",
    "[Unit]\nRequires=sysinit.target\nAfter=sysinit.target\n",
);
/// What that would start and nobody misses.
const UNWANTED: [&str; 12] = [
    "apparmor.service",
    "proc-sys-fs-binfmt_misc.automount",
    "systemd-binfmt.service",
    "systemd-modules-load.service",
    "systemd-networkd.service",
    "systemd-resolved.service",
    "systemd-sysctl.service",
    "systemd-timesyncd.service",
    "systemd-udev-trigger.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-udevd.service",
];
/// Makes the root the first argument names into the root, and becomes systemd.
const BOOT: &str = "set -e
cd \"$1\"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t bpf -o mode=0700 bpf sys/fs/bpf
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
pivot_root . mnt
umount -l /mnt
mount --make-rshared /
exec env -i container=entropy-tests PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd \
    --unit=entropy-tests.target --log-target=console --show-status=no
";

/// A machine that runs. Dropping it ends it.
pub(crate) struct Machine {
    pub(crate) root: Root,
    unshare: Child,
    /// The first process, seen from outside.
    systemd: u32,
}

impl Machine {
    /// Boots one.
    pub(crate) fn boot(root: Root) -> Result<Self> {
        root.write(TARGET.0, TARGET.1)?;
        for empty in ["etc/fstab", "etc/crypttab"] {
            root.write(empty, "")?;
        }
        for unit in UNWANTED {
            let mask = root.path().join("etc/systemd/system").join(unit);
            let _ = fs::remove_file(&mask);
            std::os::unix::fs::symlink("/dev/null", &mask)
                .with_context(|| format!("mask {unit}"))?;
        }
        let log = File::create("/run/entropy-dist-boot.log").context("create the boot log")?;
        // A cgroup of its own, which is the root of what systemd sees.
        let cgroup = Path::new("/sys/fs/cgroup/entropy-dist");
        fs::create_dir_all(cgroup).context("create a cgroup")?;
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo $$ >\"$1\"/cgroup.procs && shift && exec \"$@\"", "sh"])
            .arg(cgroup)
            .args(["setsid", "unshare", "--pid", "--fork", "--kill-child", "--mount"])
            .args([
                "--propagation",
                "private",
                "--uts",
                "--ipc",
                "--cgroup",
                "sh",
                "-c",
                BOOT,
                "sh",
            ])
            .arg(root.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("clone the log's handle")?)
            .stderr(log);
        let unshare = command.spawn().context("start unshare")?;
        let mut machine = Self { root, unshare, systemd: 0 };
        machine.systemd = until("systemd starts", patience(10), || machine.first())?;
        until_true("systemd has booted", patience(20), || {
            machine.alive()?;
            let state = machine.output(&["systemctl", "is-system-running"])?.stdout;
            let state = String::from_utf8_lossy(&state);
            Ok(matches!(state.trim(), "running" | "degraded"))
        })?;
        Ok(machine)
    }

    /// The process that became systemd.
    fn first(&mut self) -> Result<Option<u32>> {
        self.alive()?;
        let id = self.unshare.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let child = children.unwrap_or_default().trim().parse().ok();
        let name = |id: u32| fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
        Ok(child.filter(|id| name(*id).trim() == "systemd"))
    }

    fn alive(&mut self) -> Result<()> {
        if let Some(status) = self.unshare.try_wait().context("look after systemd")? {
            let log = fs::read_to_string("/run/entropy-dist-boot.log").unwrap_or_default();
            bail!("systemd ended ({status}):\n{log}");
        }
        Ok(())
    }

    /// A path of the machine, seen from outside.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.systemd)).join(inside.trim_start_matches('/'))
    }

    /// Writes a file in the machine.
    pub(crate) fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.path(file);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("write {file}"))
    }

    /// Runs a command in the machine, whatever comes of it.
    pub(crate) fn output(&self, words: &[&str]) -> Result<Output> {
        output(&mut self.command(words))
    }

    /// Runs a command in the machine that has to succeed and returns what it said.
    pub(crate) fn run(&self, words: &[&str]) -> Result<String> {
        said(&mut self.command(words))
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.arg("--target").arg(self.systemd.to_string());
        command.args(["--all", "--root", "--wd", "--"]).args(CLEAN).args(words);
        command
    }

    /// A property of a unit.
    pub(crate) fn show(&self, unit: &str, property: &str) -> Result<String> {
        self.run(&["systemctl", "show", "--value", "--property", property, unit])
    }

    /// What a program has written to the journal.
    pub(crate) fn journal(&self, program: &str) -> Result<String> {
        self.run(&["journalctl", "--no-pager", "--output=cat", "--identifier", program])
    }

    /// Shows the end of the whole journal, for who looks after a failure.
    pub(crate) fn print_journal(&self) {
        match self.run(&["journalctl", "--no-pager", "--lines=100"]) {
            Ok(journal) => println!("the journal:\n{journal}"),
            Err(error) => println!("the journal cannot be read: {error:#}"),
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_journal();
        }
        // Both fail only when it has ended already. The first process takes all others with it.
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}
