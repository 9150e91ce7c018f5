//! What listeners and connections are told by the config.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::http::{HttpsRedirect, h1};

/// One address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListenerSettings {
    /// Where.
    pub address: ListenAddress,
    /// The file mode of a Unix socket: who may connect.
    pub mode: u32,
    /// Balancers that must say, by the PROXY protocol, for whom each connection is, and who is believed; nobody else
    /// may connect then. None: connections are their peers' own.
    pub proxy_protocol: Vec<IpNet>,
    /// The `[tls.NAME]` that it speaks; `None`: it speaks HTTP without TLS.
    pub tls: Option<Arc<str>>,
    /// Where requests are sent instead of being answered.
    pub redirect: Option<HttpsRedirect>,
}

/// Who may connect to a Unix socket unless the config says otherwise: this process's user.
pub const SOCKET_MODE: u32 = 0o600;

impl ListenerSettings {
    /// A listener on a TCP address, with nothing else said.
    pub fn at(address: SocketAddr) -> Self {
        Self {
            address: ListenAddress::Tcp(address),
            mode: SOCKET_MODE,
            proxy_protocol: Vec::new(),
            tls: None,
            redirect: None,
        }
    }
}

/// What to listen on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListenAddress {
    /// An address. `[::]` takes IPv4 as well (that is what `":8080"` in the config becomes).
    Tcp(SocketAddr),
    /// A Unix socket at this path.
    Unix(Arc<Path>),
    /// A socket that whoever started this process opened for it: its name, its position, or empty for the only one.
    Inherited(Box<str>),
}

impl ListenAddress {
    /// The address, where it is one of TCP that we know.
    pub const fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) | Self::Inherited(_) => None,
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Inherited(name) if name.is_empty() => f.write_str("systemd"),
            Self::Inherited(name) => write!(f, "systemd:{name}"),
        }
    }
}

/// Limits of client connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How refusals call this proxy in `Cache-Status`.
    pub name: Arc<str>,
    /// From the first byte of a request (or the connection's start) to the end of its head.
    pub header_timeout: Duration,
    /// How long a keep-alive connection may stay without a request.
    pub keepalive: Duration,
    /// The largest request head in bytes.
    pub max_header_bytes: usize,
    /// The most fields in a request head. Another value than 100 costs an allocation per request.
    pub max_headers: usize,
    /// The most client connections, over all workers.
    pub max_connections: usize,
    /// The most TLS handshakes at a time, over all workers.
    pub max_handshakes: usize,
    /// The most connections of one client (IPv6: one /64), over all workers; `None`: no limit.
    pub max_connections_per_client: Option<usize>,
    /// Peers that speak for many clients, for whom that does not hold.
    pub many_clients: Vec<IpNet>,
    /// The most requests on one connection; `None`: no limit.
    pub max_requests_per_connection: Option<u64>,
    /// How long in-flight exchanges may go on after a stop was asked.
    pub shutdown_grace: Duration,
    /// How long before its end clients are told to go elsewhere.
    pub drain_delay: Duration,
    /// Limits of a connection that speaks HTTP/2.
    pub http2: Http2Settings,
}

/// Limits of a connection that speaks HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2Settings {
    /// Requests at once.
    pub max_streams: u32,
    /// Requests that may be reset beyond those that are answered (CVE-2023-44487).
    pub max_resets: u32,
    /// What of a request's body may be ahead of its reader, in bytes.
    pub stream_window: u32,
}

impl Default for Http2Settings {
    fn default() -> Self {
        Self { max_streams: 200, max_resets: 256, stream_window: 256 << 10 }
    }
}

impl Settings {
    /// The limits of a request's head.
    pub(super) const fn heads(&self) -> h1::Limits {
        h1::Limits { bytes: self.max_header_bytes, fields: self.max_headers }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: "proxy-stone".into(),
            header_timeout: Duration::from_secs(30),
            keepalive: Duration::from_secs(75),
            max_header_bytes: 64 << 10,
            max_headers: 100,
            max_connections: 65_536,
            max_handshakes: 4096,
            max_connections_per_client: None,
            many_clients: Vec::new(),
            max_requests_per_connection: None,
            shutdown_grace: Duration::from_secs(30),
            drain_delay: Duration::from_secs(5),
            http2: Http2Settings::default(),
        }
    }
}
