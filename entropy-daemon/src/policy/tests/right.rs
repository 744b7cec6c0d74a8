//! Files as they should be, in all the forms there are.

use std::path::Path;

use crate::policy::{
    Chance, Corrupt, Delay, DelayTime, Direction, Distribution, Faults, LengthRange, Link, Loss,
    LossModel, Match, Partition, Peer, Percentiles, Policy, PortRange, Protocol, Queue, Rate,
    Reorder, Size, Slot, SlotTime, Span, TcpFlags, parse,
};

fn policies(text: &str) -> Vec<Policy> {
    parse(Path::new("etc/web.toml"), text.as_bytes()).unwrap_or_else(|p| panic!("{text}\n{p}"))
}

/// The policy with these lines besides its target and loss.
fn with(lines: &str) -> Policy {
    let text = format!("[[policy]]\ntarget = \"app=web\"\nloss = \"2%\"\n{lines}\n");
    policies(&text).remove(0)
}

fn rate(text: &str) -> Rate {
    text.parse().unwrap()
}

fn ms(number: u64) -> Span {
    Span::new(number * 1_000_000)
}

fn random(text: &str, correlation: &str) -> Chance {
    Chance { rate: rate(text), correlation: rate(correlation) }
}

fn plain(text: &str) -> Loss {
    Loss { model: LossModel::Random(random(text, "0%")), ecn: false, per_segment: false }
}

/// The faults of a policy with this line and nothing else.
fn faults(line: &str) -> Faults {
    policies(&format!("[[policy]]\ntarget = \"app=web\"\n{line}\n")).remove(0).faults
}

#[test]
fn files_without_keys_have_no_policies() {
    for text in ["", "\n\n", "# nothing\n", "\u{feff}", "\u{feff}# nothing", "policy = []"] {
        assert_eq!(policies(text), [], "{text:?}");
    }
}

#[test]
fn the_least_policy_gets_a_name_and_the_defaults() {
    let policy = with("");
    assert_eq!(policy.name, "web-1");
    assert_eq!(policy.origin.to_string(), "etc/web.toml:1");
    assert_eq!(policy.target.to_string(), "app=web");
    assert_eq!((policy.direction, policy.seed), (Direction::Both, None));
    assert_eq!(policy.matcher, Match::default());
    assert_eq!(policy.faults, Faults { loss: Some(plain("2%")), ..Faults::default() });
}

#[test]
fn a_target_may_be_a_table_of_labels_names_and_a_choice() {
    for (target, shown) in [
        ("{ labels = 'app=web' }", "app=web"),
        ("{ name = 'shop-*' }", "name shop-*"),
        ("{ name = ['a', 'b?'], pick = 1 }", "1 of name a or b?"),
        ("{ labels = 'app=web,tier', name = '*', pick = '50%' }", "50% of app=web,tier, name *"),
    ] {
        let text = format!("[[policy]]\ntarget = {target}\nloss = '2%'\n");
        assert_eq!(policies(&text)[0].target.to_string(), shown);
    }
}

#[test]
fn schedules_have_dice_or_pulses_or_times_of_day_a_start_and_an_end() {
    for (schedule, shown) in [
        ("{ every = '10m' }", "every 10m"),
        ("{ every = '10m', duration = '30s', probability = 0.3 }", "30s every 10m, with 30%"),
        ("{ every = '10m', probability = 0.0005 }", "every 10m, with 0.05%"),
        ("{ every = '10m', probability = 1.0 }", "every 10m"),
        ("{ every = '10m', probability = '12.5%' }", "every 10m, with 12.5%"),
        ("{ on = '200ms', off = '800ms' }", "200ms every 1s"),
        (
            "{ cron = '0  9-17 * * mon-fri', zone = 'europe/berlin', duration = '10m' }",
            "10m at 0 9-17 * * mon-fri (Europe/Berlin)",
        ),
        (
            "{ cron = '@daily', duration = '1h', probability = 0.5, for = '48h' }",
            "1h at @daily (UTC), with 50%, for 48h",
        ),
        ("{ for = '1h' }", "for 1h"),
        ("{ start = 2026-12-01T10:00:00+01:00 }", "from 2026-12-01T09:00:00Z"),
        ("{ start = '2026-12-01T09:00:00Z', for = '90s' }", "from 2026-12-01T09:00:00Z, for 90s"),
    ] {
        let text = format!("[[policy]]\ntarget = 'app'\nloss = '2%'\nschedule = {schedule}\n");
        assert_eq!(policies(&text)[0].schedule.as_ref().unwrap().to_string(), shown);
    }
    assert_eq!(with("").schedule, None);
}

