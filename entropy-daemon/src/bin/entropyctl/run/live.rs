//! The table that `run` shows, and its last line.

use std::{
    io::{IsTerminal as _, stdout},
    time::Duration,
};

use anyhow::Result;
use entropy_daemon::api::types::{Counters, Injection, Policy, State};

use super::policy::Wanted;
use crate::{
    args::Format,
    get::realised,
    output::{
        self,
        table::{Column, Table},
        text,
    },
};

/// Where the table is drawn again and again; elsewhere what is new is said once.
#[derive(Debug)]
pub(super) struct Screen {
    /// `None` where nothing is drawn.
    drawn_lines: Option<usize>,
    silent: bool,
    said: Option<String>,
}

impl Screen {
    pub(super) fn new(format: Format) -> Self {
        let silent = format == Format::Json;
        let draws = !silent && stdout().is_terminal();
        Self { drawn_lines: draws.then_some(0), silent, said: None }
    }

    /// Draws how things are now.
    pub(super) fn draw(
        &mut self,
        wanted: &Wanted,
        policy: &Policy,
        injections: &[Injection],
        elapsed: Duration,
    ) -> Result<()> {
        if self.drawn_lines.is_none() {
            return self.say(&news(policy, injections));
        }
        let title = format!("{}: {}", wanted.name, wanted.describe());
        let time = match wanted.length {
            Some(length) => format!("{} s left", length.saturating_sub(elapsed).as_secs()),
            None => format!("for {} s", elapsed.as_secs()),
        };
        let state = news(policy, injections);
        let head = format!("{}\n{state}, {time}, Ctrl-C ends it\n\n", text::line(&title));
        self.replace(&format!("{head}{}", table(injections)))
    }

    /// Says something that is new.
    pub(super) fn say(&mut self, news: &str) -> Result<()> {
        if self.silent || self.said.as_deref() == Some(news) {
            return Ok(());
        }
        self.said = Some(news.to_owned());
        if self.drawn_lines.is_some() {
            return self.replace(&format!("{}\n", text::line(news)));
        }
        output::print(&format!("{}\n", text::line(news)))
    }

    /// Draws over what was drawn before. Long lines are cut by the terminal: if it broke them, there
    /// would be more lines than were counted.
    fn replace(&mut self, drawing: &str) -> Result<()> {
        let up = match self.drawn_lines {
            Some(lines) if lines > 0 => format!("\x1b[{lines}A\x1b[J"),
            _ => String::new(),
        };
        self.drawn_lines = Some(drawing.matches('\n').count());
        output::print(&format!("\x1b[?7l{up}{drawing}\x1b[?7h"))
    }
}

/// How the policy is, in a line.
fn news(policy: &Policy, injections: &[Injection]) -> String {
    let on = || text::count(policy.containers as usize, "container", "containers");
    let idle = |injection: &Injection| injection.idle || injection.state != State::InForce;
    match policy.state {
        State::InForce if injections.iter().all(idle) => {
            format!("in force on {}, but no packet matches: is there traffic?", on())
        }
        State::InForce => format!("in force on {}", on()),
        State::NoContainer => "no running container matches, waiting for one".to_owned(),
        State::Halted => "halted: nothing is injected until `entropyctl resume`".to_owned(),
        State::Paused => format!("paused: `entropyctl resume {}` goes on", policy.name),
        State::Refused => {
            format!("refused: {}", policy.reasons.first().map_or("see the log", String::as_str))
        }
        other => other.to_string(),
    }
}

fn table(injections: &[Injection]) -> String {
    let mut table = Table::new([
        Column::text("CONTAINER", 30),
        Column::text("DIRECTION", 9),
        Column::number("SEEN"),
        Column::number("HIT"),
        Column::number("LOST"),
        Column::number("LOSS"),
        Column::number("DELAYED"),
        Column::number("MEAN"),
        Column::number("OTHER"),
        Column::text("NOTE", 60),
    ]);
    for injection in injections {
        let counters = injection.counters.clone().unwrap_or_default();
        table.row([
            &injection.container,
            injection.direction.as_deref().unwrap_or("-"),
            &counters.seen_packets.to_string(),
            &counters.matched_packets.to_string(),
            &counters.lost_packets.to_string(),
            &realised(&counters),
            &counters.delayed_packets.to_string(),
            &mean(&counters),
            &others(&counters).to_string(),
            injection.reason.as_deref().unwrap_or_default(),
        ]);
    }
    table.render()
}

