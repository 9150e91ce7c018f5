//! A finished exchange as it is told to people and programs: the JSON access log, the admin API and `logs`.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::Finished;
use crate::clock::Timestamp;

/// One finished exchange. The keys are stable: they are those of the JSON access log as well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogRecord {
    /// When the request head had been read: RFC 3339 in UTC with milliseconds.
    #[serde(with = "rfc3339")]
    pub time: Timestamp,
    /// The request id.
    pub id: String,
    /// The client's address.
    pub client: IpAddr,
    /// The request's method.
    pub method: String,
    /// The request's authority.
    pub host: String,
    /// Path and query.
    pub target: String,
    /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2`.
    pub protocol: String,
    /// The status sent; 0 when the client left before there was one.
    pub status: u16,
    /// Body bytes sent to the client.
    pub bytes: u64,
    /// Body bytes received from the client.
    pub received: u64,
    /// From request head to the end of the reply, in milliseconds.
    pub duration_ms: f64,
    /// From request head to the head of the reply, in milliseconds.
    pub first_byte_ms: f64,
    /// What the cache did.
    pub cache: String,
    /// The route.
    pub route: Option<String>,
    /// The upstream, where one was asked.
    pub upstream: Option<String>,
    /// The endpoint that answered.
    pub endpoint: Option<String>,
    /// How often an endpoint was asked.
    pub attempts: u32,
    /// From asking the endpoint to the head of its reply, in milliseconds.
    pub upstream_first_byte_ms: Option<f64>,
    /// How the exchange ended.
    pub end: String,
    /// The error type of `Proxy-Status` (RFC 9209 2.3).
    pub error: Option<String>,
}

impl From<&Finished> for LogRecord {
    fn from(finished: &Finished) -> Self {
        Self {
            time: finished.at,
            id: finished.id.to_string(),
            client: finished.client,
            method: finished.method.as_str().to_owned(),
            host: finished.host.to_string(),
            target: finished.target.to_string(),
            protocol: finished.protocol.name().to_owned(),
            status: finished.status,
            bytes: finished.sent,
            received: finished.received,
            duration_ms: millis(finished.duration),
            first_byte_ms: millis(finished.first_byte),
            cache: finished.cache.as_str().to_owned(),
            route: finished.route.as_deref().map(str::to_owned),
            upstream: finished.upstream.as_deref().map(str::to_owned),
            endpoint: finished.endpoint.as_deref().map(str::to_owned),
            attempts: finished.attempts,
            upstream_first_byte_ms: finished.upstream_first_byte.map(millis),
            end: finished.end.as_str().to_owned(),
            error: finished.error.map(str::to_owned),
        }
    }
}

/// Milliseconds, to the microsecond.
pub fn millis(duration: Duration) -> f64 {
    // Beyond 2^53 µs (285 years) the last digits are lost; nothing lasts so long.
    duration.as_micros() as f64 / 1000.0
}

/// A timestamp as RFC 3339 in UTC with exactly three decimals.
pub fn format_time(at: Timestamp) -> String {
    let millis = i64::try_from(at.millis()).unwrap_or(i64::MAX);
    match jiff::Timestamp::from_millisecond(millis) {
        Ok(time) => format!("{time:.3}"),
        Err(_) => format!("{:.3}", jiff::Timestamp::MAX),
    }
}

/// [`Timestamp`] as RFC 3339, for serde's `with`.
pub mod rfc3339 {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use crate::clock::Timestamp;

    /// Writes the time with milliseconds.
    ///
    /// # Errors
    /// Only the serializer's own.
    pub fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::format_time(*at))
    }

    /// Reads any RFC 3339 time; one before 1970 becomes the epoch.
    ///
    /// # Errors
    /// When the text is no RFC 3339 time.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let time: jiff::Timestamp = text.parse().map_err(de::Error::custom)?;
        Ok(Timestamp::from_millis(u64::try_from(time.as_millisecond()).unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_decimals_and_read_back() {
        let at = Timestamp::from_millis(1_700_000_000_120);
        assert_eq!(format_time(at), "2023-11-14T22:13:20.120Z");
        assert_eq!(format_time(Timestamp::from_secs(1)), "1970-01-01T00:00:01.000Z");
        assert!(format_time(Timestamp::from_millis(u64::MAX)).starts_with("9999"));
        #[derive(Serialize, Deserialize)]
        struct Wrapped(#[serde(with = "rfc3339")] Timestamp);
        let json = serde_json::to_string(&Wrapped(at)).unwrap();
        assert_eq!(serde_json::from_str::<Wrapped>(&json).unwrap().0, at);
        let reader = serde_json::from_reader::<_, Wrapped>(json.as_bytes()).unwrap();
        assert_eq!(reader.0, at);
    }
}