#[test]
fn a_ramp_says_from_where_how_long_and_in_which_steps() {
    for (lines, shown) in [
        ("ramp = { over = '5m', from = { loss = '0%' } }", "ramp from loss 0% over 5m, each 3s"),
        (
            "delay = { base = '80ms', jitter = '20ms' }\nduplicate = '1%'\n\
             ramp = { over = '90s', step = '30s', from = { delay = { base = '10ms', jitter = '5ms' }, \
             duplicate.rate = '0%' } }",
            "ramp from delay 10ms ±5ms, duplicate 0% over 90s, each 30s",
        ),
        (
            "rate = '1mbit'\n[policy.ramp]\nover = '24h'\nfrom.rate = '10mbit'",
            "ramp from rate 10mbit over 24h, each 864s",
        ),
    ] {
        assert_eq!(with(lines).ramp.unwrap().to_string(), shown);
    }
    assert_eq!(with("").ramp, None);
}

#[test]
fn a_full_policy_has_all_its_parts() {
    let policy = policies(
        "\u{feff}# comment\r\n[[policy]]\r\nname = 'slow-db.2_x'\r\ntarget = 'app=db,!old'\r\n\
         direction = \"egress\"\r\nmatch = { peer = \"app=web\", protocol = \"tcp\", port = 5432 }\r\n\
         seed = 0\r\npartition = true\r\n",
    )
    .remove(0);
    assert_eq!((&*policy.name, policy.origin.line), ("slow-db.2_x", 2));
    assert_eq!(policy.direction, Direction::Egress);
    assert_eq!(policy.seed, Some(0));
    let expected = Match {
        peer: Some(Peer::Containers("app=web".parse().unwrap())),
        protocol: Some(Protocol::Tcp),
        port: Some(PortRange { first: 5432, last: 5432 }),
        ..Match::default()
    };
    assert_eq!(policy.matcher, expected);
    let partition = Some(Partition::Everything);
    assert_eq!(policy.faults, Faults { partition, ..Faults::default() });
}

#[test]
fn every_form_of_toml_for_the_same_means_the_same() {
    let table = with("match = { port = 443 }\n");
    for lines in ["match.port = 443", "[policy.match]\nport = 443", "\"match\".port = 0x1bb"] {
        assert_eq!(with(lines), table, "{lines}");
    }
    let mut inline = policies("policy = [{ target = \"app=web\", loss.rate = \"2.0%\" }]");
    // What was written differs, what it means does not.
    inline[0].origin.written = with("").origin.written;
    assert_eq!(inline, [with("")]);
}

#[test]
fn names_may_have_63_characters_and_are_made_up_where_left_out() {
    let longest = "n".repeat(63);
    assert_eq!(with(&format!("name = \"{longest}\"")).name, longest);
    let text = "[[policy]]\ntarget = \"app\"\npartition = true\n".repeat(3)
        + "name = \"web-1\"\n"
        + "[[policy]]\ntarget = \"app\"\npartition = true\n";
    let names: Vec<_> = policies(&text).into_iter().map(|p| p.name).collect();
    assert_eq!(names, ["web-1-2", "web-2", "web-1", "web-4"]);
}

