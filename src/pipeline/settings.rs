//! What the pipeline is told by the config.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method, StatusCode};
use ipnet::IpNet;
use subtle::ConstantTimeEq;

use super::access::Access;
use super::authenticate::BasicAuth;
use super::coding::Compression;
use super::edit::cors::Cors;
use super::edit::fields::FieldEdits;
use super::edit::rewrite::Rewrite;
use super::key::KeySettings;
use super::local::Local;
use crate::cache::Mode;
use crate::cache::policy::Rules;
use crate::http::Scheme;
use crate::http::upgrade::WEBSOCKET;
use crate::limit;
use crate::route::{FieldMatch, MatchSpec};
use crate::tls::Fact;
use crate::tunnel;

/// All routes, and what holds for every exchange.
#[derive(Clone, Debug)]
pub struct Settings {
    /// In the order of the file.
    pub routes: Vec<RouteSettings>,
    /// Peers whose `Forwarded`, `X-Forwarded-*` and `X-Request-Id` are believed.
    pub trusted: Vec<IpNet>,
    /// How this proxy calls itself in `Via`, `Cache-Status` and `Proxy-Status`.
    pub name: Arc<str>,
    /// Request fields that tell upstreams of clients' certificates.
    pub identity: Vec<(HeaderName, Fact)>,
    /// A mode that overrides every route's (`serve --mode`).
    pub mode: Option<Mode>,
    /// Who may purge by a request; `None`: such requests are forwarded like any other.
    pub purge: Option<PurgeSettings>,
    /// The most connections that may speak another protocol; `None`: as many as there may be connections.
    pub max_tunnels: Option<usize>,
    /// The longest target, in bytes.
    pub max_target: usize,
    /// The most fields of a request.
    pub max_fields: usize,
    /// Rate limits, of which routes name those that hold for them.
    pub limits: Vec<LimitSettings>,
}

/// A rate limit: whose requests are counted together, and what is answered when there are too many.
#[derive(Clone, Debug)]
pub struct LimitSettings {
    /// What is counted by.
    pub limiter: limit::Settings,
    /// What the key is made of; empty: all requests are counted together.
    pub key: Vec<LimitKey>,
    /// Who has another quota, the first that takes a request; quota `n + 1` is that of tier `n`.
    pub tiers: Vec<(Arc<str>, Who)>,
    /// Whose requests are not limited.
    pub exempt: Vec<Who>,
    /// Which requests are counted.
    pub counts: Counted,
    /// Whether requests that are over it pass all the same.
    pub dry_run: bool,
    /// The status of a refusal.
    pub status: StatusCode,
    /// Whether replies tell how the client stands.
    pub fields: bool,
    /// Bits of an IPv4 address that tell clients apart.
    pub ipv4_prefix: u8,
    /// Bits of an IPv6 address that tell clients apart.
    pub ipv6_prefix: u8,
}

/// A part of a rate limit's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitKey {
    /// The client's address, or the network that counts as one client.
    Client,
    /// The route.
    Route,
    /// The host that is asked for.
    Host,
    /// The method.
    Method,
    /// A request field.
    Header(HeaderName),
    /// A cookie.
    Cookie(Box<str>),
    /// A query parameter.
    Query(Box<str>),
    /// A parameter of the route's path.
    Path(Box<str>),
    /// The user who has given the right password.
    User,
    /// Who the client is by its certificate.
    ClientCert,
}

/// Which requests a rate limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// All, those that the cache answers too.
    All,
    /// Those that the cache does not answer.
    Origin,
}

/// Some clients. All that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct Who {
    /// Networks, any of which; empty: any client.
    pub clients: Vec<IpNet>,
    /// Request fields, all of which.
    pub headers: Vec<(HeaderName, FieldMatch)>,
}

/// Who may purge by a request, and how. All that is demanded must hold.
#[derive(Clone, Debug)]
pub struct PurgeSettings {
    /// Whether `PURGE` does.
    pub purge: bool,
    /// Whether `BAN` does.
    pub ban: bool,
    /// Networks of clients that may; empty: any that knows the token.
    pub allow: Vec<IpNet>,
    /// What they must know.
    pub token: Option<Token>,
    /// Whether what is purged is only marked as stale.
    pub soft: bool,
}

/// A token, kept as its hash: it cannot be printed, and comparing takes the same time whatever is given.
#[derive(Clone)]
pub struct Token([u8; 32]);

impl Token {
    /// The token that is this text.
    pub fn of(text: &str) -> Self {
        Self(*blake3::hash(text.as_bytes()).as_bytes())
    }

