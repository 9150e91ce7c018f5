//! Stored responses: listed, shown, purged, counted.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A choice of entries, written `kind:value` (`tag:users`, `prefix:/v1/`) or `all`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// One key, as 32 hexadecimal digits.
    Key(String),
    /// One URL, whatever its key fields and variants.
    Url(String),
    /// Every URL that begins so; a prefix that begins with `/` is of any host.
    Prefix(String),
    /// Every URL, as `host/path?query`, that matches; `*` is any run of characters.
    Glob(String),
    /// Every URL of a host.
    Host(String),
    /// Everything that a route stored.
    Route(String),
    /// Everything that carries a tag.
    Tag(String),
    /// Every member of a group (RFC 9875), written `https://host/group`: the origin, and after its `/` the group as it is.
    Group(String),
    /// Everything whose response is older than so many milliseconds.
    OlderThan(u64),
    /// Everything.
    All,
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(f, "key:{key}"),
            Self::Url(url) => write!(f, "url:{url}"),
            Self::Prefix(prefix) => write!(f, "prefix:{prefix}"),
            Self::Glob(glob) => write!(f, "glob:{glob}"),
            Self::Host(host) => write!(f, "host:{host}"),
            Self::Route(route) => write!(f, "route:{route}"),
            Self::Tag(tag) => write!(f, "tag:{tag}"),
            Self::Group(group) => write!(f, "group:{group}"),
            Self::OlderThan(millis) => write!(f, "older_than:{millis}ms"),
            Self::All => f.write_str("all"),
        }
    }
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        let (kind, value) = text.split_once(':').ok_or("write kind:value, such as tag:users")?;
        let value = value.to_owned();
        Ok(match kind {
            "key" => Self::Key(value),
            "url" => Self::Url(value),
            "prefix" => Self::Prefix(value),
            "glob" => Self::Glob(value),
            "host" => Self::Host(value),
            "route" => Self::Route(value),
            "tag" => Self::Tag(value),
            "group" => Self::Group(value),
            "older_than" => {
                let millis = value.strip_suffix("ms").and_then(|millis| millis.parse().ok());
                Self::OlderThan(millis.ok_or("write older_than in milliseconds, such as older_than:5000ms")?)
            }
            _ => {
                return Err(format!(
                    "\"{kind}\" is none of key, url, prefix, glob, host, route, tag, group, older_than, all"
                ));
            }
        })
    }
}

impl Serialize for Selector {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Asks for a page of entries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EntryQuery {
    /// Where the page before ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Entries per page, at most 10 000; absent: 500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Only these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub select: Option<Selector>,
    /// Only those for which this expression holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// The order; absent: by key, which is the cheapest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sort: Option<EntryOrder>,
    /// Last first; needs `sort`.
    #[serde(default)]
    pub descending: bool,
}

/// An order of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryOrder {
    /// By URL.
    Url,
    /// By the time the response arrived.
    Stored,
    /// By the time its freshness ends.
    Expires,
    /// By the body's size.
    Size,
}

/// A page of entries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EntryPage {
    /// The entries.
    pub items: Vec<EntryRow>,
    /// Where to go on; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One stored response in a list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EntryRow {
    /// The key's digest, 32 hexadecimal digits.
    pub key: String,
    /// Which of the key's variants, 32 hexadecimal digits.
    pub variant: String,
    /// The URL, as a client would write it.
    pub url: String,
    /// The status that the origin sent.
    pub status: u16,
    /// `fresh`, `stale`, `revalidate` (every use needs validation) or `purged` (softly: stale since a purge).
    pub state: String,
    /// The response's age in seconds (RFC 9111 4.2.3).
    pub age_s: u64,
    /// Seconds until it is stale; below zero: since it is.
    pub ttl_s: i64,
    /// Who gave the lifetime: `s-maxage`, `max-age`, `expires`, `policy`, `heuristic`, `targeted`, `none`;
    /// `override` and `min-ttl` (beyond the origin's own), `max-ttl` (the origin's own, shortened).
    pub lifetime_from: String,
    /// The body's length in bytes.
    pub size: u64,
    /// Which bytes of the representation it has, as `Content-Range` says it: `0-499/1000`; absent: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// Where the body is: `record` or `file`.
    pub body: String,
    /// The media type, as the origin sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The content coding, where there is one; of a body that was coded or decoded here also "identity".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coding: Option<String>,
    /// The upstream it came from.
    pub upstream: String,
    /// The route that stored it.
    pub route: String,
    /// Names by which it can be purged.
    pub tags: Vec<String>,
    /// The groups of its origin that it belongs to (RFC 9875).
    #[serde(default)]
    pub groups: Vec<String>,
    /// The request fields it varies on.
    pub vary: Vec<String>,
    /// When it arrived, milliseconds since the Unix epoch.
    pub stored_ms: u64,
    /// When it gets (or got) stale, milliseconds since the Unix epoch.
    pub expires_ms: u64,
    /// Until when it is kept, milliseconds since the Unix epoch.
    pub keep_until_ms: u64,
}

/// Asks for the variants of one key or URL.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShowQuery {
    /// A key's digest or a URL.
    pub subject: String,
}

