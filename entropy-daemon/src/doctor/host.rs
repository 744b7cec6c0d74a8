//! The kernel's version, our rights, and the file systems that the kernel shows things in.

use std::{fs, path::Path};

use super::{Check, Status};
use crate::datapath::{self, inspect::trial};

/// Oldest kernel that the tests run on.
const OLDEST_TESTED: (u32, u32) = (6, 1);

/// Architectures that the tests run on.
const TESTED_ARCHITECTURES: [&str; 1] = ["x86_64"];

const BTF: &str = "/sys/kernel/btf/vmlinux";

// Bits of linux/capability.h.
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;
/// The rights that the daemon needs, and whether Linux takes CAP_SYS_ADMIN for them (bpf_capable,
/// linux/capability.h). Without CAP_PERFMON the verifier refuses pointer arithmetic that Spectre
/// could make use of, which the programs cannot do without.
const NEEDED: [(&str, u32, bool); 3] = [
    ("CAP_BPF", CAP_BPF, true),
    ("CAP_NET_ADMIN", CAP_NET_ADMIN, false),
    ("CAP_PERFMON", CAP_PERFMON, true),
];

pub(super) fn checks() -> Vec<Check> {
    vec![kernel(), capabilities(), bpffs(), btf(), object()]
}

/// The running kernel's release (`uname -r`).
pub(super) fn release() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.trim().to_owned()
}

fn kernel() -> Check {
    about_kernel(&release(), std::env::consts::ARCH)
}

fn about_kernel(release: &str, architecture: &str) -> Check {
    let finding = format!("Linux {release}, {architecture}");
    let (major, minor) = OLDEST_TESTED;
    if version(release).is_none_or(|version| version < OLDEST_TESTED) {
        return Check::new(
            "kernel",
            Status::Warning,
            format!("{finding}: older than Linux {major}.{minor}, the oldest that is tested"),
        )
        .mend("use a newer kernel, unless `programs` below is ok");
    }
    if !TESTED_ARCHITECTURES.contains(&architecture) {
        let finding = format!("{finding}: only {} is tested", TESTED_ARCHITECTURES.join(", "));
        return Check::new("kernel", Status::Warning, finding);
    }
    Check::ok("kernel", finding)
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn capabilities() -> Check {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let users = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    about_rights(effective(&status), &users)
}

fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn about_rights(effective: Option<u64>, users: &str) -> Check {
    const NAME: &str = "capabilities";
    const DISABLES: &str = "everything but `entropyctl validate`, for this user";
    let Some(effective) = effective else {
        return Check::new(NAME, Status::Unknown, "/proc/self/status does not tell them").needed();
    };
    let has = |bit: u32| effective & (1 << bit) != 0;
    let (mut held, mut lacking) = (Vec::new(), Vec::new());
    for (name, bit, replaceable) in NEEDED {
        if has(bit) {
            held.push(name.to_owned());
        } else if replaceable && has(CAP_SYS_ADMIN) {
            held.push(format!("CAP_SYS_ADMIN in place of {name}"));
        } else {
            lacking.push(name);
        }
    }
    if !lacking.is_empty() {
        let finding = format!("this process lacks {}", lacking.join(", "));
        return Check::new(NAME, Status::Missing, finding)
            .needed()
            .disables(DISABLES)
            .mend("run it as root: `sudo entropyctl doctor`");
    };
    let held = held.join(", ");
    if !users.is_empty() && users.split_whitespace().ne(["0", "0", "4294967295"]) {
        let finding = format!("{held}, but only inside a user namespace");
        return Check::new(NAME, Status::Missing, finding)
            .needed()
            .disables(DISABLES)
            .mend("run it on the host itself, not in a rootless container");
    }
    Check::ok(NAME, held).needed()
}

fn bpffs() -> Check {
    if datapath::bpffs_is_mounted() {
        return Check::ok("bpffs", "mounted at /sys/fs/bpf").needed();
    }
    Check::new("bpffs", Status::Missing, "not mounted at /sys/fs/bpf")
        .needed()
        .disables("everything: entropyd does not start without it")
        .mend("mount -t bpf bpf /sys/fs/bpf")
}

fn btf() -> Check {
    if Path::new(BTF).exists() {
        return Check::ok("btf", BTF);
    }
    Check::new("btf", Status::Missing, format!("no {BTF}"))
        .disables("only comfort: bpftool cannot show the maps' fields")
        .mend("use a kernel with CONFIG_DEBUG_INFO_BTF=y, as Debian's and Ubuntu's are")
}

fn object() -> Check {
    match trial::object_bytes() {
        Ok(bytes) => Check::ok("object", format!("eBPF object of {bytes} bytes built in")).needed(),
        Err(_) => {
            Check::new("object", Status::Missing, "this binary was built without its eBPF object")
                .needed()
                .disables("everything: entropyd does not start without it")
                .mend("cargo xtask build, then build this binary again")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "         0          0 4294967295\n";

    #[test]
    fn old_and_foreign_kernels_get_a_warning() {
        for (release, architecture, status) in [
            ("6.1.0-48-amd64", "x86_64", Status::Ok),
            ("6.18.44-fc-v657", "x86_64", Status::Ok),
            ("10.0", "x86_64", Status::Ok),
            ("5.15.0-100-generic", "x86_64", Status::Warning),
            ("6.0.1", "x86_64", Status::Warning),
            ("6.12.0", "riscv64", Status::Warning),
            ("", "x86_64", Status::Warning),
            ("nonsense", "x86_64", Status::Warning),
        ] {
            assert_eq!(about_kernel(release, architecture).status, status, "{release}");
        }
    }

    #[test]
    fn rights_that_are_missing_are_named() {
        let check = |bits: &[u32]| {
            let effective = bits.iter().fold(0, |all, bit| all | 1_u64 << bit);
            about_rights(Some(effective), HOST)
        };
        let lacking = |bits: &[u32]| check(bits).finding;
        assert_eq!(lacking(&[]), "this process lacks CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON");
        assert_eq!(lacking(&[CAP_BPF, CAP_PERFMON]), "this process lacks CAP_NET_ADMIN");
        assert_eq!(lacking(&[CAP_NET_ADMIN, CAP_BPF]), "this process lacks CAP_PERFMON");
        assert_eq!(lacking(&[CAP_SYS_ADMIN]), "this process lacks CAP_NET_ADMIN");
        assert!(!check(&[CAP_BPF]).is_ready());
        let all = check(&[CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON]);
        assert_eq!(
            (all.status, &*all.finding),
            (Status::Ok, "CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON")
        );
        let instead = check(&[CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_PERFMON]);
        let finding = "CAP_SYS_ADMIN in place of CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON";
        assert_eq!((instead.status, &*instead.finding), (Status::Ok, finding));
    }

    #[test]
    fn rights_inside_a_user_namespace_do_not_count() {
        let check = about_rights(Some(u64::MAX), "0 1000 1\n");
        assert_eq!(check.status, Status::Missing);
        assert!(check.finding.contains("user namespace"), "{check:?}");
        assert_eq!(about_rights(Some(u64::MAX), "").status, Status::Ok);
        assert_eq!(about_rights(None, HOST).status, Status::Unknown);
    }

    #[test]
    fn effective_capabilities_are_read_from_the_status_file() {
        let status = "CapPrm:\t0000000000000000\nCapEff:\t000001ffffffffff\n";
        assert_eq!(effective(status), Some(0x1ff_ffff_ffff));
        assert_eq!(effective("CapEff:\tx\n"), None);
        assert_eq!(effective(""), None);
    }
}
