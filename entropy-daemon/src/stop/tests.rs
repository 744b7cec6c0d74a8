use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;
use crate::{runtime::Runtime, settings::Settings};

fn rule(text: &str) -> StopRule {
    let text = format!("[[stop]]\n{text}\nevery = \"100ms\"\ntimeout = \"2s\"\n");
    let settings = Settings::parse("test.toml".as_ref(), text.as_bytes());
    settings.unwrap().stop.remove(0)
}

/// A server that gives each connection the next of some answers, and the last one for ever.
async fn server(answers: &'static [&'static str]) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for number in 0.. {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            let answer = answers[usize::min(number, answers.len() - 1)];
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

const GOOD: &str = "HTTP/1.1 204 No Content\r\n\r\n";
const BAD: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";

#[test]
fn so_many_failures_in_a_row_trip_and_so_many_more_trip_again() {
    let rule = rule("tcp = \"a:1\"\nfailures = 3");
    let mut streak = Streak::default();
    let mut feed = |results: &[bool]| -> Vec<bool> {
        let note = |good: &bool| {
            let result = if *good { Ok(()) } else { Err("down".to_owned()) };
            streak.note(&rule, result).is_some()
        };
        results.iter().map(note).collect()
    };
    assert_eq!(feed(&[false, false, true]), [false; 3]);
    assert_eq!(feed(&[false, false, false, false]), [false, false, true, false]);
    assert_eq!(feed(&[false, false, true, false, false]), [false, true, false, false, false]);
}

#[tokio::test]
async fn a_page_is_good_by_its_status() {
    let address = server(&[GOOD, BAD, "nonsense\r\n\r\n"]).await;
    let rule = rule(&format!("http = \"http://{address}/health\""));
    assert_eq!(once(&rule).await, Ok(()));
    let bad = once(&rule).await.unwrap_err();
    assert_eq!(bad, format!("{address} answers with status 503"));
    let nonsense = once(&rule).await.unwrap_err();
    assert!(nonsense.starts_with(&format!("ask {address}: ")), "{nonsense}");
}

#[tokio::test]
async fn a_port_is_good_while_somebody_listens() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let rule = rule(&format!("tcp = \"{address}\""));
    assert_eq!(once(&rule).await, Ok(()));
    drop(listener);
    let refused = once(&rule).await.unwrap_err();
    assert!(refused.starts_with(&format!("connect to {address}: ")), "{refused}");
}

#[tokio::test]
async fn a_service_that_is_silent_has_failed_after_the_timeout() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let rule = StopRule {
        timeout: Span::new(100_000_000),
        ..rule(&format!("http = \"http://{address}/\""))
    };
    assert_eq!(once(&rule).await, Err("no answer within 100ms".into()));
}

/// A brake without a kernel, and where it notes what it does.
fn brake() -> (tempfile::TempDir, Arc<Brake>) {
    let directory = tempfile::tempdir().unwrap();
    let brake = Brake::new(Runtime::at(directory.path()), None);
    (directory, Arc::new(brake))
}

/// What everything is halted for, once it is.
async fn halted(brake: &Brake) -> String {
    let halted = async {
        loop {
            brake.changed().await;
            // It may be an old change.
            if let Some(halted) = brake.halted() {
                return halted.reason;
            }
        }
    };
    timeout(Duration::from_secs(20), halted).await.unwrap()
}

#[tokio::test]
async fn a_rule_that_breaks_halts_everything_and_again_after_a_resume() {
    let address = server(&[GOOD, BAD]).await;
    let rule = rule(&format!("name = \"shop\"\nhttp = \"http://{address}\"\nfailures = 2"));
    let (_directory, brake) = brake();
    let checks = Checks::start(&[rule], &brake);
    checks.need(true);
    let reason =
        format!("stop rule shop, 2 failures in a row, the last: {address} answers with status 503");
    for _ in 0..2 {
        assert_eq!(halted(&brake).await, reason);
        assert!(brake.release().unwrap());
    }
}

#[tokio::test]
async fn while_nothing_is_in_force_or_all_is_halted_nothing_is_checked() {
    let address = server(&[BAD]).await;
    let rule = rule(&format!("http = \"http://{address}\"\nfailures = 1"));
    let (_directory, brake) = brake();
    let checks = Checks::start(&[rule], &brake);
    let wait = || tokio::time::sleep(Duration::from_millis(300));
    wait().await;
    assert_eq!(brake.halted(), None, "nothing is in force");
    brake.halt("lunch").unwrap();
    checks.need(true);
    wait().await;
    assert_eq!(brake.halted().unwrap().reason, "lunch");
    brake.release().unwrap();
    halted(&brake).await;
    checks.need(false);
    brake.release().unwrap();
    wait().await;
    assert_eq!(brake.halted(), None, "nothing is in force any more");
}
