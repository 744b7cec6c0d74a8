//! Policy files under a running daemon: bad ones change nothing, the examples do what they say.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, ensure};
use entropy_tests::{
    clock::now_ns,
    daemon::Daemon,
    frames::{End, Flow, Protocol},
    netns::Netns,
    traffic,
    wait::{patience, until_true},
};

use crate::stage::{Cast, Running, pass, stage};

/// Datagrams for one look.
const FEW: u64 = 20;

/// Files that are wrong in different ways, and where.
const WRONG: [(&str, &str); 10] = [
    ("[[policy]]\ntarget = 'app=web'\nloss = '200%'\n", "wrong.toml:3:"),
    ("[[policy]]\ntarget = 'app=web'\nloss = 2\n", "wrong.toml:3:"),
    ("[[policy]]\ntarget = 'app=web'\nlos = '2%'\n", "wrong.toml:3:"),
    ("[[policy]]\ntarget = 'app=web,'\nloss = '2%'\n", "wrong.toml:2:"),
    ("[[policy]]\nloss = '2%'\n", "wrong.toml:1:"),
    ("[[policy]]\ntarget = 'app=web'\n\n\ndirection = 'in'\nloss = '2%'\n", "wrong.toml:5:"),
    ("[[policy]]\ntarget = 'a'\nmatch = { port = 70000 }\nloss = '1%'\n", "wrong.toml:3:"),
    ("[[policy]]\ntarget = 'a'\nmatch = { peer = ['10.0.0.1/8'] }\nloss = '1%'\n", "wrong.toml:3:"),
    ("[[policy]]\nname = 'cut'\ntarget = 'app=web'\nloss = '2%'\n", "wrong.toml:2:"),
    ("[[policy]\ntarget = 'app=web'\nloss = '2%'\n", "wrong.toml:1:"),
];

#[test]
fn wrong_files_are_named_by_line_and_the_last_good_state_stays_in_force() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let web = &cast.web;
    let ways = cast.client.ways_to(web)?;
    stage.policy("cut", "target = 'app=web'\nloss = '100%'")?;
    let daemon = stage.installation.start(&[])?;
    daemon.await_on("cut", &web.at)?;
    let refused =
        |daemon: &Daemon| daemon.log().matches("the last good ones stay in force (1)").count();
    for (number, (text, place)) in WRONG.into_iter().enumerate() {
        let named = daemon.log().matches(place).count();
        stage.installation.write("wrong.toml", text)?;
        until_true(&format!("{place} is named for:\n{text}"), patience(10), || {
            Ok(refused(&daemon) > number && daemon.log().matches(place).count() > named)
        })?;
        assert_eq!(pass(&ways, FEW)?, [0; 2], "under:\n{text}");
    }
    // The good file itself goes bad; the bad one goes.
    stage.installation.write("cut.toml", "[[policy]]\nname = 'cut'\nloss = 'all'\n")?;
    stage.installation.remove("wrong.toml")?;
    daemon.await_log("cut.toml:3:8:")?;
    assert_eq!(pass(&ways, FEW)?, [0; 2]);
    stage.policy("cut", "target = 'app=web'\nloss = '0%'")?;
    until_true("the mended file is in force", patience(10), || Ok(pass(&ways, FEW)? == [FEW; 2]))?;
    daemon.stop()
}

#[test]
fn a_daemon_that_starts_with_a_wrong_file_waits_for_it_to_be_mended() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let web = &cast.web;
    let ways = cast.client.ways_to(web)?;
    stage.installation.write("good.toml", "[[policy]]\ntarget = 'app=web'\npartition = true\n")?;
    stage.installation.write("wrong.toml", "[[policy]]\ntarget = 'app=web'\n\nloss = '7'\n")?;
    let daemon = stage.installation.start(&[])?;
    daemon.await_log("wrong.toml:4:")?;
    daemon.await_log("connected to container engine")?;
    assert_eq!(pass(&ways, FEW)?, [FEW; 2], "nothing is in force");
    stage.installation.remove("wrong.toml")?;
    until_true("the good file is in force", patience(10), || Ok(pass(&ways, FEW)? == [0; 2]))?;
    daemon.stop()
}

