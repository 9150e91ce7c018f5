//! Upstreams, logs and metrics.

use serde::{Deserialize, Serialize};

use crate::telemetry::LogRecord;

/// One endpoint of an upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointRow {
    /// The upstream's name.
    pub upstream: String,
    /// The endpoint's URL, without a path.
    pub endpoint: String,
    /// `up`, or `skipped` while it keeps refusing connections.
    pub state: String,
    /// Its share of the requests, relative to the others'.
    pub weight: u32,
    /// Asked only when no other endpoint can be reached.
    pub backup: bool,
    /// Connections that serve a request or are being made.
    pub in_use: usize,
    /// Connections that wait for a request.
    pub idle: usize,
    /// Connections that speak HTTP/2.
    #[serde(default)]
    pub http2: usize,
    /// Requests under way on those.
    #[serde(default)]
    pub streams: usize,
    /// Requests that wait for a connection.
    pub pending: usize,
    /// Requests sent since the start.
    pub requests: u64,
    /// Requests that ended without a reply.
    pub failures: u64,
    /// Requests on a connection that had served another before.
    pub reused: u64,
    /// Connections made.
    pub connects: u64,
    /// Connections that could not be made.
    pub connect_failures: u64,
    /// What went wrong last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// The addresses its name has now; empty: it does not resolve.
    pub addresses: Vec<String>,
}

/// Asks for finished exchanges.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogQuery {
    /// Not before this, milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<u64>,
    /// Not after this, milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
    /// Only those for which this expression holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// At most so many, the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Go on with those that finish from now on.
    #[serde(default)]
    pub follow: bool,
}

/// A line of the log's stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LogLine {
    /// The reader was too slow and has missed some.
    Missed {
        /// How many.
        missed: u64,
    },
    /// A finished exchange.
    Exchange(Box<LogRecord>),
}

/// Asks for snapshots of the metrics, again and again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchQuery {
    /// Milliseconds between two, at least 100; absent: 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_ms: Option<u64>,
}
