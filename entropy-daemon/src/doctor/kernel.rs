//! What the kernel can do, found out by doing it on interfaces of our own.

use std::io;

use tokio::sync::oneshot;

use super::{Check, Status, host};
use crate::{
    datapath::{
        Interface, QUEUE,
        inspect::trial::{self, Trial},
    },
    netlink::{self, Disowner, Hook, Netlink, Passage},
};

/// The two ends of the pair that things are tried on.
const PAIR: [&str; 2] = ["entropyprobe0", "entropyprobe1"];
/// The two devices of the line that is tried.
const LINE: [&str; 2] = ["entropyprobe2", "entropyprobe3"];

const AS_ROOT: &str = "run it as root: `sudo entropyctl doctor`";
const EVERYTHING: &str = "everything: entropyd does not start without it";

/// What was tried, as far as it came.
#[derive(Debug, Default)]
struct Findings {
    programs: Option<anyhow::Result<()>>,
    pair: Option<Result<(), netlink::Error>>,
    tcx: Option<anyhow::Result<bool>>,
    clsact: Option<anyhow::Result<()>>,
    line: Option<Result<Hook, netlink::Error>>,
    fq: Option<Result<Disowner, netlink::Error>>,
    wire: Option<Result<(), netlink::Error>>,
}

/// Tries on a thread of its own, which can have a network namespace of its own: nothing that is
/// tried there is seen on the host, and it ends with the thread, whatever becomes of this process.
pub(super) async fn checks() -> Vec<Check> {
    let (report, findings) = oneshot::channel();
    let thread = std::thread::Builder::new().name("doctor".into()).spawn(move || {
        // Without the right to it, the host's namespace must do.
        if let Err(error) = leave_network() {
            tracing::debug!("no network namespace of our own: {error}");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let findings = runtime.map(|runtime| runtime.block_on(find()));
        // Nobody listens any more when it took too long.
        drop(report.send(findings));
    });
    let failed = |error: io::Error| {
        vec![Check::new("programs", Status::Unknown, format!("not tried: {error}")).needed()]
    };
    if let Err(error) = thread {
        return failed(error);
    }
    match findings.await {
        Ok(Ok(findings)) => findings.into_checks(),
        Ok(Err(error)) => failed(error),
        Err(_) => failed(io::Error::other("the trial ended early")),
    }
}

/// Moves the calling thread to a new network namespace.
fn leave_network() -> io::Result<()> {
    // SAFETY: unshare takes a number and, for network namespaces, changes the calling thread only.
    match unsafe { libc::unshare(libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

async fn find() -> Findings {
    let mut findings = Findings::default();
    let mut trial = match load() {
        Some(Ok(trial)) => {
            findings.programs = Some(Ok(()));
            Some(trial)
        }
        Some(Err(error)) => {
            findings.programs = Some(Err(error));
            None
        }
        None => None,
    };
    let netlink = match Netlink::new() {
        Ok(netlink) => netlink,
        Err(error) => {
            findings.pair = Some(Err(error));
            return findings;
        }
    };
    let Passage { entrance: index, .. } = match netlink.ensure_veth_pair(PAIR[0], PAIR[1]).await {
        Ok(passage) => passage,
        Err(error) => {
            findings.pair = Some(Err(error));
            return findings;
        }
    };
    findings.pair = Some(Ok(()));
    let interface = Interface { index, name: PAIR[0].to_owned() };
    findings.tcx = trial.as_mut().map(|trial| trial.has_tcx(&interface));
    if let Some(trial) = trial {
        findings.clsact = Some(trial.clsact(&netlink, &interface).await);
    }
    findings.line = Some(try_line(&netlink).await);
    findings.fq = Some(netlink.ensure_fq(index, QUEUE).await);
    findings.wire = Some(netlink.ensure_wire(PAIR[0], PAIR[1]).await.map(drop));
    if let Err(error) = netlink.delete_link(index).await {
        findings.pair = Some(Err(error));
    }
    findings
}

async fn try_line(netlink: &Netlink) -> Result<Hook, netlink::Error> {
    let passage = netlink.ensure_line(LINE[0], LINE[1]).await?;
    netlink.delete_link(passage.exit).await?;
    Ok(passage.hook)
}

/// The programs in the kernel; `None` when this binary has none.
fn load() -> Option<anyhow::Result<Trial>> {
    trial::object_bytes().ok()?;
    Some(Trial::new().and_then(|mut trial| {
        trial.verify()?;
        Ok(trial)
    }))
}

impl Findings {
    fn into_checks(self) -> Vec<Check> {
        let tcx_works = matches!(self.tcx, Some(Ok(true)));
        let clsact_works = matches!(self.clsact, Some(Ok(())));
        vec![
            about_programs(self.programs),
            about_veth(self.pair),
            about_tcx(self.tcx, clsact_works),
            about_clsact(self.clsact, tcx_works),
            about_line(self.line),
            about_fq(self.fq),
            about_wire(self.wire),
        ]
    }
}

/// Whether somewhere in the error's chain the kernel refused for lack of a right.
fn is_permission(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let denied = error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
        if denied {
            return true;
        }
        next = error.source();
    }
    false
}

fn not_permitted(name: &'static str) -> Check {
    Check::new(name, Status::Unknown, "not tried: permission denied").mend(AS_ROOT)
}

/// What the kernel refused for lack of a right, or for a reason of which `more` says what it means.
fn refused(
    name: &'static str,
    error: impl Into<anyhow::Error>,
    more: impl FnOnce(Check) -> Check,
) -> Check {
    let error = error.into();
    match is_permission(error.as_ref()) {
        true => not_permitted(name),
        false => more(Check::new(name, Status::Missing, format!("{error:#}"))),
    }
}

fn not_tried(name: &'static str) -> Check {
    Check::new(name, Status::Unknown, "not tried, for the reason above")
}

fn about_programs(result: Option<anyhow::Result<()>>) -> Check {
    let check = match result {
        Some(Ok(())) => Check::ok("programs", "accepted by the kernel's verifier"),
        Some(Err(error)) => refused("programs", error.context("refused by the kernel"), |check| {
            check
                .disables(EVERYTHING)
                .mend("use Linux 6.1 or later; on such a one, report this as a bug")
        }),
        None => not_tried("programs"),
    };
    check.needed()
}

fn about_veth(result: Option<Result<(), netlink::Error>>) -> Check {
    let check = match result {
        Some(Ok(())) => Check::ok("veth", "a pair could be made and removed"),
        Some(Err(error)) => refused("veth", error, |check| {
            check.disables(EVERYTHING).mend("modprobe veth (CONFIG_VETH)")
        }),
        None => not_tried("veth"),
    };
    check.needed()
}

fn about_tcx(result: Option<anyhow::Result<bool>>, clsact_works: bool) -> Check {
    match result {
        Some(Ok(true)) => {
            Check::ok("tcx", "usable: programs leave with the daemon, however it ends")
        }
        Some(Ok(false)) if clsact_works => {
            Check::new("tcx", Status::Missing, "this kernel has none, clsact filters do the work")
                .disables("only comfort: after kill -9 filters stay until `entropyctl cleanup`")
                .mend("use Linux 6.6 or later")
        }
        Some(Ok(false)) => Check::new("tcx", Status::Missing, "this kernel has none")
            .needed()
            .disables("every fault, as clsact is not usable either")
            .mend("use Linux 6.6 or later, or mend clsact"),
        Some(Err(error)) => refused("tcx", error, |check| {
            check.needed().disables(EVERYTHING).mend("report this as a bug, with this output")
        }),
        None => not_tried("tcx"),
    }
}

fn about_clsact(result: Option<anyhow::Result<()>>, tcx_works: bool) -> Check {
    match result {
        Some(Ok(())) if tcx_works => Check::ok("clsact", "usable, but TCX is used"),
        Some(Ok(())) => Check::ok("clsact", "usable").needed(),
        Some(Err(error)) => refused("clsact", error, |check| {
            let check = check.mend(
                "modprobe -a sch_ingress cls_bpf (CONFIG_NET_SCH_INGRESS, CONFIG_NET_CLS_BPF)",
            );
            match tcx_works {
                true => check.disables("nothing: TCX is used"),
                false => check.disables("every fault, as TCX is not usable either").needed(),
            }
        }),
        None => not_tried("clsact"),
    }
}

fn about_line(result: Option<Result<Hook, netlink::Error>>) -> Check {
    match result {
        Some(Ok(Hook::Egress)) => Check::ok("line", "usable, a macvlan upon a dummy device"),
        Some(Ok(Hook::Ingress)) => Check::ok(
            "line",
            "usable, a veth pair; without macvlan and dummy (CONFIG_MACVLAN, CONFIG_DUMMY) fast flows \
             lose speed and order",
        ),
        Some(Err(error)) => refused("line", error, |check| {
            check.needed().disables(EVERYTHING).mend("report this as a bug, with this output")
        }),
        None => not_tried("line"),
    }
}

fn about_fq(result: Option<Result<Disowner, netlink::Error>>) -> Check {
    const DISABLES: &str = "delay, reordering, rate and slots";
    match result {
        Some(Ok(Disowner::Queue)) => Check::ok("fq", "usable, with sch_netem before it"),
        Some(Ok(Disowner::Nobody)) => Check::ok(
            "fq",
            "usable; without sch_netem (CONFIG_NET_SCH_NETEM) packets that wait are copied, which is slower",
        ),
        Some(Err(error)) if error.raw_os_error() == Some(libc::ENOENT) => {
            Check::new("fq", Status::Missing, "this kernel has no sch_fq").disables(DISABLES).mend(
                format!(
                    "modprobe sch_fq (CONFIG_NET_SCH_FQ); on Ubuntu first `apt-get install \
                 linux-modules-extra-{}`",
                    host::release()
                ),
            )
        }
        Some(Err(error)) => refused("fq", error, |check| check.disables(DISABLES)),
        None => not_tried("fq"),
    }
}

fn about_wire(result: Option<Result<(), netlink::Error>>) -> Check {
    match result {
        Some(Ok(())) => Check::ok("wire", "a pair's offloads could be switched off"),
        Some(Err(error)) => refused("wire", error, |check| {
            check
                .disables("corruption, and loss by segment")
                .mend("report this as a bug, with this output")
        }),
        None => not_tried("wire"),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    fn denied() -> anyhow::Error {
        anyhow::Error::new(io::Error::from_raw_os_error(libc::EPERM)).context("load")
    }

    #[test]
    fn one_way_to_attach_is_enough() {
        let findings = |tcx, clsact: bool| Findings {
            tcx: Some(Ok(tcx)),
            clsact: Some(if clsact { Ok(()) } else { Err(anyhow!("no such qdisc")) }),
            programs: Some(Ok(())),
            pair: Some(Ok(())),
            line: Some(Ok(Hook::Ingress)),
            fq: Some(Ok(Disowner::Nobody)),
            wire: Some(Ok(())),
        };
        let is_ready = |findings: Findings| findings.into_checks().iter().all(Check::is_ready);
        assert!(is_ready(findings(true, true)));
        assert!(is_ready(findings(true, false)));
        assert!(is_ready(findings(false, true)));
        assert!(!is_ready(findings(false, false)));
    }

    #[test]
    fn what_may_not_be_tried_is_unknown_and_not_missing() {
        assert_eq!(about_programs(Some(Err(denied()))).status, Status::Unknown);
        assert_eq!(about_tcx(Some(Err(denied())), false).status, Status::Unknown);
        assert_eq!(about_programs(Some(Err(anyhow!("too complex")))).status, Status::Missing);
        let nothing = Findings::default().into_checks();
        assert!(nothing.iter().all(|check| check.status == Status::Unknown), "{nothing:?}");
        assert!(!nothing.iter().all(Check::is_ready));
    }
}
