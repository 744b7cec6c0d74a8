//! Labels of other people's images: what they hold is text, whatever it looks like.

use anyhow::{Context as _, Result, ensure};
use entropy_tests::random::{Random, seed};

use crate::stage::{Running, stage};

/// Labels of one container.
const LABELS: usize = 500;

/// A label's key and value, both with parts that mean something elsewhere; executed, they make `marker`.
fn label(random: &mut Random, number: usize, marker: &str) -> (String, String) {
    let command = format!("$(touch {marker})");
    let back_ticks = format!("`touch {marker}`");
    let words = format!("; touch {marker};");
    let parts = [
        &*command,
        &back_ticks,
        &words,
        "../../../../etc/passwd",
        "/etc/entropy/policies/x.toml",
        "%s%n%x",
        "{{.Config}}",
        "\u{1b}[2J\u{1b}]0;title\u{7}",
        "\u{202e}gnol\u{2066}",
        "\u{200f}\u{feff}",
        "\r\n[[policy]]",
        "\u{0}",
        "\"}],\"x\":[{\"",
        "'; DROP TABLE",
        "app=web,tier=db",
        "e\u{301}\u{1f4a5}",
    ];
    let mut text = || {
        let count = 1 + random.below(4) as usize;
        (0..count).map(|_| random.pick(&parts)).collect::<String>()
    };
    let (key, mut value) = (format!("{number}{}", text()), text());
    if number == 0 {
        value = value.repeat(65_536 / value.len() + 1);
    }
    (key, value)
}

/// Whether a terminal would show something else than the letters of a text.
fn is_readable(text: &str) -> bool {
    let bad =
        |c: char| c.is_control() && c != '\n' || "\u{202e}\u{2066}\u{200f}\u{feff}".contains(c);
    !text.contains(bad)
}

#[test]
fn labels_are_text_and_nothing_else() -> Result<()> {
    let stage = stage!();
    let marker = stage.installation.directory().join("executed");
    let text = marker.to_str().context("a path that is text")?;
    let mut random = Random::new(seed());
    let mut labels: Vec<(String, String)> =
        (0..LABELS).map(|number| label(&mut random, number, text)).collect();
    labels.push(("app".into(), "hostile".into()));
    labels.push(("shell".into(), format!("$(touch {text})")));
    // Docker takes nearly anything as a network's name, and few letters only in a container's.
    let named = format!("$(touch {text}); ../\u{1b}[2J\u{202e}%s\r\n");
    let network = &stage.docker.network(&named, 9)?;
    let sleep = ["/bin/sleep", "3600"];
    let container = stage.docker.create_labelled("hostile", &labels, network.name(), &sleep)?;
    container.start()?;
    let web = Running::new(container, network)?;
    stage.policy("plain", "target = 'app=hostile'\nloss = '1%'")?;
    stage.policy("shell", &format!("target = 'shell=$(touch {text})'\nloss = '1%'"))?;
    let daemon = stage.installation.start(&[])?;
    daemon.await_on("plain", &web.at)?;
    daemon.await_on("shell", &web.at)?;
    let file = stage.installation.policies().join("shell.toml");
    let file = file.to_str().context("a path that is text")?;
    for arguments in [
        &["get", "containers"][..],
        &["get", "policies"],
        &["get", "injections"],
        &["describe", "shell"],
        &["status"],
        &["map", "dump"],
        &["plan", "--docker", stage.docker.host(), file],
    ] {
        let output = stage.installation.entropyctl(arguments)?;
        let text = String::from_utf8(output.stdout)?;
        ensure!(output.status.success(), "{arguments:?}: {text}");
        assert!(is_readable(&text), "{arguments:?}: {text:?}");
        assert!(text.len() < 20_000, "{arguments:?}: {} bytes", text.len());
    }
    assert!(is_readable(&daemon.log()), "{:?}", daemon.log());
    assert!(!marker.exists(), "a label was executed");
    daemon.stop()
}
