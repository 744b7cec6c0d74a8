//! The main job, shown: what was asked, and what containers measured before, during and after.

mod ping;

use std::{
    fmt::Write as _,
    fs,
    net::IpAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use entropy_daemon::datapath::inspect;

use self::ping::{Measure, Pings};
use crate::{
    daemon::Installation,
    docker::{Container, Docker, Interface},
    netns::Netns,
    snapshot::Snapshot,
    threads::outcome,
    wait::{patience, until_true},
};

/// Pings per measurement, and the time between two of them in seconds.
const PINGS: u64 = 200;
const INTERVAL: &str = "0.01";

/// A policy that is shown, and what it should do to the pings between containers.
struct Scene {
    title: &'static str,
    policy: &'static str,
    measure: Measure,
    paths: &'static [Path],
}

/// Pings from one container to another.
#[derive(Clone, Copy)]
struct Path {
    from: usize,
    to: usize,
    v6: bool,
    /// What should be measured, in the unit of the scene.
    asked: u64,
}

const WEB: usize = 0;
const DB: usize = 1;
const OTHER: usize = 2;
const LABELS: [&str; 3] = ["app=web", "app=db", "app=other"];

const fn path(from: usize, to: usize, v6: bool, asked: u64) -> Path {
    Path { from, to, v6, asked }
}

const SCENES: [Scene; 4] = [
    Scene {
        title: "loss: 20 % of what web sends vanishes",
        policy: "[[policy]]\nname = \"lossy-web\"\ntarget = \"app=web\"\n\
                 direction = \"egress\"\nloss = \"20%\"\n",
        measure: Measure::Lost,
        paths: &[path(WEB, DB, false, 20), path(WEB, DB, true, 20), path(OTHER, DB, false, 0)],
    },
    Scene {
        title: "latency: what db sends and receives is 40 ms late, give or take 5 ms",
        policy: "[[policy]]\nname = \"far-db\"\ntarget = \"app=db\"\n\
                 delay = { base = \"40ms\", jitter = \"5ms\", distribution = \"normal\" }\n",
        measure: Measure::RoundTrip,
        paths: &[path(WEB, DB, false, 80), path(DB, WEB, true, 80), path(WEB, OTHER, false, 0)],
    },
    Scene {
        title: "reordering: a quarter of what web sends overtakes what was sent before it",
        policy: "[[policy]]\nname = \"jumpy-web\"\ntarget = \"app=web\"\n\
                 direction = \"egress\"\ndelay = \"50ms\"\nreorder = \"25%\"\n",
        measure: Measure::Overtaking,
        paths: &[path(WEB, DB, false, 25), path(WEB, DB, true, 25), path(DB, OTHER, false, 0)],
    },
    Scene {
        title: "partition: web and db cannot reach one another",
        policy: "[[policy]]\nname = \"web-from-db\"\ntarget = \"app=web\"\n\
                 match = { peer = \"app=db\" }\npartition = true\n",
        measure: Measure::Lost,
        paths: &[
            path(WEB, DB, false, 100),
            path(DB, WEB, true, 100),
            path(WEB, OTHER, false, 0),
            path(OTHER, DB, true, 0),
        ],
    },
];

struct Stage {
    containers: Vec<Container>,
    interfaces: Vec<Interface>,
}

/// Runs the demonstration on the engine of `DOCKER_HOST` and returns the exit code: 0 when everything
/// that was measured is as asked and nothing is left behind.
///
/// # Errors
/// When something cannot be started.
pub fn run() -> Result<u8> {
    let mut installation = Installation::new()?;
    let docker = Docker::from_env()?.context("the demonstration needs DOCKER_HOST")?;
    installation.follow(docker.host());
    say(&format!("Linux {}, three containers on a network of their own", release()?));
    let network = docker.network("demo", 77)?;
    let containers: Vec<Container> = LABELS
        .iter()
        .map(|label| docker.run(&format!("demo-{}", name(label)), label, &network))
        .collect::<Result<_>>()?;
    let interfaces: Vec<Interface> =
        containers.iter().map(|container| container.interface(&network)).collect::<Result<_>>()?;
    let stage = Stage { containers, interfaces };
    let before = Snapshot::take()?;

    say("entropyd starts");
    let daemon = installation.start(&[])?;
    let mut table = String::new();
    let mut right = true;
    let has_queue = Netns::kernel_has_qdisc("fq")?;
    for scene in &SCENES {
        if scene.measure.needs_queue() && !has_queue {
            say(&format!("not shown, as this kernel has no sch_fq: {}", scene.title));
            continue;
        }
        right &= play(scene, &installation, &stage, &mut table)
            .with_context(|| format!("the daemon's log:\n{}", daemon.log()))?;
    }
    say("entropyd stops");
    daemon.stop()?;
    before.assert_restored().context("something was left behind")?;
    println!("\n{}", table.trim_end());
    println!(
        "\nNothing is left behind: links, qdiscs, filters, programs, maps and pins are as before."
    );
    Ok(u8::from(!right))
}

fn name(label: &str) -> &str {
    label.split_once('=').map_or(label, |(_, value)| value)
}

fn release() -> Result<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").context("read the release")?;
    Ok(release.trim().to_owned())
}

