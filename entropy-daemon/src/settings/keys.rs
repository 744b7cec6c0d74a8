//! The keys of the settings file, each with the function that reads it.

use std::path::Path;

use toml::de::DeValue;

use super::{Address, Check, Guard, MAX_HOST_PORTS, Settings, StopRule};
use crate::network::Network;
use crate::policy::file;
use crate::policy::report::{Field, Key, Report, Shape};
use crate::policy::text::quoted;
use crate::policy::validate::{fault, matcher, selector};
use crate::policy::{Mistake, Peer, PortRange, Problems, Rate, Selector, Span};

const GUARD_HELP: &str = "write a table: [guard]";
const STOP_HELP: &str = "begin each stop rule with a line [[stop]]";
const PROTECT_HELP: &str = "write a selector such as \"app=payments\", or a list of them";
const OPT_IN_HELP: &str = "write a selector such as \"chaos=allowed\"";
const PORTS_HELP: &str =
    "write a list of ports and ranges, such as [22, \"2375-2376\"]; [] for none";
const HTTP_HELP: &str = "write an address such as \"http://127.0.0.1:8080/health\"";
const TCP_HELP: &str = "write host and port, such as \"127.0.0.1:5432\"";
const STATUS_HELP: &str = "write a status such as 200, or a range such as \"200-399\"";
const FAILURES_HELP: &str = "write how many failures in a row halt, such as 3";

/// Shortest time between two checks.
const SHORTEST: Span = Span::new(100_000_000);
/// What holds where a stop rule does not say.
const EVERY: Span = Span::new(5_000_000_000);
const TIMEOUT: Span = Span::new(2_000_000_000);
const FAILURES: u32 = 3;
const STATUS: (u16, u16) = (200, 299);

const ROOT: Shape<Settings> = Shape {
    keys: &[
        Key { name: "guard", read: |settings, field, report| guard(settings, field, report) },
        Key { name: "stop", read: |settings, field, report| stop_rules(settings, field, report) },
    ],
    other_versions: &[],
    elsewhere: &[("policy", "policies are in files of their own, in the policy directory")],
};

const GUARD: Shape<Guard> = Shape {
    keys: &[
        Key {
            name: "protect",
            read: |guard, field, report| guard.protect = protect(field, report),
        },
        Key {
            name: "protect_peers",
            read: |guard, field, report| guard.protect_peers = networks(field, report),
        },
        Key {
            name: "host_ports",
            read: |guard, field, report| {
                guard.host_ports = ports(field, report).unwrap_or_default();
            },
        },
        Key { name: "opt_in", read: |guard, field, report| guard.opt_in = opt_in(field, report) },
        Key {
            name: "max_share",
            read: |guard, field, report| guard.max_share = share(field, report),
        },
        Key {
            name: "max_duration",
            read: |guard, field, report| guard.max_duration = fault::quantity(field, report),
        },
    ],
    other_versions: &[],
    elsewhere: &[],
};

/// A stop rule on its way.
#[derive(Default)]
struct Draft {
    name: Option<String>,
    http: Option<(String, String)>,
    tcp: Option<Address>,
    status: Option<(u16, u16)>,
    every: Option<Span>,
    timeout: Option<Span>,
    failures: Option<u32>,
}

const STOP: Shape<Draft> = Shape {
    keys: &[
        Key { name: "name", read: |draft, field, report| draft.name = name(field, report) },
        Key { name: "http", read: |draft, field, report| draft.http = http(field, report) },
        Key { name: "tcp", read: |draft, field, report| draft.tcp = tcp(field, report) },
        Key { name: "status", read: |draft, field, report| draft.status = status(field, report) },
        Key { name: "every", read: |draft, field, report| draft.every = period(field, report) },
        Key { name: "timeout", read: |draft, field, report| draft.timeout = period(field, report) },
        Key {
            name: "failures",
            read: |draft, field, report| {
                let what = ("number of failures", FAILURES_HELP);
                draft.failures = fault::count(field, report, what, 1);
            },
        },
    ],
    other_versions: &[],
    elsewhere: &[],
};

pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Settings, Problems> {
    file::table(path, bytes, &ROOT)
}

