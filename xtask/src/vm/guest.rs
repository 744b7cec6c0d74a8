//! The script that the virtual machine runs: it makes the kernel ready, then runs the command.

use std::{fmt::Write as _, path::PathBuf};

use crate::place;

/// What Docker, the laboratory and the faults need. A name that a kernel does not know is built in
/// or was renamed; what is really missing fails in the test that needs it, with a better message.
const MODULES: [&str; 29] = [
    "sch_fq",
    "sch_netem",
    "sch_ingress",
    "cls_bpf",
    "cls_u32",
    "cls_matchall",
    "act_gact",
    "veth",
    "bridge",
    "overlay",
    "br_netfilter",
    "nf_nat",
    "iptable_nat",
    "iptable_filter",
    "ip6table_nat",
    "ip6table_filter",
    "xt_MASQUERADE",
    "xt_addrtype",
    "xt_conntrack",
    "xt_statistic",
    "tun",
    "dummy",
    "ipvlan",
    "macvlan",
    "8021q",
    "ifb",
    "sch_prio",
    "sch_htb",
    "sch_tbf",
];

/// Programs that a test starts again and again. Each start would read them anew over 9p, which takes
/// seconds under emulation, so they are copied into the machine's memory first.
const ENGINE_PROGRAMS: [&str; 5] =
    ["sbin/dockerd", "bin/dockerd", "bin/containerd", "bin/containerd-shim-runc-v2", "sbin/runc"];

/// Environment variables that reach the command.
const PASSED_ON: [&str; 3] = ["ENTROPY_", "DOCKER_", "RUST_"];

/// The file in the share that appears when the machine has begun to run the script.
pub(super) const STARTED: &str = ".started";
/// The file in the share that holds the command's exit code.
pub(super) const CODE: &str = ".code";

/// A shell function that puts a copy in memory in a file's place. What fails stays as it is.
const IN_MEMORY: &str = "mkdir -p /run/entropy-vm && mount -t tmpfs tmpfs /run/entropy-vm
in_memory() {
  copy=/run/entropy-vm/$(echo \"$1\" | tr / _)
  cp \"$1\" \"$copy\" && mount --bind \"$copy\" \"$1\" || rm -f \"$copy\"
}
";

/// The programs of ours that `command` names or may start.
fn programs(command: &[String]) -> Vec<PathBuf> {
    let root = place::root();
    let engine = ENGINE_PROGRAMS.map(|program| place::engine().join("usr").join(program));
    let ours = ["entropyd", "entropyctl"].map(|program| place::binaries(false).join(program));
    let named = command.iter().map(PathBuf::from).filter(|path| path.starts_with(root));
    let mut all: Vec<_> = engine.into_iter().chain(ours).chain(named).collect();
    all.retain(|path| path.is_file());
    all.sort();
    all.dedup();
    all
}

/// A file's name in the share, of the machine in a place.
pub(super) fn of(name: &str, number: usize) -> String {
    format!("{name}-{number}")
}

/// Writes the script for `command`, in the machine in a place.
pub(super) fn script(command: &[String], number: usize) -> String {
    let share = quote(&place::vm_share().to_string_lossy());
    let mut text = format!(
        "#!/bin/bash
# Written by `cargo xtask vm`; what goes to standard error here is part of the console's log.
share={share}
: >$share/{started}
# Errors and worse on the console only: it is slow, and it is searched for panics.
dmesg -n 4
modprobe virtio_console
for port in /sys/class/virtio-ports/*; do
  [ \"$(cat \"$port/name\")\" = virtme.stdout ] && output=/dev/${{port##*/}}
done
if [ -z \"${{output-}}\" ]; then echo 'no port for the output' >&2; exit 1; fi
modprobe -qa {modules}
mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf
mountpoint -q /sys/fs/cgroup || mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
",
        started = of(STARTED, number),
        modules = MODULES.join(" ")
    );
    text.push_str(IN_MEMORY);
    for program in programs(command) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "in_memory {}", quote(&program.to_string_lossy()));
    }
    for (name, value) in std::env::vars().filter(|(name, _)| is_passed_on(name)) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "export {name}={}", quote(&value));
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let folder = std::env::current_dir().unwrap_or_else(|_| place::root().to_owned());
    let words: Vec<_> = command.iter().map(|word| quote(word)).collect();
    let _ = write!(
        text,
        "export PATH={path}:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin
cd {folder} || exit 1
# A port has one writer at a time, so that programs get a pipe, which they may open again.
exec 3> >(exec cat >\"$output\")
pump=$!
{command} </dev/null >&3 2>&1 3>&-
echo $? >$share/{code}.partial
exec 3>&-
# Whatever the command left running holds the pipe open: it gets a moment, not for ever.
for _ in $(seq 50); do kill -0 $pump 2>/dev/null || break; sleep 0.1; done
mv $share/{code}.partial $share/{code}
sync
",
        code = of(CODE, number),
        path = quote(&path),
        folder = quote(&folder.to_string_lossy()),
        command = words.join(" "),
    );
    text
}

/// Whether an environment variable reaches the command.
fn is_passed_on(name: &str) -> bool {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    plain && (name == "CI" || PASSED_ON.iter().any(|prefix| name.starts_with(prefix)))
}

/// Quotes a word for the shell.
pub(super) fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::{quote, script};

    #[test]
    fn words_survive_the_shell_unchanged() {
        assert_eq!(quote("it's $HOME"), r"'it'\''s $HOME'");
        let text = script(&["echo".to_owned(), "a'b".to_owned()], 1);
        assert!(text.contains(r"'echo' 'a'\''b' </dev/null"), "{text}");
    }
}
