//! The files in `policies/` are what they say they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::policy::{
    Chance, Direction, LossModel, Match, Partition, Peer, Policy, PortRange, Protocol,
    load_directory,
};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies")
}

fn example(file: &str) -> Policy {
    let policies = load_directory(&directory()).unwrap();
    let mut of_file = policies.into_iter().filter(|p| p.origin.file.ends_with(file));
    let policy = of_file.next().unwrap_or_else(|| panic!("no policy in {file}"));
    assert_eq!(of_file.next(), None);
    policy
}

fn plain_loss(policy: &Policy) -> String {
    match &policy.faults.loss.as_ref().unwrap().model {
        LossModel::Random(Chance { rate, .. }) => rate.to_string(),
        other => panic!("{other:?}"),
    }
}

fn picks(policy: &Policy, label: &str) -> bool {
    let (key, value) = label.split_once('=').unwrap();
    policy.target.matches("one", &BTreeMap::from([(key.to_owned(), value.to_owned())]))
}

#[test]
fn every_example_loads_and_explains_itself() {
    let policies = load_directory(&directory()).unwrap();
    let mut files = 0;
    for entry in std::fs::read_dir(directory()).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# "), "{} is not explained", path.display());
        assert!(text.contains("To see it"), "{} does not say how to see it", path.display());
        let name = path.file_name().unwrap();
        assert!(policies.iter().any(|p| p.origin.file.ends_with(name)), "{}", path.display());
        files += 1;
    }
    assert!(files >= 5);
}

#[test]
fn loss() {
    let policy = example("loss.toml");
    assert!(picks(&policy, "app=web") && !picks(&policy, "app=db"));
    assert_eq!(policy.direction, Direction::Both);
    assert_eq!(policy.matcher, Match::default());
    assert_eq!(plain_loss(&policy), "2%");
    assert_eq!(policy.faults.partition, None);
    assert_eq!((policy.seed, &*policy.name), (None, "lossy-web"));
}

#[test]
fn loss_one_way() {
    let policy = example("loss-one-way.toml");
    assert_eq!(policy.direction, Direction::Ingress);
    assert_eq!(policy.matcher.protocol, Some(Protocol::Udp));
    assert_eq!(policy.matcher.port, Some(PortRange { first: 53, last: 53 }));
    assert_eq!(plain_loss(&policy), "10%");
}

#[test]
fn pick() {
    let policy = example("pick.toml");
    assert_eq!(policy.target.to_string(), "1 of app=web, name *");
    assert_eq!((policy.direction, policy.seed), (Direction::Egress, Some(1)));
    assert_eq!(plain_loss(&policy), "30%");
}

#[test]
fn schedule() {
    let policy = example("schedule.toml");
    assert_eq!(policy.schedule.as_ref().unwrap().to_string(), "30s every 10m");
    assert_eq!(plain_loss(&policy), "10%");
}

#[test]
fn cron() {
    let policy = example("cron.toml");
    let shown = policy.schedule.as_ref().unwrap().to_string();
    assert_eq!(shown, "10m at 0 9-17 * * mon-fri (Europe/Berlin)");
    let shown = policy.ramp.as_ref().unwrap().to_string();
    assert_eq!(shown, "ramp from delay 0ns, loss 0% over 5m, each 3s");
    assert_eq!(plain_loss(&policy), "5%");
}

#[test]
fn ramp() {
    let policy = example("ramp.toml");
    let shown = policy.ramp.as_ref().unwrap().to_string();
    assert_eq!(shown, "ramp from rate 100mbit over 10m, each 10s");
    assert_eq!((policy.direction, policy.schedule), (Direction::Egress, None));
}

#[test]
fn partition() {
    let policy = example("partition.toml");
    assert_eq!(policy.direction, Direction::Both);
    let peer = Peer::Containers("app=db".parse().unwrap());
    assert_eq!(policy.matcher, Match { peer: Some(peer), ..Match::default() });
    assert_eq!(policy.faults.partition, Some(Partition::Everything));
    assert_eq!(policy.faults.loss, None);
}

#[test]
fn partition_one_way() {
    let policy = example("partition-one-way.toml");
    assert_eq!(policy.direction, Direction::Egress);
    assert!(matches!(policy.matcher.peer, Some(Peer::Containers(_))));
    assert_eq!(policy.faults.partition, Some(Partition::Everything));
}

#[test]
fn loss_to_network() {
    let policy = example("loss-to-network.toml");
    let Some(Peer::Networks(networks)) = &policy.matcher.peer else { panic!("{policy:?}") };
    let networks: Vec<_> = networks.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["192.0.2.0/24", "198.51.100.7/32", "2001:db8::/32"]);
    assert_eq!(policy.seed, Some(7));
    assert_eq!(plain_loss(&policy), "0.5%");
}