fn guard(settings: &mut Settings, field: &Field<'_>, report: &mut Report) {
    let Some(table) = field.value.get_ref().as_table() else {
        return field.not_a(report, "a table", GUARD_HELP);
    };
    GUARD.walk(table, &field.path, &mut settings.guard, report);
}

/// One selector, or a list of them.
fn protect(field: &Field<'_>, report: &mut Report) -> Vec<Selector> {
    let mut one = |field: &Field<'_>| {
        let text = field.string(report, PROTECT_HELP)?;
        selector(field, text, report)
    };
    match field.value.get_ref() {
        DeValue::Array(list) => items(field, list).filter_map(|item| one(&item)).collect(),
        _ => one(field).into_iter().collect(),
    }
}

fn items<'f, 'd>(
    field: &'f Field<'d>,
    list: &'d [toml::Spanned<DeValue<'d>>],
) -> impl Iterator<Item = Field<'d>> + use<'f, 'd> {
    list.iter()
        .enumerate()
        .map(|(index, value)| Field { path: format!("{}[{index}]", field.path), value })
}

fn networks(field: &Field<'_>, report: &mut Report) -> Vec<Network> {
    if !field.value.get_ref().is_array() {
        field.not_a(report, "a list", "write a list of networks such as [\"10.0.0.0/8\"]");
        return Vec::new();
    }
    match matcher::networks(field, report) {
        Some(Peer::Networks(networks)) => networks,
        _ => Vec::new(),
    }
}

fn ports(field: &Field<'_>, report: &mut Report) -> Option<Vec<PortRange>> {
    let DeValue::Array(list) = field.value.get_ref() else {
        field.not_a(report, "a list", PORTS_HELP);
        return None;
    };
    if list.len() > MAX_HOST_PORTS {
        let reason = format!("has {} entries, at most {MAX_HOST_PORTS} are possible", list.len());
        field.wrong(report, Mistake::new(reason, "write neighbours as one range: \"2375-2376\""));
        return None;
    }
    items(field, list).map(|item| matcher::port(&item, report)).collect()
}

fn opt_in(field: &Field<'_>, report: &mut Report) -> Option<Selector> {
    let text = field.string(report, OPT_IN_HELP)?;
    selector(field, text, report)
}

fn share(field: &Field<'_>, report: &mut Report) -> Option<Rate> {
    let share = fault::quantity(field, report)?;
    if share == Rate::NEVER {
        let help = "write the largest share, such as \"50%\"; to allow no fault at all, use opt_in";
        field.wrong(report, Mistake::new("0 % of the containers is none", help));
        return None;
    }
    Some(share)
}

fn stop_rules(settings: &mut Settings, field: &Field<'_>, report: &mut Report) {
    let DeValue::Array(list) = field.value.get_ref() else {
        return field.not_a(report, "a list of tables", STOP_HELP);
    };
    for item in items(field, list) {
        let Some(rule) = stop_rule(&item, report) else { continue };
        if settings.stop.iter().any(|other| other.name == rule.name) {
            let reason = format!("there is another stop rule called {}", quoted(&rule.name));
            item.wrong(report, Mistake::new(reason, "give each its own name"));
        }
        settings.stop.push(rule);
    }
}

fn stop_rule(field: &Field<'_>, report: &mut Report) -> Option<StopRule> {
    let Some(table) = field.value.get_ref().as_table() else {
        field.not_a(report, "a table", STOP_HELP);
        return None;
    };
    let before = report.findings.len();
    let mut draft = Draft::default();
    let present = STOP.walk(table, &field.path, &mut draft, report);
    let mut wrong = |reason: &str, help: &str| {
        report.missing(field.at(), Some(&field.path), Mistake::new(reason, help));
    };
    match (present.has("http"), present.has("tcp")) {
        (false, false) => wrong("checks nothing", "add http = \"...\" or tcp = \"...\""),
        (true, true) => wrong("has both http and tcp", "write one stop rule for each"),
        _ => {}
    }
    if present.has("status") && !present.has("http") {
        wrong("has a status but no http", "remove status: a TCP check has none");
    }
    if report.findings.len() > before {
        return None;
    }
    let (check, usual_name) = match (draft.http, draft.tcp) {
        (Some((authority, target)), _) => {
            let name = format!("http://{authority}{target}");
            (Check::Http { authority, target, status: draft.status.unwrap_or(STATUS) }, name)
        }
        (None, Some(address)) => {
            let name = format!("tcp {address}");
            (Check::Tcp(address), name)
        }
        (None, None) => return None,
    };
    Some(StopRule {
        name: draft.name.unwrap_or(usual_name),
        check,
        every: draft.every.unwrap_or(EVERY),
        timeout: draft.timeout.unwrap_or(TIMEOUT),
        failures: draft.failures.unwrap_or(FAILURES),
    })
}

