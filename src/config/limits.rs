//! What `rate_limits` says: rates, keys, and the settings made of them.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, StatusCode};

use super::codes::Code;
use super::compile::field_match;
use super::file::{Algorithm, Counted, File, OneOrMany, RateLimit, Route, Who};
use super::scalar::{Problem, Scalar, Time, is_token};
use crate::limit::{self, MAX_REQUESTS, MAX_WINDOW_DAYS, Quota};
use crate::pipeline::settings::{self, LimitKey, LimitSettings};

/// Keys that a rate limit remembers where nobody says.
const DEFAULT_KEYS: u32 = 100_000;

/// How many requests in how long: `100/m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests.
    pub requests: u32,
    /// In this time.
    pub window: Duration,
}

/// The name of a rate limit: it stands in a structured field (RFC 9651 3.3.3) and in metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitName(pub String);

/// A part of a key: `client`, `header:x-api-key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPart(pub LimitKey);

const RATE_HELP: &str = "write requests and a time: \"10/s\", \"100/m\", \"1000/h\", \"5000/1d\", \"30/10s\"";

impl Scalar for Rate {
    const FORMAT: &'static str = "rate";
    const EXPECTED: &'static str = "a rate such as \"100/m\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        let bad = |message: String| Problem::new(Code::BadRate, message, RATE_HELP);
        let (number, time) = text.split_once('/').ok_or_else(|| bad(format!("`{text}` is not a rate")))?;
        let number = number.trim();
        let requests: u32 =
            number.parse().map_err(|_| bad(format!("`{number}` is not a number of requests")))?;
        if requests == 0 {
            let help = "it would refuse everyone; to close a route give it no `upstream`, or refuse it there";
            return Err(Problem::new(Code::Zero, format!("`{text}` lets nothing through"), help));
        }
        if requests > MAX_REQUESTS {
            return Err(bad(format!("`{text}` is more than a million requests: take a shorter time")));
        }
        let time = time.trim();
        // A unit alone is one of it.
        let one = format!("1{time}");
        let written = if time.starts_with(|c: char| c.is_ascii_digit()) { time } else { &one };
        let Time(window) = Time::parse(written).map_err(|_| bad(format!("`{time}` is not a time")))?;
        if window.as_secs() == 0 || window.subsec_millis() != 0 {
            return Err(bad(format!("`{time}` is not a whole number of seconds")));
        }
        if window > Duration::from_secs(MAX_WINDOW_DAYS * 86_400) {
            return Err(bad(format!("`{time}` is longer than {MAX_WINDOW_DAYS} days")));
        }
        Ok(Self { requests, window })
    }
}

impl Scalar for LimitName {
    const FORMAT: &'static str = "rate-limit-name";
    const EXPECTED: &'static str = "a name";

    fn parse(text: &str) -> Result<Self, Problem> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if (1..=64).contains(&text.len()) && text.bytes().all(fits) {
            return Ok(Self(text.to_owned()));
        }
        let help = "clients read it in `RateLimit`: up to 64 letters, digits, `-`, `_` and `.`";
        Err(Problem::new(Code::BadName, format!("`{text}` cannot be the name of a rate limit"), help))
    }
}

impl Scalar for KeyPart {
    const FORMAT: &'static str = "rate-limit-key";
    const EXPECTED: &'static str = "a part of a key such as \"client\"";

    fn parse(text: &str) -> Result<Self, Problem> {
        let bad = |message: String| {
            let help = "write \"client\", \"route\", \"host\", \"method\", \"header:NAME\", \"cookie:NAME\", \
                        \"query:NAME\", \"path:NAME\", \"user\" or \"client-cert\"; an empty list counts all requests together";
            Problem::new(Code::BadLimitKey, message, help)
        };
        Ok(Self(match text.split_once(':') {
            None => match text {
                "client" => LimitKey::Client,
                "route" => LimitKey::Route,
                "host" => LimitKey::Host,
                "method" => LimitKey::Method,
                "user" => LimitKey::User,
                "client-cert" => LimitKey::ClientCert,
                _ => return Err(bad(format!("`{text}` is not a part of a key"))),
            },
            Some((_, "")) => return Err(bad(format!("`{text}` names nothing"))),
            Some(("header", name)) => match HeaderName::from_bytes(name.as_bytes()) {
                Ok(name) => LimitKey::Header(name),
                Err(_) => return Err(bad(format!("`{name}` is not a field name"))),
            },
            Some(("cookie", name)) if is_token(name) => LimitKey::Cookie(name.into()),
            Some(("cookie", name)) => return Err(bad(format!("`{name}` is not a cookie's name"))),
            Some(("query", name)) => LimitKey::Query(name.into()),
            Some(("path", name)) => LimitKey::Path(name.into()),
            Some((kind, _)) => return Err(bad(format!("`{kind}` is nothing that a key can be made of"))),
        }))
    }
}

/// The rate limits of a config.
pub fn limits(file: &File) -> Vec<LimitSettings> {
    file.rate_limits.0.iter().map(|(name, from)| limit(name, from)).collect()
}

