//! The service under systemd: what it may do, what it does, and that it goes without a trace.

use std::net::UdpSocket;

use anyhow::{Context as _, Result, bail, ensure};
use entropy_tests::{
    docker::{Container, Docker, Network},
    skip::virtual_machine,
    snapshot::Snapshot,
    wait::{patience, until, until_true},
};
use serde_json::Value;

use crate::{machine::Machine, package, root::Root};

const UNIT: &str = "entropyd.service";
/// The unit's capabilities; README says what each is for, which is tested below.
const CAPABILITIES: [(&str, u32); 3] =
    [("CAP_BPF", 39), ("CAP_NET_ADMIN", 12), ("CAP_PERFMON", 38)];
/// A policy that shows.
const POLICY: &str = "[[policy]]\nname = \"cut\"\ntarget = \"app=web\"\nloss = \"100%\"\n";
/// The engine's socket in the machine, where the daemon looks for it.
const SOCKET: &str = "/run/docker.sock";
/// The daemon's own.
const CONTROL: &str = "/run/entropy/entropyd.sock";
/// Of the container's network; its gateway is the first, it the second.
const NETWORK: u8 = 77;

#[test]
fn the_readme_justifies_the_capabilities_of_the_unit_one_by_one() {
    let unit = include_str!("../../entropy-daemon/dist/entropyd.service");
    let line = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet="));
    let names: Vec<_> = CAPABILITIES.iter().map(|(name, _)| *name).collect();
    assert_eq!(line.unwrap(), names.join(" "));
    let readme = include_str!("../../README.md");
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `CAP_")?.split('`').next());
    let rows: Vec<_> = rows.map(|row| format!("CAP_{row}")).collect();
    assert_eq!(rows, names);
}

#[test]
fn the_service_does_its_work_with_what_it_may_and_goes_without_a_trace() -> Result<()> {
    if virtual_machine().is_none() {
        entropy_tests::skip!("needs the VM: systemd is booted and packages are installed");
    }
    let machine = Machine::boot(Root::new("systemd")?)?;
    live_and_go(&machine).inspect_err(|_| machine.print_journal())
}

fn live_and_go(machine: &Machine) -> Result<()> {
    let _site = Site::new(machine)?;
    let files = machine.root.changes()?;
    let kernel = Snapshot::take()?;
    let life = Life { machine };
    life.installed_under_a_policy_it_is_not_started().context("install")?;
    life.it_works().context("work")?;
    life.it_may_do_no_more_than_it_needs().context("rights")?;
    life.a_reload_is_done().context("reload")?;
    life.after_kill_9_it_works_again().context("kill -9")?;
    life.a_hung_one_is_replaced().context("watchdog")?;
    life.an_upgrade_goes_on_in_place().context("upgrade")?;
    life.a_stopped_one_stays_so().context("stop")?;
    life.the_journal_is_clean().context("journal")?;
    life.purged_it_is_gone().context("purge")?;
    machine.root.assert_changes(&files)?;
    kernel.assert_restored()
}

/// A Docker engine in the machine, with a container.
struct Site {
    _container: Container,
    _network: Network,
}

impl Site {
    fn new(machine: &Machine) -> Result<Self> {
        machine.write("/run/systemd/system/docker.service", &engine_unit()?)?;
        machine.run(&["systemctl", "daemon-reload"])?;
        // dockerd gives its containerd a time of its own to start, and ends when that was too
        // little, as it may be where others are busy too.
        until_true("the engine runs", patience(20), || {
            Ok(machine.output(&["systemctl", "start", "docker.service"])?.status.success())
        })?;
        let docker = Docker::at(machine.path(SOCKET))?;
        let network = docker.network("dist", NETWORK)?;
        let container = docker.run("dist", "app=web", &network)?;
        Ok(Self { _container: container, _network: network })
    }
}

/// The unit of the unpacked engine.
fn engine_unit() -> Result<String> {
    let folder = std::env::var("ENTROPY_ENGINE_DIR").context("ENTROPY_ENGINE_DIR is not set")?;
    let libraries = "x86_64-linux-gnu";
    Ok(format!(
        "[Service]
Type=notify
TimeoutStartSec=300
Environment=PATH={folder}/usr/sbin:{folder}/usr/bin:/usr/sbin:/usr/bin:/sbin:/bin
Environment=LD_LIBRARY_PATH={folder}/usr/lib/{libraries}:{folder}/lib/{libraries}
ExecStart={folder}/usr/sbin/dockerd --host unix://{SOCKET} --data-root /run/docker-data \
         --iptables=false --userland-proxy=false --exec-opt native.cgroupdriver=cgroupfs
Delegate=yes
KillMode=mixed
"
    ))
}

