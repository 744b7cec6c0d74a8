//! Faults together.

use super::*;
use crate::{
    chance::correlated::Chance,
    fault::{
        delay::{Delay, MAX_DELAY_NS},
        duplicate::Duplicate,
        rate::{Link, Rate},
        reorder::Reorder,
        slot::Slot,
    },
    rule::{MAX_RULES, WITH_PAYLOAD},
    stats::bucket,
};

const MS: u64 = 1_000_000;
const NOW: u64 = 1_000_000 * MS;

fn verdict_at(rules: &[Rule], packet: &Packet, now_ns: u64, host: &Host) -> Verdict {
    decide(&RuleSet::new(HOOK, rules).unwrap(), Direction::Egress, packet, now_ns, host)
}

fn verdict(rules: &[Rule]) -> (Verdict, Host) {
    let host = Host::new(rules, &[]).with_distributions();
    (verdict_at(rules, &packet(), NOW, &host), host)
}

fn delayed(id: u32, ms: u64) -> Rule {
    Rule { id, delay: Delay::constant(ms * MS), ..Rule::NONE }
}

/// 100 bytes in 1 ms.
fn slow(id: u32, queue_ms: u64) -> Rule {
    Rule { id, rate: Link::new(100_000, queue_ms * MS).rate().unwrap(), ..Rule::NONE }
}

fn early(id: u32, jump_ms: u64) -> Rule {
    let chance = Chance::independent(Probability::ALWAYS);
    Rule { id, reorder: Reorder { chance, jump_ns: jump_ms * MS, ..Reorder::NONE }, ..Rule::NONE }
}

fn wait_ms(verdict: &Verdict) -> u64 {
    verdict.departure_ns.saturating_sub(NOW) / MS
}

#[test]
fn a_rule_that_asks_for_nothing_does_nothing() {
    let (verdict, host) = verdict(&[Rule { id: 1, ..Rule::NONE }]);
    assert_eq!(verdict, Verdict::default());
    let expected = RuleState { seen: 1, matched: 1, matched_bytes: 100, ..RuleState::ZERO };
    assert_eq!(host.state(1), expected);
}

#[test]
fn delays_add_up_and_the_slowest_link_wins() {
    let (verdict, host) = verdict(&[delayed(1, 20), delayed(2, 5), slow(3, 100), slow(4, 100)]);
    assert_eq!(verdict, Verdict { departure_ns: NOW + 26 * MS, ..Verdict::default() });
    assert_eq!((host.state(1).delayed, host.state(1).shaped), (1, 0));
    assert_eq!((host.state(3).delayed, host.state(3).shaped), (0, 1));
    assert_eq!(host.state(2).delays[bucket(5 * MS) as usize], 1);
    assert_eq!(host.state(2).delays.iter().sum::<u64>(), 1);
}

#[test]
fn a_lost_packet_takes_no_bandwidth_and_draws_no_delay() {
    let rules = [slow(1, 1000), delayed(2, 9), lossy(3, 1 << 32)];
    let host = Host::new(&rules, &[]);
    assert!(verdict_at(&rules, &packet(), NOW, &host).lost);
    assert_eq!(host.state(1).memory, RuleState::ZERO.memory);
    assert_eq!((host.state(1).matched, host.state(1).shaped, host.state(2).delayed), (1, 0, 0));
}

#[test]
fn a_full_queue_drops_and_the_links_behind_it_see_nothing() {
    let rules = [slow(1, 3), slow(2, 1000)];
    let host = Host::new(&rules, &[]);
    let lost: Vec<bool> = (0..5).map(|_| verdict_at(&rules, &packet(), NOW, &host).lost).collect();
    assert_eq!(lost, [false, false, false, true, true]);
    assert_eq!((host.state(1).queue_dropped, host.state(1).lost), (2, 0));
    assert_eq!((host.state(2).shaped, host.state(2).matched), (3, 5));
}

