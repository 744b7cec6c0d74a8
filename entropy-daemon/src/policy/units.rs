//! Quantities with their units, parsed exactly.

mod measures;
mod quantity;

use std::fmt;
use std::str::FromStr;

pub use self::measures::{Bandwidth, Size, Span};
use super::problem::Mistake;
use super::text::{character, quoted};

/// Decimals that a percentage may have.
const DECIMALS: usize = 9;

/// Billionths of a percent in one percent.
const PERCENT: u64 = 10_u64.pow(DECIMALS as u32);

const RANGE_HELP: &str = "write a percentage from \"0%\" to \"100%\"";
const EXAMPLE_HELP: &str = "write a percentage such as \"2%\" or \"0.01%\"";

/// A share of packets, written as a percentage with up to nine decimals: `"2%"`, `"0.01%"`.
///
/// Holds the decimal that was written, exactly; [`Rate::parts`] is what the kernel compares with.
/// Displays in its shortest form, which parses to the same rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate {
    /// 0..=100 * [`PERCENT`].
    billionths_of_percent: u64,
}

impl Rate {
    /// 0 %.
    pub const NEVER: Self = Self { billionths_of_percent: 0 };

    /// 100 %.
    pub const ALWAYS: Self = Self { billionths_of_percent: 100 * PERCENT };

    /// One, in the unit of [`Rate::parts`].
    pub const ONE: u64 = 1 << 32;

    /// The rate as parts of 2^32, rounded to the nearest, 0..=2^32. Only 0 % is 0 and only 100 % is
    /// 2^32: what lies below 100 % is at most 2^32 - 1, and what would be 0 does not parse.
    pub fn parts(self) -> u64 {
        match self.rounded_parts() {
            Self::ONE if self != Self::ALWAYS => Self::ONE - 1,
            parts => parts,
        }
    }

    /// The rate in percent, as near as a floating-point number comes.
    #[must_use]
    pub fn percent(self) -> f64 {
        self.billionths_of_percent as f64 / PERCENT as f64
    }

    /// The rate in billionths of a percent.
    pub(crate) const fn billionths(self) -> u64 {
        self.billionths_of_percent
    }

    /// The rate of so many billionths of a percent, at most 100 %.
    pub(crate) fn from_billionths(billionths: u64) -> Self {
        Self { billionths_of_percent: billionths.min(100 * PERCENT) }
    }

    /// One minus the rate.
    #[must_use]
    pub(crate) fn complement(self) -> Self {
        Self { billionths_of_percent: 100 * PERCENT - self.billionths_of_percent }
    }

    fn rounded_parts(self) -> u64 {
        let one = u128::from(100 * PERCENT);
        let scaled = u128::from(self.billionths_of_percent) * u128::from(Self::ONE);
        // At most 2^32, as the rate is at most one.
        ((scaled + one / 2) / one) as u64
    }

    /// Reads digits, and a point and digits if there are any.
    fn decimal(number: &str) -> Result<Self, Decimal> {
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(fraction) || number.ends_with('.') {
            return Err(Decimal::Malformed);
        }
        if fraction.len() > DECIMALS {
            return Err(Decimal::TooFine);
        }
        let whole: u64 = whole.parse().map_err(|_| Decimal::TooLarge)?;
        let fraction: u64 = format!("{fraction:0<DECIMALS$}").parse().unwrap_or(0);
        let rate = whole.checked_mul(PERCENT).and_then(|whole| whole.checked_add(fraction));
        match rate {
            Some(rate) if rate <= 100 * PERCENT => Ok(Self { billionths_of_percent: rate }),
            _ => Err(Decimal::TooLarge),
        }
    }

    /// The remedy for a number without unit. Below one it may have been meant as a fraction.
    pub(crate) fn help_for_bare_number(number: &str) -> String {
        let Ok(rate) = Self::decimal(number) else { return EXAMPLE_HELP.to_owned() };
        match rate.billionths_of_percent {
            0 | PERCENT.. => format!("write \"{rate}\""),
            part => {
                let fraction = Self { billionths_of_percent: part * 100 };
                format!("write \"{rate}\", or \"{fraction}\" if a fraction of one is meant")
            }
        }
    }
}

