//! What the kernel counts for a namespace's protocols.

use std::fs;

use anyhow::{Context as _, Result};

use super::Netns;

impl Netns {
    /// A counter of `/proc/net/snmp6` by its name there (`Udp6InErrors`), or of `/proc/net/snmp` and
    /// `/proc/net/netstat` by protocol and name (`Udp InErrors`).
    ///
    /// # Errors
    /// When there is none.
    pub fn counter(&self, name: &str) -> Result<u64> {
        self.run(|| {
            // Not /proc/net, which is that of the process's first thread.
            ["snmp6", "snmp", "netstat"].iter().find_map(|file| {
                let text = fs::read_to_string(format!("/proc/thread-self/net/{file}")).ok()?;
                find(&text, name)
            })
        })?
        .with_context(|| format!("no counter {name} in {}", self.name()))
    }
}

fn find(text: &str, name: &str) -> Option<u64> {
    let Some((protocol, name)) = name.split_once(' ') else {
        return text.lines().find_map(|line| {
            let (found, value) = line.split_once(char::is_whitespace)?;
            (found == name).then(|| value.trim().parse().ok())?
        });
    };
    // A line of names, then one of values.
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(protocol)?.strip_prefix(':'));
    let place = lines.next()?.split_whitespace().position(|found| found == name)?;
    lines.next()?.split_whitespace().nth(place)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn counters_are_found_in_both_kinds_of_files() {
        let pairs = "Tcp: In Out\nTcp: 1 2\nTcpExt: In\nTcpExt: 3\n";
        assert_eq!(find(pairs, "Tcp Out"), Some(2));
        assert_eq!(find(pairs, "TcpExt In"), Some(3));
        assert_eq!(find(pairs, "Tcp Other"), None);
        let lines = "Udp6InErrors                    \t7\nUdp6InCsumErrors \t5\n";
        assert_eq!(find(lines, "Udp6InErrors"), Some(7));
        assert_eq!(find(lines, "Udp6"), None);
    }
}