/// Sends UDP frames of port 53 from one container to an address, by way of another container, where
/// they go astray if the address is not its own.
fn send(from: &Running, to: &Running, address: IpAddr) -> Result<()> {
    /// With a loss of 0.5 %, the smallest of the examples, none is lost once in 10^6 runs.
    const COUNT: u64 = 3000;
    let flow = Flow {
        source: End { mac: from.at.mac, ip: from.at.v4.into(), port: 5353 },
        destination: End { mac: to.at.mac, ip: address, port: 53 },
        protocol: Protocol::Udp,
        tag: 1,
    };
    let frames = (0..COUNT).map(|sequence| flow.frame(sequence, 26));
    traffic::send(&from.container.netns()?, &from.at.device, frames)?;
    Ok(())
}

/// To how many packets each policy in the kernel has done something, on all hooks together.
fn hit_by_policy(daemon: &Daemon) -> Result<BTreeMap<String, u64>> {
    let mut hit = BTreeMap::new();
    for rule in daemon.maps().context("no maps")?.hooks.into_iter().flat_map(|hook| hook.rules) {
        let state = rule.state;
        *hit.entry(rule.policy).or_default() += state.lost
            + state.queue_dropped
            + state.delayed
            + state.shaped
            + state.reordered
            + state.duplicated
            + state.corrupted;
    }
    Ok(hit)
}

/// Names of the policies in a file.
fn names(text: &str) -> BTreeSet<String> {
    let name = |line: &str| Some(line.strip_prefix("name = \"")?.strip_suffix('"')?.to_owned());
    text.lines().filter_map(name).collect()
}

/// Whether a fault of the file makes packets wait.
fn is_timed(text: &str) -> bool {
    let timed = ["delay =", "reorder =", "rate =", "slot ="];
    text.lines().any(|line| timed.iter().any(|key| line.starts_with(key)))
}

/// Whether all rules open for ten minutes at a full hour, whose offices may be closed now.
fn opens_at_the_hour(daemon: &Daemon) -> Result<bool> {
    const SECOND_NS: u64 = 1_000_000_000;
    let wall_ns = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?;
    let now_ns = now_ns();
    let mut rules = daemon.maps().context("no maps")?.hooks.into_iter().flat_map(|hook| hook.rules);
    Ok(rules.all(|entry| {
        let (from_ns, until_ns) = (entry.rule.active_from_ns, entry.rule.active_until_ns);
        // Half a second is for reading two clocks.
        let opens_ns = (wall_ns + from_ns).saturating_sub(now_ns) + SECOND_NS / 2;
        until_ns - from_ns == 600 * SECOND_NS && opens_ns % (3600 * SECOND_NS) < SECOND_NS
    }))
}

#[test]
fn every_example_is_accepted_and_has_an_effect() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let Cast { web, db, network, .. } = &*cast;
    let dns = stage.run("dns", "app=dns", network)?;
    // Whatever comes in is none of their business, and gets no answer.
    let upstream = Ipv4Addr::new(192, 0, 2, 9).into();
    let daemon = stage.installation.start(&[])?;
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    let mut count = 0;
    for entry in fs::read_dir(&examples).with_context(|| examples.display().to_string())? {
        let file = entry?.path();
        let text = fs::read_to_string(&file)?;
        let names = names(&text);
        ensure!(!names.is_empty(), "{} names no policy", file.display());
        stage.installation.write("example.toml", &text)?;
        count += 1;
        if is_timed(&text) && !Netns::kernel_has_qdisc("fq")? {
            for policy in &names {
                daemon.await_log(&format!("policy {policy} on container"))?;
            }
            daemon.await_log("unsupported: sch_fq missing")?;
            continue;
        }
        until_true(&format!("{names:?} in force"), patience(10), || {
            let in_force = daemon.maps().is_some()
                && hit_by_policy(&daemon)?.into_keys().eq(names.iter().cloned());
            Ok(in_force)
        })?;
        for policy in &names {
            let log = daemon.log();
            ensure!(
                !log.contains(&format!("policy {policy} matches no")),
                "{policy} matches nobody"
            );
        }
        if text.contains("cron =") {
            ensure!(opens_at_the_hour(&daemon)?, "{names:?} is in force at other times");
            continue;
        }
        send(web, db, db.at.v4.into())?;
        send(db, &dns, dns.at.v4.into())?;
        send(web, db, upstream)?;
        until_true(&format!("{names:?} do something"), patience(10), || {
            Ok(hit_by_policy(&daemon)?.values().all(|hit| *hit > 0))
        })?;
        println!("{}: {:?}", file.display(), hit_by_policy(&daemon)?);
    }
    ensure!(count >= 10, "only {count} examples");
    assert!(!daemon.log().contains("ERROR"), "{}", daemon.log());
    daemon.stop()
}
