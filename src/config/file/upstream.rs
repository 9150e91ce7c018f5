//! What requests are forwarded to.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::address::{HostField, OriginUrl};
use crate::config::scalar::{FilePath, PositiveTime, Size, Time};

/// An upstream: a group of endpoints that serve the same thing. Give either `url` or `endpoints`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Upstream {
    /// Its only endpoint. A path in it is joined before the path of every request.
    pub url: Option<OriginUrl>,
    /// Its endpoints: URLs, or tables with a weight.
    pub endpoints: Option<Vec<Endpoint>>,
    /// The Host field (and TLS server name) that endpoints get: "upstream" for the endpoint's own name, "client" for
    /// what the client sent, or a fixed name.
    #[schemars(extend("default" = "upstream"))]
    pub host: Option<HostField>,
    /// Which version of HTTP the endpoints are spoken to in: "auto" for what they choose (ALPN) over TLS, else HTTP/1.1;
    /// "http1"; or "h2", which without TLS takes it for granted that they speak HTTP/2.
    #[schemars(extend("default" = "auto"))]
    pub protocol: Option<Protocol>,
    /// How HTTP/2 is spoken, where it is.
    pub http2: Http2,
    /// A PEM file of certificate authorities to trust instead of the platform's. A relative path starts at the config
    /// file's directory.
    pub ca: Option<FilePath>,
    /// The longest time from dialling to an established connection, TLS included.
    #[schemars(extend("default" = "5s"))]
    pub connect_timeout: Option<PositiveTime>,
    /// The longest time from the request sent to the head of the reply.
    #[schemars(extend("default" = "1m"))]
    pub first_byte_timeout: Option<PositiveTime>,
    /// The longest pause within the body of a reply.
    #[schemars(extend("default" = "1m"))]
    pub idle_timeout: Option<PositiveTime>,
    /// Connections to each endpoint, over all workers.
    #[schemars(range(min = 1, max = 1_000_000), extend("default" = 512))]
    pub max_connections: Option<u32>,
    /// Requests that may wait for a connection once all are in use; more are refused with 503.
    #[schemars(range(max = 1_000_000), extend("default" = 1024))]
    pub max_pending: Option<u32>,
    /// How long an unused connection is kept.
    #[schemars(extend("default" = "1m"))]
    pub keepalive: Option<Time>,
    /// How often another endpoint or connection is tried where that is safe (RFC 9110 section 9.2.2); 0 means never.
    #[schemars(range(max = 100), extend("default" = 2))]
    pub retries: Option<u32>,
}

/// A version of HTTP, as endpoints speak it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// What the endpoint chooses over TLS, else HTTP/1.1.
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, without TLS by prior knowledge.
    H2,
}

/// How HTTP/2 is spoken to endpoints.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Http2 {
    /// Requests at once on one connection, if the endpoint allows as many; more make another connection.
    #[schemars(range(min = 1, max = 2_000), extend("default" = 100))]
    pub max_streams: Option<u32>,
    /// How much of a reply may be ahead of the client that reads it.
    #[schemars(extend("default" = "1MiB"))]
    pub stream_window: Option<Size>,
    /// How long a connection with requests under way may be silent before the endpoint is asked for a sign of life (PING);
    /// without it, it is asked only when a request has waited in vain.
    pub ping_interval: Option<PositiveTime>,
    /// How long that sign may take before the connection is given up.
    #[schemars(extend("default" = "10s"))]
    pub ping_timeout: Option<PositiveTime>,
}

/// An endpoint of an upstream.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Endpoint {
    /// Its URL.
    Url(OriginUrl),
    /// A table.
    Table(EndpointTable),
}

/// An endpoint of an upstream.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointTable {
    /// Its URL.
    pub url: OriginUrl,
    /// Its share of the requests, relative to the others'.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1000), extend("default" = 1))]
    pub weight: Option<u32>,
    /// Whether it is used only when no other endpoint can be reached.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub backup: bool,
}
