//! Numbers with a unit (`80ms`, `64KiB`, `10mbit`), parsed exactly into whole numbers of the
//! smallest unit.

use crate::policy::problem::Mistake;
use crate::policy::text::{character, closest, quoted};

/// One kind of quantity.
pub(super) struct Kind {
    /// `duration`.
    pub(super) noun: &'static str,
    /// The units, the smallest first, each with how many of the smallest it is.
    pub(super) units: &'static [(&'static str, u64)],
    /// The unit that a number without one is taken to mean in a remedy.
    pub(super) usual: &'static str,
    /// The remedy where nothing better is known.
    pub(super) example: &'static str,
    /// Units that people write and that mean something else or nothing here, with a remedy each.
    pub(super) traps: &'static [(&'static str, &'static str)],
}

impl Kind {
    /// Reads a number and its unit.
    pub(super) fn parse(&self, text: &str) -> Result<u64, Mistake> {
        let quoted = quoted(text);
        if text.is_empty() {
            return Err(Mistake::new(format!("the {} is empty", self.noun), self.example));
        }
        if let Some(space) = text.chars().find(|c| c.is_whitespace()) {
            let better: String = text.chars().filter(|c| !c.is_whitespace()).collect();
            let what = if space == ' ' { "a space".to_owned() } else { character(space) };
            return Err(Mistake::new(format!("{quoted} contains {what}"), self.write(&better)));
        }
        let number_ends = |c: char| !c.is_ascii_digit() && !matches!(c, '.' | ',' | '+' | '-');
        let (number, unit) = text.split_at(text.find(number_ends).unwrap_or(text.len()));
        if let Some(better) = without_flaw(number) {
            let what = flaw(number);
            return Err(Mistake::new(
                format!("{quoted} {what}"),
                self.write(&format!("{better}{unit}")),
            ));
        }
        if !is_decimal(number) {
            return Err(Mistake::new(format!("{quoted} is no {}", self.noun), self.example));
        }
        if unit.is_empty() {
            let better = format!("{number}{}", self.usual);
            return Err(Mistake::new(format!("{quoted} has no unit"), self.write(&better)));
        }
        let Some((name, factor)) = self.units.iter().find(|(name, _)| *name == unit) else {
            return Err(self.unknown_unit(&quoted, number, unit));
        };
        self.scale(&quoted, number, name, *factor)
    }

    fn scale(&self, quoted: &str, number: &str, unit: &str, factor: u64) -> Result<u64, Mistake> {
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let fraction = fraction.trim_end_matches('0');
        let too_large = || Mistake::new(format!("{quoted} is too large"), self.example);
        let mut total = whole
            .parse::<u64>()
            .ok()
            .and_then(|whole| whole.checked_mul(factor))
            .ok_or_else(too_large)?;
        if !fraction.is_empty() {
            let places = u32::try_from(fraction.len()).unwrap_or(u32::MAX);
            let part = 10_u128
                .checked_pow(places)
                .and_then(|tens| Some((fraction.parse::<u128>().ok()?, tens)))
                .and_then(|(digits, tens)| Some((digits.checked_mul(factor.into())?, tens)))
                .filter(|(product, tens)| product % tens == 0)
                .and_then(|(product, tens)| u64::try_from(product / tens).ok());
            let smallest = self.units.first().map_or("", |(name, _)| name);
            let part = part.ok_or_else(|| {
                Mistake::new(
                    format!("{quoted} is no whole number of {smallest}"),
                    format!("leave out decimals of {unit}"),
                )
            })?;
            total = total.checked_add(part).ok_or_else(too_large)?;
        }
        Ok(total)
    }

    fn unknown_unit(&self, quoted: &str, number: &str, unit: &str) -> Mistake {
        let reason = format!("{quoted} has an unknown unit");
        if let Some((_, remedy)) = self.traps.iter().find(|(trap, _)| *trap == unit) {
            return Mistake::new(reason, *remedy);
        }
        let names = || self.units.iter().map(|(name, _)| *name);
        let same = names().find(|name| name.eq_ignore_ascii_case(unit));
        let meant = same.or_else(|| {
            // Short units are all near one another.
            if unit.len() > 2 { closest(unit, names()) } else { None }
        });
        match meant {
            Some(meant) => Mistake::new(reason, format!("write \"{number}{meant}\"")),
            None => {
                let names = names().collect::<Vec<_>>().join(", ");
                Mistake::new(reason, format!("the units are {names}"))
            }
        }
    }

    /// The remedy for a bare number, in a policy without quotes.
    pub(super) fn help_for_bare_number(&self, number: &str) -> String {
        self.write(&format!("{number}{}", self.usual))
    }

    /// The remedy, if it is no mistake itself.
    fn write(&self, better: &str) -> String {
        match self.parse(better) {
            Ok(_) => format!("write \"{better}\""),
            Err(_) => self.example.to_owned(),
        }
    }

    /// The shortest form of a number of smallest units: in the largest unit of which it is at least
    /// one. Parses to the same number.
    pub(super) fn show(&self, value: u64) -> String {
        let fitting = self.units.iter().rev().find(|(_, factor)| {
            *factor <= value && (is_power_of_ten(*factor) || value.is_multiple_of(*factor))
        });
        let Some((unit, factor)) = fitting else { return format!("{value}{}", self.units[0].0) };
        let (whole, rest) = (value / factor, value % factor);
        if rest == 0 {
            return format!("{whole}{unit}");
        }
        // The factor is a power of ten here: as many decimals as it has zeros.
        let places = factor.ilog10() as usize;
        let fraction = format!("{rest:0places$}");
        format!("{whole}.{}{unit}", fraction.trim_end_matches('0'))
    }
}

fn is_power_of_ten(factor: u64) -> bool {
    10_u64.pow(factor.ilog10()) == factor
}

fn is_decimal(number: &str) -> bool {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    digits(whole) && digits(fraction)
}

/// What a number that can be mended would be; `None` if it is right or beyond mending.
fn without_flaw(number: &str) -> Option<String> {
    let better = if let Some(positive) = number.strip_prefix(['-', '+']) {
        positive.to_owned()
    } else if number.contains(',') {
        number.replace(',', ".")
    } else if number.len() > 1 && (number.starts_with('.') || number.ends_with('.')) {
        let lead = if number.starts_with('.') { "0" } else { "" };
        format!("{lead}{}", number.trim_end_matches('.'))
    } else {
        return None;
    };
    is_decimal(&better).then_some(better)
}

fn flaw(number: &str) -> &'static str {
    match number.chars().next() {
        Some('-') => "is negative",
        Some('+') => "has a sign",
        _ if number.contains(',') => "contains a comma",
        _ => "lacks a digit beside the point",
    }
}
