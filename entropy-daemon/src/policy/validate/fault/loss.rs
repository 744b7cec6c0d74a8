//! `loss`, in all its models.

use toml::de::DeValue;

use super::{chance, count, flag, number_or_table, quantity};
use crate::policy::model::{Loss, LossModel};
use crate::policy::problem::Mistake;
use crate::policy::report::{Field, Key, Report, Shape};
use crate::policy::text::{closest, quoted};
use crate::policy::units::Rate;

const HELP: &str = "write loss = \"2%\" or loss = { rate = \"2%\", burst = 3 }";
const BURST_HELP: &str = "write the mean number of packets lost in a row, such as burst = 3 or 2.5";
const PATTERN_HELP: &str = "write 1 to 64 of 0 and 1, such as \"0010\"; 1 is lost";
const EVERY_HELP: &str = "write every = 10 to lose each tenth packet";
const PER_HELP: &str = "write per = \"segment\" or per = \"packet\"";
const FIRST_HELP: &str = "write first = 3 to lose the first three packets";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Model {
    Netem,
    GilbertElliott,
    State,
}

const MODELS: [(&str, Model); 3] =
    [("netem", Model::Netem), ("gilbert-elliott", Model::GilbertElliott), ("state", Model::State)];

#[derive(Default)]
struct Keys {
    /// All keys that are there, in the order of the file.
    given: Vec<(&'static str, usize)>,
    model: Option<Model>,
    rates: Vec<(&'static str, Rate)>,
    burst_milli: Option<u32>,
    every: Option<u32>,
    first: Option<u64>,
    pattern: Option<(u64, u32)>,
    ecn: bool,
    per_segment: bool,
}

impl Keys {
    fn rate(&self, name: &str) -> Option<Rate> {
        self.rates.iter().find(|(key, _)| *key == name).map(|(_, rate)| *rate)
    }
}

macro_rules! rate_key {
    ($name:literal) => {
        Key {
            name: $name,
            read: |keys, field, report| {
                keys.given.push(($name, field.at()));
                keys.rates.extend(quantity(field, report).map(|rate| ($name, rate)));
            },
        }
    };
}

macro_rules! key {
    ($name:literal, $into:ident, $read:expr) => {
        Key {
            name: $name,
            read: |keys, field, report| {
                keys.given.push(($name, field.at()));
                keys.$into = $read(field, report);
            },
        }
    };
}

const LOSS: Shape<Keys> = Shape {
    keys: &[
        rate_key!("rate"),
        key!("burst", burst_milli, burst),
        rate_key!("correlation"),
        key!("model", model, model),
        rate_key!("p"),
        rate_key!("r"),
        rate_key!("bad"),
        rate_key!("good"),
        rate_key!("p13"),
        rate_key!("p31"),
        rate_key!("p32"),
        rate_key!("p23"),
        rate_key!("p14"),
        key!("every", every, |f, r| count(f, r, ("period", EVERY_HELP), 1)),
        key!("first", first, |f, r| count(f, r, ("number of packets", FIRST_HELP), 1)),
        key!("pattern", pattern, pattern),
        Key {
            name: "ecn",
            read: |keys, field, report| keys.ecn = flag(field, report).unwrap_or_default(),
        },
        Key {
            name: "per",
            read: |keys, field, report| keys.per_segment = per(field, report).unwrap_or_default(),
        },
    ],
    other_versions: &[],
    elsewhere: &[],
};

/// A form of the table: what it is called, the key without which it is none, and those that may be
/// there besides.
struct Form {
    called: &'static str,
    main: &'static str,
    others: &'static [&'static str],
}

const RATE: Form = Form { called: "a plain rate", main: "rate", others: &["burst", "correlation"] };
const EVERY: Form = Form { called: "every", main: "every", others: &[] };
const FIRST: Form = Form { called: "first", main: "first", others: &[] };
const PATTERN: Form = Form { called: "pattern", main: "pattern", others: &[] };
const NETEM: Form =
    Form { called: "model = \"netem\"", main: "rate", others: &["model", "correlation"] };
const GILBERT_ELLIOTT: Form = Form {
    called: "model = \"gilbert-elliott\"",
    main: "p",
    others: &["model", "r", "bad", "good"],
};
const STATE: Form = Form {
    called: "model = \"state\"",
    main: "p13",
    others: &["model", "p31", "p32", "p23", "p14"],
};

fn form(keys: &Keys) -> &'static Form {
    let given = |name: &str| keys.given.iter().any(|(key, _)| *key == name);
    match keys.model {
        Some(Model::Netem) => &NETEM,
        Some(Model::GilbertElliott) => &GILBERT_ELLIOTT,
        Some(Model::State) => &STATE,
        None if given("every") => &EVERY,
        None if given("first") => &FIRST,
        None if given("pattern") => &PATTERN,
        None => &RATE,
    }
}

/// `"2%"` or a table.
pub(crate) fn loss(field: &Field<'_>, report: &mut Report) -> Option<Loss> {
    let before = report.findings.len();
    let keys = if field.value.get_ref().is_table() {
        let mut keys = Keys::default();
        let table = field.value.get_ref().as_table()?;
        LOSS.walk(table, &field.path, &mut keys, report);
        if report.findings.len() == before {
            check_form(&keys, field, report);
        }
        keys
    } else {
        number_or_table((&LOSS, "rate", HELP), field, report)?
    };
    if report.findings.len() != before {
        return None;
    }
    let loss = Loss { model: assemble(&keys)?, ecn: keys.ecn, per_segment: keys.per_segment };
    field.accept(report, loss.record().map(|_| loss))
}

