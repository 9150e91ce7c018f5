//! The shape of the config file. The doc comments here are the reference: the schema, `proxy-stone.toml(5)` and
//! the starter file are made from them.

mod answer;
mod auth;
mod cache;
mod compress;
mod cors;
mod edit;
mod limit;
mod listener;
mod named;
mod rewrite;
mod route;
mod telemetry;
mod tls;
mod tokens;
mod upstream;

use schemars::JsonSchema;
use serde::Deserialize;

use super::address::Target;
use super::limits::LimitName;
use super::scalar::{FieldName, Network, PolicyName, Pseudonym};

pub use answer::{Maintenance, MaintenanceTable, Redirect, Respond, RouteRedirect};
pub use auth::{BasicAuth, BasicAuthTable};
pub use cache::{Cache, Key, Lifetime, Mode, Policy, Purge, PurgeMethod, QueryCase, Store, Tags, User};
pub use compress::{BreachGuard, CodingName, Compress, CompressTable};
pub use cors::{Cors, CorsTable};
pub use edit::FieldChanges;
pub use limit::{Algorithm, Counted, RateLimit, Tier, Who};
pub use listener::{HttpsRedirect, Listen, Listener, Server, ServerHttp2};
pub use named::Named;
pub use rewrite::{PathEdit, QueryChanges};
pub use route::{FieldRule, Match, Route, SchemeName};
pub use telemetry::{AccessLog, LogFormat, LogTable, LogWord, Telemetry};
pub use tls::{
    CertificateEntry, CertificateFact, ClientCertRule, ClientCertificates, Hsts, HstsTable, Tls, TlsName,
    TlsProfile, Verify,
};
pub use tokens::Tokens;
pub use upstream::{Endpoint, EndpointTable, Http2, Protocol, Upstream};

/// The configuration of proxy-stone: where it listens, where it forwards to, and what it keeps.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// Where clients come in: an address, or a list of them. ":8080" means every address of the machine, IPv4
    /// and IPv6; "unix:/run/api.sock" a Unix socket; "systemd" a socket that the service manager opened.
    #[schemars(extend("default" = "127.0.0.1:8080"))]
    pub listen: Option<OneOrMany<Listen>>,
    /// Where every request goes that no route takes: a URL, or the name of an upstream. Routes without an upstream of
    /// their own use it too.
    pub upstream: Option<Target>,
    /// How replies are cached where a route does not say: a policy's name, a duration that replies stay fresh for when
    /// the origin says nothing, a policy written in place, true (as the origin says) or false (never).
    pub cache: Option<Cache>,
    /// Overrides the mode of every route: "cache" or "off".
    pub mode: Option<Mode>,
    /// Maintenance of all routes that do not say otherwise, and ask an upstream: true, or a table.
    pub maintenance: Option<Maintenance>,
    /// Compression of the replies of all routes that do not say otherwise, and ask an upstream: true, or a table.
    pub compress: Option<Compress>,
    /// Which scripts of other origins may read replies, of all routes that do not say otherwise: an origin, a list of them,
    /// or a table.
    pub cors: Option<Cors>,
    /// Users with passwords, of all routes that do not say otherwise: a table.
    pub basic_auth: Option<BasicAuth>,
    /// Worker threads; 0 means one per core.
    #[schemars(range(max = 1024), extend("default" = 0))]
    pub workers: Option<u16>,
    /// How this proxy calls itself in the reply fields Via, Cache-Status and Proxy-Status.
    #[schemars(extend("default" = "proxy-stone"))]
    pub name: Option<Pseudonym>,
    /// Networks of the peers whose Forwarded, X-Forwarded-* and X-Request-Id fields are believed.
    #[schemars(extend("default" = []))]
    pub trusted_proxies: Vec<Network>,
    /// TLS towards clients by name: what a listener speaks that says `tls = "NAME"`.
    pub tls: Named<Tls>,
    /// Request fields that tell upstreams of clients' verified certificates, each with what it tells: "certificate"
    /// (as Client-Cert has it, RFC 9440), "subject", "issuer", "serial", "fingerprint", "sans", "dns", "uri" or "email".
    /// They are removed from all requests first, whoever sends them, and belong to the key of stored replies.
    pub client_cert_headers: Named<CertificateFact, FieldName>,
    /// Upstreams by name: groups of endpoints that serve the same thing.
    pub upstreams: Named<Upstream>,
    /// Routes: which requests go where. The most specific match wins, whatever the order.
    pub routes: Vec<Route>,
    /// Caching policies by name. A policy may not be named like a duration.
    pub policies: Named<Policy, PolicyName>,
    /// Whose bearer tokens (JWT) are believed, by name: who signs them, with what, and for whom they must be. A policy's
    /// `key.user` names one of these.
    pub tokens: Named<Tokens>,
    /// Rate limits by name: how often the same client, or whatever the key tells apart, may ask. Routes name those that
    /// hold for them.
    pub rate_limits: Named<RateLimit, LimitName>,
    /// Purging by requests of clients, beside the command `cache purge`. Without this table PURGE and BAN are methods
    /// like any other, and forwarded.
    pub purge: Purge,
    /// What is stored, in memory and on disk. The directory is given by --state-dir.
    pub store: Store,
    /// Limits of client connections.
    pub server: Server,
    /// Logs and metrics.
    pub telemetry: Telemetry,
}

/// One value, or a list of them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum OneOrMany<T> {
    /// One.
    One(T),
    /// Any number.
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    /// All of them.
    pub fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }

    /// All of them, taken out.
    pub fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}