/// What happens to the service, in the order in which it happens.
struct Life<'a> {
    machine: &'a Machine,
}

impl Life<'_> {
    fn installed_under_a_policy_it_is_not_started(&self) -> Result<()> {
        self.machine.root.forbid_starts(true)?;
        self.install()?;
        ensure!(self.state("is-active")? == "inactive", "it was started");
        ensure!(self.state("is-enabled")? == "enabled", "it is not enabled");
        self.machine.root.forbid_starts(false)?;
        self.machine.run(&["systemctl", "start", UNIT])?;
        ensure!(self.state("is-active")? == "active", "it does not run");
        let socket = self.machine.run(&["stat", "-c", "%a %U %G %F", CONTROL])?;
        ensure!(socket == "660 root entropy socket", "the control socket: {socket}");
        Ok(())
    }

    /// A policy is loaded when it is written, found to match, and loses what it is to lose.
    fn it_works(&self) -> Result<()> {
        self.machine.write("/etc/entropy/policies/cut.toml", POLICY)?;
        self.await_losses()?;
        let status = self.machine.show(UNIT, "StatusText")?;
        ensure!(status == "1 of 1 policies in force, on 1 container", "status: {status}");
        Ok(())
    }

    fn it_may_do_no_more_than_it_needs(&self) -> Result<()> {
        let unit = "/usr/lib/systemd/system/entropyd.service";
        let rate = ["systemd-analyze", "security", "--offline=yes", "--threshold=20", unit];
        let report = self.machine.run(&rate)?;
        println!("{}", report.lines().last().unwrap_or_default());
        let pid = self.pid()?;
        let status = self.machine.run(&["cat", &format!("/proc/{pid}/status")])?;
        let bits = CAPABILITIES.iter().fold(0_u64, |all, (_, bit)| all | 1 << bit);
        for line in ["CapPrm", "CapEff", "CapBnd"] {
            let wanted = format!("{line}:\t{bits:016x}");
            ensure!(status.lines().any(|found| found == wanted), "not {wanted}:\n{status}");
        }
        for wanted in ["CapInh:\t0000000000000000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1"] {
            ensure!(status.lines().any(|found| found == wanted), "not {wanted}:\n{status}");
        }
        ensure!(status.lines().any(|found| found == "Seccomp:\t2"), "no filter:\n{status}");
        self.it_has_no_child_and_could_not_have_one(&pid)
    }

    fn it_has_no_child_and_could_not_have_one(&self, pid: &str) -> Result<()> {
        let group = self.machine.show(UNIT, "ControlGroup")?;
        let group = format!("/sys/fs/cgroup{group}/cgroup.procs");
        let processes = self.machine.run(&["cat", &group])?;
        ensure!(processes == pid, "processes of the unit: {processes}");
        // What children that it had waited for have used: page faults and time, proc(5).
        let stat = self.machine.run(&["cat", &format!("/proc/{pid}/stat")])?;
        let fields: Vec<_> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let children = [8, 10, 13, 14].map(|field| fields.get(field).copied());
        ensure!(children == [Some("0"); 4], "it had children: {children:?} in {stat}");
        // Where it lives nothing can be executed, not even by somebody with all rights.
        let run = ["nsenter", "--target", pid, "--mount", "--", "/usr/bin/true"];
        let output = self.machine.output(&run)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success() && said.contains("Permission denied"), "{said}");
        Ok(())
    }

    fn a_reload_is_done(&self) -> Result<()> {
        let (pid, since) = (self.pid()?, self.machine.show(UNIT, "StateChangeTimestampMonotonic")?);
        self.machine.run(&["systemctl", "reload", UNIT])?;
        until_true("the service is reloaded", patience(5), || {
            let now = self.machine.show(UNIT, "StateChangeTimestampMonotonic")?;
            Ok(now != since && self.state("is-active")? == "active")
        })?;
        ensure!(self.pid()? == pid, "a reload is no restart");
        Ok(())
    }

    fn after_kill_9_it_works_again(&self) -> Result<()> {
        let pid = self.pid()?;
        self.machine.run(&["kill", "-KILL", &pid])?;
        self.await_another(&pid)?;
        self.await_losses()
    }

    fn a_hung_one_is_replaced(&self) -> Result<()> {
        let folder = format!("/run/systemd/system/{UNIT}.d");
        self.machine.write(&format!("{folder}/test.conf"), "[Service]\nWatchdogSec=15s\n")?;
        self.machine.run(&["systemctl", "daemon-reload"])?;
        self.machine.run(&["systemctl", "restart", UNIT])?;
        // Fed once at the start, and again by a main loop that turns.
        let fed = || self.machine.show(UNIT, "WatchdogTimestampMonotonic");
        let first = fed()?;
        until_true("the watchdog is fed", patience(2), || Ok(fed()? != first))?;
        let pid = self.pid()?;
        self.machine.run(&["kill", "-STOP", &pid])?;
        self.await_another(&pid)?;
        self.machine.run(&["rm", "-r", &folder])?;
        self.machine.run(&["systemctl", "daemon-reload"])?;
        self.await_losses()
    }

    /// The process is the same, its program the new one.
    fn an_upgrade_goes_on_in_place(&self) -> Result<()> {
        let pid = self.pid()?;
        self.install()?;
        until_true("the new program has taken over", patience(6), || {
            Ok(self.machine.journal("entropyd")?.contains("going on with"))
        })?;
        until_true("the service is ready", patience(6), || {
            Ok(self.state("is-active")? == "active")
        })?;
        ensure!(self.pid()? == pid, "it was started anew");
        let program = self.machine.run(&["readlink", &format!("/proc/{pid}/exe")])?;
        ensure!(program == "/usr/lib/entropy/entropyd", "it runs {program}");
        self.await_losses()
    }

    /// Neither who asks how it is nor an upgrade starts it.
    fn a_stopped_one_stays_so(&self) -> Result<()> {
        self.machine.run(&["systemctl", "stop", UNIT])?;
        let asked = self.machine.output(&["entropyctl", "status"])?;
        ensure!(!asked.status.success(), "somebody answers: {asked:?}");
        self.install()?;
        ensure!(self.state("is-active")? == "inactive", "it was started unasked");
        self.machine.run(&["systemctl", "start", UNIT])?;
        self.await_losses()
    }

    /// Lines without time and colour, which the journal has itself, and none that worries.
    fn the_journal_is_clean(&self) -> Result<()> {
        let journal = self.machine.journal("entropyd")?;
        for line in journal.lines().map(str::trim) {
            let level = line.split(' ').next().unwrap_or_default();
            ensure!(["INFO", "WARN"].contains(&level) && !line.contains('\x1b'), "{line}");
        }
        ensure!(journal.contains("policy cut is on container"), "{journal}");
        Ok(())
    }

    fn purged_it_is_gone(&self) -> Result<()> {
        self.machine.run(&["dpkg", "--no-triggers", "--purge", "entropy"])?;
        ensure!(self.state("is-active")? == "inactive", "it still runs");
        for path in ["/sys/fs/bpf/entropy", "/run/entropy", "/etc/entropy"] {
            ensure!(!self.machine.path(path).exists(), "{path} is still there");
        }
        let group = self.machine.output(&["getent", "group", "entropy"])?;
        ensure!(!group.status.success(), "the group is still there");
        let journal = self.machine.journal("entropyd")?;
        ensure!(journal.trim_end().ends_with("stopped, nothing left behind"), "{journal}");
        Ok(())
    }

    fn install(&self) -> Result<()> {
        let package = package()?;
        let package = package.to_string_lossy();
        self.machine.run(&["dpkg", "--no-triggers", "--install", &package]).map(drop)
    }

    fn state(&self, verb: &str) -> Result<String> {
        let output = self.machine.output(&["systemctl", verb, UNIT])?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn pid(&self) -> Result<String> {
        match self.machine.show(UNIT, "MainPID")? {
            none if none == "0" => bail!("the service does not run"),
            pid => Ok(pid),
        }
    }

    /// Waits until another process is the service.
    fn await_another(&self, pid: &str) -> Result<()> {
        until_true("the service is started anew", patience(6), || {
            let now = self.machine.show(UNIT, "MainPID")?;
            Ok(now != "0" && now != pid && self.state("is-active")? == "active")
        })
    }

    /// Sends to the container until the policy has lost something of that.
    fn await_losses(&self) -> Result<()> {
        let socket = UdpSocket::bind("0.0.0.0:0").context("open a socket")?;
        until("packets are lost", patience(6), || {
            socket.send_to(b"lost", (format!("10.213.{NETWORK}.2").as_str(), 9)).context("send")?;
            let dump = self.machine.output(&["entropyctl", "map", "dump", "--output", "json"])?;
            let dump: Value = serde_json::from_slice(&dump.stdout).unwrap_or_default();
            let hooks = dump["hooks"].as_array().cloned().unwrap_or_default();
            let rules =
                hooks.iter().flat_map(|hook| hook["rules"].as_array().into_iter().flatten());
            let lost =
                rules.filter_map(|rule| rule["counters"]["lost_packets"].as_u64()).sum::<u64>();
            Ok((lost > 0).then_some(()))
        })
    }
}
