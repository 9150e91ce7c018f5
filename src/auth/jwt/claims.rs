//! What a token claims (RFC 7519 4.1), and whether it is for here and now.

use std::time::Duration;

use serde_json::{Map, Value};

use super::Refused;
use crate::clock::Timestamp;

/// The claims of a token.
#[derive(Clone, Debug, PartialEq)]
pub struct Claims(Map<String, Value>);

impl Claims {
    /// From the decoded payload. Of a name that stands twice the last one counts (RFC 7519 4).
    pub(super) fn parse(payload: &[u8]) -> Result<Self, Refused> {
        match serde_json::from_slice(payload) {
            Ok(Value::Object(claims)) => Ok(Self(claims)),
            _ => Err(Refused::Malformed),
        }
    }

    /// A claim.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// Who issued it, where it says so (RFC 7519 4.1.1).
    pub fn issuer(&self) -> Option<&str> {
        self.get("iss").and_then(Value::as_str)
    }

    /// From when on it is not accepted (RFC 7519 4.1.4), if it is accepted now: neither before `nbf` (4.1.5) nor from `exp`
    /// on. Clocks may differ by `leeway`.
    pub fn until(&self, now: Timestamp, leeway: Duration) -> Result<Option<Timestamp>, Refused> {
        if self.date("nbf")?.is_some_and(|from| now.plus(leeway) < from) {
            return Err(Refused::NotYetValid);
        }
        match self.date("exp")?.map(|until| until.plus(leeway)) {
            Some(until) if until <= now => Err(Refused::Expired),
            until => Ok(until),
        }
    }

    /// A NumericDate: seconds, which may have fractions (RFC 7519 2).
    fn date(&self, name: &str) -> Result<Option<Timestamp>, Refused> {
        match self.get(name) {
            None => Ok(None),
            // As a cast saturates: long ago is the epoch, and the far future never comes.
            Some(Value::Number(seconds)) => {
                Ok(seconds.as_f64().map(|seconds| Timestamp::from_millis((seconds * 1000.0) as u64)))
            }
            Some(_) => Err(Refused::Malformed),
        }
    }

    /// Whether one of these issued it; empty: whoever has the key.
    pub(super) fn is_from(&self, issuers: &[Box<str>]) -> bool {
        match self.get("iss") {
            None => issuers.is_empty(),
            Some(Value::String(issuer)) => issuers.is_empty() || issuers.iter().any(|own| **own == **issuer),
            Some(_) => false,
        }
    }

    /// Whether it is for one of these. One that names its audience is refused by whoever is not in it (RFC 7519
    /// 4.1.3), so also where none is configured.
    pub(super) fn is_for(&self, audiences: &[Box<str>]) -> bool {
        let ours = |value: &Value| {
            value.as_str().is_some_and(|audience| audiences.iter().any(|own| **own == *audience))
        };
        match self.get("aud") {
            None => audiences.is_empty(),
            Some(Value::Array(several)) => several.iter().any(ours),
            Some(one) => ours(one),
        }
    }
}
