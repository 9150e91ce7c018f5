//! What a request says about caching, read once per exchange (RFC 9111 5.2.1, 5.4).

use http::{HeaderMap, Method};

use super::Rules;
use crate::http::cache_control::RequestDirectives;

/// Fields by which some origins take a request for another than its method, target and host say. Where they are not in
/// the key, such a request is between its client and the origin.
pub const REROUTING: [&str; 8] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
    "x-original-host",
    "x-http-host-override",
    "x-host",
];

/// What a request says about caching.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestPolicy {
    /// What its method allows.
    pub method: MethodKind,
    /// It has a directive at all; without one, none of those below need be looked at.
    pub directed: bool,
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
    /// Its user is known by a token, and others of that user get the same: what 401 and 403 say is of this token alone
    /// (RFC 9110 15.5.2, 15.5.4).
    pub one_token_of_many: bool,
    /// It has `Cookie`.
    pub cookie: bool,
    /// It has `Range`.
    pub range: bool,
    /// It has a conditional field (RFC 9110 13.1).
    pub conditional: bool,
    /// It has one of [`REROUTING`].
    pub reroutes: bool,
    /// Where in a route's jitter its key falls: evenly over all values, the same for one key ([`Digest::spread`]).
    ///
    /// [`Digest::spread`]: crate::cache::key::Digest::spread
    pub spread: u32,
}

/// What a method means to a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodKind {
    /// Answered from and stored in the cache.
    Get,
    /// Answered from a stored GET, never stored as one.
    Head,
    /// A POST that its route declares a query and keys by its body: answered from and stored in the cache, but neither
    /// validated nor stored on a guess (RFC 9110 9.3.3).
    KeyedPost,
    /// Stored only with explicit freshness and its own `Content-Location` (RFC 9110 9.3.3), never answered.
    Post,
    /// Safe, but never stored: OPTIONS, TRACE and the like.
    Safe,
    /// Unsafe or unknown: written through (RFC 9111 4) and invalidating (4.4).
    Unsafe,
}

impl RequestPolicy {
    /// Reads a request's method and fields. One pass over the names: a request without such fields costs next to nothing.
    pub fn of(method: &Method, headers: &HeaderMap, rules: &Rules) -> Self {
        let mut policy = Self::plain(MethodKind::of(method));
        let mut directed = false;
        for name in headers.keys() {
            match name.as_str() {
                "cache-control" | "pragma" => directed = true,
                "authorization" => policy.authorization = true,
                "cookie" => policy.cookie = true,
                "range" => policy.range = true,
                "if-none-match" | "if-modified-since" | "if-match" | "if-unmodified-since" | "if-range" => {
                    policy.conditional = true;
                }
                name => policy.reroutes |= name.starts_with("x-") && REROUTING.contains(&name),
            }
        }
        if directed && rules.honor_request_directives {
            policy.direct(&RequestDirectives::of(headers));
        }
        policy
    }

    /// A request that has none of these fields.
    pub const fn plain(method: MethodKind) -> Self {
        Self {
            method,
            directed: false,
            no_cache: false,
            no_store: false,
            only_if_cached: false,
            max_age: None,
            max_stale: None,
            min_fresh: None,
            stale_if_error: None,
            authorization: false,
            one_token_of_many: false,
            cookie: false,
            range: false,
            conditional: false,
            reroutes: false,
            spread: 0,
        }
    }

    fn direct(&mut self, directives: &RequestDirectives) {
        self.directed = *directives != RequestDirectives::default();
        self.no_cache = directives.no_cache;
        self.no_store = directives.no_store;
        self.only_if_cached = directives.only_if_cached;
        self.max_age = directives.max_age;
        self.max_stale = directives.max_stale;
        self.min_fresh = directives.min_fresh;
        self.stale_if_error = directives.stale_if_error;
    }

    /// The same request, but nothing stored may answer it before the origin was asked.
    pub const fn refreshing(self) -> Self {
        Self { directed: true, no_cache: true, only_if_cached: false, ..self }
    }

    /// Whether a stored response may answer this request at all: GET and HEAD, and not for something else than they name.
    pub const fn may_reuse(&self) -> bool {
        matches!(self.method, MethodKind::Get | MethodKind::Head | MethodKind::KeyedPost) && !self.reroutes
    }
}

impl MethodKind {
    /// The kind of a method.
    pub fn of(method: &Method) -> Self {
        match method.as_str() {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            // Those that the IANA registry calls safe.
            "OPTIONS" | "TRACE" | "QUERY" | "PROPFIND" | "REPORT" | "SEARCH" => Self::Safe,
            _ => Self::Unsafe,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::header::{AUTHORIZATION, CACHE_CONTROL, COOKIE, IF_MATCH, RANGE};

    use super::*;

    #[test]
    fn names_that_reroute_are_told_by_how_they_begin() {
        assert!(REROUTING.iter().all(|name| name.starts_with("x-")));
    }

    #[test]
    fn a_plain_request_asks_for_nothing() {
        let mut headers = HeaderMap::new();
        headers.insert("accept", "*/*".parse().unwrap());
        let policy = RequestPolicy::of(&Method::GET, &headers, &Rules::default());
        assert_eq!(policy, RequestPolicy::plain(MethodKind::Get));
        assert!(policy.may_reuse());
    }

    #[test]
    fn fields_are_noticed_and_directives_honoured_unless_the_route_says_no() {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, "x".parse().unwrap());
        headers.insert(COOKIE, "a=b".parse().unwrap());
        headers.insert(RANGE, "bytes=0-".parse().unwrap());
        headers.insert(IF_MATCH, "*".parse().unwrap());
        headers.insert(CACHE_CONTROL, "no-cache, max-age=3".parse().unwrap());
        let honoured = RequestPolicy::of(&Method::GET, &headers, &Rules::default());
        assert!(honoured.authorization && honoured.cookie && honoured.range && honoured.conditional);
        assert!(honoured.directed && honoured.no_cache && honoured.max_age == Some(3));
        let rules = Rules { honor_request_directives: false, ..Rules::default() };
        let ignored = RequestPolicy::of(&Method::GET, &headers, &rules);
        assert!(!ignored.directed && !ignored.no_cache && ignored.max_age.is_none() && ignored.cookie);
    }

    #[test]
    fn methods_by_what_rfc_9110_9_2_says_of_them() {
        for (method, kind) in [
            ("GET", MethodKind::Get),
            ("HEAD", MethodKind::Head),
            ("POST", MethodKind::Post),
            ("OPTIONS", MethodKind::Safe),
            ("QUERY", MethodKind::Safe),
            ("PROPFIND", MethodKind::Safe),
            ("PUT", MethodKind::Unsafe),
            ("DELETE", MethodKind::Unsafe),
            ("M-SEARCH", MethodKind::Unsafe),
            ("get", MethodKind::Unsafe),
        ] {
            assert_eq!(MethodKind::of(&method.parse().unwrap()), kind, "{method}");
        }
    }
}
