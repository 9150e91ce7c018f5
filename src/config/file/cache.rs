//! What is kept, and for how long.

use schemars::JsonSchema;
use serde::Deserialize;

use super::OneOrMany;
use super::named::Named;
use crate::config::keyed::CookieName;
use crate::config::lifetime::{Ahead, Share, Statuses};
use crate::config::scalar::{CacheText, FieldName, Name, Network, QueryName, Size, Tag, Time};
use crate::config::secret::SecretRef;
use crate::config::tokens::ClaimName;

/// How a route uses stored replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Store and reuse replies as RFC 9111 and the policy allow.
    Cache,
    /// Never store, never reuse.
    Off,
}

/// How replies are cached.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Cache {
    /// Whether at all.
    Switch(bool),
    /// A policy's name, or a duration.
    Text(CacheText),
    /// A policy written in place.
    Inline(Box<Policy>),
}

/// A caching policy: what holds on top of RFC 9111 and the origin's own directives.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// How long a reply is fresh when the origin says nothing; without it there is no lifetime of ours. A table gives
    /// it by status: { default = "60s", 404 = "10s", 5xx = "1s" }. What is named there is covered, 5xx too.
    pub ttl: Option<Lifetime>,
    /// How long a reply is fresh whatever lifetime the origin gives, from its arrival; a duration or a table by status.
    /// It makes nothing storable that no-store or private forbid, and no-cache still means validation. Replies that it
    /// keeps longer than the origin said are announced in Cache-Status.
    pub override_ttl: Option<Lifetime>,
    /// The shortest time that a reply stays fresh which has a lifetime at all; a duration or a table by status. Like
    /// `override_ttl` it covers no cookies unless `cookies` is set, and of 5xx only what it names.
    pub min_ttl: Option<Lifetime>,
    /// The longest time that a reply stays fresh; a duration or a table by status. Cache-Control goes on to clients
    /// as the origin sent it.
    pub max_ttl: Option<Lifetime>,
    /// By how much lifetimes are shortened at most so that replies stored together do not expire together: a share
    /// such as "10%". How much it is depends on the key alone.
    pub jitter: Option<Share>,
    /// Replies that were asked for `prefetch_hits` times in their present life are fetched anew in the background when
    /// so much of it is left: a share such as "10%" or a duration.
    pub prefetch: Option<Ahead>,
    /// How many hits make a reply worth fetching before it has expired.
    #[schemars(range(min = 1, max = 1_000_000), extend("default" = 3))]
    pub prefetch_hits: Option<u32>,
    /// How long a stale reply may be served while it is refreshed (RFC 5861 section 3; Varnish's grace), when the origin
    /// says nothing.
    pub stale_while_revalidate: Option<Time>,
    /// How long a stale reply may be served when the origin fails (RFC 5861 section 4), when the origin says nothing.
    pub stale_if_error: Option<Time>,
    /// How long a stale reply is kept that can still be validated or served on error (Varnish's keep); without it as
    /// `store.keep` says.
    pub keep: Option<Time>,
    /// Whether a tenth of the time since Last-Modified may stand in for a missing lifetime (RFC 9111 section 4.2.2).
    #[schemars(extend("default" = true))]
    pub heuristics: Option<bool>,
    /// Whether Cache-Control in requests is honoured (RFC 9111 section 5.2.1).
    #[schemars(extend("default" = true))]
    pub honor_request_directives: Option<bool>,
    /// Targeted cache control fields (RFC 9213), the most important first.
    #[schemars(extend("default" = ["cdn-cache-control"]))]
    pub targets: Option<Vec<FieldName>>,
    /// Whether lifetimes of ours and heuristics also cover requests with Cookie and replies with Set-Cookie.
    #[schemars(extend("default" = false))]
    pub cookies: Option<bool>,
    /// Whether lifetimes of ours also cover 5xx replies that they do not name.
    #[schemars(extend("default" = false))]
    pub cache_errors: Option<bool>,
    /// Whether the origin's own stale-while-revalidate and stale-if-error hold beside s-maxage, which otherwise forbids
    /// every stale use (RFC 9111 section 5.2.2.10).
    #[schemars(extend("default" = false))]
    pub stale_despite_s_maxage: Option<bool>,
    /// Whether a stored reply goes to another credential (Authorization, Cookie, or none) only once the origin has given that
    /// one the same. Where it gives another, the key is watched, and not stored for an hour if its replies differ by
    /// credential. It costs one more request to the origin for each stored reply that several credentials ask for.
    #[schemars(extend("default" = false))]
    pub leak_guard: Option<bool>,
    /// What makes two requests the same.
    pub key: Key,
    /// Tags that replies can be purged by.
    pub tags: Tags,
    /// Replies with a larger body are not stored; without it the store's own limit holds.
    pub max_body: Option<Size>,
    /// Fetch and store large bodies in slices of this size, so that a range of one costs the origin no more than the slices
    /// that it touches. For origins that serve ranges and tag what they serve; others are asked as without it.
    pub slice: Option<Size>,
    /// Whether Cache-Status tells clients the key, as `cache show` takes it (RFC 9211 section 2.7).
    #[schemars(extend("default" = false))]
    pub show_key: Option<bool>,
    /// How much of `store.memory` each route with this policy may take; its own coldest replies make room, and those
    /// of other routes stay.
    pub max_memory: Option<Size>,
    /// How much of `store.disk` each route with this policy may take; its own coldest replies make room, and those of
    /// other routes stay.
    pub max_disk: Option<Size>,
}

