//! Policies for people.

use entropy_daemon::{
    describe::{Condition, Faults},
    plan::conditions,
    policy::{Peer, Policy},
};

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
        Column::text("FAULT", 60),
    ]);
    for policy in policies {
        table.row([
            &policy.name,
            &policy.origin.to_string(),
            &policy.target.to_string(),
            &policy.direction.to_string(),
            &describe_match(policy),
            &describe_faults(policy),
        ]);
    }
    table
}

fn describe_match(policy: &Policy) -> String {
    let peer = policy.matcher.peer.as_ref().map(|peer| match peer {
        Peer::Containers(selector) => format!("peer {selector}"),
        Peer::Networks(networks) => {
            let networks: Vec<String> = networks.iter().map(text::network).collect();
            format!("peer {}", networks.join(" "))
        }
    });
    Condition::new(&conditions(policy)).describe(peer)
}

fn describe_faults(policy: &Policy) -> String {
    let faults = policy.faults.records().map_or_else(
        |mistake| mistake.to_string(),
        |records| Faults::new(&records.rule()).describe(),
    );
    match &policy.schedule {
        Some(schedule) => format!("{faults} ({schedule})"),
        None => faults,
    }
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
        assert_eq!(describe_match(&policies[0]), "all IP packets");
    }
}
