//! What `upstream ls` shows: the counters and states of every endpoint at one moment.

use std::net::SocketAddr;
use std::sync::Arc;

/// One upstream at one moment.
#[derive(Clone, Debug)]
pub struct UpstreamSnapshot {
    /// Its name.
    pub name: Arc<str>,
    /// In the order of the config.
    pub endpoints: Vec<EndpointSnapshot>,
}

/// One endpoint at one moment. Counters begin with the process and survive reloads.
#[derive(Clone, Debug)]
pub struct EndpointSnapshot {
    /// `host:port`.
    pub endpoint: Arc<str>,
    /// `https` rather than `http`.
    pub tls: bool,
    /// Its share of the requests.
    pub weight: u32,
    /// Asked only when no other endpoint is usable.
    pub backup: bool,
    /// Whether requests go there.
    pub state: EndpointState,
    /// Connections open, those being made included.
    pub connections: usize,
    /// Connections that wait for a request.
    pub idle: usize,
    /// Those of them that speak HTTP/2.
    pub http2_connections: usize,
    /// Requests under way on those.
    pub streams: usize,
    /// Requests that wait for a connection.
    pub pending: usize,
    /// Connections made.
    pub connects: u64,
    /// Connections that could not be made.
    pub connect_failures: u64,
    /// Requests sent.
    pub requests: u64,
    /// Requests sent on a connection that had served another before.
    pub reused: u64,
    /// Requests that ended without a reply.
    pub failures: u64,
    /// Connections closed for what came on them, by reason.
    pub violations: Vec<(&'static str, u64)>,
    /// What went wrong last, as [`super::Failure::as_str`] says it.
    pub last_error: Option<&'static str>,
    /// The addresses its name has; empty: not resolved.
    pub addresses: Vec<SocketAddr>,
}

impl EndpointSnapshot {
    /// Connections that serve a request or are being made.
    pub fn in_use(&self) -> usize {
        self.connections.saturating_sub(self.idle)
    }
}

/// Whether requests go to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointState {
    /// It takes its share.
    Up,
    /// It kept refusing connections and is left out for a while.
    Skipped,
}

impl EndpointState {
    /// The word for tables and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Skipped => "skipped",
        }
    }
}
