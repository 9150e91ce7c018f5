//! A finished exchange as it is told to people and programs: the JSON access log, the admin API and `logs`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::account::{Account, Id};
use super::caching::lines;
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
    /// `TLSv1.2` or `TLSv1.3`, where the client spoke TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// The cipher suite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cipher: Option<String>,
    /// The name that the client's TLS asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sni: Option<String>,
    /// Whether the TLS session was resumed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resumed: bool,
    /// Who the client is, by its certificate: the first alternative name, or the subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_cert: Option<String>,
    /// The user who has given the right password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
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
    /// The rate limit that refused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// The rate limit that would have refused it, did it not only try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_dry_run: Option<String>,
    /// `http` or `https`, as the client sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// The digest of the key, 32 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Why the request went to the origin, in the word of `Cache-Status` (RFC 9211 2.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward: Option<String>,
    /// The status of the origin's reply, where it is not the status sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward_status: Option<u16>,
    /// Whether the reply was stored.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stored: bool,
    /// Why it was not, and the like: the detail of `Cache-Status`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The age of the stored response that the request asked for, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_s: Option<u32>,
    /// Its lifetime, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime_s: Option<u32>,
    /// Who gave its lifetime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime_from: Option<String>,
    /// What the request said that caching goes by: `cookie`, `authorization`, `range`, `conditional`, `no-cache`,
    /// `no-store`, `only-if-cached`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asks: Vec<String>,
    /// The fields of the origin's reply that caching goes by; empty where only their presence is told.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reply: BTreeMap<String, String>,
}

impl From<&Finished> for LogRecord {
    fn from(finished: &Finished) -> Self {
        Account::from(finished).into()
    }
}

impl From<Account<'_>> for LogRecord {
    fn from(finished: Account<'_>) -> Self {
        let caching = &finished.caching;
        let session = finished.session;
        let kept = |text: Option<&str>| text.map(str::to_owned);
        let told = |(name, value): (&str, &str)| (name.to_string(), value.to_string());
        Self {
            time: finished.at,
            id: match finished.id {
                Id::Own(id) => id.to_string(),
                Id::Given(id) => id.to_owned(),
            },
            client: finished.client,
            method: finished.method.to_owned(),
            host: finished.host.to_owned(),
            target: finished.target.to_owned(),
            protocol: finished.protocol.name().to_owned(),
            tls: session.map(|session| session.version.to_owned()),
            cipher: session.map(|session| session.cipher.to_owned()),
            sni: session.and_then(|session| session.sni.as_deref()).map(str::to_owned),
            resumed: session.is_some_and(|session| session.resumed),
            client_cert: session
                .and_then(|session| session.identity.as_ref())
                .map(|client| client.name().into()),
            status: finished.status,
            bytes: finished.sent,
            received: finished.received,
            duration_ms: millis(finished.duration),
            first_byte_ms: millis(finished.first_byte),
            cache: finished.cache.as_str().to_owned(),
            route: kept(finished.route),
            upstream: kept(finished.upstream),
            endpoint: kept(finished.endpoint),
            attempts: finished.attempts,
            upstream_first_byte_ms: finished.upstream_first_byte.map(millis),
            end: finished.end.as_str().to_owned(),
            error: kept(finished.error),
            limit: kept(finished.limit),
            user: kept(finished.user),
            limit_dry_run: kept(finished.limit_dry_run),
            scheme: (!finished.host.is_empty())
                .then(|| if caching.asks.secure { "https" } else { "http" }.to_owned()),
            key: caching.key.map(|key| format!("{:032x}", u128::from_be_bytes(key))),
            forward: caching.forward.map(|forward| forward.as_str().to_owned()),
            forward_status: caching.forward_status,
            stored: caching.stored,
            detail: caching.detail.map(str::to_owned),
            age_s: caching.found.map(|found| found.age),
            lifetime_s: caching.found.map(|found| found.lifetime),
            lifetime_from: caching.found.map(|found| found.source.to_owned()),
            asks: caching.asks.words().map(str::to_owned).collect(),
            reply: finished.reply.into_iter().flat_map(lines).map(told).collect(),
        }
    }
}

impl LogRecord {
    /// A record that says nothing.
    pub(super) fn blank() -> Self {
        Self {
            time: Timestamp::default(),
            id: String::new(),
            client: IpAddr::from([0, 0, 0, 0]),
            method: String::new(),
            host: String::new(),
            target: String::new(),
            protocol: String::new(),
            tls: None,
            cipher: None,
            sni: None,
            resumed: false,
            client_cert: None,
            status: 0,
            bytes: 0,
            received: 0,
            duration_ms: 0.0,
            first_byte_ms: 0.0,
            cache: String::new(),
            route: None,
            upstream: None,
            endpoint: None,
            attempts: 0,
            upstream_first_byte_ms: None,
            end: String::new(),
            error: None,
            limit: None,
            user: None,
            limit_dry_run: None,
            scheme: None,
            key: None,
            forward: None,
            forward_status: None,
            stored: false,
            detail: None,
            age_s: None,
            lifetime_s: None,
            lifetime_from: None,
            asks: Vec::new(),
            reply: BTreeMap::new(),
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
