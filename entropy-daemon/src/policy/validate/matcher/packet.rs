//! Conditions on what a packet is, not on whose it is.

use std::str::FromStr;

use toml::de::DeValue;

use crate::policy::model::{LengthRange, TCP_FLAGS, TcpFlags};
use crate::policy::problem::Mistake;
use crate::policy::report::{Field, Report};
use crate::policy::text::{closest, quoted};
use crate::policy::validate::bounded;

const FLAGS_HELP: &str =
    "write flags that must be set, and with \"!\" those that must not: \"syn,!ack\"";
const LENGTH_HELP: &str =
    "write a length such as 1514 or a range such as \"1000-1514\" or \"1000-\"";

impl FromStr for TcpFlags {
    type Err = Mistake;

    fn from_str(text: &str) -> Result<Self, Mistake> {
        let mut flags = Self { mask: 0, set: 0 };
        for term in text.split(',') {
            let (not, name) = term.strip_prefix('!').map_or((false, term), |name| (true, name));
            let Some(bit) = TCP_FLAGS.iter().position(|flag| *flag == name) else {
                let help = match closest(name.trim(), TCP_FLAGS) {
                    Some(meant) => format!("did you mean \"{meant}\"?"),
                    None => FLAGS_HELP.to_owned(),
                };
                return Err(Mistake::new(format!("{} is no TCP flag", quoted(name)), help));
            };
            if flags.mask >> bit & 1 != 0 {
                let help = "name each flag once";
                return Err(Mistake::new(format!("{name} is named twice"), help));
            }
            flags.mask |= 1 << bit;
            flags.set |= u8::from(!not) << bit;
        }
        Ok(flags)
    }
}

pub(super) fn tcp_flags(field: &Field<'_>, report: &mut Report) -> Option<TcpFlags> {
    let text = field.string(report, FLAGS_HELP)?;
    field.accept(report, text.parse())
}

impl FromStr for LengthRange {
    type Err = Mistake;

    /// Parses a range, `1000-1514` or `1000-`.
    fn from_str(text: &str) -> Result<Self, Mistake> {
        let no_range =
            |help: &str| Mistake::new(format!("{} is no range of lengths", quoted(text)), help);
        let number = |text: &str| -> Option<u32> {
            text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
        };
        let Some((first, last)) = text.split_once('-') else {
            let help = number(text).map_or_else(
                || LENGTH_HELP.to_owned(),
                |number| format!("write {number} without quotes"),
            );
            return Err(no_range(&help));
        };
        let last = if last.is_empty() { Some(u32::MAX) } else { number(last) };
        match (number(first), last) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            (Some(first), Some(last)) => {
                Err(no_range(&format!("the shorter length comes first: write \"{last}-{first}\"")))
            }
            _ => Err(no_range(LENGTH_HELP)),
        }
    }
}

pub(super) fn length(field: &Field<'_>, report: &mut Report) -> Option<LengthRange> {
    match field.value.get_ref() {
        DeValue::String(text) => field.accept(report, text.parse()),
        DeValue::Integer(number) => {
            let length = bounded::<u32>(number, "length", LENGTH_HELP, 1);
            field.accept(report, length.map(|only| LengthRange { first: only, last: only }))
        }
        _ => {
            field.not_a(report, "a length or a range", LENGTH_HELP);
            None
        }
    }
}

pub(super) fn payload(field: &Field<'_>, report: &mut Report) -> Option<bool> {
    let value = field.value.get_ref().as_bool();
    if value.is_none() {
        let help = "write payload = true for packets with payload, false for those without";
        field.not_a(report, "true or false", help);
    }
    value
}
