use entropy_common::{
    fault::{delay::Delay, partition::Partition},
    rule::Direction,
};

use super::*;

const FROM: HookKey = HookKey::new(7, Direction::Egress);
const TO: HookKey = HookKey::new(7, Direction::Ingress);

fn rule(id: u32) -> Rule {
    Rule { id, seed: u64::from(id), partition: Partition::CUT, ..Rule::NONE }
}

fn named(id: u32) -> NamedRule {
    NamedRule { rule: rule(id), policy: format!("p{id}"), container: "web".into() }
}

fn network(text: &str) -> Network {
    text.parse().unwrap()
}

/// Two hooks with rules, one with a shield, and a peer group.
fn contents() -> Contents {
    let shield = Match { peer_group: 2, ..Match::ALL };
    let set = |hook, rules: &[Rule]| RuleSet::new(hook, rules).unwrap();
    let label = |id: u32| ((Labelled::Rule as u32, id), (format!("p{id}"), "web".to_owned()));
    Contents {
        hooks: [(FROM, Hook { set: 4, slot: 1 }), (TO, Hook { set: 9, slot: 3 })].into(),
        sets: [
            (4, set(FROM, &[rule(1), rule(2)]).with_shields(&[shield]).unwrap()),
            (9, set(TO, &[rule(3)])),
        ]
        .into(),
        states: [1, 2, 3].into(),
        labels: [label(1), label(2), label(3)]
            .into_iter()
            .chain([((Labelled::PeerGroup as u32, 2), ("app=db".to_owned(), String::new()))])
            .collect(),
        slots: [(1, FROM), (3, TO)].into(),
        peers: vec![(2, network("10.0.0.0/8")), (2, network("!10.1.0.0/16"))],
    }
}

#[test]
fn what_was_put_there_is_found_again() {
    let (recovered, books) = contents().recover();
    let shield = Match { peer_group: 2, ..Match::ALL };
    assert_eq!(recovered.hooks[&FROM], (vec![named(1), named(2)], vec![shield]));
    assert_eq!(recovered.hooks[&TO], (vec![named(3)], vec![]));
    let group = [network("10.0.0.0/8"), network("!10.1.0.0/16")];
    assert_eq!(recovered.peers, [(2, group.into())].into());
    assert_eq!(recovered.rules(), 3);
    let hooks = [(FROM, (4, [1, 2].into())), (TO, (9, [3].into()))].into();
    let slots = [(FROM, 1), (TO, 3)].into();
    assert_eq!(books, Books { hooks, slots, next_set: 10, retired: vec![] });
}

#[test]
fn nothing_is_found_where_nothing_is() {
    let (recovered, books) = Contents::default().recover();
    assert_eq!(recovered, Recovered::default());
    assert_eq!(books, Books { next_set: 1, ..Books::default() });
}

#[test]
fn what_no_packet_can_find_any_more_is_left_to_be_freed() {
    let mut contents = contents();
    contents.sets.insert(12, RuleSet::new(TO, &[rule(5)]).unwrap());
    contents.states.insert(5);
    // A label whose counters are gone already.
    contents.labels.insert((Labelled::Rule as u32, 6), ("gone".into(), "web".into()));
    contents.slots.insert(8, HookKey::new(99, Direction::Egress));
    let (recovered, books) = contents.recover();
    assert_eq!(recovered.rules(), 3);
    let left = [Retired::Set(12), Retired::Rule(5), Retired::Rule(6), Retired::Slot(8)];
    assert_eq!(books.retired, left);
    assert_eq!(books.next_set, 13, "12 may still be looked at");
}

#[test]
fn a_hook_without_its_rules_is_known_so_that_it_is_written_anew_or_cleared() {
    let mut contents = contents();
    contents.sets.remove(&9);
    // A set of another hook is as good as none.
    contents.hooks.insert(FROM, Hook { set: 12, slot: 1 });
    contents.sets.insert(12, RuleSet::new(TO, &[rule(5)]).unwrap());
    let (recovered, _) = contents.recover();
    assert_eq!(recovered.hooks, [(FROM, (vec![], vec![])), (TO, (vec![], vec![]))].into());
}

#[test]
fn a_group_without_networks_is_found_by_its_label_and_one_without_a_label_by_its_networks() {
    let mut contents = contents();
    contents.peers = vec![(3, network("fd00::/8"))];
    let (recovered, _) = contents.recover();
    assert_eq!(recovered.peers, [(2, [].into()), (3, [network("fd00::/8")].into())].into());
}

#[test]
fn tables_are_those_of_percentiles_that_a_rule_follows() {
    let follows = |shape, table| Rule { delay: Delay { shape, table, ..Delay::NONE }, ..rule(1) };
    let rules = [follows(TABLE, NAMED_TABLES), follows(TABLE, 0), follows(TABLE + 1, 9)];
    let rules = rules.map(|rule| NamedRule { rule, ..named(1) }).to_vec();
    let recovered = Recovered { hooks: [(FROM, (rules, vec![]))].into(), ..Recovered::default() };
    assert_eq!(recovered.tables_in_use(), [NAMED_TABLES].into());
}