fn check_form(keys: &Keys, field: &Field<'_>, report: &mut Report) {
    let form = form(keys);
    if !keys.given.iter().any(|(key, _)| *key == form.main) {
        let model = [("p", &GILBERT_ELLIOTT), ("p13", &STATE)]
            .into_iter()
            .find(|(key, _)| keys.given.iter().any(|(given, _)| given == key));
        let help = match model {
            Some((_, model)) => format!("add {}", model.called),
            None if keys.model.is_some() => {
                format!("{} needs {} = \"...%\"", form.called, form.main)
            }
            None => HELP.to_owned(),
        };
        let mistake = Mistake::new(format!("has no {}", form.main), help);
        report.missing(field.at(), Some(&field.path), mistake);
        return;
    }
    for (key, at) in &keys.given {
        if *key != form.main && !form.others.contains(key) {
            let allowed: Vec<_> = [form.main].iter().chain(form.others).copied().collect();
            let reason = format!("does not go with {}", form.called);
            let help = format!("remove it; {} takes {}, ecn, per", form.called, allowed.join(", "));
            report.wrong(*at, &format!("{}.{key}", field.path), Mistake::new(reason, help));
        }
    }
    let both = keys.rate("correlation").is_some() && keys.burst_milli.is_some();
    if both && keys.model.is_none() {
        let at = keys.given.iter().find(|(key, _)| *key == "correlation").map_or(0, |(_, at)| *at);
        let mistake = Mistake::new(
            "burst and correlation both say how losses cluster",
            "remove one of the two",
        );
        report.wrong(at, &format!("{}.correlation", field.path), mistake);
    }
}

/// The model, where all that it needs is there. What netem leaves open is as netem has it.
fn assemble(keys: &Keys) -> Option<LossModel> {
    let or = |name: &str, default: Rate| keys.rate(name).unwrap_or(default);
    let random = || chance(keys.rate("rate"), keys.rate("correlation"));
    Some(match keys.model {
        Some(Model::Netem) => LossModel::Netem(random()?),
        Some(Model::GilbertElliott) => {
            let p = keys.rate("p")?;
            LossModel::GilbertElliott {
                p,
                r: or("r", p.complement()),
                bad: or("bad", Rate::ALWAYS),
                good: or("good", Rate::NEVER),
            }
        }
        Some(Model::State) => {
            let p13 = keys.rate("p13")?;
            LossModel::State([
                p13,
                or("p31", p13.complement()),
                or("p32", Rate::NEVER),
                or("p23", Rate::ALWAYS),
                or("p14", Rate::NEVER),
            ])
        }
        None => match (keys.every, keys.first, keys.pattern, keys.burst_milli) {
            (Some(period), ..) => LossModel::Every(period),
            (_, Some(count), ..) => LossModel::First(count),
            (.., Some((bits, length)), _) => LossModel::Pattern { bits, length },
            (.., Some(burst_milli)) => LossModel::Bursts { rate: keys.rate("rate")?, burst_milli },
            _ => LossModel::Random(random()?),
        },
    })
}

fn model(field: &Field<'_>, report: &mut Report) -> Option<Model> {
    let help = "write \"gilbert-elliott\", \"state\" or \"netem\"";
    let text = field.string(report, help)?;
    if let Some((_, model)) = MODELS.iter().find(|(name, _)| *name == text) {
        return Some(*model);
    }
    let help = match closest(text, MODELS.map(|(name, _)| name)) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None if matches!(text, "gemodel" | "gilbert") => {
            "did you mean \"gilbert-elliott\"?".to_owned()
        }
        None => help.to_owned(),
    };
    field.wrong(report, Mistake::new(format!("{} is no loss model", quoted(text)), help));
    None
}

/// Whether segments are lost, and not packets.
fn per(field: &Field<'_>, report: &mut Report) -> Option<bool> {
    let text = field.string(report, PER_HELP)?;
    if !matches!(text, "segment" | "packet") {
        let reason = format!("{} is nothing that can be lost", quoted(text));
        field.wrong(report, Mistake::new(reason, PER_HELP));
        return None;
    }
    Some(text == "segment")
}

/// A number of packets with up to three decimals, in thousandths.
fn burst(field: &Field<'_>, report: &mut Report) -> Option<u32> {
    let number = match field.value.get_ref() {
        DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
        DeValue::Float(number) => number.as_str(),
        _ => {
            field.not_a(report, "a number", BURST_HELP);
            return None;
        }
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let milli = (fraction.len() <= 3)
        .then(|| format!("{whole}{fraction:0<3}"))
        .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|digits| digits.parse::<u32>().ok())
        .filter(|milli| *milli >= 1000);
    if milli.is_none() {
        let reason = format!("{number} is no mean length of a burst");
        field.wrong(report, Mistake::new(reason, "write 1 or more, with up to three decimals"));
    }
    milli
}

fn pattern(field: &Field<'_>, report: &mut Report) -> Option<(u64, u32)> {
    let text = field.string(report, PATTERN_HELP)?;
    let right = (1..=64).contains(&text.len()) && text.bytes().all(|b| matches!(b, b'0' | b'1'));
    if !right {
        let reason = format!("{} is no pattern", quoted(text));
        field.wrong(report, Mistake::new(reason, PATTERN_HELP));
        return None;
    }
    let bits = text.bytes().rev().fold(0, |bits, b| bits << 1 | u64::from(b == b'1'));
    Some((bits, u32::try_from(text.len()).unwrap_or(64)))
}
