//! Files as they should be, in all the forms there are.

use std::path::Path;

use crate::policy::{Direction, Faults, Match, Peer, Policy, PortRange, Protocol, Rate, parse};

fn policies(text: &str) -> Vec<Policy> {
    parse(Path::new("etc/web.toml"), text.as_bytes()).unwrap_or_else(|p| panic!("{text}\n{p}"))
}

/// The policy with these lines besides its target and loss.
fn with(lines: &str) -> Policy {
    let text = format!("[[policy]]\ntarget = \"app=web\"\nloss = \"2%\"\n{lines}\n");
    policies(&text).remove(0)
}

#[test]
fn files_without_keys_have_no_policies() {
    for text in ["", "\n\n", "# nothing\n", "\u{feff}", "\u{feff}# nothing", "policy = []"] {
        assert_eq!(policies(text), [], "{text:?}");
    }
}

#[test]
fn the_least_policy_gets_a_name_and_the_defaults() {
    let policy = with("");
    assert_eq!(policy.name, "web-1");
    assert_eq!(policy.origin.to_string(), "etc/web.toml:1");
    assert_eq!(policy.target.to_string(), "app=web");
    assert_eq!((policy.direction, policy.seed), (Direction::Both, None));
    assert_eq!(policy.matcher, Match::default());
    let loss = Some("2%".parse().unwrap());
    assert_eq!(policy.faults, Faults { loss, partition: false });
}

#[test]
fn a_full_policy_has_all_its_parts() {
    let policy = policies(
        "\u{feff}# comment\r\n[[policy]]\r\nname = 'slow-db.2_x'\r\ntarget = 'app=db,!old'\r\n\
         direction = \"egress\"\r\nmatch = { peer = \"app=web\", protocol = \"tcp\", port = 5432 }\r\n\
         seed = 0\r\npartition = true\r\n",
    )
    .remove(0);
    assert_eq!((&*policy.name, policy.origin.line), ("slow-db.2_x", 2));
    assert_eq!(policy.direction, Direction::Egress);
    assert_eq!(policy.seed, Some(0));
    let expected = Match {
        peer: Some(Peer::Containers("app=web".parse().unwrap())),
        protocol: Some(Protocol::Tcp),
        port: Some(PortRange { first: 5432, last: 5432 }),
    };
    assert_eq!(policy.matcher, expected);
    assert_eq!(policy.faults, Faults { loss: None, partition: true });
}

#[test]
fn every_form_of_toml_for_the_same_means_the_same() {
    let table = with("match = { port = 443 }\n");
    for lines in ["match.port = 443", "[policy.match]\nport = 443", "\"match\".port = 0x1bb"] {
        assert_eq!(with(lines), table, "{lines}");
    }
    let inline = policies("policy = [{ target = \"app=web\", loss.rate = \"2.0%\" }]");
    assert_eq!(inline, [with("")]);
}

#[test]
fn names_may_have_63_characters_and_are_made_up_where_left_out() {
    let longest = "n".repeat(63);
    assert_eq!(with(&format!("name = \"{longest}\"")).name, longest);
    let text = "[[policy]]\ntarget = \"app\"\npartition = true\n".repeat(3)
        + "name = \"web-1\"\n"
        + "[[policy]]\ntarget = \"app\"\npartition = true\n";
    let names: Vec<_> = policies(&text).into_iter().map(|p| p.name).collect();
    assert_eq!(names, ["web-1-2", "web-2", "web-1", "web-4"]);
}

#[test]
fn peers_are_selectors_addresses_and_networks() {
    let networks = |peer: &str| match with(&format!("match.peer = {peer}")).matcher.peer {
        Some(Peer::Networks(networks)) => {
            networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        }
        other => panic!("{peer}: {other:?}"),
    };
    for (peer, expected) in [
        ("\"10.0.0.0/8\"", "10.0.0.0/8"),
        ("\"10.0.0.1\"", "10.0.0.1/32"),
        ("\"::1\"", "::1/128"),
        ("[\"0.0.0.0/0\", \"::/0\"]", "0.0.0.0/0 ::/0"),
        ("[\"2001:DB8:0::/48\", \"192.0.2.1/32\"]", "2001:db8::/48 192.0.2.1/32"),
    ] {
        assert_eq!(networks(peer), expected);
    }
    for selector in ["app", "v1.2", "com.docker.compose.service=db", "app=10.0.0.1", "beef", "!app"]
    {
        let peer = with(&format!("match.peer = \"{selector}\"")).matcher.peer;
        assert_eq!(peer, Some(Peer::Containers(selector.parse().unwrap())));
    }
}

#[test]
fn protocols_have_names_and_numbers() {
    for (protocol, expected) in [
        ("\"tcp\"", Protocol::Tcp),
        ("\"udp\"", Protocol::Udp),
        ("\"icmp\"", Protocol::Icmp),
        ("\"sctp\"", Protocol::Other(132)),
        ("6", Protocol::Tcp),
        ("17", Protocol::Udp),
        ("1", Protocol::Other(1)),
        ("58", Protocol::Other(58)),
        ("0", Protocol::Other(0)),
        ("255", Protocol::Other(255)),
    ] {
        assert_eq!(with(&format!("match.protocol = {protocol}")).matcher.protocol, Some(expected));
    }
}

#[test]
fn ports_are_single_or_ranges() {
    for (port, first, last) in [
        ("1", 1, 1),
        ("65535", 65535, 65535),
        ("\"8000-8100\"", 8000, 8100),
        ("\"1-65535\"", 1, 65535),
        ("\"80-80\"", 80, 80),
    ] {
        let matcher = with(&format!("match.port = {port}")).matcher;
        assert_eq!(matcher.port, Some(PortRange { first, last }), "{port}");
        assert_eq!(matcher.protocol, None);
    }
}

#[test]
fn bounds_of_seed_and_loss_are_allowed() {
    assert_eq!(with("seed = 9_223_372_036_854_775_807").seed, Some(i64::MAX as u64));
    for (loss, parts) in [("0%", 0), ("100%", 1_u64 << 32), ("0.000000012%", 1)] {
        let text = format!("[[policy]]\ntarget = \"app\"\nloss = \"{loss}\"\npartition = false\n");
        let faults = policies(&text).remove(0).faults;
        assert_eq!(faults.loss.map(Rate::parts), Some(parts));
        assert!(!faults.partition);
    }
}
