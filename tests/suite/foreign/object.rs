//! Things of other people: a program that lets everything go on, as a TCX program and as a filter,
//! and a root qdisc. Made with the kernel's own interface, because aya takes no two instructions.

use std::{
    fs, io,
    os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result, ensure};
use aya::sys::{Stats, enable_stats};
use entropy_daemon::netlink::{AttachMode, FilterId, Hook, Netlink};
use entropy_tests::{
    netns,
    snapshot::{self, Link},
};

/// Commands of `bpf(2)` (linux/bpf.h).
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_LINK_GET_FD_BY_ID: libc::c_long = 30;
const BPF_LINK_DETACH: libc::c_long = 34;
/// `BPF_PROG_TYPE_SCHED_CLS`.
const SCHED_CLS: u32 = 3;
/// `BPF_TCX_INGRESS` and `BPF_TCX_EGRESS`.
const TCX: [u32; 2] = [46, 47];
/// `r0 = -1; exit`: `TC_ACT_UNSPEC`, which is `TCX_NEXT`.
const GO_ON: [u64; 2] = [0xffff_ffff_0000_00b7, 0x0000_0000_0000_0095];

/// The filter's identity.
const ID: FilterId<'_> = FilterId { name: "foreign", priority: 77, handle: 7 };
/// Root qdisc; every kernel with traffic control has it.
const QDISC: &str = "pfifo";

/// Calls `bpf(2)` with attributes as the kernel lays them out.
fn call(command: libc::c_long, attributes: &[u32]) -> io::Result<libc::c_long> {
    // SAFETY: the kernel reads as many bytes as it is told; the pointers inside are the callers'.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), size_of_val(attributes))
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The same for what returns a descriptor.
fn bpf(command: libc::c_long, attributes: &[u32]) -> io::Result<OwnedFd> {
    let fd = call(command, attributes)?;
    // SAFETY: the kernel just gave this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Takes the programs of a process off a device: TCX programs as `bpftool link detach` does, filters as
/// `tc qdisc del dev DEVICE clsact`.
pub(crate) fn take_off(pid: u32, device: &Link) -> Result<()> {
    let mut is_tcx = false;
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        let info = fs::read_to_string(entry?.path()).unwrap_or_default();
        let value = |key: &str| info.lines().find_map(|line| line.strip_prefix(key));
        let number = |key| value(key).and_then(|value| value.trim().parse::<u32>().ok());
        if number("ifindex:") == Some(device.index)
            && let Some(id) = number("link_id:")
        {
            let link = bpf(BPF_LINK_GET_FD_BY_ID, &[id, 0, 0]).context("open a link")?;
            call(BPF_LINK_DETACH, &[link.as_raw_fd().cast_unsigned()]).context("detach a link")?;
            is_tcx = true;
        }
    }
    if is_tcx {
        return Ok(());
    }
    netlink(async |netlink| Ok(netlink.delete_clsact(device.index).await.map(drop)?))
}

/// The two halves of a pointer, as the kernel expects a 64-bit field.
fn halves<T>(pointer: *const T) -> [u32; 2] {
    let address = (pointer as usize as u64).to_ne_bytes();
    let (first, second) = address.split_at(4);
    [first, second].map(|half| u32::from_ne_bytes([half[0], half[1], half[2], half[3]]))
}

/// A loaded program.
#[derive(Debug)]
struct Program(OwnedFd);

impl Program {
    fn load(code: &[u64]) -> Result<Self> {
        let license = c"GPL";
        let mut attributes = vec![SCHED_CLS, code.len() as u32];
        attributes.extend(halves(code.as_ptr()));
        attributes.extend(halves(license.as_ptr()));
        // Log level, log size, log buffer, kernel version, flags.
        attributes.extend([0; 6]);
        let mut name = [0; 16];
        name[..7].copy_from_slice(b"foreign");
        let words = name
            .chunks_exact(4)
            .map(|four| u32::from_ne_bytes([four[0], four[1], four[2], four[3]]));
        attributes.extend(words);
        bpf(BPF_PROG_LOAD, &attributes).map(Self).context("load a foreign program")
    }

    /// How often it ran, since somebody turned the kernel's statistics on.
    fn count(&self) -> Result<u64> {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", self.0.as_raw_fd()))?;
        let line = info.lines().find_map(|line| line.strip_prefix("run_cnt:"));
        line.context("the kernel does not count")?.trim().parse().context("run_cnt")
    }

    /// Attaches it by TCX, behind whatever is there; `None` on a kernel without.
    fn attach_tcx(&self, link: &Link, hook: u32) -> Result<Option<OwnedFd>> {
        // Flags, relative descriptor, padding, expected revision.
        let attributes = [self.0.as_raw_fd().cast_unsigned(), link.index, hook, 0, 0, 0, 0, 0];
        match bpf(BPF_LINK_CREATE, &attributes) {
            Ok(link) => Ok(Some(link)),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(None),
            Err(error) => Err(error).context("attach a foreign TCX program"),
        }
    }
}

fn netlink<T>(work: impl AsyncFnOnce(Netlink) -> Result<T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { work(Netlink::new()?).await })
}

