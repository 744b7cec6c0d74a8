//! When policies are in force next, for people and for programs.

use anyhow::{Context as _, Result};
use entropy_daemon::{
    clock,
    policy::Policy,
    schedule::{Now, Upcoming, upcoming},
};
use jiff::Zoned;
use serde::Serialize;

use super::table::{Column, Table};

/// How many windows of a policy are shown.
const SHOWN: usize = 3;

/// A policy that is not in force all the time, or not in full, as if it were loaded now.
#[derive(Debug, Serialize)]
pub(crate) struct Timed {
    /// Its name.
    policy: String,
    /// Its schedule in words; null for always.
    schedule: Option<String>,
    /// What moves in words; null for nothing.
    ramp: Option<String>,
    /// The next windows, at most three; null if they depend on a seed that the daemon draws.
    windows: Option<Vec<Window>>,
}

/// A time in force.
#[derive(Debug, Serialize)]
struct Window {
    /// Its beginning with its zone, as of RFC 9557.
    from: Zoned,
    /// Its end; null for none.
    until: Option<Zoned>,
}

/// The policies that have a schedule or a ramp.
pub(crate) fn timed(policies: &[Policy]) -> Result<Vec<Timed>> {
    let now = clock::now().context("read the clock")?;
    let is_timed = |policy: &&Policy| policy.schedule.is_some() || policy.ramp.is_some();
    Ok(policies.iter().filter(is_timed).map(|policy| Timed::new(policy, now)).collect())
}

/// A table with a line for each window.
pub(crate) fn table(all: &[Timed]) -> String {
    let mut table = Table::new([
        Column::text("POLICY", 30),
        Column::text("SCHEDULE", 100),
        Column::text("IN FORCE FROM", 40),
        Column::text("UNTIL", 40),
    ]);
    for timed in all {
        let parts: Vec<&str> =
            [&timed.schedule, &timed.ramp].into_iter().flatten().map(String::as_str).collect();
        let mut heads = [timed.policy.clone(), parts.join(", ")];
        let mut row = |from: &str, until: &str| {
            let [policy, schedule] = std::mem::take(&mut heads);
            table.row([&policy, &schedule, from, until]);
        };
        match timed.windows.as_deref() {
            None => row("by dice; with a seed it is known", ""),
            Some([]) => row("never", ""),
            Some(windows) => {
                for Window { from, until } in windows {
                    row(&shown(from), &until.as_ref().map_or_else(|| "-".to_owned(), shown));
                }
            }
        }
    }
    table.render()
}

fn shown(at: &Zoned) -> String {
    at.strftime("%a %Y-%m-%d %H:%M:%S %Z").to_string()
}

impl Timed {
    fn new(policy: &Policy, now: Now) -> Self {
        let windows = match upcoming(policy, now, SHOWN) {
            Upcoming::Dice => None,
            Upcoming::Windows(windows) => {
                Some(windows.into_iter().map(|(from, until)| Window { from, until }).collect())
            }
        };
        Self {
            policy: policy.name.clone(),
            schedule: policy.schedule.as_ref().map(ToString::to_string),
            ramp: policy.ramp.as_ref().map(ToString::to_string),
            windows,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use entropy_daemon::policy::parse;

    use super::*;

    /// 2026-03-28T00:00:00Z: the day before Berlin puts its clocks forward.
    const NOW: Now = Now { monotonic_ns: 5_000_000_000, wall_ns: 1_774_656_000_000_000_000 };

    fn shown(policies: &str) -> String {
        let policies = parse(Path::new("x.toml"), policies.as_bytes());
        let policies = policies.unwrap_or_else(|problems| panic!("{problems}"));
        let timed: Vec<Timed> = policies.iter().map(|policy| Timed::new(policy, NOW)).collect();
        table(&timed)
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n")
            .collect()
    }

    #[test]
    fn windows_are_shown_in_their_zone_with_what_moves_in_them() {
        let policies = "\
[[policy]]
name = 'early'
target = 'app'
loss = '5%'
schedule = { cron = '30 2 * * *', zone = 'Europe/Berlin', duration = '10m' }
ramp = { over = '5m', from = { loss = '0%' } }
[[policy]]
name = 'dice'
target = 'app'
loss = '5%'
schedule = { every = '10m', probability = '30%' }
[[policy]]
name = 'pulse'
target = 'app'
loss = '5%'
schedule = { on = '10s', off = '50s', for = '65s' }
[[policy]]
name = 'moving'
target = 'app'
loss = '5%'
ramp = { over = '5s', from = { loss = '0%' } }
[[policy]]
name = 'late'
target = 'app'
loss = '5%'
schedule = { cron = '0 0 1 1 *', duration = '1m', for = '1h' }
";
        let expected = "\
POLICY SCHEDULE IN FORCE FROM UNTIL
early 10m at 30 2 * * * (Europe/Berlin), ramp from loss 0% over 5m, each 3s \
Sat 2026-03-28 02:30:00 CET Sat 2026-03-28 02:40:00 CET
Sun 2026-03-29 03:00:00 CEST Sun 2026-03-29 03:10:00 CEST
Mon 2026-03-30 02:30:00 CEST Mon 2026-03-30 02:40:00 CEST
dice every 10m, with 30% by dice; with a seed it is known
pulse 10s every 1m, for 65s Sat 2026-03-28 00:00:00 UTC Sat 2026-03-28 00:00:10 UTC
Sat 2026-03-28 00:01:00 UTC Sat 2026-03-28 00:01:05 UTC
moving ramp from loss 0% over 5s, each 1s Sat 2026-03-28 00:00:00 UTC -
late 1m at 0 0 1 1 * (UTC), for 1h never
";
        assert_eq!(shown(policies), expected);
    }
}