fn name(field: &Field<'_>, report: &mut Report) -> Option<String> {
    let text = field.string(report, "write a name such as \"shop answers\"")?;
    if text.trim().is_empty() || text.chars().any(char::is_control) || text.len() > 200 {
        let reason = format!("{} is no name", quoted(text));
        let help = "write 1 to 200 characters without control characters";
        field.wrong(report, Mistake::new(reason, help));
        return None;
    }
    Some(text.to_owned())
}

/// Authority and target of a plain HTTP address.
fn http(field: &Field<'_>, report: &mut Report) -> Option<(String, String)> {
    let text = field.string(report, HTTP_HELP)?;
    let wrong = |reason: String, help: &str| Mistake::new(reason, help);
    let address = match text.split_once("://") {
        Some(("http", rest)) => Ok(rest),
        Some(("https", _)) => Err(wrong(
            "HTTPS is not possible".to_owned(),
            "check a plain HTTP address of the service, or its port with tcp = \"HOST:443\"",
        )),
        _ => Err(wrong(format!("{} is no HTTP address", quoted(text)), HTTP_HELP)),
    };
    let address = field.accept(report, address)?;
    let (authority, target) = match address.find(['/', '?']) {
        Some(at) => (&address[..at], &address[at..]),
        None => (address, "/"),
    };
    let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_plain(&target) || target.contains('#') || authority.contains('@') {
        let reason = format!("{} is no HTTP address", quoted(text));
        field.wrong(report, Mistake::new(reason, HTTP_HELP));
        return None;
    }
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let authority = if has_port { authority.to_owned() } else { format!("{authority}:80") };
    field.accept(report, host_and_port(&authority, HTTP_HELP))?;
    Some((authority, target))
}

fn tcp(field: &Field<'_>, report: &mut Report) -> Option<Address> {
    let text = field.string(report, TCP_HELP)?;
    field.accept(report, host_and_port(text, TCP_HELP))
}

fn host_and_port(text: &str, help: &str) -> Result<Address, Mistake> {
    if let Ok(address) = text.parse() {
        return Ok(Address::Numeric(address));
    }
    let is_name = |host: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        !host.is_empty() && host.len() <= 253 && host.chars().all(allowed)
    };
    match text.rsplit_once(':') {
        Some((host, port)) if is_name(host) && port.parse::<u16>().is_ok_and(|port| port > 0) => {
            Ok(Address::Named(text.to_owned()))
        }
        _ => Err(Mistake::new(format!("{} is no host and port", quoted(text)), help)),
    }
}

fn status(field: &Field<'_>, report: &mut Report) -> Option<(u16, u16)> {
    let range = match field.value.get_ref() {
        DeValue::Integer(number) => {
            number.as_str().parse().ok().map(|status: u16| (status, status))
        }
        DeValue::String(text) => text
            .split_once('-')
            .and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?))),
        _ => {
            field.not_a(report, "a status or a range", STATUS_HELP);
            return None;
        }
    };
    let is_status = |status: u16| (100..=599).contains(&status);
    match range {
        Some((first, last)) if is_status(first) && is_status(last) && first <= last => range,
        _ => {
            field.wrong(report, Mistake::new("is no HTTP status or range of them", STATUS_HELP));
            None
        }
    }
}

fn period(field: &Field<'_>, report: &mut Report) -> Option<Span> {
    let span = fault::quantity(field, report)?;
    if span < SHORTEST {
        let reason = format!("{span} is too short");
        field.wrong(report, Mistake::new(reason, format!("write {SHORTEST} or more")));
        return None;
    }
    Some(span)
}
