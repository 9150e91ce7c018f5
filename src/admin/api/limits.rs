//! Rate limits and who is near them.

use serde::{Deserialize, Serialize};

/// Which keys to tell of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitQuery {
    /// Only those of this limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// Only those who are limited now.
    #[serde(default)]
    pub limited: bool,
    /// How many at most; 100 where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<u64>,
}

/// The limits, and the keys that are nearest to them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitReport {
    /// The limits in the order of the config.
    pub limits: Vec<LimitRow>,
    /// Keys whose quota is not whole, the nearest to their limit first.
    pub keys: Vec<LimitedKey>,
    /// How many there are in all.
    pub total: u64,
}

/// A rate limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitRow {
    /// Its name.
    pub limit: String,
    /// Its rate: `100/1m`.
    pub rate: String,
    /// The most that may come at once.
    pub burst: u32,
    /// `gcra`, `fixed-window` or `sliding-window`.
    pub algorithm: String,
    /// What its key is made of.
    pub key: Vec<String>,
    /// `all` or `origin`.
    pub counts: String,
    /// Whether it only tries.
    pub dry_run: bool,
    /// The routes that it holds for.
    pub routes: Vec<String>,
    /// Requests within the quota.
    pub allowed: u64,
    /// Requests refused.
    pub limited: u64,
    /// Requests that would have been refused.
    pub would_limit: u64,
    /// Requests that are not limited.
    pub exempt: u64,
    /// Keys in the table.
    pub keys: u64,
    /// The most keys that it holds.
    pub max_keys: u64,
    /// The most memory that it takes.
    pub max_bytes: u64,
    /// Keys that made room for others though their quota was not whole.
    pub evicted: u64,
    /// Requests that were counted against a quota shared by keys that found no room.
    pub shared: u64,
}

/// How a key stands with a rate limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitedKey {
    /// The limit.
    pub limit: String,
    /// Whose requests they are. What may be a secret is a hash, which changes with every start.
    pub key: String,
    /// The tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// `limited`, `dry-run` (over the limit, and passing), `near` (a fifth of the quota or less is left) or `ok`.
    pub state: String,
    /// Requests that may come now.
    pub remaining: u32,
    /// The most that may come at once.
    pub quota: u32,
    /// How long until the next one fits, in milliseconds.
    pub retry_ms: u64,
    /// How long until the whole quota is there again, in milliseconds.
    pub reset_ms: u64,
    /// Requests refused lately.
    pub refused: u32,
}

/// Which keys to forget. Of a limit that is not named: of all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitReset {
    /// Only this limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// The key as `limit ls` shows it; without it all keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// What was forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitsForgotten {
    /// Keys that begin anew.
    pub forgotten: u64,
}

/// How a hypothetical request stands with a rate limit of its route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteLimit {
    /// The limit.
    pub limit: String,
    /// The rate that holds for it.
    pub rate: String,
    /// Its key.
    pub key: String,
    /// Its tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// `passes`, `limited`, `dry-run` or `exempt`.
    pub verdict: String,
    /// Requests that may come now.
    pub remaining: u32,
    /// The most that may come at once.
    pub quota: u32,
}
