//! Whether a response may be stored, and what of it (RFC 9111 3).

use std::time::Duration;

use http::header::{CONTENT_LOCATION, DATE, ETAG, LAST_MODIFIED, SET_COOKIE};
use http::{HeaderMap, HeaderName, StatusCode};
use url::Url;

use super::freshness::{Directed, freshness, is_heuristically_cacheable};
use super::request::MethodKind;
use super::{RequestPolicy, Rules};
use crate::cache::entry::{EntryHead, Freshness, Source};
use crate::clock::Timestamp;
use crate::http::connection::remove_hop_by_hop;
use crate::http::{date, vary};

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
    /// 401 or 403, and the request had one of several tokens of its user.
    Unauthorized,
    /// `Vary: *`.
    VaryStar,
    /// The status is not final, not cacheable without explicit freshness, or an answer to the request's own conditions.
    Status,
    /// A part, not the whole: 206, or 416 to a `Range`.
    Partial,
    /// No lifetime from the origin, and ours does not cover replies with `Set-Cookie`.
    SetCookie,
    /// No lifetime from the origin, and ours does not cover requests with `Cookie`.
    Cookie,
    /// `no-cache`, and nothing to validate it with: it could never be reused.
    NoCache,
    /// Nobody gave a lifetime, and there is no validator: it could never be reused.
    NoFreshness,
    /// Its body is larger than what is stored.
    TooLarge,
    /// Already stale when it came, and nothing to validate it with.
    Stale,
    /// A 5xx, while what is stored may still stand in for it (RFC 9111 4.3.3).
    ServerError,
}

/// Decides whether a response may be stored. A POST's never is by this function: see [`storable_post`].
pub fn storable(request: &RequestPolicy, response: &ResponseHead<'_>, rules: &Rules) -> Storable {
    let verdict = match request.method {
        MethodKind::Get | MethodKind::KeyedPost => {
            decide(request, response, &Directed::of(response.headers, rules), rules)
        }
        _ => return Storable::Skip(SkipReason::Method),
    };
    match verdict {
        // Without a lifetime it could only be validated, which POST is not made for.
        Storable::Store(plan)
            if request.method == MethodKind::KeyedPost
                && matches!(plan.freshness.source, Source::Heuristic | Source::None) =>
        {
            Storable::Skip(SkipReason::NoFreshness)
        }
        verdict => verdict,
    }
}

/// Decides whether a POST's response may be stored as that of a later GET for the same URI: only with explicit
/// freshness and a `Content-Location` that is the request's own URI (RFC 9110 9.3.3), and only a 200: others that succeed say
/// what the POST did (201, 202) and would mislead who reads.
pub fn storable_post(
    request: &RequestPolicy,
    uri: (&str, &str, &str),
    response: &ResponseHead<'_>,
    rules: &Rules,
) -> Storable {
    let represents = response.status == StatusCode::OK && names_target(uri, response.headers);
    if request.method != MethodKind::Post || !represents {
        return Storable::Skip(SkipReason::Method);
    }
    match decide(request, response, &Directed::of(response.headers, rules), rules) {
        Storable::Store(plan) if !plan.freshness.source.is_explicit() => Storable::Skip(SkipReason::Method),
        verdict => verdict,
    }
}

/// Everything but the method.
pub(super) fn decide(
    request: &RequestPolicy,
    response: &ResponseHead<'_>,
    directed: &Directed,
    rules: &Rules,
) -> Storable {
    let freshness = freshness(request, response, directed, rules);
    let validator = has_validator(response.headers);
    let refused = forbidden(request, response, directed)
        .or_else(|| unwanted(request, response, directed, freshness.source, rules))
        .or_else(|| if validator { None } else { useless(&freshness) });
    match refused {
        Some(reason) => Storable::Skip(reason),
        None => {
            Storable::Store(Plan { freshness, withheld: directed.directives.withheld.clone(), validator })
        }
    }
}

