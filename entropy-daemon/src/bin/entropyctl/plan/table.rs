//! A plan for people.

use std::fmt::Write as _;

use entropy_daemon::policy::Span;

use super::document::{Document, Times};
use crate::output::{
    table::{Column, Table},
    text, windows,
};

pub(super) fn text(document: &Document) -> String {
    let mut out = String::new();
    if document.injections.is_empty() {
        out.push_str("nothing would be in force\n");
    } else {
        out.push_str(&injections(document));
    }
    if !document.exchanges.is_empty() {
        out.push_str("\nTCP to a container, from a peer that all of its policies match:\n\n");
        out.push_str(&exchanges(document));
    }
    if !document.schedules.is_empty() {
        out.push_str("\nIf they were loaded now:\n\n");
        out.push_str(&windows::table(&document.schedules));
    }
    let remarks =
        [document.unsupported.len(), document.shortened.len(), document.without_container.len()];
    if remarks != [0; 3] {
        out.push('\n');
    }
    for of in &document.unsupported {
        let (policy, container) = (text::line(&of.policy), text::line(&of.container));
        let reason = text::line(&of.reason);
        let _ = writeln!(out, "policy {policy} on container {container}: unsupported: {reason}");
    }
    for (policy, longest) in &document.shortened {
        let policy = text::line(policy);
        let _ = writeln!(out, "policy {policy}: the guard ends it after {longest} at a stretch");
    }
    for policy in &document.without_container {
        let _ = writeln!(out, "policy {}: no running container matches", text::line(policy));
    }
    out
}

fn injections(document: &Document) -> String {
    let mut table = Table::new([
        Column::text("CONTAINER", 30),
        Column::text("INTERFACE", 16),
        Column::text("DIRECTION", 9),
        Column::text("POLICY", 30),
        Column::text("MATCH", 60),
        Column::text("FAULT", 60),
        Column::number("LOST"),
        Column::number("DELAY P50"),
        Column::number("P90"),
        Column::number("P99"),
    ]);
    for row in &document.injections {
        let packets = &row.packets;
        let [p50, p90, p99] = times(packets.delay);
        table.row([
            &row.container,
            &row.interface,
            row.direction,
            &row.policy,
            &row.r#match.describe(row.peer.as_ref().map(|peer| format!("peer {peer}"))),
            &row.faults.describe(),
            &text::share(packets.lost.into(), packets.asked.into()),
            &p50,
            &p90,
            &p99,
        ]);
    }
    table.render()
}

fn exchanges(document: &Document) -> String {
    let mut table = Table::new([
        Column::text("CONTAINER", 30),
        Column::text("INTERFACE", 16),
        Column::number("CONNECTED P50"),
        Column::number("P90"),
        Column::number("P99"),
        Column::number("ANSWERED P50"),
        Column::number("P90"),
        Column::number("P99"),
        Column::number("FAILED"),
    ]);
    for exchange in &document.exchanges {
        let [c50, c90, c99] = times(exchange.connected);
        let [a50, a90, a99] = times(exchange.answered);
        let failed = text::share(exchange.failed.into(), exchange.asked.into());
        let (container, interface) = (&exchange.container, &exchange.interface);
        table.row([container, interface, &c50, &c90, &c99, &a50, &a90, &a99, &failed]);
    }
    table.render()
}

fn times(times: Option<Times>) -> [String; 3] {
    times.map_or_else(
        || ["-", "-", "-"].map(str::to_owned),
        |times| [times.p50_ns, times.p90_ns, times.p99_ns].map(about),
    )
}

/// A time to four digits or a microsecond, whichever is coarser.
fn about(ns: u64) -> String {
    let step = (0..)
        .map(|power| 10_u64.pow(power))
        .find(|step| *step >= 1000 && ns / step < 10_000)
        .unwrap_or(1);
    Span::new((ns + step / 2) / step * step).to_string()
}

#[cfg(test)]
mod tests {
    use super::about;

    #[test]
    fn times_have_four_digits_at_most() {
        for (ns, shown) in [
            (0, "0ns"),
            (400, "0ns"),
            (80_000_000, "80ms"),
            (81_234_567, "81.23ms"),
            (1_234_567_890, "1.235s"),
        ] {
            assert_eq!(about(ns), shown);
        }
    }
}
