//! When a cron expression matches, in a time zone.

use std::{
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
};

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{
    Timestamp,
    civil::DateTime,
    tz::{self, TimeZone},
};

use super::field;
use crate::policy::{
    Mistake,
    text::{closest, quoted},
};

/// How many changes of a zone's offset are passed in search of a match: of the 29th of February, which
/// may be eight years ahead, twice as many as needed.
const CHANGES: usize = 40;

const ZONE_HELP: &str = "write a name of the IANA database, such as \"Europe/Berlin\" or \"UTC\"";

/// A cron expression of five fields and its time zone.
///
/// An expression is about the clock on the wall. Where that is put forward, a time that it leaves out
/// comes right after the change; where it is put back, a time that comes twice counts the first time.
/// If the hour begins with `*`, what is meant are hours that pass: then nothing is made up for, and times
/// count as often as they come. This is what cron does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Times {
    /// As it was written, but for superfluous spaces.
    text: String,
    pattern: Cron,
    zone: TimeZone,
    /// The hour begins with `*`.
    hourly: bool,
}

impl Hash for Times {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.text, self.zone.iana_name()).hash(state);
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text, self.zone_name())
    }
}

impl FromStr for Times {
    type Err = Mistake;

    /// An expression in UTC.
    fn from_str(text: &str) -> Result<Self, Mistake> {
        let fields = field::checked(text)?;
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed);
        let expression = fields.join(" ");
        let pattern = parser
            .build()
            .parse(&expression)
            .map_err(|error| Mistake::new(format!("{}: {error}", quoted(text)), field::EXAMPLE))?;
        // Any day of a leap year and seven others.
        let start = DateTime::constant(2000, 1, 1, 0, 0, 0, 0);
        if pattern.find_next_occurrence(&start, true).is_err() {
            let reason = format!("{} never comes: no such month has that day", quoted(text));
            return Err(Mistake::new(reason, "write a day that there is, such as \"0 9 1 2 *\""));
        }
        let hourly = fields[1].starts_with('*');
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        Ok(Self { text, pattern, zone: TimeZone::UTC, hourly })
    }
}

/// Looks a time zone up by its name, in the IANA database that is built in.
///
/// # Errors
/// A name that is not in it.
pub fn zone(name: &str) -> Result<TimeZone, Mistake> {
    if let Ok(zone) = TimeZone::get(name)
        && !zone.is_unknown()
    {
        return Ok(zone);
    }
    let names: Vec<String> = tz::db().available().map(|name| name.to_string()).collect();
    let help = closest(name, names.iter().map(String::as_str))
        .map_or_else(|| ZONE_HELP.to_owned(), |meant| format!("did you mean \"{meant}\"?"));
    Err(Mistake::new(format!("{} is no time zone", quoted(name)), help))
}

/// Between two changes of a zone's offset; all times in seconds, since 1970 or by the clock on the wall.
struct Stretch {
    /// Its first second, if it has one.
    start: Option<i64>,
    /// The first second after it, if there is one.
    end: Option<i64>,
    /// What makes a time of the wall clock from one since 1970.
    offset: i64,
    /// The same before the start.
    before: i64,
}

impl Times {
    /// The same in another zone.
    #[must_use]
    pub fn in_zone(self, zone: TimeZone) -> Self {
        Self { zone, ..self }
    }

    /// The time zone.
    #[must_use]
    pub const fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The name of the time zone.
    #[must_use]
    pub fn zone_name(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    /// The first match from a time on, in seconds since 1970.
    pub(super) fn next(&self, from: i64) -> Option<i64> {
        let mut from = from;
        // The match that was found last, and where the search for it began.
        let mut known: Option<(i64, i64)> = None;
        for _ in 0..CHANGES {
            let stretch = self.stretch(from)?;
            if stretch.start == Some(from) && self.has_missed(&stretch) {
                return Some(from);
            }
            let wall = from + stretch.offset;
            let wall = if self.hourly { wall } else { wall.max(stretch.repeated_until()) };
            let found = match known {
                Some((begin, found)) if (begin..=found).contains(&wall) => found,
                _ => self.next_on_wall(wall)?,
            };
            if stretch.end.is_none_or(|end| found - stretch.offset < end) {
                return Some(found - stretch.offset);
            }
            known = Some((wall, found));
            from = stretch.end?;
        }
        None
    }

    /// The last match up to a time, unless it is before `least`, in seconds since 1970.
    pub(super) fn previous(&self, until: i64, least: i64) -> Option<i64> {
        let mut until = until;
        while until >= least {
            let stretch = self.stretch(until)?;
            let found = self.previous_on_wall(until + stretch.offset)?;
            let is_repeated = !self.hourly && found < stretch.repeated_until();
            let time = found - stretch.offset;
            let Some(start) = stretch.start else { return (time >= least).then_some(time) };
            if time >= start && !is_repeated {
                return (time >= least).then_some(time);
            }
            if self.has_missed(&stretch) {
                return (start >= least).then_some(start);
            }
            until = start - 1;
        }
        None
    }

    /// Whether a match was left out by the change that a stretch begins with.
    fn has_missed(&self, stretch: &Stretch) -> bool {
        let Some(start) = stretch.start else { return false };
        let (first, end) = (start + stretch.before, start + stretch.offset);
        !self.hourly && first < end && self.next_on_wall(first).is_some_and(|found| found < end)
    }

    /// The stretch that a time is in. `None` for times beyond the calendar.
    fn stretch(&self, time: i64) -> Option<Stretch> {
        let at = Timestamp::from_second(time).ok()?;
        let offset = |at: Timestamp| i64::from(self.zone.to_offset(at).seconds());
        let start = self.zone.preceding(Timestamp::from_second(time + 1).ok()?).next();
        let start = start.map(|change| change.timestamp().as_second());
        let end = self.zone.following(at).next().map(|change| change.timestamp().as_second());
        let before = start.and_then(|start| Timestamp::from_second(start - 1).ok()).map(offset);
        Some(Stretch { start, end, offset: offset(at), before: before.unwrap_or(offset(at)) })
    }

    fn next_on_wall(&self, wall: i64) -> Option<i64> {
        seconds(self.pattern.find_next_occurrence(&civil(wall)?, true).ok()?)
    }

    fn previous_on_wall(&self, wall: i64) -> Option<i64> {
        seconds(self.pattern.find_previous_occurrence(&civil(wall)?, true).ok()?)
    }
}

impl Stretch {
    /// By the wall clock, the first second that was not there before as well.
    fn repeated_until(&self) -> i64 {
        self.start.map_or(i64::MIN, |start| start + self.before.max(self.offset))
    }
}

/// The wall clock of a zone without an offset.
fn civil(wall: i64) -> Option<DateTime> {
    Some(TimeZone::UTC.to_datetime(Timestamp::from_second(wall).ok()?))
}

fn seconds(civil: DateTime) -> Option<i64> {
    Some(TimeZone::UTC.to_timestamp(civil).ok()?.as_second())
}
