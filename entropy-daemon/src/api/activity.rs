//! Which injections match packets. One that matches none for a while is most likely not what its
//! author had in mind, and says so.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tracing::{debug, warn};

use super::View;
use crate::{
    clock,
    datapath::inspect::{self, Snapshot},
};

/// How long is a while.
pub(super) const IDLE: Duration = Duration::from_secs(10);
/// How often it is looked.
const PERIOD: Duration = Duration::from_secs(1);

/// Interface, direction and policy of an injection.
pub(super) type Place = (u32, u32, String);

/// When each injection matched a packet last.
#[derive(Debug, Default)]
pub(super) struct Activity(Mutex<BTreeMap<Place, Seen>>);

/// What was seen of an injection that is in force.
#[derive(Clone, Debug)]
struct Seen {
    container: String,
    matched: u64,
    /// When that changed, or it came into force.
    since: Instant,
    said: bool,
}

/// What an injection is like now.
struct Look {
    place: Place,
    container: String,
    matched: u64,
}

impl Activity {
    /// Looks again and again, as long as there is something to look at.
    pub(super) async fn follow(&self, view: watch::Receiver<Arc<View>>) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let round = view.borrow().round.clone();
            if round.is_none_or(|round| round.plan.hooks.is_empty()) {
                self.note(Vec::new(), Instant::now());
                continue;
            }
            match tokio::task::spawn_blocking(look).await {
                Ok(Ok(looks)) => {
                    for line in self.note(looks, Instant::now()) {
                        warn!("{line}");
                    }
                }
                Ok(Err(error)) => debug!("counters cannot be read: {error:#}"),
                Err(error) => debug!("counters cannot be read: {error}"),
            }
        }
    }

    /// For how long an injection in force has matched nothing; `None` where it is not in force.
    pub(super) fn quiet(&self, place: &Place, now: Instant) -> Option<Duration> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(place).map(|seen| now.saturating_duration_since(seen.since))
    }

    /// Takes note of the injections in force, and returns what there is to say.
    fn note(&self, looks: Vec<Look>, now: Instant) -> Vec<String> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *all);
        for Look { place, container, matched } in looks {
            let seen = match before.remove(&place) {
                Some(seen) if seen.matched == matched => seen,
                Some(seen) => Seen { matched, since: now, ..seen },
                None => Seen { container, matched, since: now, said: false },
            };
            all.insert(place, seen);
        }
        news(&mut all, now)
    }
}

/// Says once of each policy on each container that it has never matched anything there, in either
/// direction.
fn news(all: &mut BTreeMap<Place, Seen>, now: Instant) -> Vec<String> {
    let mut idle: BTreeMap<(String, String), bool> = BTreeMap::new();
    for ((_, _, policy), seen) in &*all {
        let never = seen.matched == 0 && now.saturating_duration_since(seen.since) >= IDLE;
        let so_far = idle.entry((policy.clone(), seen.container.clone())).or_insert(true);
        *so_far &= never && !seen.said;
    }
    let idle: BTreeSet<_> =
        idle.into_iter().filter(|(_, idle)| *idle).map(|(key, _)| key).collect();
    for ((_, _, policy), seen) in all.iter_mut() {
        seen.said |= idle.contains(&(policy.clone(), seen.container.clone()));
    }
    let line = |(policy, container): (String, String)| {
        format!(
            "policy {policy} on container {container} has matched no packet for {} s: is there \
             traffic that its match is for?",
            IDLE.as_secs()
        )
    };
    idle.into_iter().map(line).collect()
}

/// The injections that are in force, lease and window included.
fn look() -> anyhow::Result<Vec<Look>> {
    let now_ns = clock::monotonic_ns()?;
    Ok(inspect::read()?.map(|snapshot| in_force(&snapshot, now_ns)).unwrap_or_default())
}

fn in_force(snapshot: &Snapshot, now_ns: u64) -> Vec<Look> {
    if snapshot.lease_left_ns == 0 {
        return Vec::new();
    }
    let mut looks = Vec::new();
    for hook in &snapshot.hooks {
        for entry in &hook.rules {
            let rule = &entry.rule;
            if (rule.active_from_ns..rule.active_until_ns).contains(&now_ns) {
                looks.push(Look {
                    place: (hook.ifindex, hook.direction as u32, entry.policy.clone()),
                    container: entry.container.clone(),
                    matched: entry.state.matched,
                });
            }
        }
    }
    looks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(ifindex: u32, matched: u64) -> Look {
        Look { place: (ifindex, 0, "slow".into()), container: "web".into(), matched }
    }

    #[test]
    fn what_never_matches_says_so_once() {
        let (activity, start) = (Activity::default(), Instant::now());
        let at = |second: u64| start + Duration::from_secs(second);
        let said: Vec<_> = (0..30).map(|s| activity.note(vec![look(1, 0)], at(s)).len()).collect();
        let mut expected = vec![0; 30];
        expected[10] = 1;
        assert_eq!(said, expected);
        assert_eq!(activity.quiet(&(1, 0, "slow".into()), at(30)), Some(Duration::from_secs(30)));
    }

    #[test]
    fn one_direction_with_packets_is_enough_and_each_packet_begins_the_time_anew() {
        let (activity, start) = (Activity::default(), Instant::now());
        let at = |second: u64| start + Duration::from_secs(second);
        for second in 0..30 {
            let looks = vec![look(1, 0), look(2, second / 5)];
            assert_eq!(activity.note(looks, at(second)), Vec::<String>::new());
        }
        let quiet = |index| activity.quiet(&(index, 0, "slow".into()), at(29)).unwrap().as_secs();
        assert_eq!((quiet(1), quiet(2)), (29, 4));
    }

    #[test]
    fn what_goes_out_of_force_is_forgotten() {
        let (activity, now) = (Activity::default(), Instant::now());
        activity.note(vec![look(1, 5)], now);
        activity.note(Vec::new(), now);
        assert_eq!(activity.quiet(&(1, 0, "slow".into()), now), None);
    }
}