/// A lifetime: one for every status that lifetimes of ours cover, or a table by status.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Lifetime {
    /// The same for all.
    Same(Time),
    /// By status: "404", "5xx", "200-299" or "default".
    ByStatus(Named<Time, Statuses>),
}

/// What makes two requests the same, beside their target and the fields that their route looks at.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Key {
    /// The only query parameters that make a difference: names, or beginnings such as "filter_*"; [] means that none
    /// does. Without it all do. What the origin may take for one of them (another case, encoded, `id[]`) counts too. The
    /// others still reach the origin with the request that is stored.
    pub query: Option<Vec<QueryName>>,
    /// Query parameters that make no difference: names, or beginnings such as "utm_*". They still reach the origin with
    /// the request that is stored.
    #[schemars(extend("default" = []))]
    pub ignore_query: Vec<QueryName>,
    /// Whether the order of query parameters with different names makes no difference.
    #[schemars(extend("default" = false))]
    pub sort_query: Option<bool>,
    /// Where upper and lower case make a difference in the query: "exact" everywhere, "names" not in the names of
    /// parameters, "all" nowhere.
    #[schemars(extend("default" = "exact"))]
    pub query_case: Option<QueryCase>,
    /// Whether parameters without a value, and an empty query, make no difference.
    #[schemars(extend("default" = false))]
    pub ignore_empty_query: Option<bool>,
    /// Request fields that make a difference.
    #[schemars(extend("default" = []))]
    pub headers: Vec<FieldName>,
    /// Cookies that make a difference by their value. A request that has no other cookies is covered by `ttl`.
    #[schemars(extend("default" = []))]
    pub cookies: Vec<CookieName>,
    /// Whether the host makes a difference. Replies stored without it stand under the host "*".
    #[schemars(extend("default" = true))]
    pub host: Option<bool>,
    /// Whether the method makes a difference: then HEAD is not answered from what GET stored.
    #[schemars(extend("default" = false))]
    pub method: Option<bool>,
    /// Whether GET, POST and QUERY with a body are answered from the cache too, keyed by method and body. It declares that
    /// they change nothing: none of them ends what is stored, and they may be sent twice.
    #[schemars(extend("default" = false))]
    pub body: Option<bool>,
    /// The largest body that is keyed; it is held in memory. Requests with a larger one are passed on as they come.
    #[schemars(extend("default" = "64KiB"))]
    pub max_body: Option<Size>,
    /// How users are told apart, each of whom gets stored replies of its own, though its requests have credentials. What
    /// the origin calls private is not stored even so.
    pub user: Option<User>,
}