#[test]
fn an_early_packet_skips_all_delays_but_no_link() {
    let (verdict, host) = verdict(&[delayed(1, 50), slow(2, 100), early(3, 0), delayed(4, 7)]);
    assert_eq!(wait_ms(&verdict), 1);
    assert_eq!(host.state(3).reordered, 1);
    let (verdict, _) = self::verdict(&[delayed(1, 50), early(2, 0)]);
    assert_eq!((verdict.departure_ns, verdict.own_hash), (0, false), "it leaves now");
}

#[test]
fn a_jump_takes_off_its_length_and_the_longest_one_counts() {
    for (jumps, expected) in [([20, 0], 0), ([20, 30], 20), ([20, 70], 0)] {
        let rules = [delayed(1, 50), early(2, jumps[0]), early(3, jumps[1])];
        let (verdict, _) = verdict(&rules);
        assert_eq!(wait_ms(&verdict), expected, "{jumps:?}");
        assert_eq!(verdict.own_hash, expected != 0);
    }
}

#[test]
fn without_a_delay_the_chosen_packets_are_held_back() {
    let (verdict, host) = verdict(&[early(1, 15)]);
    assert_eq!((wait_ms(&verdict), verdict.own_hash), (15, true));
    assert_eq!((host.state(1).reordered, host.state(1).delayed), (1, 0));
}

#[test]
fn only_what_may_leave_out_of_turn_is_a_flow_of_its_own() {
    let jitter = |keep_order| {
        let delay = Delay { keep_order, ..Delay::uniform(50 * MS, 10 * MS).unwrap() };
        Rule { id: 1, delay, ..Rule::NONE }
    };
    let payload = Match { payload: WITH_PAYLOAD, ..Match::ALL };
    for (rule, expected) in [
        (delayed(1, 50), false),
        (slow(1, 50), false),
        (jitter(0), true),
        (jitter(1), false),
        (Rule { matcher: payload, ..delayed(1, 50) }, true),
    ] {
        assert_eq!(verdict(&[rule]).0.own_hash, expected, "{rule:?}");
    }
}

#[test]
fn copies_are_made_once_and_counted_by_each_rule() {
    let rule = |id| Rule {
        id,
        seed: u64::from(id),
        duplicate: Duplicate { chance: Chance::independent(Probability::ALWAYS) },
        ..Rule::NONE
    };
    let (verdict, host) = verdict(&[rule(1), rule(2)]);
    assert_eq!(verdict, Verdict { duplicate: true, ..Verdict::default() });
    assert_eq!((host.state(1).duplicated, host.state(2).duplicated), (1, 1));
    let (verdict, host) = self::verdict(&[rule(1), cut(2)]);
    assert!(verdict.lost);
    assert_eq!(host.state(1).duplicated, 0, "lost all the same");
}

#[test]
fn ecn_marks_what_can_be_marked_and_loses_the_rest() {
    let rules = [Rule { loss: Loss::rate(Probability::ALWAYS).with_ecn(), ..delayed(1, 4) }];
    for (ecn, lost) in [(0, true), (1, false), (2, false), (3, false)] {
        let host = Host::new(&rules, &[]);
        let verdict = verdict_at(&rules, &Packet { ecn, ..packet() }, NOW, &host);
        assert_eq!((verdict.lost, verdict.mark_ce), (lost, !lost), "{ecn}");
        assert_eq!((host.state(1).marked, host.state(1).lost), (u64::from(!lost), u64::from(lost)));
        assert_eq!(verdict.departure_ns != 0, !lost);
    }
}

#[test]
fn a_link_marks_before_it_drops() {
    let link = Link { mark_ns: Some(MS), ..Link::new(100_000, 4 * MS) };
    let rules = [Rule { id: 1, rate: link.rate().unwrap(), ..Rule::NONE }];
    let host = Host::new(&rules, &[]);
    let capable = Packet { ecn: 2, ..packet() };
    let seen: Vec<(bool, bool)> = (0..5)
        .map(|_| verdict_at(&rules, &capable, NOW, &host))
        .map(|verdict| (verdict.mark_ce, verdict.lost))
        .collect();
    // They would wait 0, 1, 2, 3 and 4 ms.
    assert_eq!(seen, [(false, false), (false, false), (true, false), (true, false), (false, true)]);
    assert_eq!(host.state(1).marked, 2);
}