/// What RFC 9111 3 and 3.5 forbid.
fn forbidden(
    request: &RequestPolicy,
    response: &ResponseHead<'_>,
    directed: &Directed,
) -> Option<SkipReason> {
    let (status, directives) = (response.status, &directed.directives);
    if request.no_store {
        return Some(SkipReason::RequestNoStore);
    }
    if status == StatusCode::PARTIAL_CONTENT || (status == StatusCode::RANGE_NOT_SATISFIABLE && request.range)
    {
        return Some(SkipReason::Partial);
    }
    let conditions = status == StatusCode::PRECONDITION_FAILED && request.conditional;
    if status.is_informational() || status == StatusCode::NOT_MODIFIED || conditions {
        return Some(SkipReason::Status);
    }
    if directives.must_understand && !is_understood(status) {
        return Some(SkipReason::Status);
    }
    // With must-understand, no-store is for caches that do not know it (RFC 9111 5.2.2.3).
    if directives.no_store && !directives.must_understand {
        return Some(SkipReason::NoStore);
    }
    if directives.private {
        return Some(SkipReason::Private);
    }
    let shareable = directives.public || directives.s_maxage.is_some() || directives.must_revalidate;
    if request.authorization && !shareable {
        return Some(SkipReason::Authorization);
    }
    if request.one_token_of_many && matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return Some(SkipReason::Unauthorized);
    }
    vary::is_any(response.headers).then_some(SkipReason::VaryStar)
}

/// What may be stored only on somebody's word.
fn unwanted(
    request: &RequestPolicy,
    response: &ResponseHead<'_>,
    directed: &Directed,
    source: Source,
    rules: &Rules,
) -> Option<SkipReason> {
    if source.is_explicit() {
        return None;
    }
    let allowed =
        directed.directives.public || source.is_configured() || is_heuristically_cacheable(response.status);
    if !allowed {
        return Some(SkipReason::Status);
    }
    if !rules.cookies && response.headers.contains_key(SET_COOKIE) {
        return Some(SkipReason::SetCookie);
    }
    (!rules.cookies && request.cookie).then_some(SkipReason::Cookie)
}

/// A response without a validator that hardly any request could be answered with. One that was fresh once may still serve
/// who asks for stale ones, or the disconnected (RFC 9111 4.2.4, 5.2.1.2); one that never was (`max-age=0`) is not worth its
/// place.
fn useless(freshness: &Freshness) -> Option<SkipReason> {
    let may_be_stale = !freshness.must_revalidate
        && (freshness.lifetime > 0
            || freshness.stale_while_revalidate > 0
            || freshness.stale_if_error.is_some_and(|window| window > 0));
    if freshness.no_cache {
        Some(SkipReason::NoCache)
    } else if freshness.source == Source::None {
        Some(SkipReason::NoFreshness)
    } else if freshness.initial_age >= freshness.lifetime && !may_be_stale {
        Some(SkipReason::Stale)
    } else {
        None
    }
}

/// Statuses whose caching requirements are implemented here (RFC 9111 5.2.2.3): those of RFC 9110.
fn is_understood(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200..=205 | 300..=303 | 307 | 308 | 400..=417 | 421 | 422 | 426 | 500..=505)
}

fn has_validator(headers: &HeaderMap) -> bool {
    headers.contains_key(ETAG) || headers.contains_key(LAST_MODIFIED)
}

/// Whether `Content-Location` is the request's own URI: scheme, authority, path and query.
fn names_target((scheme, authority, target): (&str, &str, &str), headers: &HeaderMap) -> bool {
    let Some(own) = Url::parse(&format!("{scheme}://{authority}{target}")).ok() else { return false };
    let mut lines = headers.get_all(CONTENT_LOCATION).iter();
    let (Some(value), None) = (lines.next(), lines.next()) else { return false };
    value.to_str().ok().and_then(|value| own.join(value).ok()).is_some_and(|named| named == own)
}

impl Plan {
    /// The head to be stored. A response without `Date` gets one: when it was received (RFC 9110 6.6.1).
    pub fn entry_head(&self, response: &ResponseHead<'_>) -> EntryHead {
        let mut headers = stored_headers(response.headers, &self.withheld);
        if !headers.contains_key(DATE) {
            headers.insert(DATE, date::header_value(response.response_time));
        }
        EntryHead {
            status: response.status,
            headers,
            request_time: response.request_time,
            response_time: response.response_time,
            freshness: self.freshness,
        }
    }
}

