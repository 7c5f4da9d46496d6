//! Times as people give them: dates, times of day, Unix milliseconds, and spans such as `7d`.

use std::str::FromStr;

use clap::Args;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo, Timestamp};

use crate::exit::{Failure, Run};

/// A time as it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// Unix milliseconds.
    At(u64),
    /// So many milliseconds ago.
    Ago(u64),
    /// So many milliseconds after the beginning of a session.
    Into(u64),
}

/// The window of time that a command looks at.
#[derive(Debug, Args)]
pub(crate) struct Window {
    /// Only sessions that end at or after this time
    ///
    /// A date (2026-11-22), a time (2026-11-22T19:30, 2026-11-22T19:30:05Z), Unix milliseconds, or a
    /// span ago (-36h). Times without a zone are UTC.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<When>,
    /// Only sessions that start before this time
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<When>,
    /// Only sessions of the last span of time: 90m, 36h, 7d
    #[arg(long, value_name = "SPAN", value_parser = parse_span, conflicts_with_all = ["from", "to"])]
    last: Option<u64>,
}

impl Window {
    /// The window as two times in Unix milliseconds, from and before.
    pub(crate) fn range_ms(&self) -> Run<(u64, u64)> {
        if let Some(span) = self.last {
            return Ok((now_ms().saturating_sub(span), u64::MAX));
        }
        let resolve = |when: Option<When>, default| when.map_or(Ok(default), When::point);
        Ok((resolve(self.from, 0)?, resolve(self.to, u64::MAX)?))
    }
}

/// The time now, Unix milliseconds.
pub(crate) fn now_ms() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0)
}

impl When {
    /// The time in Unix milliseconds, where no session is that it could be an offset into.
    pub(crate) fn point(self) -> Run<u64> {
        match self {
            Self::At(ms) => Ok(ms),
            Self::Ago(ms) => Ok(now_ms().saturating_sub(ms)),
            Self::Into(_) => {
                Err(Failure::usage("an offset such as +30s only makes sense within a session", ""))
            }
        }
    }

    /// The time in Unix milliseconds, within a session that begins at `start_ms`.
    pub(crate) fn within(self, start_ms: u64) -> u64 {
        match self {
            Self::At(ms) => ms,
            Self::Ago(ms) => now_ms().saturating_sub(ms),
            Self::Into(ms) => start_ms.saturating_add(ms),
        }
    }
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(span) = text.strip_prefix('+') {
            return parse_span(span).map(Self::Into);
        }
        if let Some(span) = text.strip_prefix('-') {
            return parse_span(span).map(Self::Ago);
        }
        if text == "now" {
            return Ok(Self::Ago(0));
        }
        if text.len() >= 12 && text.bytes().all(|b| b.is_ascii_digit()) {
            return text.parse().map(Self::At).map_err(|_| "the number is too large".to_owned());
        }
        let time = Timestamp::from_str(text).or_else(|_| {
            let civil = DateTime::from_str(text)?;
            civil.to_zoned(TimeZone::UTC).map(|zoned| zoned.timestamp())
        });
        let time = time.map_err(|_| {
            "write a date (2026-11-22), a time (2026-11-22T19:30 or with a zone), Unix \
             milliseconds, -36h for a span ago, or +30s for an offset into a session"
                .to_owned()
        })?;
        u64::try_from(time.as_millisecond())
            .map(Self::At)
            .map_err(|_| "it is before 1970".to_owned())
    }
}

/// A span such as `90m`, `36h` or `7d`, in milliseconds; days have 24 hours.
pub(crate) fn parse_span(text: &str) -> Result<u64, String> {
    let wrong = || "write a span such as 30s, 90m, 36h or 7d".to_owned();
    let span = Span::from_str(text).map_err(|_| wrong())?;
    let span = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    u64::try_from(span.as_millis()).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_form() {
        let at = |text: &str| When::from_str(text);
        assert_eq!(at("1700000000000"), Ok(When::At(1_700_000_000_000)));
        assert_eq!(at("2023-11-14"), Ok(When::At(1_699_920_000_000)));
        assert_eq!(at("2023-11-14T22:13:20"), Ok(When::At(1_700_000_000_000)));
        assert_eq!(at("2023-11-14 22:13:20Z"), Ok(When::At(1_700_000_000_000)));
        assert_eq!(at("2023-11-15T00:13:20+02:00"), Ok(When::At(1_700_000_000_000)));
        assert_eq!(at("-36h"), Ok(When::Ago(36 * 3_600_000)));
        assert_eq!(at("+30s"), Ok(When::Into(30_000)));
        for bad in ["", "tomorrow", "2023-13-01", "+", "-", "1969-01-01", "99999999999999999999"] {
            assert!(at(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn spans_are_read() {
        assert_eq!(parse_span("7d"), Ok(7 * 86_400_000));
        assert_eq!(parse_span("1h 30m"), Ok(5_400_000));
        for bad in ["7", "-1d", "d", "1 month"] {
            assert!(parse_span(bad).is_err(), "{bad}");
        }
    }
}
