//! What requests are forwarded to.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::address::{HostField, OriginUrl};
use crate::config::scalar::{FilePath, PositiveTime, Time};

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
