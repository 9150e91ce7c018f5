//! Which requests go where.

use schemars::JsonSchema;
use serde::Deserialize;

use super::OneOrMany;
use super::answer::{Maintenance, Redirect, Respond};
use super::auth::BasicAuth;
use super::cache::{Cache, Mode};
use super::compress::Compress;
use super::cors::Cors;
use super::edit::FieldChanges;
use super::named::Named;
use super::rewrite::{PathEdit, QueryChanges};
use super::tls::ClientCertRule;
use crate::config::access::Clients;
use crate::config::address::Target;
use crate::config::limits::LimitName;
use crate::config::pattern::{FieldValue, Host, Path};
use crate::config::scalar::{FieldName, Name, Parameter, PositiveTime, Size, Upgradable, Verb};

/// A route: which requests it takes, and what is done with them.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Route {
    /// Its name in logs, metrics and commands. Without one it is called route-1, route-2 and so on by its place.
    pub name: Option<Name>,
    /// Which requests it takes; without it, all.
    #[serde(rename = "match")]
    pub matching: Match,
    /// The upstream that answers: its name, or a URL that makes one.
    pub upstream: Option<Target>,
    /// How replies are cached: a policy's name, a duration that replies stay fresh for when the origin says nothing, a
    /// policy written in place, true (as the origin says) or false (never).
    pub cache: Option<Cache>,
    /// "cache" stores and reuses replies, "off" does neither.
    #[schemars(extend("default" = "cache"))]
    pub mode: Option<Mode>,
    /// The longest time that a whole exchange may take; without it there is no limit.
    pub timeout: Option<PositiveTime>,
    /// The longest pause within the body of a request.
    #[schemars(extend("default" = "1m"))]
    pub request_idle_timeout: Option<PositiveTime>,
    /// The largest request body; without it there is no limit.
    pub max_request_body: Option<Size>,
    /// What becomes of the path before it is forwarded. Routes are chosen by what the client sent; stored replies are
    /// known by what is forwarded.
    pub path: Option<PathEdit>,
    /// What becomes of the query before it is forwarded.
    pub query: Option<QueryChanges>,
    /// What becomes of the fields of requests. The cache goes by what comes out, as if the client had sent it so.
    pub request_headers: Option<FieldChanges>,
    /// What becomes of the fields of replies as they are sent. What is stored stays as the origin said.
    pub response_headers: Option<FieldChanges>,
    /// Whether replies get X-Content-Type-Options, Referrer-Policy, X-Frame-Options and Content-Security-Policy
    /// (frame-ancestors 'self') where the origin does not send them.
    #[schemars(extend("default" = false))]
    pub security_headers: Option<bool>,
    /// Which scripts of other origins may read its replies (CORS): an origin, a list of them, a table that says more, or
    /// false, which ends what the top of the file says. Preflights are then answered here, by the route that would take the
    /// request they are sent for, and before rate limits; those of other origins get 403. Fields of the origin server that say who
    /// may are replaced as replies leave, and not stored, so that one stored reply serves every origin.
    pub cors: Option<Cors>,
    /// Users with passwords (Basic authentication), who alone are served, or false, which ends what the top of the file
    /// says. It is asked for before anything stored is sent, and after the rate limits, those by user aside. Replies say Cache-Control:
    /// private, for caches in front of this one.
    pub basic_auth: Option<BasicAuth>,
    /// Networks of clients who are served; others get 403 (Forbidden). "file:PATH" is a file with a network in each line, which
    /// is watched with the config. By the client's address as far as it is believed (`trusted_proxies`).
    pub allow: Option<OneOrMany<Clients>>,
    /// Networks of clients who get 403 (Forbidden), whatever `allow` says; "file:PATH" is a file of them.
    pub deny: Option<OneOrMany<Clients>>,
    /// A fixed reply, instead of an upstream's.
    pub respond: Option<Respond>,
    /// Where to go instead: a URL or a path for status 302, or a table. {scheme}, {host} (without the port), {authority}
    /// (with it), {path} and {query} (with its `?`, or nothing) are the request's: `https://www.example.com{path}{query}`.
    pub redirect: Option<Redirect>,
    /// Maintenance: true answers 503 with `Retry-After` to every request, and so does a table that says more; false ends
    /// what the top of the file says.
    pub maintenance: Option<Maintenance>,
    /// Compression of replies for clients that take it (Accept-Encoding): true, or a table that says more; false ends what
    /// the top of the file says.
    pub compress: Option<Compress>,
    /// Protocols that clients may change to on an HTTP/1.1 connection, as Upgrade names them, if the upstream agrees:
    /// one, or a list; an empty list permits none. A WebSocket is asked for by GET. Where a request offers others, they
    /// are not passed on.
    #[schemars(extend("default" = ["websocket"]))]
    pub upgrade: Option<OneOrMany<Upgradable>>,
    /// How long a connection that speaks another protocol may stay without a byte in either direction.
    #[schemars(extend("default" = "1h"))]
    pub tunnel_idle_timeout: Option<PositiveTime>,
    /// The longest time that a connection may speak another protocol; without it there is no limit. `timeout` ends with
    /// the handshake.
    pub tunnel_timeout: Option<PositiveTime>,
    /// Whether calls of gRPC-Web, as browsers make them, are translated to gRPC, which the upstream must speak over HTTP/2.
    /// Without it they pass as they are.
    pub grpc_web: bool,
    /// The slowest that a request's body may come in, a second; what is slower is answered 408. It is counted over the time that
    /// is spent waiting for the client, after the first five seconds. Without it only pauses are limited.
    pub min_request_rate: Option<Size>,
    /// The methods that are served; others are answered 405 with Allow. With GET goes HEAD. Without it all are.
    pub allow_methods: Option<Vec<Verb>>,
    /// The schemes that are served, as the client sees them; others are answered 403. Without it both are.
    pub allow_schemes: Option<OneOrMany<SchemeName>>,
    /// The rate limits that hold for its requests, by name. They are asked in this order, after those for every route;
    /// what one of them refuses costs nothing of the others.
    #[schemars(extend("default" = []))]
    pub rate_limits: Vec<LimitName>,
}

impl Route {
    /// Whether no upstream is ever asked.
    pub fn answers_itself(&self) -> bool {
        self.respond.is_some() || self.redirect.is_some()
    }
}

/// Which requests a route takes. All that is given must hold; within one list any one suffices.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Match {
    /// The host: a name, or "*.example.com" for every name below it.
    pub host: Option<OneOrMany<Host>>,
    /// The path: "/exact", "/prefix/*", "/users/{id}/posts", or "~ " and a regular expression over the whole path.
    pub path: Option<OneOrMany<Path>>,
    /// The method.
    pub methods: Option<OneOrMany<Verb>>,
    /// Request fields, all of which must hold: a value, "~ " and a regular expression, true (there) or false (not there).
    pub headers: Named<FieldRule, FieldName>,
    /// Query parameters, all of which must hold: a value, "~ " and a regular expression, true (there) or false (not
    /// there).
    pub query: Named<FieldRule, Parameter>,
    /// The client's verified certificate: true (there), false (not there), or alternative names of which it must have one, as
    /// in `allow` of `[tls.NAME.client]`.
    pub client_cert: Option<ClientCertRule>,
}

/// What a field or parameter must be.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum FieldRule {
    /// Whether it must be there.
    Presence(bool),
    /// Its value.
    Value(FieldValue),
}

/// A scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SchemeName {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}
