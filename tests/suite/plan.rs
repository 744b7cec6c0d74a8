//! `entropyctl plan` beside real containers.

use anyhow::{Context as _, Result, ensure};
use entropy_tests::snapshot::Snapshot;

use crate::stage::{Cast, stage};

const POLICIES: &str = "\
[[policy]]
name = 'far-db'
target = 'app=db'
delay = '80ms'

[[policy]]
name = 'no-way-to-web'
target = 'app=web'
direction = 'ingress'
match = { peer = 'app=db' }
partition = true

[[policy]]
name = 'for-nobody'
target = 'app=nobody'
loss = '2%'
";

#[test]
fn a_plan_names_who_would_be_hit_and_how_and_changes_nothing() -> Result<()> {
    let stage = stage!();
    let cast = stage.cast()?;
    let Cast { web, db, .. } = &*cast;
    stage.installation.write("plan.toml", POLICIES)?;
    let policies = stage.installation.policies();
    let policies = policies.to_str().context("the directory has a strange name")?;
    let before = Snapshot::take()?;
    let plan = |more: &[&str]| {
        let arguments = [&["plan", "--docker", stage.docker.host(), policies], more].concat();
        let output = stage.installation.entropyctl(&arguments)?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    };
    let document: serde_json::Value = serde_json::from_str(&plan(&["--output", "json"])?)?;
    let row = |policy: &str, container: &str, direction: &str| {
        let rows = document["injections"].as_array().into_iter().flatten();
        let mut rows = rows.filter(|row| {
            row["policy"] == policy
                && row["container"] == container
                && row["direction"] == direction
        });
        rows.next().cloned().with_context(|| format!("no {policy} in {document:#}"))
    };
    for direction in ["egress", "ingress"] {
        let row = row("far-db", db.container.name(), direction)?;
        let interface = row["interface"].as_str().unwrap_or_default();
        assert!(interface.starts_with("veth"), "{row:#}");
        assert_eq!(row["packets"]["lost"], 0);
        assert_eq!(row["packets"]["delay"]["p50_ns"], 80_000_000);
    }
    let cut = row("no-way-to-web", web.container.name(), "ingress")?;
    assert_eq!(
        (&cut["packets"]["lost"], &cut["peer"]),
        (&cut["packets"]["asked"], &"app=db".into())
    );
    assert!(row("no-way-to-web", web.container.name(), "egress").is_err());
    assert_eq!(document["without_container"], serde_json::json!(["for-nobody"]));
    let exchanges = document["exchanges"].as_array().context("no exchanges")?;
    let of_db = exchanges.iter().find(|exchange| exchange["container"] == db.container.name());
    let of_db = of_db.context("no exchange with db")?;
    assert_eq!(of_db["connected"]["p50_ns"], 160_000_000);
    assert_eq!(of_db["answered"]["p99_ns"], 320_000_000);

    let text = plan(&[])?;
    for part in ["far-db", "80ms", "160ms", "peer app=db", "for-nobody: no running container"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    println!("{text}");
    before.assert_restored()
}