#[test]
fn peers_are_selectors_addresses_and_networks() {
    let networks = |peer: &str| match with(&format!("match.peer = {peer}")).matcher.peer {
        Some(Peer::Networks(networks)) => {
            networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        }
        other => panic!("{peer}: {other:?}"),
    };
    for (peer, expected) in [
        ("\"10.0.0.0/8\"", "10.0.0.0/8"),
        ("\"10.0.0.1\"", "10.0.0.1/32"),
        ("\"::1\"", "::1/128"),
        ("[\"0.0.0.0/0\", \"::/0\"]", "0.0.0.0/0 ::/0"),
        ("[\"2001:DB8:0::/48\", \"192.0.2.1/32\"]", "2001:db8::/48 192.0.2.1/32"),
    ] {
        assert_eq!(networks(peer), expected);
    }
    for selector in ["app", "v1.2", "com.docker.compose.service=db", "app=10.0.0.1", "beef", "!app"]
    {
        let peer = with(&format!("match.peer = \"{selector}\"")).matcher.peer;
        assert_eq!(peer, Some(Peer::Containers(selector.parse().unwrap())));
    }
}

#[test]
fn protocols_have_names_and_numbers() {
    for (protocol, expected) in [
        ("\"tcp\"", Protocol::Tcp),
        ("\"udp\"", Protocol::Udp),
        ("\"icmp\"", Protocol::Icmp),
        ("\"sctp\"", Protocol::Other(132)),
        ("6", Protocol::Tcp),
        ("17", Protocol::Udp),
        ("1", Protocol::Other(1)),
        ("58", Protocol::Other(58)),
        ("0", Protocol::Other(0)),
        ("255", Protocol::Other(255)),
    ] {
        assert_eq!(with(&format!("match.protocol = {protocol}")).matcher.protocol, Some(expected));
    }
}

#[test]
fn ports_are_single_or_ranges() {
    for (port, first, last) in [
        ("1", 1, 1),
        ("65535", 65535, 65535),
        ("\"8000-8100\"", 8000, 8100),
        ("\"1-65535\"", 1, 65535),
        ("\"80-80\"", 80, 80),
    ] {
        let matcher = with(&format!("match.port = {port}")).matcher;
        assert_eq!(matcher.port, Some(PortRange { first, last }), "{port}");
        assert_eq!(matcher.protocol, None);
    }
}

#[test]
fn bounds_of_seed_and_loss_are_allowed() {
    assert_eq!(with("seed = 9_223_372_036_854_775_807").seed, Some(i64::MAX as u64));
    for (loss, parts) in [("0%", 0), ("100%", 1_u64 << 32), ("0.000000012%", 1)] {
        let text = format!("[[policy]]\ntarget = \"app\"\nloss = \"{loss}\"\npartition = false\n");
        let faults = policies(&text).remove(0).faults;
        assert_eq!(faults.loss, Some(plain(loss)));
        assert_eq!(faults.records().unwrap().loss.p[0].parts(), parts);
        assert_eq!(faults.partition, None);
    }
}

#[test]
fn every_model_of_loss_has_its_form() {
    let state = |list: [&str; 5]| LossModel::State(list.map(rate));
    for (text, model) in [
        ("{ rate = \"2%\" }", LossModel::Random(random("2%", "0%"))),
        ("{ rate = \"2%\", correlation = \"25%\" }", LossModel::Random(random("2%", "25%"))),
        (
            "{ rate = \"2%\", correlation = \"25%\", model = \"netem\" }",
            LossModel::Netem(random("2%", "25%")),
        ),
        ("{ rate = \"2%\", burst = 3 }", LossModel::Bursts { rate: rate("2%"), burst_milli: 3000 }),
        (
            "{ rate = \"2%\", burst = 2.5 }",
            LossModel::Bursts { rate: rate("2%"), burst_milli: 2500 },
        ),
        (
            "{ model = \"gilbert-elliott\", p = \"1%\" }",
            LossModel::GilbertElliott {
                p: rate("1%"),
                r: rate("99%"),
                bad: rate("100%"),
                good: rate("0%"),
            },
        ),
        ("{ model = \"state\", p13 = \"5%\" }", state(["5%", "95%", "0%", "100%", "0%"])),
        (
            "{ model = \"state\", p13 = \"5%\", p31 = \"60%\", p32 = \"10%\", p23 = \"50%\", p14 = \"1%\" }",
            state(["5%", "60%", "10%", "50%", "1%"]),
        ),
        ("{ every = 10 }", LossModel::Every(10)),
        ("{ first = 3 }", LossModel::First(3)),
        ("{ pattern = \"0010\" }", LossModel::Pattern { bits: 0b0100, length: 4 }),
    ] {
        assert_eq!(faults(&format!("loss = {text}")).loss.unwrap().model, model, "{text}");
    }
    assert!(faults("loss = { rate = \"2%\", ecn = true }").loss.unwrap().ecn);
}