/// Packets that something else happened to than loss and delay.
fn others(counters: &Counters) -> u64 {
    counters.reordered_packets
        + counters.duplicated_packets
        + counters.corrupted_frames
        + counters.marked_packets
        + counters.queue_dropped_packets
}

/// About the mean of the delays given: the histogram knows powers of two.
fn mean(counters: &Counters) -> String {
    let packets: u64 = counters.delays.iter().map(|bucket| bucket.packets).sum();
    if packets == 0 {
        return "-".into();
    }
    // The middle of a bucket is one and a half of its beginning.
    let of = |from_ns: u64| from_ns as f64 * 1.5;
    let sum: f64 = counters.delays.iter().map(|b| of(b.from_ns) * b.packets as f64).sum();
    let mean_ms = sum / packets as f64 / 1e6;
    if mean_ms < 10.0 { format!("~{mean_ms:.1} ms") } else { format!("~{mean_ms:.0} ms") }
}

/// What it all came to, in a line.
pub(super) fn summary(injections: &[Injection]) -> String {
    let counters: Vec<&Counters> = injections.iter().filter_map(|i| i.counters.as_ref()).collect();
    let sum = |count: fn(&Counters) -> u64| counters.iter().map(|c| count(c)).sum::<u64>();
    let (seen, matched) = (sum(|c| c.seen_packets), sum(|c| c.matched_packets));
    let (lost, frames) = (sum(|c| c.lost_packets), sum(|c| c.frames));
    let delayed = sum(|c| c.delayed_packets);
    if matched == 0 {
        return format!("{seen} packets seen, none matched; nothing is left in force");
    }
    // Of a loss by segment the frames are what it chooses from.
    let of = if lost > matched { frames } else { matched };
    let mut parts = vec![format!("{seen} packets seen, {matched} hit")];
    for (count, what) in [
        (delayed, "delayed"),
        (sum(|c| c.reordered_packets), "reordered"),
        (sum(|c| c.duplicated_packets), "duplicated"),
        (sum(|c| c.corrupted_frames), "damaged"),
        (sum(|c| c.queue_dropped_packets), "without room in a queue"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    parts.insert(1, format!("{lost} lost ({})", text::share(lost, of)));
    format!("{}; nothing is left in force", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use entropy_daemon::api::types::Bucket;

    use super::*;

    fn injection(counters: Counters) -> Injection {
        Injection {
            policy: "run-1".into(),
            container: "db".into(),
            interface: Some("veth1".into()),
            direction: Some("egress".into()),
            r#match: String::new(),
            fault: String::new(),
            state: State::InForce,
            reason: None,
            idle: false,
            quiet_ns: Some(0),
            counters: Some(counters),
        }
    }

    #[test]
    fn the_summary_adds_up_all_directions() {
        let counters = Counters {
            seen_packets: 100,
            matched_packets: 50,
            lost_packets: 1,
            delayed_packets: 49,
            ..Counters::default()
        };
        let both = [injection(counters.clone()), injection(counters)];
        assert_eq!(
            summary(&both),
            "200 packets seen, 100 hit, 2 lost (2 %), 98 delayed; nothing is left in force"
        );
        assert!(summary(&[]).starts_with("0 packets seen, none matched"));
    }

    #[test]
    fn the_mean_delay_is_that_of_the_histogram() {
        let delays = vec![Bucket { from_ns: 134_217_728, packets: 10 }];
        assert_eq!(mean(&Counters { delays, ..Counters::default() }), "~201 ms");
        assert_eq!(mean(&Counters::default()), "-");
    }
}