/// Why a string of characters is no decimal number from 0 to 100.
enum Decimal {
    Malformed,
    TooFine,
    TooLarge,
}

impl FromStr for Rate {
    type Err = Mistake;

    fn from_str(text: &str) -> Result<Self, Mistake> {
        let Some(number) = text.strip_suffix('%') else { return Err(without_unit(text)) };
        let rate = Self::decimal(number).map_err(|why| match why {
            Decimal::Malformed => malformed(text, number),
            Decimal::TooFine => Mistake::new(
                format!("{} has more than {DECIMALS} decimals", quoted(text)),
                format!("round it to {DECIMALS} decimals"),
            ),
            Decimal::TooLarge => {
                Mistake::new(format!("{} is more than 100%", quoted(text)), RANGE_HELP)
            }
        })?;
        if rate != Self::NEVER && rate.rounded_parts() == 0 {
            return Err(Mistake::new(
                format!("{} is less than the smallest rate there is", quoted(text)),
                "write \"0.000000012%\" or more, or \"0%\"",
            ));
        }
        Ok(rate)
    }
}

fn without_unit(text: &str) -> Mistake {
    if text.is_empty() {
        return Mistake::new("the percentage is empty", EXAMPLE_HELP);
    }
    if text.contains(char::is_whitespace) {
        return malformed(text, text);
    }
    let is_number = text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && text.bytes().any(|b| b.is_ascii_digit());
    if is_number {
        let reason = format!("{} has no unit", quoted(text));
        return Mistake::new(reason, Rate::help_for_bare_number(text));
    }
    Mistake::new(format!("{} is no percentage", quoted(text)), EXAMPLE_HELP)
}

/// Says why `number`, the part of `text` before the unit, is malformed. The commonest reason first.
fn malformed(text: &str, number: &str) -> Mistake {
    // The remedy, if it is no mistake itself.
    let write = |better: String| match better.parse::<Rate>() {
        Ok(rate) => format!("write \"{rate}\""),
        Err(_) => EXAMPLE_HELP.to_owned(),
    };
    let text_quoted = quoted(text);
    if let Some(space) = text.chars().find(|c| c.is_whitespace()) {
        let better = text.chars().filter(|c| !c.is_whitespace()).collect();
        let what = if space == ' ' { "a space".to_owned() } else { character(space) };
        return Mistake::new(format!("{text_quoted} contains {what}"), write(better));
    }
    if let Some(positive) = number.strip_prefix('-') {
        let is_number = Rate::decimal(positive).is_ok();
        let reason = if is_number { "is negative" } else { "is no percentage" };
        return Mistake::new(format!("{text_quoted} {reason}"), RANGE_HELP);
    }
    if let Some(unsigned) = number.strip_prefix('+') {
        return Mistake::new(format!("{text_quoted} has a sign"), write(format!("{unsigned}%")));
    }
    if number.contains(',') {
        let better = format!("{}%", number.replace(',', "."));
        return Mistake::new(format!("{text_quoted} contains a comma"), write(better));
    }
    if number.starts_with('.') || number.ends_with('.') {
        let better = format!("0{}%", number.trim_end_matches('.'));
        return Mistake::new(
            format!("{text_quoted} lacks a digit beside the point"),
            write(better),
        );
    }
    let exponent = number.bytes().filter(u8::is_ascii_alphabetic).eq([b'e'])
        || number.bytes().filter(u8::is_ascii_alphabetic).eq([b'E']);
    if exponent && number.starts_with(|c: char| c.is_ascii_digit()) {
        let help = "write the number out, such as \"0.001%\"";
        return Mistake::new(format!("{text_quoted} has an exponent"), help);
    }
    Mistake::new(format!("{text_quoted} is no percentage"), EXAMPLE_HELP)
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) =
            (self.billionths_of_percent / PERCENT, self.billionths_of_percent % PERCENT);
        if fraction == 0 {
            return write!(f, "{whole}%");
        }
        let fraction = format!("{fraction:0DECIMALS$}");
        write!(f, "{whole}.{}%", fraction.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests;
