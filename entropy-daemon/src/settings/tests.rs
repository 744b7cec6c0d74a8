use super::*;

fn parse(text: &str) -> Result<Settings, String> {
    Settings::parse(Path::new("entropyd.toml"), text.as_bytes())
        .map_err(|problems| problems.to_string())
}

fn wrong(text: &str) -> String {
    parse(text).unwrap_err()
}

#[test]
fn an_empty_file_and_a_missing_one_hold_the_defaults() {
    assert_eq!(parse("").unwrap(), Settings::default());
    let nowhere = Path::new("/nonexistent/entropyd.toml");
    assert_eq!(Settings::load(nowhere, false).unwrap(), Settings::default());
    let named = Settings::load(nowhere, true).unwrap_err().to_string();
    assert_eq!(named, "read /nonexistent/entropyd.toml");
    let ports: Vec<_> = Guard::default().host_ports.iter().map(ToString::to_string).collect();
    assert_eq!(ports, ["22", "2375-2376"]);
}

#[test]
fn every_key_is_read() {
    let settings = parse(
        r#"
        [guard]
        protect = ["app=payments", "tier=control"]
        protect_peers = ["10.0.0.0/8", "!10.1.0.0/16"]
        host_ports = [22]
        opt_in = "chaos=allowed"
        max_share = "50%"
        max_duration = "1h"

        [[stop]]
        name = "shop answers"
        http = "http://shop.test:8080/health?deep=1"
        status = "200-399"
        every = "1s"
        timeout = "500ms"
        failures = 2

        [[stop]]
        tcp = "[::1]:5432"
        "#,
    )
    .unwrap();
    let Settings { guard, stop } = settings;
    assert_eq!(
        guard.protect.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["app=payments", "tier=control"]
    );
    let peers: Vec<_> = guard.protect_peers.iter().map(ToString::to_string).collect();
    assert_eq!(peers, ["10.0.0.0/8", "!10.1.0.0/16"]);
    assert_eq!(guard.host_ports, [PortRange { first: 22, last: 22 }]);
    assert_eq!(guard.opt_in.unwrap().to_string(), "chaos=allowed");
    assert_eq!(guard.max_share.unwrap().to_string(), "50%");
    assert_eq!(guard.max_duration.unwrap().to_string(), "1h");
    let [shop, database] = &stop[..] else { panic!("{stop:?}") };
    assert_eq!(shop.name, "shop answers");
    assert_eq!(
        shop.check,
        Check::Http {
            authority: "shop.test:8080".into(),
            target: "/health?deep=1".into(),
            status: (200, 399)
        }
    );
    assert_eq!((shop.every.to_string(), shop.timeout.to_string()), ("1s".into(), "500ms".into()));
    assert_eq!(shop.failures, 2);
    assert_eq!(database.name, "tcp [::1]:5432");
    assert_eq!(database.check, Check::Tcp(Address::Numeric("[::1]:5432".parse().unwrap())));
    assert_eq!((database.every.to_string(), database.failures), ("5s".into(), 3));
}

#[test]
fn one_selector_needs_no_list_and_ports_can_be_none() {
    let guard = parse("[guard]\nprotect = \"app=payments\"\nhost_ports = []").unwrap().guard;
    assert_eq!((guard.protect.len(), guard.host_ports.len()), (1, 0));
}

#[test]
fn an_address_without_port_or_path_is_completed() {
    let stop = parse("[[stop]]\nhttp = \"http://10.0.0.1\"").unwrap().stop;
    let Check::Http { authority, target, status } = &stop[0].check else { panic!() };
    assert_eq!((&**authority, &**target, *status), ("10.0.0.1:80", "/", (200, 299)));
    assert_eq!(stop[0].name, "http://10.0.0.1:80/");
}

#[test]
fn all_mistakes_are_told_with_place_and_remedy() {
    let text = "[guard]\nprotekt = \"a\"\nmax_share = \"0%\"\nhost_ports = [0, \"9-8\"]\n\n\
                [[stop]]\nhttp = \"https://x\"\n\n[[stop]]\ntcp = \"x\"\nevery = \"1ms\"\n";
    let expected = "\
entropyd.toml:2:1: guard.protekt: unknown key
  help: did you mean \"protect\"?
entropyd.toml:3:13: guard.max_share: 0 % of the containers is none
  help: write the largest share, such as \"50%\"; to allow no fault at all, use opt_in
entropyd.toml:4:15: guard.host_ports[0]: 0 is no port
  help: ports are 1 to 65535
entropyd.toml:7:8: stop[0].http: HTTPS is not possible
  help: check a plain HTTP address of the service, or its port with tcp = \"HOST:443\"
entropyd.toml:10:7: stop[1].tcp: \"x\" is no host and port
  help: write host and port, such as \"127.0.0.1:5432\"
entropyd.toml:11:9: stop[1].every: 1ms is too short
  help: write 100ms or more";
    assert_eq!(wrong(text), expected);
}

#[test]
fn a_stop_rule_checks_one_thing() {
    assert!(wrong("[[stop]]\nname = \"x\"").contains("stop[0]: checks nothing"));
    let both = "[[stop]]\nhttp = \"http://a\"\ntcp = \"a:1\"";
    assert!(wrong(both).contains("has both http and tcp"));
    assert!(wrong("[[stop]]\ntcp = \"a:1\"\nstatus = 200").contains("has a status but no http"));
    let twice = "[[stop]]\ntcp = \"a:1\"\n[[stop]]\ntcp = \"a:1\"";
    assert!(wrong(twice).contains("there is another stop rule called \"tcp a:1\""));
}

#[test]
fn hostile_texts_are_refused_and_shown_harmlessly() {
    for address in [
        "http://a\\r\\nHost: b",
        "http://user@host",
        "http://a/ b",
        "http://a/\\u0007",
        "http://",
        "ftp://a",
        "http://a:99999/",
    ] {
        let text = wrong(&format!("[[stop]]\nhttp = \"{address}\""));
        assert!(!text.contains(['\r', '\u{7}']), "{text:?}");
    }
    assert!(wrong("policy = 1").contains("policies are in files of their own"));
    assert!(wrong("guard = 1").contains("must be a table"));
}