#[test]
fn delays_have_base_and_jitter_or_percentiles() {
    let base = |base, jitter, distribution| DelayTime::Base { base, jitter, distribution };
    let list = |points: &[(&str, u64)]| {
        let points = points.iter().map(|(percent, delay)| (rate(percent), ms(*delay)));
        DelayTime::Percentiles(Percentiles(points.collect()))
    };
    let table = "base = \"80ms\", jitter = \"20ms\"";
    for (text, time) in [
        ("\"80ms\"".to_owned(), base(ms(80), ms(0), Distribution::Uniform)),
        ("{ base = \"1m\" }".to_owned(), base(ms(60_000), ms(0), Distribution::Uniform)),
        (format!("{{ {table} }}"), base(ms(80), ms(20), Distribution::Uniform)),
        (
            format!("{{ {table}, distribution = \"paretonormal\" }}"),
            base(ms(80), ms(20), Distribution::ParetoNormal),
        ),
        ("{ p50 = \"20ms\", p99 = \"300ms\" }".to_owned(), list(&[("50%", 20), ("99%", 300)])),
        (
            "{ p999 = \"900ms\", p5 = \"2ms\", p100 = \"1s\", \"p99.5\" = \"500ms\" }".to_owned(),
            list(&[("5%", 2), ("99.5%", 500), ("99.9%", 900), ("100%", 1000)]),
        ),
    ] {
        assert_eq!(faults(&format!("delay = {text}")).delay.unwrap().time, time, "{text}");
    }
    let delay = faults(&format!("delay = {{ {table}, correlation = \"25%\", order = \"keep\" }}"));
    let Delay { correlation, keep_order, .. } = delay.delay.unwrap();
    assert_eq!((correlation, keep_order), (rate("25%"), true));
    assert!(!faults("delay = { base = \"1ms\", order = \"any\" }").delay.unwrap().keep_order);
}

#[test]
fn the_other_faults_have_short_and_long_forms() {
    let reorder = |text: &str| faults(&format!("reorder = {text}")).reorder.unwrap();
    let plain = Reorder { chance: random("5%", "0%"), gap: 1, jump: None };
    assert_eq!(reorder("\"5%\""), plain);
    assert_eq!(
        reorder("{ rate = \"5%\", gap = 3, correlation = \"50%\", jump = \"2ms\" }"),
        Reorder { chance: random("5%", "50%"), gap: 3, jump: Some(ms(2)) }
    );
    let duplicate = |text: &str| faults(&format!("duplicate = {text}")).duplicate.unwrap();
    assert_eq!(duplicate("\"0.5%\""), random("0.5%", "0%"));
    assert_eq!(duplicate("{ rate = \"1%\", correlation = \"9%\" }"), random("1%", "9%"));
    let link = |text: &str| faults(&format!("rate = {text}")).rate.unwrap();
    let ten = link("\"10mbit\"");
    assert_eq!((ten.limit.bits_per_second(), ten.queue), (10_000_000, Queue::Time(ms(200))));
    let full = "{ limit = \"1mbit\", queue = \"64KiB\", burst = \"3kB\", overhead = -14, cell = 48, cell_overhead = 5, ecn = \"20ms\" }";
    let expected = Link {
        limit: "1mbit".parse().unwrap(),
        queue: Queue::Size(Size::new(65_536)),
        burst: Size::new(3000),
        mark: Some(ms(20)),
        overhead: -14,
        cell: 48,
        cell_overhead: 5,
    };
    assert_eq!(link(full), expected);
    assert_eq!(link("{ limit = \"1mbit\", ecn = true }").mark, Some(ms(100)));
    assert_eq!(link("{ limit = \"1mbit\", ecn = false }").mark, None);
    let partition = |text: &str| faults(&format!("loss = \"1%\"\npartition = {text}")).partition;
    assert_eq!(partition("\"new-connections\""), Some(Partition::NewConnections));
    assert_eq!(partition("false"), None);
}

