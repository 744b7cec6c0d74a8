use std::path::Path;

use super::*;
use crate::{
    datapath::Interface,
    docker::NetworkMode,
    endpoints::{Endpoint, testing::container},
    policy::parse,
};

fn policy(target: &str) -> Policy {
    let text = format!("[[policy]]\nname = \"p\"\ntarget = {target}\nseed = 7\nloss = \"1%\"\n");
    parse(Path::new("test.toml"), text.as_bytes()).unwrap().remove(0)
}

/// A container called `c<number>` with a label and an endpoint.
fn target(number: u32) -> Target {
    let container = container(&format!("c{number}"), "app=web");
    let endpoint = Endpoint {
        interface: Interface { index: number, name: format!("veth{number}") },
        container: container.id.clone(),
        network: "net".into(),
    };
    Target { container, reach: Reach::Endpoints(vec![endpoint]), coming: Vec::new() }
}

fn names(target: &str, targets: &[Target]) -> Vec<String> {
    let targets: Vec<&Target> = targets.iter().collect();
    let picked = picked(&policy(target), &targets, 1, |_| true);
    picked.iter().map(|target| target.container.name.clone()).collect()
}

#[test]
fn without_pick_all_that_match_are_hit() {
    let targets: Vec<_> = (1..=12).map(target).collect();
    assert_eq!(names("\"app=web\"", &targets).len(), 12);
    assert_eq!(names("{ name = \"c1*\" }", &targets), ["c1", "c10", "c11", "c12"]);
    assert_eq!(names("{ name = [\"c?\", \"c1[02]\"] }", &targets).len(), 11);
    assert_eq!(names("{ labels = \"app=db\", name = \"c1\" }", &targets), [""; 0]);
    assert_eq!(names("{ labels = \"app=web\", name = \"c[!1]\" }", &targets).len(), 8);
}

#[test]
fn a_number_is_kept_as_others_come_and_go_and_one_takes_the_place_of_one() {
    let mut targets: Vec<_> = (1..=50).map(target).collect();
    let before = names("{ labels = \"app\", pick = 5 }", &targets);
    assert_eq!(before.len(), 5);
    // Another that is not among them goes: nothing changes.
    let other = targets.iter().position(|t| !before.contains(&t.container.name)).unwrap();
    targets.remove(other);
    assert_eq!(names("{ labels = \"app\", pick = 5 }", &targets), before);
    // One of them goes: the other four stay.
    targets.retain(|target| target.container.name != before[2]);
    let after = names("{ labels = \"app\", pick = 5 }", &targets);
    assert_eq!(after.len(), 5);
    assert_eq!(after.iter().filter(|name| before.contains(name)).count(), 4);
    // Whatever the order.
    targets.reverse();
    let mut again = names("{ labels = \"app\", pick = 5 }", &targets);
    again.reverse();
    assert_eq!(again, after);
    assert_eq!(names("{ labels = \"app\", pick = 99 }", &targets).len(), 48);
}

#[test]
fn a_share_is_of_many_about_that_share_and_each_stands_for_itself() {
    let targets: Vec<_> = (1..=2000).map(target).collect();
    let half = names("{ labels = \"app\", pick = \"50%\" }", &targets);
    // 99.9 % of a binomial distribution with n = 2000, p = 0.5; the seed is fixed.
    assert!((926..=1074).contains(&half.len()), "{}", half.len());
    let few = names("{ labels = \"app\", pick = \"50%\" }", &targets[..100]);
    let of_few: Vec<_> = half
        .iter()
        .filter(|name| targets[..100].iter().any(|t| t.container.name == **name))
        .collect();
    assert_eq!(few.iter().collect::<Vec<_>>(), of_few);
    assert_eq!(names("{ labels = \"app\", pick = \"100%\" }", &targets).len(), 2000);
    let quarter = names("{ labels = \"app\", pick = \"25%\" }", &targets);
    assert!(quarter.iter().all(|name| half.contains(name)), "a smaller share is part of a larger");
}

#[test]
fn containers_that_share_a_namespace_are_chosen_together() {
    let mut targets: Vec<_> = (1..=20).map(target).collect();
    for number in 11..=20 {
        let guest = &mut targets[number - 1].container;
        guest.network_mode = NetworkMode::Container(format!("c{}", number - 10));
    }
    let picked = names("{ labels = \"app\", pick = 3 }", &targets);
    assert_eq!(picked.len(), 6, "{picked:?}");
    for owner in &picked[..3] {
        let number: u32 = owner[1..].parse().unwrap();
        assert!(picked.contains(&format!("c{}", number + 10)), "{picked:?}");
    }
}

#[test]
fn those_that_cannot_be_hit_are_not_chosen_while_there_are_others() {
    let mut targets: Vec<_> = (1..=10).map(target).collect();
    for target in &mut targets[..9] {
        target.reach = Reach::Unsupported("host network".into());
    }
    assert_eq!(names("{ labels = \"app\", pick = 1 }", &targets), ["c10"]);
    targets[9].reach = Reach::Unsupported("host network".into());
    assert_eq!(names("{ labels = \"app\", pick = 1 }", &targets).len(), 10, "to be named");
    let targets: Vec<_> = (1..=10).map(target).collect();
    let list: Vec<&Target> = targets.iter().collect();
    let one = policy("{ labels = \"app\", pick = 1 }");
    let hit = picked(&one, &list, 1, |container| container.name == "c3");
    assert_eq!(hit[0].container.name, "c3");
}

#[test]
fn a_seed_makes_the_choice_and_without_one_the_daemons_does() {
    let targets: Vec<_> = (1..=50).map(target).collect();
    let list: Vec<&Target> = targets.iter().collect();
    let of = |policy: &Policy, seed| {
        let picked = picked(policy, &list, seed, |_| true);
        picked.iter().map(|target| target.container.name.clone()).collect::<Vec<_>>()
    };
    let mut policy = policy("{ labels = \"app\", pick = 5 }");
    assert_eq!(of(&policy, 1), of(&policy, 2));
    let other = Policy { seed: Some(8), ..policy.clone() };
    assert_ne!(of(&policy, 1), of(&other, 1));
    policy.seed = None;
    assert_ne!(of(&policy, 1), of(&policy, 2));
}
