//! Values as the command line writes them: durations and points in time.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::config::scalar::{Scalar, Size};

/// A duration with its units: `250ms`, `10s`, `1h30m`, `2d`; a bare `0`.
pub fn duration(text: &str) -> Result<Duration, String> {
    const HELP: &str = "write a number with its unit: 250ms, 10s, 5m, 1h30m, 2d, 1w";
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or(HELP)?;
        let number: u64 = rest[..digits].parse().map_err(|_| HELP)?;
        rest = &rest[digits..];
        let unit_len = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let millis: u64 = match &rest[..unit_len] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return Err(HELP.into()),
        };
        let millis = number.checked_mul(millis).ok_or("this is longer than the clock can count")?;
        total = total.checked_add(Duration::from_millis(millis)).ok_or("this is too long")?;
        rest = &rest[unit_len..];
    }
    if text.is_empty() { Err(HELP.into()) } else { Ok(total) }
}

/// `Name: value` as curl takes it.
pub fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write it as 'Name: value'")?;
    let name: http::HeaderName = name.trim().parse().map_err(|_| "that can't be a field name")?;
    let value: http::HeaderValue = value.trim().parse().map_err(|_| "that can't be a field value")?;
    let value = value.to_str().map_err(|_| "that can't be a field value")?;
    Ok((name.to_string(), value.to_owned()))
}

/// A size with its unit, as the config writes it: `64MiB`, `10GB`.
pub fn bytes(text: &str) -> Result<u64, String> {
    Size::parse(text).map(|size| size.0).map_err(|problem| problem.help.unwrap_or(problem.message))
}

/// A point in time: so long ago (`5m`), or a date and time as RFC 3339 writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// So long before now.
    Ago(Duration),
    /// At this very time.
    At(Timestamp),
}

impl When {
    /// The time meant, seen from `now`.
    pub fn resolve(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(ago) => now.minus(ago),
            Self::At(at) => at,
        }
    }
}

/// Parses a [`When`].
pub fn when(text: &str) -> Result<When, String> {
    if let Ok(ago) = duration(text) {
        return Ok(When::Ago(ago));
    }
    let at: jiff::Timestamp =
        text.parse().map_err(|_| "write how long ago (5m, 2h) or when (2026-01-31T12:00:00Z)".to_owned())?;
    u64::try_from(at.as_millisecond())
        .map(|millis| When::At(Timestamp::from_millis(millis)))
        .map_err(|_| "that is before 1970".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_units() {
        for (text, millis) in
            [("0", 0), ("250ms", 250), ("10s", 10_000), ("1h30m", 5_400_000), ("2d", 172_800_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "s", "1x", "-1s", "1.5s", "99999999999999999999s", "9999999999999999w"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_is_ago_or_absolute() {
        let now = Timestamp::from_secs(1_000);
        assert_eq!(when("10s").unwrap().resolve(now), Timestamp::from_secs(990));
        assert_eq!(when("1970-01-01T00:00:05Z").unwrap().resolve(now), Timestamp::from_secs(5));
        assert!(when("yesterday").is_err());
        assert!(when("1960-01-01T00:00:00Z").is_err());
    }
}