#[test]
fn new_connections_are_cut_off_and_old_ones_live() {
    let rules = [Rule { id: 1, partition: Partition::NEW_CONNECTIONS, ..Rule::NONE }];
    let host = Host::new(&rules, &[]);
    let syn = Packet { tcp_flags: 2, ..packet() };
    assert!(verdict_at(&rules, &syn, NOW, &host).lost);
    assert!(!verdict_at(&rules, &packet(), NOW, &host).lost);
}

#[test]
fn no_sum_of_delays_reaches_behind_the_horizon() {
    let rules: Vec<Rule> = (0..MAX_RULES as u32).map(|id| delayed(id, 60_000)).collect();
    assert_eq!(verdict(&rules).0.departure_ns, NOW + MAX_DELAY_NS);
    let crawl = Rule { id: 1, rate: Link::new(4, 0).rate().unwrap(), ..Rule::NONE };
    let rules = [Rule { rate: Rate { queue_ns: u64::MAX, ..crawl.rate }, ..crawl }];
    let host = Host::new(&rules, &[]);
    for _ in 0..100 {
        assert!(verdict_at(&rules, &packet(), NOW, &host).departure_ns <= NOW + MAX_DELAY_NS);
    }
}

#[test]
fn an_excluded_network_within_a_peer_group_does_not_match() {
    let rules = [Rule { matcher: Match { peer_group: 1, ..Match::ALL }, ..cut(1) }];
    let network = |text: &str, length| PeerKey::network(1, text.parse().unwrap(), length);
    let host = Host::new(&rules, &[network("10.0.0.0", 8)]).excluding(&[network("10.0.0.2", 32)]);
    assert!(!decide_one(&rules, &packet(), &host));
    let other = Packet { destination: [10, 0, 0, 3].into(), ..packet() };
    assert!(decide_one(&rules, &other, &host));
}

proptest! {
    /// With `order = "keep"`, whatever the jitter, the links and the other delays: no packet leaves
    /// before one that came before it, and each leaves at its own time at the earliest.
    #[test]
    fn kept_order_never_lets_a_packet_overtake(
        seed: u64,
        jitter_ms in 1_u64..200,
        table in 0_u32..3,
        gaps in prop::collection::vec(0_u64..5 * MS, 1..200),
    ) {
        let delay = Delay {
            keep_order: 1,
            ..Delay::distributed(100 * MS, jitter_ms * MS, table).unwrap()
        };
        let more = Delay::uniform(10 * MS, 10 * MS).unwrap();
        let rules = [
            Rule { seed, delay: more, ..slow(1, 50) },
            Rule { id: 2, seed: !seed, delay, ..Rule::NONE },
        ];
        let host = Host::new(&rules, &[]).with_distributions();
        let (mut now_ns, mut last_ns) = (NOW, 0);
        for gap in gaps {
            now_ns += gap;
            let verdict = verdict_at(&rules, &packet(), now_ns, &host);
            if !verdict.lost {
                prop_assert!(!verdict.own_hash);
                let departure_ns = verdict.departure_ns.max(now_ns);
                prop_assert!(departure_ns >= last_ns);
                last_ns = departure_ns;
            }
        }
    }

    /// Whatever a record says, even nonsense: no panic, and no departure in the past or behind the
    /// horizon.
    #[test]
    fn no_record_does_harm(
        bytes in prop::collection::vec(any::<u8>(), size_of::<Rule>() * 3),
        length: u32,
        payload in 0_u32..=66,
        segments: u32,
        now_ns in 0_u64..1 << 59,
    ) {
        let rules: Vec<Rule> = bytes
            .chunks_exact(size_of::<Rule>())
            .enumerate()
            .map(|(id, bytes)| {
                // SAFETY: a record's every bit pattern is valid, and there are enough bytes.
                let rule = unsafe { bytes.as_ptr().cast::<Rule>().read_unaligned() };
                Rule {
                    id: id as u32,
                    active_from_ns: 0,
                    active_until_ns: u64::MAX,
                    matcher: Match::ALL,
                    partition: Partition::NONE,
                    loss: Loss { model: rule.loss.model % 9, ..rule.loss },
                    ..rule
                }
            })
            .collect();
        let host = Host::new(&rules, &[]).with_distributions();
        let packet = Packet { length, payload, segments: segments % 1000, ..packet() };
        for _ in 0..20 {
            let verdict = verdict_at(&rules, &packet, now_ns, &host);
            let departure_ns = verdict.departure_ns;
            let soon = now_ns + 1..=now_ns + MAX_DELAY_NS;
            prop_assert!(departure_ns == 0 || soon.contains(&departure_ns), "{departure_ns}");
            let set = RuleSet::new(HOOK, &rules).unwrap();
            let (crossing, damage) =
                wire::decide(&set, Direction::Egress, &packet, now_ns, &host);
            prop_assert!(crossing.lost == 0 || damage.is_none());
            prop_assert!(damage.is_none_or(|damage| damage.byte < 34 + 66 && damage.byte >= 34));
        }
    }
}

