//! What a packet that waits costs the processors, all the way from socket to socket.

use std::time::Duration;

use anyhow::Result;
use entropy_common::{
    fault::delay::Delay,
    rule::{Direction, Rule},
};

use super::{
    bench::{Bench, Fault, Side},
    loss::rule,
    report::{Report, Row},
    site::{FAMILIES, Site, Way},
    tcp::{self, Writes},
};

const DELAY_MS: u64 = 20;
/// Bytes of a write, each of which is a packet: a small one, and what one of several flows sends at once.
const SIZES: [usize; 2] = [100, 12_000];
const GAP: Duration = Duration::from_micros(500);

/// Measures it in both directions.
pub(super) fn measure(bench: &mut Bench, report: &mut Report) -> Result<()> {
    let fault = Fault {
        rule: Rule { delay: Delay::constant(DELAY_MS * 1_000_000), ..rule() },
        tc: format!("netem delay {DELAY_MS}ms limit 1000000"),
    };
    let count = if bench.quick { 2_000 } else { 10_000 };
    for direction in Direction::ALL {
        for family in FAMILIES {
            for size in SIZES {
                let writes = Writes { count, size, gap: GAP };
                report.add(row(bench, &fault, (direction, family), writes)?);
            }
        }
    }
    Ok(())
}

fn row(
    bench: &mut Bench,
    fault: &Fault,
    (direction, family): (Direction, u8),
    writes: Writes,
) -> Result<Row> {
    let mut costs = Vec::new();
    for side in Side::ALL {
        let busy = bench.with(side, direction, fault, |bench| {
            let Site { container, neighbour, .. } = &bench.site;
            let ends = match direction {
                Direction::Egress => {
                    (container, neighbour, Site::far_address(Way::Bridged, family))
                }
                Direction::Ingress => (neighbour, container, Site::container_address(family)),
            };
            tcp::busy(ends, writes)
        })?;
        costs.push(busy * 1e6 / f64::from(writes.count));
    }
    let way = if direction == Direction::Egress { "from" } else { "to" };
    Ok(Row {
        section: "Processor time behind 20 ms",
        fault: format!("{way} the container, IPv{family}, TCP, {} bytes at once", writes.size),
        parameter: "a packet and its acknowledgement [us]",
        without: Some(costs[0]),
        entropy: Some(costs[1]),
        netem: Some(costs[2]),
        note: format!(
            "on top of none: {:.2} of netem's",
            (costs[1] - costs[0]) / (costs[2] - costs[0])
        ),
        ..Row::default()
    })
}