/// The names of the limits that hold for a route: those for every route first.
pub fn of_route(file: &File, route: &Route) -> Vec<Arc<str>> {
    let all = file.rate_limits.0.iter().filter(|(_, limit)| limit.every_route == Some(true));
    let own = route.rate_limits.iter().map(|name| &name.0);
    let mut names: Vec<Arc<str>> = Vec::new();
    for name in all.map(|(name, _)| name).chain(own) {
        if !names.iter().any(|known| **known == **name) {
            names.push(name.as_str().into());
        }
    }
    names
}

/// The parts of a limit's key.
pub fn key(from: &RateLimit) -> Vec<LimitKey> {
    match &from.key {
        None => vec![LimitKey::Client],
        Some(OneOrMany::One(part)) => vec![part.0.clone()],
        Some(OneOrMany::Many(parts)) => parts.iter().map(|part| part.0.clone()).collect(),
    }
}

fn limit(name: &str, from: &RateLimit) -> LimitSettings {
    let quota = |rate: Rate, burst: Option<u32>| Quota {
        requests: rate.requests,
        window: rate.window,
        burst: burst.unwrap_or(rate.requests),
    };
    let tiers = from.tiers.0.iter();
    let quotas = tiers.clone().map(|(_, tier)| quota(tier.rate, tier.burst));
    let key = key(from);
    let (ipv4_prefix, ipv6_prefix) = (from.ipv4_prefix.unwrap_or(32), from.ipv6_prefix.unwrap_or(64));
    let words: Vec<_> = key.iter().map(ToString::to_string).collect();
    LimitSettings {
        limiter: limit::Settings {
            name: name.into(),
            algorithm: from.algorithm.map_or(limit::Algorithm::Gcra, algorithm),
            quotas: std::iter::once(quota(from.rate, from.burst)).chain(quotas).collect(),
            max_keys: from.max_keys.unwrap_or(DEFAULT_KEYS) as usize,
            key: format!("{} {ipv4_prefix} {ipv6_prefix}", words.join(" ")).into(),
        },
        key,
        tiers: tiers.map(|(name, tier)| (name.as_str().into(), who(&tier.who()))).collect(),
        exempt: from.exempt.iter().map(who).collect(),
        counts: match from.counts {
            Some(Counted::Origin) => settings::Counted::Origin,
            Some(Counted::All) | None => settings::Counted::All,
        },
        dry_run: from.dry_run.unwrap_or_default(),
        status: from
            .status
            .and_then(|status| StatusCode::from_u16(status).ok())
            .unwrap_or(StatusCode::TOO_MANY_REQUESTS),
        fields: from.fields.unwrap_or(true),
        ipv4_prefix,
        ipv6_prefix,
    }
}

fn algorithm(from: Algorithm) -> limit::Algorithm {
    match from {
        Algorithm::Gcra => limit::Algorithm::Gcra,
        Algorithm::FixedWindow => limit::Algorithm::FixedWindow,
        Algorithm::SlidingWindow => limit::Algorithm::SlidingWindow,
    }
}

fn who(from: &Who) -> settings::Who {
    settings::Who {
        clients: from.clients.iter().map(|network| network.0).collect(),
        headers: from.headers.0.iter().filter_map(field_match).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        let table = [
            ("10/s", 10, 1),
            ("100/m", 100, 60),
            ("100 / 1m30s", 100, 90),
            ("5000/h", 5000, 3600),
            ("1/31d", 1, 31 * 86_400),
            ("1000000/d", 1_000_000, 86_400),
        ];
        for (text, requests, secs) in table {
            assert_eq!(Rate::parse(text), Ok(Rate { requests, window: Duration::from_secs(secs) }), "{text}");
        }
        for (text, code) in [
            ("0/m", Code::Zero),
            ("100", Code::BadRate),
            ("x/m", Code::BadRate),
            ("-1/m", Code::BadRate),
            ("1/", Code::BadRate),
            ("1/0s", Code::BadRate),
            ("1/500ms", Code::BadRate),
            ("1/fortnight", Code::BadRate),
            ("1/32d", Code::BadRate),
            ("1000001/d", Code::BadRate),
        ] {
            assert_eq!(Rate::parse(text).unwrap_err().code, code, "{text}");
        }
    }

    #[test]
    fn parts_of_keys_read_back() {
        for text in
            ["client", "route", "host", "method", "header:x-api-key", "cookie:sid", "query:key", "path:id"]
        {
            assert_eq!(KeyPart::parse(text).unwrap().0.to_string(), text);
        }
        for text in ["", "Client", "header:", "header:a b", "cookie:a=b", "cookie", "ip:x", "certificate"] {
            assert_eq!(KeyPart::parse(text).unwrap_err().code, Code::BadLimitKey, "{text}");
        }
    }

    #[test]
    fn names_can_stand_in_a_field() {
        assert!(LimitName::parse("per-client_1.a").is_ok());
        for text in ["", "a b", "a\"", "ü", &"x".repeat(65)] {
            assert!(LimitName::parse(text).is_err(), "{text}");
        }
    }
}