/// Puts a filter on the egress hook of a device, in the namespace of the calling thread, that has every
/// packet believed to be right, as a network card does with those whose checksum it has verified
/// (`CHECKSUM_UNNECESSARY`). It goes with its device.
pub(crate) fn believe_what_leaves(index: u32) -> Result<()> {
    /// `r2 = 1 (BPF_CSUM_LEVEL_INC); call 135 (bpf_csum_level)`, and on.
    const BELIEVE: [u64; 4] = [0x0000_0001_0000_02b7, 0x0000_0087_0000_0085, GO_ON[0], GO_ON[1]];
    let program = Program::load(&BELIEVE)?;
    netlink(async |netlink| {
        netlink.add_clsact(index).await?;
        let fd = program.0.as_fd();
        Ok(netlink.attach_filter(index, Hook::Egress, fd, ID, AttachMode::Replace).await?)
    })
}

/// A filter on both hooks of a clsact qdisc, which is made if it is not there. It goes with its device.
#[derive(Debug)]
pub(super) struct Filter {
    programs: [Program; 2],
    _statistics: OwnedFd,
}

impl Filter {
    pub(super) fn add(link: &Link) -> Result<Self> {
        let filter = Self {
            programs: [Program::load(&GO_ON)?, Program::load(&GO_ON)?],
            _statistics: enable_stats(Stats::RunTime)?,
        };
        netlink(async |netlink| {
            netlink.add_clsact(link.index).await?;
            for (program, hook) in filter.programs.iter().zip([Hook::Ingress, Hook::Egress]) {
                let fd = program.0.as_fd();
                netlink.attach_filter(link.index, hook, fd, ID, AttachMode::Replace).await?;
            }
            Ok(())
        })?;
        Ok(filter)
    }

    /// How many packets to the container it has seen.
    pub(super) fn count(&self) -> Result<u64> {
        self.programs[1].count()
    }
}

/// Everything at once.
#[derive(Debug)]
pub(super) struct Foreign {
    filter: Filter,
    tcx: Vec<(Program, OwnedFd)>,
    link: Link,
}

impl Foreign {
    pub(super) fn install(link: &Link) -> Result<Self> {
        let filter = Filter::add(link)?;
        let mut tcx = Vec::new();
        for hook in TCX {
            let program = Program::load(&GO_ON)?;
            if let Some(attached) = program.attach_tcx(link, hook)? {
                tcx.push((program, attached));
            }
        }
        netns::set_root_qdisc(link.index, QDISC)?;
        Ok(Self { filter, tcx, link: link.clone() })
    }

    /// How many packets each of them has seen. Fails if one is not in its place any more.
    pub(super) fn counts(&self) -> Result<Vec<(String, u64)>> {
        let lines = snapshot::filters(&self.link)?;
        let filters = lines.iter().filter(|line| line.contains(ID.name)).count();
        ensure!(filters == 2, "the filters are {lines:#?}");
        let lines = snapshot::tcx_programs(&self.link);
        let programs = lines.iter().filter(|line| line.contains("foreign")).count();
        ensure!(programs == self.tcx.len(), "the TCX programs are {lines:#?}");
        let mut counts = Vec::new();
        for (hook, program) in self.filter.programs.iter().enumerate() {
            counts.push((format!("filter {hook}"), program.count()?));
        }
        for (hook, (program, _)) in self.tcx.iter().enumerate() {
            counts.push((format!("TCX program {hook}"), program.count()?));
        }
        counts.push((QDISC.to_owned(), snapshot::qdisc_packets(&self.link, QDISC)?));
        Ok(counts)
    }
}