#[test]
fn packets_are_picked_by_what_they_are() {
    let m = |line: &str| with(&format!("match = {{ {line} }}")).matcher;
    let port = |port| Some(PortRange { first: port, last: port });
    assert_eq!(m("local_port = 80, remote_port = 443").local_port, port(80));
    assert_eq!(m("local_port = 80, remote_port = 443").remote_port, port(443));
    assert_eq!(m("tcp_flags = \"syn\"").tcp_flags, Some(TcpFlags { mask: 2, set: 2 }));
    assert_eq!(m("tcp_flags = \"syn,!ack\"").tcp_flags, Some(TcpFlags { mask: 0x12, set: 2 }));
    assert_eq!(m("length = 60").length, Some(LengthRange { first: 60, last: 60 }));
    let range = Some(LengthRange { first: 1000, last: u32::MAX });
    assert_eq!(m("length = \"1000-\"").length, range);
    assert_eq!(m("payload = false").payload, Some(false));
    assert_eq!(m("flows = \"20%\"").flows, Some(rate("20%")));
}

#[test]
fn networks_can_be_left_out_of_a_list() {
    let list = |peer: &str| match with(&format!("match.peer = {peer}")).matcher.peer {
        Some(Peer::Networks(networks)) => {
            networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(list("[\"10.0.0.0/8\", \"!10.1.0.0/16\"]"), "10.0.0.0/8 !10.1.0.0/16");
    assert_eq!(list("\"!10.0.0.1\""), "0.0.0.0/0 ::/0 !10.0.0.1/32");
    assert_eq!(list("[\"!fd00::/8\"]"), "0.0.0.0/0 ::/0 !fd00::/8");
}

#[test]
fn damage_is_found_out_unless_it_is_silent() {
    let corrupt = |text: &str| faults(&format!("corrupt = {text}")).corrupt.unwrap();
    let damage = |rate, correlation, silent| Corrupt { chance: random(rate, correlation), silent };
    assert_eq!(corrupt("\"0.1%\""), damage("0.1%", "0%", false));
    let full = "{ rate = \"1%\", correlation = \"9%\", silent = true }";
    assert_eq!(corrupt(full), damage("1%", "9%", true));
}

#[test]
fn a_loss_is_per_packet_unless_it_says_per_segment() {
    let loss = |more: &str| faults(&format!("loss = {{ rate = \"2%\"{more} }}")).loss.unwrap();
    let per = ["", ", per = \"packet\"", ", per = \"segment\""].map(|m| loss(m).per_segment);
    assert_eq!(per, [false, false, true]);
}

#[test]
fn slots_come_after_a_time_or_between_two() {
    let slot = |text: &str| faults(&format!("slot = {text}")).slot.unwrap();
    let every = |jitter, distribution| SlotTime::Every { every: ms(20), jitter, distribution };
    let plain = Slot {
        time: every(ms(0), Distribution::Uniform),
        packets: None,
        bytes: None,
        queue: ms(60_000),
    };
    assert_eq!(slot("\"20ms\""), plain);
    assert_eq!(slot("{ every = \"20ms\" }"), plain);
    assert_eq!(
        slot("{ every = \"20ms\", jitter = \"5ms\", distribution = \"pareto\", packets = 3 }"),
        Slot { time: every(ms(5), Distribution::Pareto), packets: Some(3), ..plain.clone() }
    );
    assert_eq!(
        slot("{ min = \"1ms\", max = \"9ms\", bytes = \"64KiB\", queue = \"1s\" }"),
        Slot {
            time: SlotTime::Between { min: ms(1), max: ms(9) },
            bytes: Some(Size::new(65_536)),
            queue: ms(1000),
            ..plain
        }
    );
}
