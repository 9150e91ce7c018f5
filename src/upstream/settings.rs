//! What an upstream is told by the config.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use rustls_pki_types::CertificateDer;

/// One upstream: a group of endpoints that serve the same thing.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The name that routes use.
    pub name: Arc<str>,
    /// At least one.
    pub endpoints: Vec<EndpointSettings>,
    /// Joined before every request path; empty or `/like/this` without a final slash.
    pub base_path: Box<str>,
    /// What `Host` (and SNI) the endpoints get.
    pub host: HostPolicy,
    /// Which version of HTTP they are spoken to in.
    pub protocol: Protocol,
    /// How HTTP/2 is spoken, where it is.
    pub http2: Http2Settings,
    /// Certificate authorities trusted instead of the platform's; empty: the platform's.
    pub ca: Vec<CertificateDer<'static>>,
    /// From dialling to an established connection, TLS included.
    pub connect_timeout: Duration,
    /// From the request sent to the head of the reply.
    pub first_byte_timeout: Duration,
    /// The longest pause within a reply's body.
    pub idle_timeout: Duration,
    /// Connections per endpoint, over all workers.
    pub max_connections: usize,
    /// Requests that may wait for a connection once all are in use; more are refused with 503.
    pub max_pending: usize,
    /// How long an unused connection is kept.
    pub keepalive: Duration,
    /// How often another endpoint or connection is tried where that is safe (RFC 9110 9.2.2); 0: never.
    pub retries: u32,
}

/// One address of an upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointSettings {
    /// `https` rather than `http`.
    pub tls: bool,
    /// Host name or IP address, without brackets.
    pub host: Box<str>,
    /// Port, explicit or the scheme's own.
    pub port: u16,
    /// Share of the requests, relative to the others'; at least 1.
    pub weight: u32,
    /// Used only when no other endpoint can be reached.
    pub backup: bool,
}

/// Which version of HTTP an endpoint is spoken to in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Over TLS what the endpoint chooses (ALPN, RFC 7301), else HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2; without TLS by prior knowledge (RFC 9113 3.3).
    Http2,
}

/// How HTTP/2 is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2Settings {
    /// Streams on one connection; the peer's own limit holds as well.
    pub max_streams: usize,
    /// What a reply may be ahead of its reader, in bytes. A connection's window is as large as those of all its streams
    /// together, so that one that nobody reads never holds up another.
    pub stream_window: u32,
    /// How long a connection with requests under way may be silent before it is asked for a sign of life; `None`: it is
    /// asked only when a request has waited in vain.
    pub ping_interval: Option<Duration>,
    /// How long that sign may take before the connection is given up.
    pub ping_timeout: Duration,
}

impl Default for Http2Settings {
    fn default() -> Self {
        Self {
            max_streams: 100,
            stream_window: 1 << 20,
            ping_interval: None,
            ping_timeout: Duration::from_secs(10),
        }
    }
}

/// What `Host` an endpoint gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HostPolicy {
    /// The endpoint's own name (with its port where it is not the scheme's own).
    #[default]
    Upstream,
    /// What the client sent.
    Client,
    /// This name.
    Fixed(HeaderValue),
}

impl Settings {
    /// An upstream of one endpoint with every default.
    pub fn new(name: &str, endpoint: EndpointSettings) -> Self {
        Self {
            name: name.into(),
            endpoints: vec![endpoint],
            base_path: "".into(),
            host: HostPolicy::Upstream,
            protocol: Protocol::Auto,
            http2: Http2Settings::default(),
            ca: Vec::new(),
            connect_timeout: Duration::from_secs(5),
            first_byte_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(60),
            max_connections: 512,
            max_pending: 1024,
            keepalive: Duration::from_secs(60),
            retries: 2,
        }
    }
}
