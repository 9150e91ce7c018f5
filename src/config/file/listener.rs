//! Where clients come in.

use schemars::JsonSchema;
use serde::Deserialize;

use super::OneOrMany;
use crate::config::address::{FileMode, ListenOn};
use crate::config::scalar::{Name, Network, PositiveTime, Size, Time};

/// A listener.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Listen {
    /// Its address.
    Address(ListenOn),
    /// A table.
    Table(Listener),
}

impl Listen {
    /// Where.
    pub fn address(&self) -> &ListenOn {
        match self {
            Self::Address(address) => address,
            Self::Table(table) => &table.addr,
        }
    }
}

/// A listener.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// The address; "unix:/run/api.sock" is a Unix socket, "systemd" or "systemd:web" a socket that whoever started the
    /// process opened for it.
    pub addr: ListenOn,
    /// Who may connect to a Unix socket, as the mode of its file; without it "0600": this process's user.
    pub mode: Option<FileMode>,
    /// Balancers before this listener, which say by the PROXY protocol (version 1 or 2) for whom each connection is: a
    /// network, or a list of them. They must say it, and nobody else can connect. A Unix socket's peer counts as 127.0.0.1.
    pub proxy_protocol: Option<OneOrMany<Network>>,
    /// The name of the `[tls.NAME]` that it speaks; without it, HTTP without TLS.
    #[serde(default)]
    pub tls: Option<Name>,
    /// Whether requests are sent to the same URL with https instead of being answered: true, or a table.
    #[serde(default)]
    pub https_redirect: Option<HttpsRedirect>,
}

/// Whether, and how, requests are sent to https.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum HttpsRedirect {
    /// Whether at all.
    Switch(bool),
    /// A table.
    Table(RedirectTable),
}

/// How requests are sent to https.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RedirectTable {
    /// 308 keeps method and body, 301 is known to the oldest clients.
    #[schemars(range(min = 301, max = 308), extend("default" = 308))]
    pub status: Option<u16>,
    /// The port that speaks TLS; without it, that of the first listener with `tls`.
    #[schemars(range(min = 1, max = 65_535))]
    pub port: Option<u16>,
}

impl HttpsRedirect {
    /// Whether requests are sent on.
    pub fn is_on(&self) -> bool {
        !matches!(self, Self::Switch(false))
    }

    /// Where to, where it says.
    pub fn port(&self) -> Option<u16> {
        if let Self::Table(table) = self { table.port } else { None }
    }

    /// The status, 308 unless it says otherwise.
    pub fn status(&self) -> u16 {
        if let Self::Table(RedirectTable { status: Some(status), .. }) = self { *status } else { 308 }
    }
}

/// Limits of client connections.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// The longest time from the first byte of a request to the end of its head.
    #[schemars(extend("default" = "30s"))]
    pub header_timeout: Option<PositiveTime>,
    /// How long a connection may stay open without a request.
    #[schemars(extend("default" = "1m15s"))]
    pub keepalive: Option<PositiveTime>,
    /// The largest head of a request.
    #[schemars(extend("default" = "64KiB"))]
    pub max_header_bytes: Option<Size>,
    /// The most fields in the head of a request.
    #[schemars(range(min = 1, max = 10_000), extend("default" = 100))]
    pub max_headers: Option<u32>,
    /// The most client connections, over all workers.
    #[schemars(range(min = 1, max = 10_000_000), extend("default" = 65_536))]
    pub max_connections: Option<u32>,
    /// The most TLS handshakes at a time, over all workers; more connections are closed at once.
    #[schemars(range(min = 1, max = 1_000_000), extend("default" = 4096))]
    pub max_handshakes: Option<u32>,
    /// The most connections that may speak another protocol (see a route's `upgrade`), over all workers; without it only
    /// the limits of connections hold.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_tunnels: Option<u32>,
    /// The most connections of one client, over all workers; an IPv6 client is its /64. Further ones are closed at once. It
    /// does not hold for `trusted_proxies`, which speak for many. Without it there is no limit.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_connections_per_client: Option<u32>,
    /// The most requests on one connection: the reply to the last one says that it closes. Without it there is no limit.
    #[schemars(range(min = 1, max = 4_000_000_000_u32))]
    pub max_requests_per_connection: Option<u32>,
    /// The longest target (path and query) of a request; a longer one is answered 414.
    #[schemars(extend("default" = "64KiB"))]
    pub max_target: Option<Size>,
    /// How long exchanges may go on after a stop was asked for.
    #[schemars(extend("default" = "30s"))]
    pub shutdown_grace: Option<Time>,
    /// How long a drain goes on accepting while it is not ready and every reply says that its connection closes, so that
    /// balancers notice; and how long idle connections may send one more request after an upgrade.
    #[schemars(extend("default" = "5s"))]
    pub drain_delay: Option<Time>,
    /// Limits of a connection that speaks HTTP/2.
    pub http2: ServerHttp2,
}

/// Limits of a client connection that speaks HTTP/2.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServerHttp2 {
    /// Requests at once.
    #[schemars(range(min = 1, max = 10_000), extend("default" = 200))]
    pub max_streams: Option<u32>,
    /// Requests that the client may reset beyond those that it lets be answered; more end the connection.
    #[schemars(range(min = 1, max = 1_000_000), extend("default" = 256))]
    pub max_resets: Option<u32>,
    /// How much of a request's body may be ahead of the upstream that reads it.
    #[schemars(extend("default" = "256KiB"))]
    pub stream_window: Option<Size>,
}