/// A slot each so many milliseconds, for four packets.
fn slotted(id: u32, ms: u64) -> Rule {
    let slot = Slot::new(Delay::constant(ms * MS), MAX_DELAY_NS, 4, 0).unwrap();
    Rule { id, slot, ..Rule::NONE }
}

#[test]
fn slots_come_after_links_and_delays_and_one_after_another() {
    let (verdict, host) = verdict(&[slotted(1, 10), delayed(2, 5), slow(3, 100), slotted(4, 30)]);
    assert_eq!(verdict, Verdict { departure_ns: NOW + 46 * MS, ..Verdict::default() });
    let given = |id: u32| (host.state(id).delayed, host.state(id).shaped);
    assert_eq!([1, 2, 3, 4].map(given), [(1, 0), (1, 0), (0, 1), (1, 0)]);
    assert_eq!(host.state(1).delays[bucket(10 * MS) as usize], 1);
    assert_eq!(host.state(4).delays[bucket(30 * MS) as usize], 1);
}

#[test]
fn a_rule_with_delay_and_slots_counts_each_packet_once() {
    let rule = Rule { delay: Delay::constant(5 * MS), ..slotted(1, 10) };
    let (verdict, host) = verdict(&[rule]);
    assert_eq!(wait_ms(&verdict), 15);
    assert_eq!((host.state(1).delayed, host.state(1).delays.iter().sum::<u64>()), (1, 1));
    assert_eq!(host.state(1).delays[bucket(15 * MS) as usize], 1);
}

#[test]
fn what_is_sent_early_waits_for_no_slot() {
    let (verdict, host) = verdict(&[delayed(1, 50), slotted(2, 10), early(3, 0)]);
    assert_eq!((verdict.departure_ns, host.state(2).delayed), (0, 0));
}

#[test]
fn jitter_does_not_take_packets_of_a_slot_out_of_their_turn() {
    let jitter = Rule { id: 1, delay: Delay::uniform(20 * MS, 20 * MS).unwrap(), ..Rule::NONE };
    assert!(verdict(&[jitter]).0.own_hash);
    let rules = [jitter, slotted(2, 10)];
    assert!(!verdict(&rules).0.own_hash);
    let host = Host::new(&rules, &[]);
    let leaves = |n| verdict_at(&rules, &packet(), NOW + n * MS, &host).departure_ns;
    let departures: Vec<u64> = (0..1000).map(leaves).collect();
    assert!(departures.is_sorted());
    let some = Match { payload: WITH_PAYLOAD, ..Match::ALL };
    assert!(verdict(&[jitter, Rule { matcher: some, ..slotted(2, 10) }]).0.own_hash);
}

#[test]
fn what_would_wait_too_long_for_a_slot_is_dropped_and_counted() {
    let rule = slotted(1, 40_000);
    let host = Host::new(&[rule], &[]);
    let lost = (0..6).filter(|_| verdict_at(&[rule], &packet(), NOW, &host).lost).count();
    assert_eq!((lost, host.state(1).queue_dropped, host.state(1).delayed), (2, 2, 4));
}
