//! The five fields of a cron expression, looked at one by one, so that a mistake in one is told as such.

use crate::policy::{
    Mistake,
    text::{closest, quoted},
};

pub(super) const EXAMPLE: &str = "write minute, hour, day of the month, month and day of the week, \
                                  such as \"0 9-17 * * mon-fri\"";

/// One of the five.
struct Field {
    /// What one of its values is.
    noun: &'static str,
    /// What they are together.
    plural: &'static str,
    least: u32,
    most: u32,
    /// Names of the values from the first one on.
    names: &'static [&'static str],
    /// What the list of names begins with.
    named_from: u32,
}

const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

const fn field(noun: &'static str, plural: &'static str, least: u32, most: u32) -> Field {
    Field { noun, plural, least, most, names: &[], named_from: 0 }
}

const FIELDS: [Field; 5] = [
    field("minute", "minutes", 0, 59),
    field("hour", "hours", 0, 23),
    field("day of the month", "days of the month", 1, 31),
    Field { names: &MONTHS, named_from: 1, ..field("month", "months", 1, 12) },
    Field { names: &DAYS, ..field("day of the week", "days of the week", 0, 7) },
];

const NICKNAMES: [(&str, [&str; 5]); 7] = [
    ("@hourly", ["0", "*", "*", "*", "*"]),
    ("@daily", ["0", "0", "*", "*", "*"]),
    ("@midnight", ["0", "0", "*", "*", "*"]),
    ("@weekly", ["0", "0", "*", "*", "0"]),
    ("@monthly", ["0", "0", "1", "*", "*"]),
    ("@yearly", ["0", "0", "1", "1", "*"]),
    ("@annually", ["0", "0", "1", "1", "*"]),
];

/// The five fields of an expression, each of them right for itself.
pub(super) fn checked(text: &str) -> Result<Vec<String>, Mistake> {
    let words: Vec<&str> = text.split_whitespace().collect();
    if let [word] = words[..]
        && word.starts_with('@')
    {
        let known = NICKNAMES.iter().find(|(name, _)| *name == word);
        let Some((_, fields)) = known else {
            let help = match closest(word, NICKNAMES.map(|(name, _)| name)) {
                Some(meant) => format!("did you mean \"{meant}\"?"),
                None => EXAMPLE.to_owned(),
            };
            return Err(Mistake::new(format!("{} is no time", quoted(word)), help));
        };
        return Ok(fields.iter().map(ToString::to_string).collect());
    }
    if words.len() != FIELDS.len() {
        let reason = match words.len() {
            0 => "the expression is empty".to_owned(),
            1 => format!("{} has one field instead of 5", quoted(text)),
            number => format!("{} has {number} fields instead of 5", quoted(text)),
        };
        let seconds = "there are no seconds or years: ";
        let help = if words.len() > FIELDS.len() { seconds } else { "" };
        return Err(Mistake::new(reason, format!("{help}{EXAMPLE}")));
    }
    for (field, word) in FIELDS.iter().zip(&words) {
        word.split(',').try_for_each(|item| field.check(item))?;
    }
    Ok(words.into_iter().map(str::to_lowercase).collect())
}

impl Field {
    /// One element of a list: a value, a range or all, perhaps with a step.
    fn check(&self, item: &str) -> Result<(), Mistake> {
        let (range, step) =
            item.split_once('/').map_or((item, None), |(range, step)| (range, Some(step)));
        match range.split_once('-') {
            None if range == "*" => {}
            None => {
                self.value(range, false)?;
                let Some(step) = step else { return Ok(()) };
                self.step(step)?;
                let reason = format!("{} {} has a step and no range", self.noun, quoted(item));
                let help = format!("write \"{range}-{}/{step}\" or \"*/{step}\"", self.most);
                return Err(Mistake::new(reason, help));
            }
            Some((first, last)) => {
                let (from, until) = (self.value(first, false)?, self.value(last, true)?);
                if from > until {
                    let reason = format!("{} {} goes backwards", self.noun, quoted(range));
                    let (least, most) = (self.least, self.most - u32::from(self.most == 7));
                    let help = format!("write \"{first}-{most},{least}-{last}\"");
                    return Err(Mistake::new(reason, help));
                }
            }
        }
        step.map_or(Ok(()), |step| self.step(step))
    }

    /// A number or a name. The Sunday that a range ends with is the seventh day.
    fn value(&self, text: &str, ends: bool) -> Result<u32, Mistake> {
        let lower = text.to_lowercase();
        if let Some(index) = self.names.iter().position(|name| *name == lower) {
            let number = self.named_from + u32::try_from(index).unwrap_or(0);
            return Ok(if ends && lower == "sun" { 7 } else { number });
        }
        number(text).filter(|number| (self.least..=self.most).contains(number)).ok_or_else(|| {
            let reason = match text {
                "" => format!("the {} has an empty part", self.noun),
                _ => format!("{} is no {}", quoted(text), self.noun),
            };
            Mistake::new(reason, self.help(text))
        })
    }

    fn step(&self, text: &str) -> Result<(), Mistake> {
        if number(text).is_some_and(|step| (1..=self.most).contains(&step)) {
            return Ok(());
        }
        let reason = format!("{} is no step of {}", quoted(text), self.plural);
        Err(Mistake::new(reason, format!("write 1 to {}", self.most)))
    }

    fn help(&self, text: &str) -> String {
        if let Some(meant) = closest(text, self.names.iter().copied()) {
            return format!("did you mean \"{meant}\"?");
        }
        let names = match self.names {
            [first, .., last] => format!(", or {first} to {last}"),
            _ => String::new(),
        };
        let Self { plural, least, most, .. } = self;
        format!("{plural} are {least} to {most}{names}; *, lists, ranges and steps of them")
    }
}

fn number(text: &str) -> Option<u32> {
    let digits = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}