/// Until when a stored response is worth keeping: past its freshness for as long as it may be served stale, and for
/// `keep` where it can be validated or served to the disconnected (RFC 9111 4.2.4).
pub fn keep_until(head: &EntryHead, keep: Duration) -> Timestamp {
    let freshness = &head.freshness;
    let mut past = Duration::ZERO;
    if !freshness.must_revalidate && !freshness.no_cache {
        let window = freshness.stale_while_revalidate.max(freshness.stale_if_error.unwrap_or(0));
        past = Duration::from_secs(window);
        if freshness.stale_if_error.is_none() {
            past = past.max(keep);
        }
    }
    if has_validator(&head.headers) {
        past = past.max(keep);
    }
    head.fresh_until().plus(past)
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
            Self::Unauthorized => "unauthorized",
            Self::VaryStar => "vary-star",
            Self::Status => "status",
            Self::Partial => "partial",
            Self::SetCookie => "set-cookie",
            Self::Cookie => "cookie",
            Self::NoCache => "no-cache",
            Self::NoFreshness => "no-freshness",
            Self::TooLarge => "too-large",
            Self::Stale => "stale",
            Self::ServerError => "server-error",
        }
    }
}

/// The fields that may be stored (RFC 9111 3.1): all but those for one connection (RFC 9110 7.6.1), those for one proxy,
/// and `withheld` ones.
pub fn stored_headers(headers: &HeaderMap, withheld: &[HeaderName]) -> HeaderMap {
    let mut stored = headers.clone();
    remove_hop_by_hop(&mut stored);
    for name in withheld {
        stored.remove(name);
    }
    stored
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NOW, http_date, map};
    use super::*;

    fn verdict(
        request: RequestPolicy,
        status: u16,
        fields: &[(&str, &str)],
        rules: &Rules,
    ) -> Result<Plan, &'static str> {
        let headers = map(fields);
        let response = ResponseHead {
            status: StatusCode::from_u16(status).unwrap(),
            headers: &headers,
            request_time: NOW,
            response_time: NOW,
        };
        match storable(&request, &response, rules) {
            Storable::Store(plan) => Ok(plan),
            Storable::Skip(reason) => Err(reason.as_str()),
        }
    }

    const GET: RequestPolicy = RequestPolicy::plain(MethodKind::Get);

    fn says(status: u16, fields: &[(&str, &str)]) -> &'static str {
        verdict(GET, status, fields, &Rules::default()).map_or_else(|reason| reason, |_| "store")
    }

    fn control(status: u16, value: &str) -> &'static str {
        says(status, &[("cache-control", value)])
    }

    #[test]
    fn rfc_9111_3_any_final_status_with_explicit_freshness() {
        for status in
            [200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 403, 404, 410, 412, 416, 499, 500, 503, 599]
        {
            assert_eq!(control(status, "max-age=60"), "store", "{status}");
            assert_eq!(control(status, "s-maxage=60"), "store", "{status}");
            assert_eq!(says(status, &[("expires", &http_date(60))]), "store", "{status}");
        }
        for (status, expected) in [(103, "status"), (304, "status"), (206, "partial")] {
            assert_eq!(control(status, "max-age=60"), expected, "{status}");
        }
    }

    #[test]
    fn rfc_9111_3_directives_that_forbid() {
        for (value, expected) in [
            ("no-store, max-age=60", "no-store"),
            ("NO-STORE", "no-store"),
            ("private, max-age=60", "private"),
            ("private=\"\", max-age=60", "private"),
            ("private=\"x\", max-age=60", "store"),
            ("no-cache, max-age=60", "no-cache"),
            ("no-cache=\"x\", max-age=60", "store"),
            ("max-age=0", "stale"),
            ("max-age=0, stale-while-revalidate=5", "store"),
            ("max-age=0, stale-while-revalidate=5, must-revalidate", "stale"),
            ("public", "no-freshness"),
            ("", "no-freshness"),
        ] {
            assert_eq!(control(200, value), expected, "{value}");
        }
        let tag = ("etag", "\"a\"");
        for value in ["no-cache", "max-age=0", "", "no-cache, max-age=60"] {
            assert_eq!(says(200, &[("cache-control", value), tag]), "store", "{value}");
        }
    }

    #[test]
    fn rfc_9111_5_2_2_3_must_understand() {
        assert_eq!(control(200, "must-understand, no-store, max-age=60"), "store");
        assert_eq!(control(404, "must-understand, max-age=60"), "store");
        assert_eq!(control(299, "must-understand, no-store, max-age=60"), "status");
        assert_eq!(control(299, "must-understand, max-age=60"), "status");
    }

    #[test]
    fn rfc_9111_3_5_authorization() {
        let request = RequestPolicy { authorization: true, ..GET };
        for (value, expected) in [
            ("max-age=60", Err("authorization")),
            ("max-age=60, proxy-revalidate", Err("authorization")),
            ("max-age=60, public", Ok(())),
            ("s-maxage=60", Ok(())),
            ("max-age=60, must-revalidate", Ok(())),
        ] {
            let verdict = verdict(request, 200, &[("cache-control", value)], &Rules::default());
            assert_eq!(verdict.map(drop), expected, "{value}");
        }
    }

    #[test]
    fn rfc_9110_15_5_what_one_token_is_denied_says_nothing_of_its_user_s_others() {
        let request = RequestPolicy { one_token_of_many: true, ..GET };
        for (status, expected) in
            [(200, Ok(())), (401, Err("unauthorized")), (403, Err("unauthorized")), (404, Ok(()))]
        {
            for value in ["max-age=60", "public, max-age=60", "s-maxage=60"] {
                let verdict = verdict(request, status, &[("cache-control", value)], &Rules::default());
                assert_eq!(verdict.map(drop), expected, "{status} {value}");
            }
        }
    }

    #[test]
    fn requests_that_forbid() {
        let fields = [("cache-control", "max-age=60")];
        let rules = Rules::default();
        let skip = |request, status| verdict(request, status, &fields, &rules).map(drop);
        for method in [MethodKind::Head, MethodKind::Post, MethodKind::Safe, MethodKind::Unsafe] {
            assert_eq!(skip(RequestPolicy::plain(method), 200), Err("method"), "{method:?}");
        }
        assert_eq!(skip(RequestPolicy { no_store: true, ..GET }, 200), Err("request-no-store"));
        assert_eq!(skip(RequestPolicy { range: true, ..GET }, 416), Err("partial"));
        assert_eq!(skip(RequestPolicy { conditional: true, ..GET }, 412), Err("status"));
        assert_eq!(skip(RequestPolicy { range: true, conditional: true, ..GET }, 200), Ok(()));
        assert_eq!(skip(RequestPolicy { cookie: true, ..GET }, 200), Ok(()));
    }

    #[test]
    fn cookies_need_the_origins_own_word() {
        let modified = http_date(-1000);
        let guess = ("last-modified", modified.as_str());
        let cookie = ("set-cookie", "a=b");
        assert_eq!(says(200, &[guess]), "store");
        assert_eq!(says(200, &[guess, cookie]), "set-cookie");
        assert_eq!(says(200, &[("cache-control", "max-age=60"), cookie]), "store");
        let request = RequestPolicy { cookie: true, ..GET };
        assert_eq!(verdict(request, 200, &[guess], &Rules::default()).map(drop), Err("cookie"));
        let rules = Rules { cookies: true, ..Rules::default() };
        assert_eq!(verdict(request, 200, &[guess, cookie], &rules).map(drop), Ok(()));
    }

    #[test]
    fn statuses_without_the_origins_word() {
        for status in [201, 302, 400, 403, 500, 503] {
            assert_eq!(says(status, &[("etag", "\"a\"")]), "status", "{status}");
        }
        assert_eq!(says(403, &[("etag", "\"a\""), ("cache-control", "public")]), "store");
        assert_eq!(says(200, &[("vary", "*"), ("cache-control", "max-age=60")]), "vary-star");
        let rules = Rules { ttl: Some(9), cache_errors: true, ..Rules::default() };
        assert_eq!(verdict(GET, 503, &[], &rules).unwrap().freshness.lifetime, 9);
    }

    #[test]
    fn rfc_9110_9_3_3_post() {
        let answered = |status: u16, fields: &[(&str, &str)]| {
            let headers = map(fields);
            let response = ResponseHead {
                status: StatusCode::from_u16(status).unwrap(),
                headers: &headers,
                request_time: NOW,
                response_time: NOW,
            };
            let request = RequestPolicy::plain(MethodKind::Post);
            let uri = ("http", "example.com", "/a?b");
            matches!(storable_post(&request, uri, &response, &Rules::default()), Storable::Store(_))
        };
        let post = |fields: &[(&str, &str)]| answered(200, fields);
        let fresh = ("cache-control", "max-age=60");
        assert!(post(&[fresh, ("content-location", "/a?b")]));
        assert!(post(&[fresh, ("content-location", "http://EXAMPLE.com:80/a?b")]));
        assert!(!post(&[fresh, ("content-location", "/a")]));
        assert!(!post(&[fresh, ("content-location", "https://example.com/a?b")]));
        assert!(!post(&[fresh]));
        assert!(!post(&[fresh, ("content-location", "/a?b"), ("content-location", "/a?b")]));
        for status in [201, 202, 204, 206, 303, 404, 500] {
            assert!(!answered(status, &[fresh, ("content-location", "/a?b")]), "{status}");
        }
        assert!(!post(&[("last-modified", &http_date(-1000)), ("content-location", "/a?b")]));
    }

    #[test]
    fn rfc_9111_3_1_what_is_not_stored() {
        let headers = map(&[
            ("connection", "close, X-Hop, , a b"),
            ("x-hop", "1"),
            ("keep-alive", "1"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "x"),
            ("te", "x"),
            ("proxy-authenticate", "x"),
            ("proxy-authentication-info", "x"),
            ("proxy-connection", "x"),
            ("x-user", "1"),
            ("x-other", "1"),
            ("x-other", "2"),
            ("set-cookie", "a=b"),
        ]);
        let stored = stored_headers(&headers, &[HeaderName::from_static("x-user")]);
        let mut names: Vec<_> = stored.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["set-cookie", "x-other"]);
        assert!(stored.get_all("x-other").iter().eq(["1", "2"]));
    }

    #[test]
    fn a_missing_date_is_added_and_others_are_left() {
        let plan = verdict(GET, 200, &[("cache-control", "max-age=60")], &Rules::default()).unwrap();
        let head = |fields: &[(&str, &str)]| {
            let headers = map(fields);
            plan.entry_head(&ResponseHead {
                status: StatusCode::OK,
                headers: &headers,
                request_time: NOW,
                response_time: NOW,
            })
        };
        assert_eq!(head(&[]).headers[DATE], http_date(0));
        assert_eq!(head(&[("date", "odd")]).headers[DATE], "odd");
    }

    #[test]
    fn entries_are_kept_while_they_can_be_of_use() {
        let kept = |fields: &[(&str, &str)]| {
            let headers = map(fields);
            let response = ResponseHead {
                status: StatusCode::OK,
                headers: &headers,
                request_time: NOW,
                response_time: NOW,
            };
            let plan = verdict(GET, 200, fields, &Rules::default()).unwrap();
            keep_until(&plan.entry_head(&response), Duration::from_secs(1000)).since(NOW).as_secs()
        };
        assert_eq!(kept(&[("cache-control", "max-age=60")]), 1060);
        assert_eq!(kept(&[("cache-control", "max-age=60, must-revalidate")]), 60);
        assert_eq!(kept(&[("cache-control", "max-age=60, must-revalidate"), ("etag", "\"a\"")]), 1060);
        assert_eq!(kept(&[("cache-control", "max-age=60, stale-if-error=5000")]), 5060);
        assert_eq!(kept(&[("cache-control", "max-age=60, stale-if-error=5")]), 65);
    }
}