/// One stored response in full, without its body.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EntryDetail {
    /// As in a list.
    #[serde(flatten)]
    pub row: EntryRow,
    /// Seconds from age zero for which it is fresh.
    pub lifetime_s: u64,
    /// Its age in seconds when it arrived.
    pub initial_age_s: u64,
    /// Seconds past freshness in which it may be served while it is refreshed (RFC 5861 3).
    pub stale_while_revalidate_s: u64,
    /// Seconds past freshness in which it may be served when the origin fails (RFC 5861 4); absent: nobody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_if_error_s: Option<u64>,
    /// Serving it stale is forbidden.
    pub must_revalidate: bool,
    /// Every use needs validation.
    pub no_cache: bool,
    /// The request fields that belong to the key; their values are kept as hashes only.
    pub key_fields: Vec<String>,
    /// The purge sequence number at which its fetch began.
    pub sequence: u64,
    /// BLAKE3 of the body, where it is in a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_hash: Option<String>,
    /// The stored fields, in order.
    pub headers: Vec<(String, String)>,
    /// The stored trailer fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trailers: Vec<(String, String)>,
}

/// Asks to purge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purge {
    /// What.
    pub select: Selector,
    /// Mark as stale instead of removing.
    #[serde(default)]
    pub soft: bool,
    /// Only say what it would take.
    #[serde(default)]
    pub dry_run: bool,
    /// How many of the entries the reply shows.
    #[serde(default)]
    pub sample: u64,
    /// Don't count what it takes: who purges much and often has no use for the number.
    #[serde(default)]
    pub uncounted: bool,
}

/// Asks for many purges in one go: what they take is not counted, and one write of the journal is for all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeBatch {
    /// What, 10 000 at most.
    pub select: Vec<Selector>,
    /// Mark as stale instead of removing.
    #[serde(default)]
    pub soft: bool,
}

/// What many purges did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeBatchReply {
    /// How many purges there were.
    pub purges: u64,
    /// Whether the entries were only marked as stale.
    pub soft: bool,
    /// The newest rule's sequence number; whatever was fetched before it is purged.
    pub sequence: u64,
    /// Whether they are certain to hold after a crash.
    pub durable: bool,
    /// Why they aren't, where that is a fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// What a purge took, or would take.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PurgeReply {
    /// Whether nothing was purged.
    pub dry_run: bool,
    /// Whether the entries were only marked as stale.
    pub soft: bool,
    /// How many entries it takes; absent where counting them would have held up the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<u64>,
    /// The length of their bodies together, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sample: Vec<EntryRow>,
    /// The rule's sequence number; whatever was fetched before it is purged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Whether it is certain to hold after a crash.
    pub durable: bool,
    /// Why it isn't, where that is a fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// What may be the reason that nothing was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Counters of the store since the start, and how it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheStats {
    /// The disk tier: `off`, `opening`, `open`, `full`, `closed`.
    pub state: String,
    /// More about that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Keys in RAM.
    pub memory_keys: u64,
    /// Bytes in RAM.
    pub memory_bytes: u64,
    /// Bytes that RAM may hold.
    pub memory_limit: u64,
    /// Entries on disk.
    pub disk_entries: u64,
    /// Entries that the disk may hold.
    pub max_entries: u64,
    /// Live bytes on disk.
    pub disk_bytes: u64,
    /// Live bytes that the disk may hold.
    pub disk_limit: u64,
    /// Lookups that RAM answered.
    pub memory_hits: u64,
    /// Lookups that the disk answered.
    pub disk_hits: u64,
    /// Lookups that neither answered.
    pub misses: u64,
    /// Entries stored.
    pub inserts: u64,
    /// Writes that wait.
    pub queue_depth: u64,
    /// Replies not stored on disk because too many writes waited.
    pub queue_dropped: u64,
    /// Replies that a full disk did not take because nobody had asked for them before.
    #[serde(default)]
    pub refused: u64,
    /// Replies not stored because a purge came between.
    pub purged_in_flight: u64,
    /// Entries that made room for others.
    pub evicted: u64,
    /// Entries removed since they were of no more use.
    pub expired: u64,
    /// Entries removed by purges.
    pub purged: u64,
    /// Purge rules whose removal is not finished.
    pub rules_active: u64,
    /// Records and bodies that were damaged or gone.
    pub corrupt: u64,
    /// Body files that no entry named, removed.
    pub orphans: u64,
    /// What the owner of the store's directory should know.
    pub findings: Vec<StoreFinding>,
    /// Damaged directories that were set aside.
    pub quarantines: Vec<Quarantine>,
    /// What each route takes.
    #[serde(default)]
    pub routes: Vec<RouteUsage>,
}

/// What one route takes of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteUsage {
    /// The route's name.
    pub route: String,
    /// Its entries on disk.
    pub disk_entries: u64,
    /// Their bytes; a body that several entries have counts for each.
    pub disk_bytes: u64,
    /// What they may take, where the route has a limit of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_limit: Option<u64>,
    /// Bytes of its entries in RAM, where the route has a limit of its own there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// What they may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<u64>,
}

/// Something about the store's directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreFinding {
    /// When it was found, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// A stable word.
    pub code: String,
    /// One sentence.
    pub message: String,
}

/// A damaged directory that was set aside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// Where it stands.
    pub path: String,
    /// Entries copied back from it.
    pub salvaged: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_reads_back_what_it_writes() {
        for selector in [
            Selector::Key("00".into()),
            Selector::Url("http://a:80/b?c=d:e".into()),
            Selector::Prefix("/v1".into()),
            Selector::Glob("*:*".into()),
            Selector::Host("[::1]:80".into()),
            Selector::Route("r".into()),
            Selector::Tag("a:b".into()),
            Selector::Group("https://a/b c".into()),
            Selector::OlderThan(5000),
            Selector::All,
        ] {
            assert_eq!(selector.to_string().parse(), Ok(selector));
        }
        for wrong in ["", "tag", "colour:red", "older_than:5s"] {
            assert!(wrong.parse::<Selector>().is_err(), "{wrong}");
        }
    }
}
