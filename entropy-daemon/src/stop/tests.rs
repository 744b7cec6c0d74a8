use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;
use crate::settings::Settings;

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
fn so_many_failures_in_a_row_trip_once_and_again_after_a_good_one() {
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
    assert_eq!(feed(&[true, false, false, false]), [false, false, false, true]);
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

#[tokio::test]
async fn a_rule_that_breaks_is_reported_with_its_reason() {
    let address = server(&[GOOD, BAD, BAD]).await;
    let rule = rule(&format!("name = \"shop\"\nhttp = \"http://{address}\"\nfailures = 2"));
    let (_checks, mut reports) = Checks::start(&[rule]);
    let tripped = reports.recv().await.unwrap();
    let reason = format!("{address} answers with status 503");
    assert_eq!(tripped, Tripped { rule: "shop".into(), reason, failures: 2 });
}

#[tokio::test]
async fn without_rules_nothing_is_ever_reported() {
    let (_checks, mut reports) = Checks::start(&[]);
    let waited = timeout(Duration::from_millis(50), reports.recv()).await;
    assert!(waited.is_err(), "{waited:?}");
}
