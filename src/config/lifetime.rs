//! Lifetimes by status, shares, and what the cache's rules are told of them.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::codes::Code;
use super::file::{Lifetime, Policy};
use super::scalar::{Problem, Scalar, Time};
use crate::cache::policy::{ByStatus, Lead, Lifetimes, Prefetch};

/// The key of a lifetime in a table: a status, a class, a range, or the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statuses {
    /// `404`, `5xx`, `200-299`
    Range(RangeInclusive<u16>),
    /// `default`
    Default,
}

/// A share, in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(pub u8);

/// A part of a lifetime before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ahead {
    /// A share of it, in percent.
    Share(u8),
    /// A time.
    Time(Duration),
}

/// The statuses of final replies.
const FINAL: RangeInclusive<u16> = 200..=599;

impl Scalar for Statuses {
    const FORMAT: &'static str = "statuses";
    const EXPECTED: &'static str = "a status such as \"404\", \"5xx\" or \"200-299\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        let help = "write a status (404), a class (5xx), a range (200-299) or default";
        let bad = |why: &str| Problem::new(Code::BadStatus, format!("`{text}` {why}"), help);
        if text == "default" {
            return Ok(Self::Default);
        }
        let class = text.strip_suffix("xx").or_else(|| text.strip_suffix("XX"));
        let range = match (class, text.split_once('-')) {
            (Some(class), _) => class
                .parse()
                .ok()
                .filter(|class| *class < 10)
                .map(|class: u16| (class * 100, class * 100 + 99)),
            (None, Some((first, last))) => first.trim().parse().ok().zip(last.trim().parse().ok()),
            (None, None) => text.parse().ok().map(|status| (status, status)),
        };
        let (first, last) = range.ok_or_else(|| bad("is not a status"))?;
        if first > last {
            return Err(bad("ends before it begins"));
        }
        if !FINAL.contains(&first) || !FINAL.contains(&last) {
            return Err(bad("is no final status: those go from 200 to 599"));
        }
        Ok(Self::Range(first..=last))
    }
}

impl Scalar for Share {
    const FORMAT: &'static str = "share";
    const EXPECTED: &'static str = "a share such as \"10%\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        let help = "write a whole number of percent: \"10%\"";
        let percent = text.trim().strip_suffix('%').map(|number| number.trim().parse::<u8>());
        match percent {
            Some(Ok(percent)) if percent <= 100 => Ok(Self(percent)),
            Some(Ok(_)) => {
                Err(Problem::new(Code::BadShare, format!("`{text}` is more than the whole"), help))
            }
            _ => Err(Problem::new(Code::BadShare, format!("`{text}` is not a share"), help)),
        }
    }
}

impl Scalar for Ahead {
    const FORMAT: &'static str = "share-or-duration";
    const EXPECTED: &'static str = "a share such as \"10%\" or a duration such as \"5s\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        match text.contains('%') {
            true => Share::parse(text).map(|Share(percent)| Self::Share(percent)),
            false => Time::parse(text).map(|Time(time)| Self::Time(time)),
        }
    }
}

impl Lifetime {
    /// What holds for statuses that are not named, in seconds.
    pub fn default_seconds(&self) -> Option<u64> {
        match self {
            Self::Same(Time(time)) => Some(time.as_secs()),
            Self::ByStatus(table) => {
                table.0.iter().find(|(key, _)| key == "default").map(|(_, Time(time))| time.as_secs())
            }
        }
    }

    /// What holds for those that are, in seconds, as written.
    pub fn named(&self) -> Vec<(RangeInclusive<u16>, u64)> {
        let Self::ByStatus(table) = self else { return Vec::new() };
        let range = |key: &str| match Statuses::parse(key) {
            Ok(Statuses::Range(range)) => Some(range),
            _ => None,
        };
        table.0.iter().filter_map(|(key, Time(time))| Some((range(key)?, time.as_secs()))).collect()
    }
}

/// A lifetime as the cache's rules have it.
pub fn by_status(lifetime: Option<&Lifetime>) -> ByStatus {
    lifetime.map_or_else(ByStatus::default, |lifetime| {
        ByStatus::new(lifetime.default_seconds(), lifetime.named())
    })
}

/// What a policy makes of lifetimes.
pub fn lifetimes(policy: &Policy) -> Lifetimes {
    let named = policy.ttl.as_ref().map(Lifetime::named).unwrap_or_default();
    Lifetimes {
        // What is not named is the rules' plain `ttl`.
        ttl: ByStatus::new(None, named),
        override_ttl: by_status(policy.override_ttl.as_ref()),
        min: by_status(policy.min_ttl.as_ref()),
        max: by_status(policy.max_ttl.as_ref()),
        jitter: policy.jitter.map_or(0, |Share(percent)| percent),
        prefetch: policy.prefetch.map(|ahead| Prefetch {
            lead: match ahead {
                Ahead::Share(percent) => Lead::Share(percent),
                Ahead::Time(time) => Lead::Seconds(time.as_secs()),
            },
            hits: policy.prefetch_hits.unwrap_or(3),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_single_ones_classes_and_ranges() {
        for (text, range) in
            [("404", 404..=404), ("5xx", 500..=599), ("200-299", 200..=299), ("4XX", 400..=499)]
        {
            assert_eq!(Statuses::parse(text), Ok(Statuses::Range(range)));
        }
        assert_eq!(Statuses::parse("default"), Ok(Statuses::Default));
        for wrong in ["", "ok", "600", "99", "1xx", "6xx", "55xx", "299-200", "200-", "-", "200-700", "xx"] {
            assert_eq!(Statuses::parse(wrong).unwrap_err().code, Code::BadStatus, "{wrong}");
        }
    }

    #[test]
    fn shares_are_whole_percents() {
        assert_eq!(Share::parse("10%"), Ok(Share(10)));
        assert_eq!(Share::parse("100 %"), Ok(Share(100)));
        for wrong in ["", "10", "%", "101%", "-1%", "1.5%", "300%"] {
            assert_eq!(Share::parse(wrong).unwrap_err().code, Code::BadShare, "{wrong}");
        }
        assert_eq!(Ahead::parse("5s"), Ok(Ahead::Time(Duration::from_secs(5))));
        assert_eq!(Ahead::parse("5%"), Ok(Ahead::Share(5)));
        assert_eq!(Ahead::parse("5").unwrap_err().code, Code::BadDuration);
    }
}
