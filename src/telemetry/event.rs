//! The one event that a finished exchange leaves behind.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use uuid::Uuid;

use super::caching::{Caching, ReplyFields};
use crate::clock::Timestamp;
use crate::tls::Session;

/// Everything that is told of one exchange, made once when its reply has left (or failed to).
#[derive(Clone, Debug)]
pub struct Finished {
    /// The request id that the client was told (`X-Request-Id`).
    pub id: RequestId,
    /// When the request head had been read.
    pub at: Timestamp,
    /// From request head to the last byte of the reply.
    pub duration: Duration,
    /// From request head to the head of the reply.
    pub first_byte: Duration,
    /// The client's address (as a trusted peer tells it, else the socket's).
    pub client: IpAddr,
    /// What is known of its TLS connection, where it has one.
    pub session: Option<Arc<Session>>,
    /// The user who has given the right password.
    pub user: Option<Arc<str>>,
    /// The protocol the client spoke.
    pub protocol: Protocol,
    /// The request's method.
    pub method: Method,
    /// The request's authority as the client named it, lower case.
    pub host: Arc<str>,
    /// Path and query as the client sent them.
    pub target: Arc<str>,
    /// The status sent; 0 when the client left before there was one.
    pub status: u16,
    /// The route that took it; `None`: no route matched, or no request was parsed.
    pub route: Option<Arc<str>>,
    /// Position of the route in its site's table and of its upstream; metrics are counted under these.
    pub series: Series,
    /// The upstream's name, where one was asked.
    pub upstream: Option<Arc<str>>,
    /// The endpoint that answered, as `host:port`.
    pub endpoint: Option<Arc<str>>,
    /// How often an endpoint was asked.
    pub attempts: u32,
    /// From asking the endpoint to the head of its reply; `None` where none was asked or none came.
    pub upstream_first_byte: Option<Duration>,
    /// What the cache did.
    pub cache: CacheOutcome,
    /// Body bytes received from the client.
    pub received: u64,
    /// Body bytes sent to the client.
    pub sent: u64,
    /// How it ended.
    pub end: End,
    /// It lasts by its nature, as a tunnel or a stream of events does: its duration says nothing of speed.
    pub lasting: bool,
    /// The error type told in `Proxy-Status` (RFC 9209 2.3), where there is one.
    pub error: Option<&'static str>,
    /// The rate limit that refused it.
    pub limit: Option<Arc<str>>,
    /// The rate limit that would have refused it, did it not only try.
    pub limit_dry_run: Option<Arc<str>>,
    /// What the cache found and did.
    pub caching: Caching,
    /// What caching goes by of the origin's reply, where the request went there.
    pub reply: Option<ReplyFields>,
}

/// The metric series an exchange is counted under; slots are handed out by `telemetry::metrics` by name and
/// survive reloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Series {
    /// Slot of the route's name (0: no route).
    pub route: u32,
    /// Slot of the upstream's name (0: no upstream).
    pub upstream: u32,
}

/// A request id: a UUIDv7, or what a trusted client sent.
#[derive(Clone, PartialEq, Eq)]
pub enum RequestId {
    /// Made here.
    Own(Uuid),
    /// Taken over from a trusted peer.
    Given(Arc<str>),
}

impl RequestId {
    /// Whether this id is written so.
    pub fn is(&self, text: &str) -> bool {
        match self {
            Self::Own(uuid) => Uuid::try_parse(text).is_ok_and(|other| other == *uuid),
            Self::Given(id) => **id == *text,
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(uuid) => fmt::Display::fmt(uuid, f),
            Self::Given(id) => f.write_str(id),
        }
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The protocol a client spoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
    /// None: the instance asked itself (`cache warm`, `cache refresh`).
    Internal,
}

impl Protocol {
    /// As filters and `Via` write it: `1.0`, `1.1`, `2`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "1.0",
            Self::Http11 => "1.1",
            Self::Http2 => "2",
            Self::Internal => "internal",
        }
    }

    /// As lines of logs write it: `HTTP/1.1`, `internal`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
            Self::Internal => "internal",
        }
    }
}

/// What the cache did for an exchange. The words are those of logs, metrics and `cache` filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CacheOutcome {
    /// Answered from a fresh entry.
    Hit,
    /// Answered from a stale entry (allowed by the origin, the policy or the request).
    Stale,
    /// The entry was validated with the origin and answered.
    Revalidated,
    /// The origin was asked: nothing stored, or nothing that could be used.
    Miss,
    /// Shared the fetch of another exchange.
    Collapsed,
    /// The cache was not asked: the route, the method or the request forbids it.
    Bypass,
    /// The exchange never came to the cache (no route, refused, answered by hyper itself).
    None,
}

impl CacheOutcome {
    /// All outcomes, in the order of their slots in metrics.
    pub const ALL: [Self; 7] =
        [Self::Hit, Self::Stale, Self::Revalidated, Self::Miss, Self::Collapsed, Self::Bypass, Self::None];

    /// The word for logs, metrics and filters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Revalidated => "revalidated",
            Self::Miss => "miss",
            Self::Collapsed => "collapsed",
            Self::Bypass => "bypass",
            Self::None => "none",
        }
    }
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// The whole reply left.
    Complete,
    /// The client went away first.
    ClientAborted,
    /// The origin broke off in mid-body; the client saw a broken reply.
    UpstreamAborted,
    /// A time-out of ours cut it.
    TimedOut,
    /// The request never became an exchange: hyper or our IO layer answered (400, 408, 414, 431 ...).
    Refused,
}

impl End {
    /// All ends, in the order of their slots in metrics.
    pub const ALL: [Self; 5] =
        [Self::Complete, Self::ClientAborted, Self::UpstreamAborted, Self::TimedOut, Self::Refused];

    /// The word for logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ClientAborted => "client_aborted",
            Self::UpstreamAborted => "upstream_aborted",
            Self::TimedOut => "timed_out",
            Self::Refused => "refused",
        }
    }
}
