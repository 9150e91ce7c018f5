//! RFC 9111 as functions: no I/O, no clock, no randomness.

use crate::http::HeaderList;

/// A route's rules for its stored responses, on top of RFC 9111.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// Seconds of freshness for replies whose origin says nothing; `None`: no lifetime of ours.
    pub ttl: Option<u64>,
    /// RFC 5861 3, where the origin says nothing.
    pub stale_while_revalidate: Option<u64>,
    /// RFC 5861 4, where the origin says nothing.
    pub stale_if_error: Option<u64>,
    /// Whether a tenth of the time since `Last-Modified` may stand in for a missing lifetime (RFC 9111 4.2.2).
    pub heuristics: bool,
    /// Whether request directives (`Cache-Control: no-cache` and the like, RFC 9111 5.2.1) are honoured.
    pub honor_request_directives: bool,
    /// Targeted fields in order of precedence (RFC 9213), lower case.
    pub targets: HeaderList,
    /// Whether the policy's TTL and heuristics also cover requests with `Cookie`, and replies with `Set-Cookie`.
    pub cookies: bool,
    /// Whether the policy's TTL also covers 5xx replies.
    pub cache_errors: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            ttl: None,
            stale_while_revalidate: None,
            stale_if_error: None,
            heuristics: true,
            honor_request_directives: true,
            targets: vec![http::HeaderName::from_static("cdn-cache-control")],
            cookies: false,
            cache_errors: false,
        }
    }
}
