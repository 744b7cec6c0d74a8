//! What others have put where Entropy wants to be.

use std::collections::BTreeSet;

use entropy_common::names;

use super::{Check, Status};
use crate::netlink::{self, Link, Netlink, Occupied, Passage};

const NAME: &str = "conflicts";

/// Names that one finding lists.
const LISTED: usize = 5;

pub(super) async fn checks(has_tcx: bool) -> Vec<Check> {
    match look().await {
        Ok((links, ingress)) => about(&links, &ingress, has_tcx),
        Err(error) => {
            let error = anyhow::Error::new(error);
            vec![Check::new(NAME, Status::Unknown, format!("{error:#}"))]
        }
    }
}

async fn look() -> netlink::Result<(Vec<Link>, BTreeSet<u32>)> {
    let netlink = Netlink::new()?;
    Ok((netlink.links().await?, netlink.interfaces_with_qdisc("ingress").await?))
}

fn about(links: &[Link], ingress: &BTreeSet<u32>, has_tcx: bool) -> Vec<Check> {
    let checks: Vec<Check> =
        taken_names(links).into_iter().chain(blocked(links, ingress, has_tcx)).collect();
    if checks.is_empty() { vec![Check::ok(NAME, "none")] } else { checks }
}

/// An interface that is called like the line or the wire, but is no such.
fn taken_names(links: &[Link]) -> Option<Check> {
    let taken = |entrance, exit| match Passage::stump(links, entrance, exit) {
        Some(_) => None,
        None => Passage::among(links, entrance, exit).err(),
    };
    let line = taken(names::LINE_ENTRANCE, names::LINE_EXIT);
    let is_line = line.is_some();
    let occupied = line.or_else(|| taken(names::WIRE_ENTRANCE, names::WIRE_EXIT))?;
    let Occupied { name, reason, .. } = occupied;
    let finding = format!("interface {name} is somebody else's: {reason}");
    let check = match is_line {
        true => Check::new(NAME, Status::Missing, finding)
            .needed()
            .disables("everything: entropyd does not start"),
        false => {
            Check::new(NAME, Status::Warning, finding).disables("corruption, and loss by segment")
        }
    };
    Some(check.mend(format!("ip link set {name} down, then ip link set {name} name OTHER")))
}

/// An ingress qdisc sits where clsact would.
fn blocked(links: &[Link], ingress: &BTreeSet<u32>, has_tcx: bool) -> Option<Check> {
    let blocked: Vec<&str> = links
        .iter()
        .filter(|link| link.kind.as_deref() == Some("veth") && ingress.contains(&link.index))
        .map(|link| link.name.as_str())
        .collect();
    let first = blocked.first()?;
    let more = match blocked.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let listed = blocked[..blocked.len().min(LISTED)].join(", ");
    let finding = format!("ingress qdisc on {listed}{more}");
    if has_tcx {
        return Some(Check::ok(NAME, format!("{finding}, which is no matter with TCX")));
    }
    Some(
        Check::new(NAME, Status::Warning, finding)
            .disables("policies for the containers behind these interfaces")
            .mend(format!(
                "tc qdisc del dev {first} ingress, or put its filters on a clsact qdisc"
            )),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str, kind: &str) -> Link {
        Link {
            index,
            name: name.into(),
            mac: None,
            kind: Some(kind.into()),
            peer_index: None,
            peer_netns: None,
            master: None,
            up: true,
            mtu: 1500,
        }
    }

    fn only(links: &[Link], ingress: &[u32], has_tcx: bool) -> Check {
        let mut checks = about(links, &ingress.iter().copied().collect(), has_tcx);
        assert_eq!(checks.len(), 1, "{checks:?}");
        checks.remove(0)
    }

    #[test]
    fn an_ingress_qdisc_matters_on_a_veth_and_without_tcx_only() {
        let links = [link(1, "veth1", "veth"), link(2, "eth0", "vlan")];
        assert_eq!(only(&links, &[2], false).finding, "none");
        assert_eq!(only(&links, &[1], true).status, Status::Ok);
        let check = only(&links, &[1, 2], false);
        assert_eq!((check.status, &*check.finding), (Status::Warning, "ingress qdisc on veth1"));
        assert!(check.mend.unwrap().contains("tc qdisc del dev veth1 ingress"));
    }

    #[test]
    fn a_foreign_interface_with_the_name_of_the_line_keeps_the_daemon_from_starting() {
        let check = only(&[link(3, "entropy0", "bridge")], &[], true);
        assert!(!check.is_ready() && check.finding.contains("entropy0"), "{check:?}");
        let (mut entrance, mut exit) = (link(3, "entropy0", "veth"), link(4, "entropy1", "veth"));
        (entrance.peer_index, exit.peer_index) = (Some(4), Some(3));
        assert_eq!(only(&[entrance, exit], &[], true).finding, "none");
    }
}
