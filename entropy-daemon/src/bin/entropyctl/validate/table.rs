//! Policies for people.

use entropy_daemon::policy::{Faults, Match, Peer, Policy};

use crate::output::{
    table::{Column, Table},
    text,
};

pub(super) fn policies_table(policies: &[Policy]) -> Table<6> {
    let mut table = Table::new([
        Column::text("POLICY", 63),
        Column::text("WHERE", 60),
        Column::text("TARGET", 40),
        Column::text("DIRECTION", 9),
        Column::text("MATCH", 60),
        Column::text("FAULT", 40),
    ]);
    for policy in policies {
        table.row([
            &policy.name,
            &policy.origin.to_string(),
            &policy.target.to_string(),
            &policy.direction.to_string(),
            &describe_match(&policy.matcher),
            &describe_faults(&policy.faults),
        ]);
    }
    table
}

fn describe_match(matcher: &Match) -> String {
    let peer = matcher.peer.as_ref().map(|peer| match peer {
        Peer::Containers(selector) => format!("peer {selector}"),
        Peer::Networks(networks) => {
            let networks: Vec<String> = networks.iter().map(text::network).collect();
            format!("peer {}", networks.join(" "))
        }
    });
    let protocol = matcher.protocol.map(|protocol| match protocol.to_string() {
        number if number.bytes().all(|b| b.is_ascii_digit()) => format!("protocol {number}"),
        name => name,
    });
    let port = matcher.port.map(|port| format!("port {port}"));
    let parts: Vec<String> = [peer, protocol, port].into_iter().flatten().collect();
    if parts.is_empty() { "all IP packets".into() } else { parts.join(", ") }
}

fn describe_faults(faults: &Faults) -> String {
    let loss = faults.loss.map(|rate| format!("loss {}", rate.to_string().replace('%', " %")));
    let partition = faults.partition.then(|| "partition".to_owned());
    loss.into_iter().chain(partition).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use entropy_daemon::policy::parse;

    use super::*;

    fn policies(text: &str) -> Vec<Policy> {
        parse(Path::new("web.toml"), text.as_bytes()).unwrap()
    }

    #[test]
    fn policies_are_listed_with_all_that_they_say() {
        let policies = policies(
            "[[policy]]\nname = \"a\"\ntarget = \"app=web\"\nloss = \"0.5%\"\n\
             match = { peer = [\"10.0.0.0/8\", \"fd00::1\"], protocol = \"tcp\", port = \"80-81\" }\n\
             [[policy]]\nname = \"bc\"\ntarget = \"app\"\ndirection = \"egress\"\npartition = true\n\
             match = { protocol = 132 }\n",
        );
        let expected = "\
POLICY  WHERE       TARGET   DIRECTION  MATCH                                        FAULT
a       web.toml:1  app=web  both       peer 10.0.0.0/8 fd00::1, tcp, port 80-81  loss 0.5 %
bc      web.toml:6  app      egress     protocol 132                                 partition
";
        let squeeze = |text: &str| -> Vec<String> {
            let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
            text.lines().map(words).collect()
        };
        assert_eq!(squeeze(&policies_table(&policies).render()), squeeze(expected));
    }

    #[test]
    fn a_policy_without_match_is_for_all_packets() {
        let policies = policies("[[policy]]\ntarget = \"app\"\npartition = true\n");
        assert_eq!(describe_match(&policies[0].matcher), "all IP packets");
    }
}