/// How users are told apart: one of these.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct User {
    /// A request field that names the user. It is believed from `trusted_proxies` only; what others send with it is passed
    /// on. Or "authorization": the credential itself, from anyone.
    pub header: Option<FieldName>,
    /// The cookie that the origin knows its users by: a session, which cannot be guessed.
    pub cookie: Option<CookieName>,
    /// The claim of a bearer token (JWT) that names its user, such as "sub": a text or a whole number. Or a list, of which
    /// the first names the user, and the others are what replies depend on beside: ["sub", "scope"]. Without `tokens`
    /// signatures are not verified, and a stored reply answers only the very token that it was fetched with, not past its `exp`.
    pub claim: Option<OneOrMany<ClaimName>>,
    /// The table of `tokens` that verifies them. Then all tokens of a user share what is stored for it; a request whose token
    /// is not accepted is passed on, and Cache-Status says why. 401 and 403 are not stored.
    pub tokens: Option<Name>,
}

/// Where upper and lower case make a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum QueryCase {
    /// Everywhere.
    Exact,
    /// In values only.
    Names,
    /// Nowhere.
    All,
}

/// Tags that replies can be purged by.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tags {
    /// Reply fields that list tags. Cache-Groups (RFC 9875) is always read, and is no tag.
    #[schemars(extend("default" = ["surrogate-key", "cache-tag", "xkey"]))]
    pub headers: Option<Vec<FieldName>>,
    /// Tags that every reply gets.
    #[schemars(extend("default" = []))]
    pub add: Vec<Tag>,
}

/// Purging by requests: `PURGE /path` takes a URL with all its variants, `PURGE /path/*` all that begin so, `BAN` takes
/// `*` anywhere. Where the request has Surrogate-Key, Cache-Tag, xkey or xkey-purge it purges these tags instead, and
/// where it has Cache-Group-Invalidation, these groups of its host. `Fastly-Soft-Purge: 1` or xkey-softpurge marks as stale. A
/// request of anyone else is refused, never forwarded.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Purge {
    /// Networks of the clients that may purge. Forwarding fields are believed as `trusted_proxies` says.
    #[schemars(extend("default" = []))]
    pub allow: Vec<Network>,
    /// Where the token is that `Authorization: Bearer` must give: "env:NAME" or "file:PATH". With `allow`, both must hold.
    pub token: Option<SecretRef>,
    /// The methods that purge.
    #[schemars(extend("default" = ["PURGE", "BAN"]))]
    pub methods: Option<Vec<PurgeMethod>>,
    /// Whether every such purge only marks as stale.
    #[schemars(extend("default" = false))]
    pub soft: Option<bool>,
}

/// A method that purges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum PurgeMethod {
    /// One URL, or all that begin so.
    Purge,
    /// All URLs that a pattern matches.
    Ban,
}

/// What is stored, in memory and on disk.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// How much is held in memory.
    #[schemars(extend("default" = "256MiB"))]
    pub memory: Option<Size>,
    /// How much is held on disk; "0" turns the disk off.
    #[schemars(extend("default" = "10GiB"))]
    pub disk: Option<Size>,
    /// How many replies are held on disk.
    #[schemars(range(min = 1, max = 1_000_000_000), extend("default" = 10_000_000))]
    pub max_entries: Option<u64>,
    /// The largest body that is stored.
    #[schemars(extend("default" = "4GiB"))]
    pub max_body: Option<Size>,
    /// Variants kept of one URL; the oldest goes first.
    #[schemars(range(min = 1, max = 10_000), extend("default" = 64))]
    pub max_variants: Option<u32>,
    /// Storing stops when the file system has less free space than this.
    #[schemars(extend("default" = "256MiB"))]
    pub min_free: Option<Size>,
    /// How long a stale reply is kept that can still be validated or served on error.
    #[schemars(extend("default" = "1d"))]
    pub keep: Option<Time>,
}
