//! The container engine, and which of its containers can be reached.

use std::{collections::BTreeMap, time::Duration};

use super::{Check, Status};
use crate::{
    docker::{Container, Endpoint, EndpointError, NetworkMode, Timing, Update, Watcher},
    endpoints::Reach,
    netlink::Netlink,
    plan::Target,
    world::World,
};

/// Longest wait for one answer of the engine.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

/// Names of containers that one finding lists.
const LISTED: usize = 5;

const DISABLES: &str = "every fault: without the engine no container is known";

pub(super) async fn checks(endpoint: &Result<Endpoint, EndpointError>) -> Vec<Check> {
    let endpoint = match endpoint {
        Ok(endpoint) => endpoint,
        Err(error) => {
            let check = Check::new("docker", Status::Missing, error.to_string());
            return vec![check.needed().disables(DISABLES).mend("set DOCKER_HOST, or unset it")];
        }
    };
    let timing = Timing { request: ANSWER_LIMIT, ..Timing::default() };
    let (_watcher, mut updates) = Watcher::spawn(endpoint.clone(), timing);
    let mut world = World::default();
    let mut checks = Vec::new();
    while let Some(update) = updates.recv().await {
        match &update {
            Update::Connected(version) => checks.push(
                Check::ok(
                    "docker",
                    format!("{} (API {}) at {endpoint}", version.engine, version.api),
                )
                .needed(),
            ),
            Update::Disconnected { reason } => {
                checks.clear();
                checks.push(unreachable(endpoint, reason));
                break;
            }
            _ => {}
        }
        let known = matches!(update, Update::Snapshot { .. });
        world.note(update);
        if known {
            checks.push(reach(&world).await);
            break;
        }
    }
    checks
}

fn unreachable(endpoint: &Endpoint, reason: &str) -> Check {
    let denied = reason.to_lowercase().contains("permission denied");
    Check::new("docker", Status::Missing, format!("{endpoint}: {reason}"))
        .needed()
        .disables(DISABLES)
        .mend(if denied {
            "run it as root, or as a member of the group docker"
        } else {
            "systemctl start docker (package docker.io), or set DOCKER_HOST"
        })
}

async fn reach(world: &World) -> Check {
    let targets = match Netlink::new() {
        Ok(netlink) => world.targets(&netlink).await,
        Err(error) => Err(error),
    };
    match targets {
        Ok(targets) => about_containers(&targets),
        Err(error) => {
            let error = anyhow::Error::new(error);
            Check::new("containers", Status::Unknown, format!("{error:#}"))
        }
    }
}

fn about_containers(targets: &[Target]) -> Check {
    let live = targets.iter().filter(|target| target.container.state.is_live());
    let (mut total, mut reachable) = (0, 0);
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for Target { container, reach, .. } in live {
        total += 1;
        match reach {
            Reach::Endpoints(endpoints) if endpoints.is_empty() => {
                let reason = "no interface found";
                reasons.entry(reason).or_default().push(&container.name);
            }
            Reach::Endpoints(_) => reachable += 1,
            Reach::Unsupported(reason) => {
                reasons.entry(short(container, reason)).or_default().push(&container.name);
            }
        }
    }
    let finding = format!("{total} running, {reachable} can be reached");
    if reasons.is_empty() {
        return Check::ok("containers", finding);
    }
    let reasons: Vec<String> =
        reasons.iter().map(|(reason, names)| format!("{reason}: {}", list(names))).collect();
    Check::new("containers", Status::Warning, format!("{finding}; {}", reasons.join("; ")))
        .disables("policies do nothing to these containers, and the daemon's log says so")
        .mend("run them on a bridge network")
}

/// One heading for all containers that are out of reach for the same reason.
fn short<'a>(container: &Container, reason: &'a str) -> &'a str {
    match container.network_mode {
        NetworkMode::Host => "host network",
        NetworkMode::None => "no network",
        _ => reason,
    }
}

fn list(names: &[&str]) -> String {
    let shown = names[..names.len().min(LISTED)].join(", ");
    match names.len().saturating_sub(LISTED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{datapath::Interface, docker::State, endpoints};

    fn target(name: &str, mode: NetworkMode, reach: Reach) -> Target {
        let container = Container {
            id: name.into(),
            name: name.into(),
            labels: BTreeMap::new(),
            state: State::Running,
            pid: Some(1),
            sandbox_key: None,
            network_mode: mode,
            attachments: Vec::new(),
        };
        Target { container, reach, coming: Vec::new() }
    }

    fn reachable(name: &str) -> Target {
        let interface = Interface { index: 7, name: "veth7".into() };
        let endpoint =
            endpoints::Endpoint { interface, container: name.into(), network: "n".into() };
        target(name, NetworkMode::Named("n".into()), Reach::Endpoints(vec![endpoint]))
    }

    fn on_host(name: &str) -> Target {
        target(name, NetworkMode::Host, Reach::Unsupported("host network: no veth".into()))
    }

    #[test]
    fn reachable_containers_are_counted_and_the_others_named() {
        let check = about_containers(&[reachable("web"), reachable("db")]);
        assert_eq!((check.status, &*check.finding), (Status::Ok, "2 running, 2 can be reached"));
        let check = about_containers(&[reachable("web"), on_host("proxy"), on_host("agent")]);
        assert_eq!(check.status, Status::Warning);
        assert_eq!(check.finding, "3 running, 1 can be reached; host network: proxy, agent");
        let mut stopped = on_host("old");
        stopped.container.state = State::Created;
        assert_eq!(about_containers(&[stopped]).finding, "0 running, 0 can be reached");
    }

    #[test]
    fn a_long_list_is_cut() {
        let names: Vec<String> = (0..8).map(|number| format!("c{number}")).collect();
        let targets: Vec<Target> = names.iter().map(|name| on_host(name)).collect();
        let finding = about_containers(&targets).finding;
        assert!(finding.ends_with("host network: c0, c1, c2, c3, c4 and 3 more"), "{finding}");
    }

    #[tokio::test]
    async fn an_engine_that_is_not_there_is_missing_and_the_socket_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let address = format!("unix://{}/none.sock", directory.path().display());
        let checks = checks(&Endpoint::parse(&address)).await;
        let [check] = &checks[..] else { panic!("{checks:?}") };
        assert_eq!((check.name, check.status), ("docker", Status::Missing));
        assert!(check.finding.contains(&address) && !check.is_ready(), "{check:?}");
    }

    #[tokio::test]
    async fn an_address_that_makes_no_sense_is_missing() {
        let checks = checks(&Endpoint::parse("ssh://host")).await;
        assert!(checks.len() == 1 && !checks[0].is_ready(), "{checks:?}");
    }
}