    /// Whether it is the one that was given.
    pub fn is(&self, given: &[u8]) -> bool {
        blake3::hash(given).as_bytes().ct_eq(&self.0).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// One route: what it takes and what is done with it.
#[derive(Clone, Debug)]
pub struct RouteSettings {
    /// Unique name.
    pub name: Arc<str>,
    /// Which requests it takes.
    pub matcher: MatchSpec,
    /// The upstream that answers; empty where the route answers itself.
    pub upstream: Arc<str>,
    /// How replies are stored and reused.
    pub cache: CacheSettings,
    /// The longest that a whole exchange may take; `None`: no limit.
    pub timeout: Option<Duration>,
    /// The longest pause within a request's body.
    pub request_idle_timeout: Duration,
    /// The largest request body; `None`: no limit.
    pub max_request_body: Option<u64>,
    /// Whom it serves; `None`: everyone.
    pub access: Option<Access>,
    /// Whom it serves, by name and password; `None`: everyone.
    pub basic: Option<Box<BasicAuth>>,
    /// Which scripts of other origins may read its replies; `None`: that is the origin's to say.
    pub cors: Option<Box<Cors>>,
    /// What it answers by itself.
    pub local: Option<Local>,
    /// Which protocols clients may change to.
    pub upgrade: UpgradeSettings,
    /// Whether calls of gRPC-Web go on as gRPC.
    pub grpc_web: bool,
    /// What becomes of targets before they are keyed and forwarded.
    pub rewrite: Option<Rewrite>,
    /// What becomes of fields.
    pub edits: Option<Box<FieldEdits>>,
    /// The slowest that a request's body may come in, in bytes a second; `None`: no limit.
    pub min_request_rate: Option<u64>,
    /// The methods that it serves; `None`: all.
    pub allow_methods: Option<Vec<Method>>,
    /// The only scheme that it serves; `None`: both.
    pub allow_schemes: Option<Scheme>,
    /// Its rate limits, by name.
    pub limits: Vec<Arc<str>>,
    /// What it compresses; `None`: replies are sent as they are coded.
    pub compress: Option<Box<Compression>>,
}

impl RouteSettings {
    /// Whether a plain GET is served to whoever asks as it comes, and its reply sent as it is: what the short ways go by.
    pub(super) fn is_plain(&self) -> bool {
        let sent_as_is = self.compress.is_none() && self.edits.is_none() && self.cors.is_none();
        let for_everyone = self.access.is_none() && self.basic.is_none() && self.limits.is_empty();
        let as_asked = self.rewrite.is_none() && self.local.is_none() && !self.grpc_web;
        let served = self.allow_methods.as_ref().is_none_or(|allowed| allowed.contains(&Method::GET))
            && self.allow_schemes.is_none();
        sent_as_is && for_everyone && as_asked && served
    }
}

/// Which protocols the clients of a route may change to on their connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpgradeSettings {
    /// By the names that `Upgrade` has for them.
    pub protocols: Vec<Arc<str>>,
    /// How long such a connection may last.
    pub limits: tunnel::Limits,
}

impl Default for UpgradeSettings {
    fn default() -> Self {
        Self { protocols: vec![WEBSOCKET.into()], limits: tunnel::Limits::default() }
    }
}

/// How a route caches.
#[derive(Clone, Debug)]
pub struct CacheSettings {
    /// `cache` or `off`.
    pub mode: Mode,
    /// The name of the policy, where it has one.
    pub policy: Option<Arc<str>>,
    /// The pure rules.
    pub rules: Arc<Rules>,
    /// What belongs to the key, beside what the match looks at.
    pub key: KeySettings,
    /// Whether replies are compared by credential before they are shared.
    pub leak_guard: bool,
    /// Reply fields whose members are purge tags.
    pub tag_headers: Vec<HeaderName>,
    /// Tags that every reply of the route gets.
    pub tags: Vec<Box<str>>,
    /// Replies with a larger body are not stored; `None`: the store's own limit.
    pub max_body: Option<u64>,
    /// How long what is stale and can be validated (or served on error) is kept; `None`: the store's own time.
    pub keep: Option<Duration>,
    /// The size of the slices in which large bodies are fetched and stored; `None`: they are not.
    pub slice: Option<u64>,
    /// Whether `Cache-Status` names the key (RFC 9211 2.7).
    pub show_key: bool,
}

/// The name of a query parameter, or the start of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryPattern {
    /// `utm_source`
    Exact(Box<str>),
    /// `utm_*`, kept as `utm_`.
    Prefix(Box<str>),
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            mode: Mode::Cache,
            policy: None,
            rules: Arc::default(),
            key: KeySettings::default(),
            leak_guard: false,
            tag_headers: ["surrogate-key", "cache-tag", "xkey"].map(HeaderName::from_static).into(),
            tags: Vec::new(),
            max_body: None,
            keep: None,
            slice: None,
            show_key: false,
        }
    }
}
