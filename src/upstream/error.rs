//! Why a fetch gave no reply, and why a body broke off.

use std::io;
use std::sync::Arc;

use thiserror::Error;

use crate::http::h1::Violation;

/// A fetch that ended without a reply's head.
///
/// Its text names addresses and certificates: it is for the log. What a client may be told is
/// [`Failure::as_str`].
#[derive(Debug, Error)]
#[error("{failure}")]
pub struct FetchError {
    /// What went wrong, last.
    #[source]
    pub failure: Failure,
    /// The endpoint that was asked last, as `host:port`; `None`: none was.
    pub endpoint: Option<Arc<str>>,
    /// How often an endpoint was asked (connects that failed included).
    pub attempts: u32,
}

/// What the connection's own code says.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What went wrong.
#[derive(Debug, Error)]
pub enum Failure {
    /// The endpoint's name has no address.
    #[error("name does not resolve: {0}")]
    Dns(Arc<str>),
    /// Nobody listens there.
    #[error("connection refused")]
    ConnectRefused,
    /// Connecting (TLS included) took longer than `connect_timeout`.
    #[error("connecting timed out")]
    ConnectTimeout,
    /// Connecting failed otherwise: no route, no descriptors left, ...
    #[error("connect failed: {0}")]
    Connect(#[source] io::Error),
    /// The endpoint's certificate is not valid for its name, or its authority is not trusted.
    #[error("certificate not accepted: {}", why_not_accepted(.0))]
    TlsCertificate(#[source] rustls::Error),
    /// The TLS handshake failed otherwise.
    #[error("TLS handshake failed: {0}")]
    Tls(#[source] io::Error),
    /// The reply's head took longer than `first_byte_timeout`.
    #[error("no reply within the time to first byte")]
    FirstByteTimeout,
    /// The connection broke before the reply's head was complete.
    #[error("connection broke before the reply: {0}")]
    ResetBeforeHead(#[source] Cause),
    /// What came is no HTTP reply, or its head is too large.
    #[error("reply not understood: {0}")]
    InvalidResponse(#[source] Cause),
    /// All connections are in use and no more requests may wait for one.
    #[error("all connections in use, and enough requests waiting")]
    QueueFull,
    /// All connections stayed in use for as long as a request may wait.
    #[error("no connection became free in time")]
    QueueTimeout,
    /// The request's body failed: the client's doing.
    #[error("request body: {0}")]
    RequestBody(#[source] RequestBodyError),
    /// The exchange's deadline passed.
    #[error("deadline passed")]
    Deadline,
}

impl Failure {
    /// The error type of RFC 9209 2.3, which logs, metrics and `Proxy-Status` use alike.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Dns(_) => "dns_error",
            Self::ConnectRefused => "connection_refused",
            Self::ConnectTimeout => "connection_timeout",
            Self::Connect(_) => "destination_unavailable",
            Self::TlsCertificate(_) => "tls_certificate_error",
            Self::Tls(_) => "tls_protocol_error",
            Self::FirstByteTimeout | Self::Deadline => "http_response_timeout",
            Self::ResetBeforeHead(_) => "connection_terminated",
            Self::InvalidResponse(_) => "http_protocol_error",
            Self::QueueFull | Self::QueueTimeout => "connection_limit_reached",
            Self::RequestBody(_) => "http_request_error",
        }
    }

    /// Whether no connection could be made: the endpoint itself is unreachable.
    pub(crate) fn is_connect(&self) -> bool {
        matches!(
            self,
            Self::Dns(_)
                | Self::ConnectRefused
                | Self::ConnectTimeout
                | Self::Connect(_)
                | Self::TlsCertificate(_)
                | Self::Tls(_)
        )
    }

    /// The connection broke.
    pub(crate) fn reset(cause: impl Into<Cause>) -> Self {
        Self::ResetBeforeHead(cause.into())
    }

    /// What a failed dial or handshake means.
    pub(crate) fn from_io(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::ConnectRefused,
            io::ErrorKind::TimedOut => Self::ConnectTimeout,
            _ => Self::Connect(error),
        }
    }
}

/// Why a certificate is not accepted, with what to do about the two reasons that configs have.
fn why_not_accepted(error: &rustls::Error) -> String {
    let text = error.to_string();
    // The latter is webpki's own word, which rustls hands on as it is: certificates of `openssl req -x509` are such.
    if text.contains("UnknownIssuer") {
        "nobody who is trusted here has signed it; the upstream's `ca` names an authority of your own"
            .to_owned()
    } else if text.contains("CaUsedAsEndEntity") {
        "it is an authority's own (basicConstraints CA:TRUE), which no server may show; have one without that signed, or \
         make a self-signed one with CA:FALSE"
            .to_owned()
    } else {
        text
    }
}

/// Why a request's body failed while it was being sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RequestBodyError {
    /// The client went away or broke the framing.
    #[error("the client broke off")]
    Aborted,
    /// The client paused for longer than the route allows.
    #[error("the client paused for too long")]
    IdleTimeout,
    /// The client broke the grammar of chunks (RFC 9112 7.1).
    #[error("its framing is malformed: {0}")]
    Malformed(Violation),
    /// It is not in the coding that its type says.
    #[error("not base64, as its type says")]
    Coding,
    /// The body is larger than the route allows.
    #[error("larger than allowed")]
    TooLarge,
    /// The origin answered finally without asking for the body (RFC 9110 10.1.1).
    #[error("not asked for")]
    NotWanted,
}

/// Why a reply's body broke off.
#[derive(Debug, Error)]
pub enum BodyError {
    /// The origin broke the grammar of chunks (RFC 9112 7.1).
    #[error("reply not understood: {0}")]
    Malformed(#[source] Violation),
    /// The origin closed or reset the connection in mid-body.
    #[error("reply cut short: {0}")]
    Incomplete(#[source] Cause),
    /// The origin paused for longer than `idle_timeout`.
    #[error("the origin paused for too long")]
    IdleTimeout,
    /// The exchange's deadline passed.
    #[error("deadline passed")]
    Deadline,
}

impl BodyError {
    /// The error type of RFC 9209 2.3.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "http_protocol_error",
            Self::Incomplete(_) => "http_response_incomplete",
            Self::IdleTimeout => "connection_read_timeout",
            Self::Deadline => "http_response_timeout",
        }
    }
}