fn say(text: &str) {
    println!("demo: {text}");
}

/// Plays one scene and adds its rows to the table. Returns whether all was as asked.
fn play(
    scene: &Scene,
    installation: &Installation,
    stage: &Stage,
    table: &mut String,
) -> Result<bool> {
    say(scene.title);
    let before = measure(scene, stage)?;
    installation.write("demo.toml", scene.policy)?;
    await_rules(true)?;
    let during = measure(scene, stage)?;
    installation.remove("demo.toml")?;
    await_rules(false)?;
    let after = measure(scene, stage)?;

    writeln!(table, "{}\n", scene.title)?;
    for line in scene.policy.lines() {
        writeln!(table, "    {line}")?;
    }
    writeln!(
        table,
        "\n  {:<22}{:>8}{:>10}{:>10}{:>10}",
        scene.measure.title(),
        "asked",
        "before",
        "during",
        "after"
    )?;
    let mut right = true;
    for (number, path) in scene.paths.iter().enumerate() {
        let pings = [&before[number], &during[number], &after[number]];
        let good = scene.measure.is_as_asked(path.asked, pings);
        right &= good;
        let route = format!(
            "{} to {}, {}",
            name(LABELS[path.from]),
            name(LABELS[path.to]),
            if path.v6 { "IPv6" } else { "IPv4" }
        );
        let [before, during, after] = pings.map(|pings| scene.measure.show(pings));
        writeln!(
            table,
            "  {route:<22}{:>6} {:<2}{before:>9}{during:>10}{after:>10}{}",
            path.asked,
            scene.measure.unit(),
            if good { "" } else { "  not as asked" }
        )?;
    }
    writeln!(table)?;
    Ok(right)
}

/// Waits until the kernel has rules, or none.
fn await_rules(wanted: bool) -> Result<()> {
    until_true("the kernel's rules to change", patience(10), || {
        let snapshot = inspect::read()?.context("nothing is pinned")?;
        Ok(snapshot.hooks.is_empty() != wanted)
    })
}

/// Pings along all paths at the same time.
fn measure(scene: &Scene, stage: &Stage) -> Result<Vec<Pings>> {
    let start = Instant::now();
    let pings = thread::scope(|scope| {
        let pings: Vec<_> =
            scene.paths.iter().map(|path| scope.spawn(move || ping(stage, path))).collect();
        pings.into_iter().map(|ping| outcome(ping.join())).collect::<Result<Vec<Pings>>>()
    })?;
    if start.elapsed() > Duration::from_secs(30) {
        say("(a slow machine: the pings took longer than they should)");
    }
    Ok(pings)
}

fn ping(stage: &Stage, path: &Path) -> Result<Pings> {
    let to = &stage.interfaces[path.to];
    let (family, address) = match path.v6 {
        false => ("-4", IpAddr::from(to.v4)),
        true => ("-6", IpAddr::from(to.v6)),
    };
    let count = PINGS.to_string();
    let command = ["ping", family, "-c", &count, "-i", INTERVAL, "-W", "1", &address.to_string()];
    Pings::read(&stage.containers[path.from].exec(&command)?, PINGS)
}
