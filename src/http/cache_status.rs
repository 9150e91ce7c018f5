//! `Cache-Status` (RFC 9211): how this cache handled a request.

use http::HeaderValue;

/// Why a request went forward (RFC 9211 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Forward {
    /// The cache was configured not to handle it.
    Bypass,
    /// The method's semantics require it.
    Method,
    /// Nothing stored for the URI.
    UriMiss,
    /// Something stored for the URI, but no variant that matches.
    VaryMiss,
    /// Nothing stored; URI or variant not distinguished.
    Miss,
    /// A fresh response was stored, but the request's own directives forbade it.
    Request,
    /// A response was stored, but stale.
    Stale,
    /// A partial response was stored that does not hold all that is asked.
    Partial,
}

/// One member of `Cache-Status`: what this cache did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStatus<'a> {
    /// Answered from the store without going forward (exclusive with `forward`).
    pub hit: bool,
    /// Why it went forward.
    pub forward: Option<Forward>,
    /// The status of the origin's reply, where it is not the status sent.
    pub forward_status: Option<u16>,
    /// Seconds of freshness left; negative when stale.
    pub ttl: Option<i64>,
    /// Whether the reply was stored.
    pub stored: bool,
    /// Whether the request shared another's fetch.
    pub collapsed: bool,
    /// The cache key, where showing it was asked for.
    pub key: Option<&'a str>,
    /// A word of ours about why: a [`SkipReason`](crate::cache::policy::SkipReason) and the like.
    pub detail: Option<&'a str>,
}

impl CacheStatus<'_> {
    /// The field value, `name` being this cache's name.
    pub fn to_value(&self, name: &str) -> HeaderValue {
        let _ = name;
        HeaderValue::from_static("")
    }
}
