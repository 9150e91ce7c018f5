//! Rate limits.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{FieldRule, Named, OneOrMany};
use crate::config::limits::{KeyPart, LimitName, Rate};
use crate::config::scalar::{FieldName, Network};

/// A rate limit. What it refuses is answered with 429, Retry-After and a problem body. Counts are shared by all workers,
/// survive a reload that leaves the limit's numbers and key as they are, and are forgotten by a restart.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// How many requests in how long: "10/s", "100/m", "5000/h", "30/10s".
    pub rate: Rate,
    /// How many of them may come at once, with the algorithm "gcra"; without it as many as `rate` says.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<u32>,
    /// "gcra" refills evenly: with "100/m" another request fits every 0.6 seconds once the burst is used up.
    /// "fixed-window" lets so many through from the first one until the time has passed; "sliding-window" so many in any such
    /// time, by two counters that assume requests to be spread evenly within the window before.
    #[serde(default)]
    #[schemars(extend("default" = "gcra"))]
    pub algorithm: Option<Algorithm>,
    /// Whose requests are counted together: "client", "route", "host", "method", "header:NAME", "cookie:NAME", "query:NAME"
    /// "path:NAME" (a parameter of the route's path), "user" (who has given the right password, `basic_auth`), "client-cert" (the
    /// first name of the verified certificate), or a list of them that must all be the same; [] counts all
    /// requests together. Where a request has not, or has more than once, what the key is made of, the client's address
    /// stands in for it.
    #[serde(default)]
    #[schemars(extend("default" = "client"))]
    pub key: Option<OneOrMany<KeyPart>>,
    /// Clients with another quota, by name; the first that takes a request decides.
    #[serde(default)]
    pub tiers: Named<Tier, LimitName>,
    /// Whose requests are neither limited nor counted.
    #[serde(default)]
    #[schemars(extend("default" = []))]
    pub exempt: Vec<Who>,
    /// Which requests count: "all", or "origin" for those only that the cache does not answer at once.
    #[serde(default)]
    #[schemars(extend("default" = "all"))]
    pub counts: Option<Counted>,
    /// Whether requests over the limit pass all the same, and are only counted and logged.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub dry_run: Option<bool>,
    /// The status of a refusal.
    #[serde(default)]
    #[schemars(range(min = 400, max = 599), extend("default" = 429))]
    pub status: Option<u16>,
    /// Whether replies tell the client how it stands, in RateLimit and RateLimit-Policy.
    #[serde(default)]
    #[schemars(extend("default" = true))]
    pub fields: Option<bool>,
    /// Whether it holds for every route.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub every_route: Option<bool>,
    /// How many keys are remembered, at up to some 200 bytes each. Beyond it those with the most left make room; who has
    /// used more than half stays, and if there is no room, new keys share a quota.
    #[serde(default)]
    #[schemars(range(min = 1, max = 10_000_000), extend("default" = 100_000))]
    pub max_keys: Option<u32>,
    /// How many bits of an IPv4 address tell clients apart.
    #[serde(default)]
    #[schemars(range(min = 1, max = 32), extend("default" = 32))]
    pub ipv4_prefix: Option<u8>,
    /// How many bits of an IPv6 address tell clients apart; a single client usually has all addresses of a /64.
    #[serde(default)]
    #[schemars(range(min = 1, max = 128), extend("default" = 64))]
    pub ipv6_prefix: Option<u8>,
}

/// Clients with a quota of their own. All of `clients` and `headers` that is given must hold.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// How many requests in how long.
    pub rate: Rate,
    /// How many of them may come at once, with the algorithm "gcra"; without it as many as `rate` says.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<u32>,
    /// Networks of the clients, any of which.
    #[serde(default)]
    #[schemars(extend("default" = []))]
    pub clients: Vec<Network>,
    /// Request fields, all of which must hold: a value, "~ " and a regular expression, true (there) or false (not there).
    #[serde(default)]
    pub headers: Named<FieldRule, FieldName>,
}

impl Tier {
    /// Whom it takes.
    pub fn who(&self) -> Who {
        Who { clients: self.clients.clone(), headers: self.headers.clone() }
    }
}

/// Some clients. All that is given must hold.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Who {
    /// Their networks, any of which.
    #[schemars(extend("default" = []))]
    pub clients: Vec<Network>,
    /// Request fields, all of which must hold: a value, "~ " and a regular expression, true (there) or false (not there).
    pub headers: Named<FieldRule, FieldName>,
}

/// How requests are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// Evenly refilled.
    Gcra,
    /// From the first request until the time has passed.
    FixedWindow,
    /// In any such time.
    SlidingWindow,
}

/// Which requests count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Counted {
    /// All of them.
    All,
    /// Those that the cache does not answer.
    Origin,
}
