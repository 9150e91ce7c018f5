//! How long a response is fresh, and on whose word (RFC 9111 4.2, RFC 9213, RFC 5861).

use http::header::{DATE, EXPIRES, LAST_MODIFIED, PRAGMA, SET_COOKIE};
use http::{HeaderMap, HeaderName, StatusCode};

use super::lifetimes::Scope;
use super::request::MethodKind;
use super::{RequestPolicy, ResponseHead, Rules};
use crate::cache::entry::{Freshness, Source};
use crate::clock::Timestamp;
use crate::http::cache_control::{self, ResponseDirectives};
use crate::http::{age, date};

/// A guess is not trusted for longer than a day, however old the resource is (RFC 9111 4.2.2).
const MAX_HEURISTIC: u64 = 24 * 3600;

/// The directives that govern a response, and where they stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directed {
    /// The directives.
    pub directives: ResponseDirectives,
    /// The targeted field that gave them; `Cache-Control` and `Expires` are then ignored (RFC 9213 2.2).
    pub target: Option<HeaderName>,
}

impl Directed {
    /// From the first targeted field that is valid and not empty, else from `Cache-Control`.
    pub fn of(headers: &HeaderMap, rules: &Rules) -> Self {
        for name in &rules.targets {
            if let Some(directives) = ResponseDirectives::targeted(headers, name) {
                return Self { directives, target: Some(name.clone()) };
            }
        }
        Self { directives: ResponseDirectives::of(headers), target: None }
    }
}

/// Computes the freshness of a response to a request.
pub fn freshness(
    request: &RequestPolicy,
    response: &ResponseHead<'_>,
    directed: &Directed,
    rules: &Rules,
) -> Freshness {
    let directives = &directed.directives;
    let initial_age = initial_age(response);
    let ours = may_be_given(request, response, directives, rules);
    let scope = Scope {
        status: response.status,
        initial_age,
        ours: ours && request.method != MethodKind::Post,
        covered: covers(response.status, rules),
        spread: request.spread,
    };
    let (lifetime, source) = rules.lifetimes.apply(lifetime(response, directed, rules, ours), &scope);
    let asks_for_stale = directives.stale_while_revalidate.is_some() || directives.stale_if_error.is_some();
    let shared_only = directives.s_maxage.is_some() && !(rules.stale_despite_s_maxage && asks_for_stale);
    Freshness {
        initial_age,
        lifetime,
        source,
        stale_while_revalidate: directives
            .stale_while_revalidate
            .or(rules.stale_while_revalidate)
            .unwrap_or(0),
        stale_if_error: directives.stale_if_error.or(rules.stale_if_error),
        must_revalidate: directives.must_revalidate || directives.proxy_revalidate || shared_only,
        no_cache: directives.no_cache,
    }
}

/// `corrected_initial_age` (RFC 9111 4.2.3), in seconds.
pub fn initial_age(response: &ResponseHead<'_>) -> u64 {
    let sent = date_of(response.headers, response.response_time).unwrap_or(response.response_time);
    let apparent = response.response_time.since(sent).as_secs();
    let delay = response.response_time.since(response.request_time).as_secs();
    let corrected = age::of(response.headers).unwrap_or(0).saturating_add(delay);
    apparent.max(corrected)
}

/// The lifetime in seconds, from the first that says anything: RFC 9111 4.2.1, then the policy, then a guess (4.2.2).
/// `ours`: one that is not the origin's own may be given.
fn lifetime(response: &ResponseHead<'_>, directed: &Directed, rules: &Rules, ours: bool) -> (u64, Source) {
    let directives = &directed.directives;
    let source = |own| if directed.target.is_some() { Source::Targeted } else { own };
    if let Some(seconds) = directives.s_maxage {
        return (seconds, source(Source::SMaxage));
    }
    if let Some(seconds) = directives.max_age {
        return (seconds, source(Source::MaxAge));
    }
    if directed.target.is_none() && response.headers.contains_key(EXPIRES) {
        return (expires_lifetime(response), Source::Expires);
    }
    if !ours {
        return (0, Source::None);
    }
    let status = response.status;
    if let Some(named) = rules.lifetimes.ttl.of(status) {
        return (named.seconds, Source::Policy);
    }
    if let Some(ttl) = rules.ttl.filter(|_| covers(status, rules)) {
        return (ttl, Source::Policy);
    }
    // Errors too: 501 by its definition, others on the origin's own word (RFC 9111 4.2.2).
    if rules.heuristics
        && (is_heuristically_cacheable(status) || directives.public)
        && !has_overridden_lifetime(response.headers, directed)
        && let Some(guess) = heuristic_lifetime(response)
    {
        return (guess, Source::Heuristic);
    }
    (0, Source::None)
}

/// Whether a targeted field, which gives no lifetime, hides one that stands elsewhere: it does not count (RFC 9213 2.2),
/// but it is present, which forbids a guess (RFC 9111 4.2.2).
fn has_overridden_lifetime(headers: &HeaderMap, directed: &Directed) -> bool {
    directed.target.is_some() && {
        let hidden = ResponseDirectives::of(headers);
        headers.contains_key(EXPIRES) || hidden.max_age.is_some() || hidden.s_maxage.is_some()
    }
}

/// Whether a lifetime of the route's covers a status that it does not name.
fn covers(status: StatusCode, rules: &Rules) -> bool {
    match status.is_server_error() {
        true => rules.cache_errors,
        false => is_heuristically_cacheable(status),
    }
}

/// Whether a lifetime that is not the origin's own may be given at all.
fn may_be_given(
    request: &RequestPolicy,
    response: &ResponseHead<'_>,
    directives: &ResponseDirectives,
    rules: &Rules,
) -> bool {
    let personal = request.cookie || response.headers.contains_key(SET_COOKIE);
    // `Pragma: no-cache` in a response means nothing (RFC 9111 5.4), but who writes it does not want a guess.
    let forbidden = directives.no_cache
        || response.headers.get_all(PRAGMA).iter().any(cache_control::pragma_has_no_cache);
    !forbidden && (rules.cookies || !personal)
}

/// `Expires` minus `Date`; an invalid or repeated `Expires` is in the past (RFC 9111 5.3, 4.2.1).
fn expires_lifetime(response: &ResponseHead<'_>) -> u64 {
    let mut lines = response.headers.get_all(EXPIRES).iter();
    let Some(first) = lines.next() else { return 0 };
    if lines.any(|other| other != first) {
        return 0;
    }
    let Some(expires) = date::parse(first.as_bytes(), response.response_time) else { return 0 };
    let sent = date_of(response.headers, response.response_time).unwrap_or(response.response_time);
    expires.since(sent).as_secs().min(age::MAX_SECONDS)
}

/// A tenth of the time since `Last-Modified` (RFC 9111 4.2.2).
fn heuristic_lifetime(response: &ResponseHead<'_>) -> Option<u64> {
    let modified = date::parse(response.headers.get(LAST_MODIFIED)?.as_bytes(), response.response_time)?;
    let sent = date_of(response.headers, response.response_time).unwrap_or(response.response_time);
    let guess = (sent.since(modified).as_secs() / 10).min(MAX_HEURISTIC);
    (guess > 0).then_some(guess)
}

/// `Date`, where it is valid.
pub(super) fn date_of(headers: &HeaderMap, near: Timestamp) -> Option<Timestamp> {
    date::parse(headers.get(DATE)?.as_bytes(), near)
}

/// Whether a status may be stored and its lifetime guessed without the origin's word (RFC 9110 15.1).
pub fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NOW, http_date, map};
    use super::*;

    fn fresh(status: u16, fields: &[(&str, &str)], rules: &Rules) -> Freshness {
        fresh_for(RequestPolicy::plain(MethodKind::Get), status, fields, rules)
    }

    fn fresh_for(request: RequestPolicy, status: u16, fields: &[(&str, &str)], rules: &Rules) -> Freshness {
        let headers = map(fields);
        let response = ResponseHead {
            status: StatusCode::from_u16(status).unwrap(),
            headers: &headers,
            request_time: NOW,
            response_time: NOW,
        };
        freshness(&request, &response, &Directed::of(&headers, rules), rules)
    }

    fn said(fields: &[(&str, &str)]) -> (u64, Source) {
        let freshness = fresh(200, fields, &Rules::default());
        (freshness.lifetime, freshness.source)
    }

    #[test]
    fn rfc_9111_4_2_1_precedence() {
        let expires = http_date(500);
        let all = [
            ("cdn-cache-control", "max-age=1"),
            ("cache-control", "s-maxage=2, max-age=3"),
            ("expires", &expires),
        ];
        assert_eq!(said(&all), (1, Source::Targeted));
        assert_eq!(said(&all[1..]), (2, Source::SMaxage));
        assert_eq!(said(&[("cache-control", "max-age=3"), all[2]]), (3, Source::MaxAge));
        assert_eq!(said(&all[2..]), (500, Source::Expires));
        assert_eq!(said(&[]), (0, Source::None));
    }

    #[test]
    fn rfc_9213_2_2_invalid_or_empty_targets_are_ignored_valid_ones_hide_the_rest() {
        let own = ("cache-control", "max-age=3");
        assert_eq!(said(&[("cdn-cache-control", ""), own]), (3, Source::MaxAge));
        assert_eq!(said(&[("cdn-cache-control", "max-age=1,&"), own]), (3, Source::MaxAge));
        let expires = http_date(500);
        assert_eq!(
            said(&[("cdn-cache-control", "must-revalidate"), own, ("expires", &expires)]),
            (0, Source::None)
        );
    }

    #[test]
    fn rfc_9111_5_3_expires_and_its_odd_forms() {
        let (date, expires) = (http_date(100), http_date(160));
        assert_eq!(said(&[("date", &date), ("expires", &expires)]), (60, Source::Expires));
        assert_eq!(said(&[("date", "yesterday"), ("expires", &expires)]), (160, Source::Expires));
        assert_eq!(said(&[("expires", &http_date(0))]), (0, Source::Expires));
        assert_eq!(said(&[("expires", &http_date(-60))]), (0, Source::Expires));
        let twice = format!("{expires}, {expires}");
        for value in ["0", "-1", "", "never", "Thu, 01 Jan 2099 00:00:00 UTC", &twice] {
            assert_eq!(said(&[("expires", value)]), (0, Source::Expires), "{value}");
        }
        assert_eq!(said(&[("expires", &expires), ("expires", &date)]), (0, Source::Expires));
        assert_eq!(said(&[("expires", &expires), ("expires", &expires)]), (160, Source::Expires));
    }

    #[test]
    fn rfc_9111_4_2_2_heuristics_where_they_are_allowed() {
        let modified = http_date(-1000);
        let field = ("last-modified", modified.as_str());
        for status in [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501] {
            assert_eq!(fresh(status, &[field], &Rules::default()).lifetime, 100, "{status}");
        }
        for status in [201, 302, 303, 307, 400, 403, 500, 503, 599] {
            assert_eq!(fresh(status, &[field], &Rules::default()).source, Source::None, "{status}");
        }
        for status in [403, 503] {
            let public = ("cache-control", "public");
            assert_eq!(fresh(status, &[field, public], &Rules::default()).lifetime, 100, "{status}");
        }
        assert_eq!(said(&[field, ("cache-control", "no-cache")]), (0, Source::None));
        assert_eq!(said(&[field, ("pragma", "no-cache")]), (0, Source::None));
        assert_eq!(said(&[field, ("pragma", "foo, No-Cache")]), (0, Source::None));
        assert_eq!(said(&[field, ("pragma", "foo")]).1, Source::Heuristic);
        assert_eq!(said(&[field, ("set-cookie", "a=b")]), (0, Source::None));
        assert_eq!(said(&[("last-modified", &http_date(-100_000_000))]), (MAX_HEURISTIC, Source::Heuristic));
        assert_eq!(said(&[("last-modified", &http_date(100))]), (0, Source::None));
        let off = Rules { heuristics: false, ..Rules::default() };
        assert_eq!(fresh(200, &[field], &off).source, Source::None);
    }

    #[test]
    fn a_policy_ttl_is_careful() {
        let rules = Rules { ttl: Some(60), ..Rules::default() };
        assert_eq!(fresh(200, &[], &rules).source, Source::Policy);
        assert_eq!(fresh(404, &[], &rules).lifetime, 60);
        assert_eq!(fresh(200, &[("cache-control", "max-age=5")], &rules).lifetime, 5);
        assert_eq!(fresh(200, &[("cache-control", "public")], &rules).lifetime, 60);
        for (status, field) in [
            (200, ("set-cookie", "a=b")),
            (200, ("cache-control", "no-cache")),
            (200, ("expires", "0")),
            (302, ("x", "y")),
            (503, ("x", "y")),
        ] {
            assert_eq!(fresh(status, &[field], &rules).lifetime, 0, "{status} {field:?}");
        }
        let cookie = RequestPolicy { cookie: true, ..RequestPolicy::plain(MethodKind::Get) };
        assert_eq!(fresh_for(cookie, 200, &[], &rules).source, Source::None);
        let bold = Rules { cookies: true, cache_errors: true, ..rules };
        assert_eq!(fresh_for(cookie, 200, &[("set-cookie", "a=b")], &bold).lifetime, 60);
        assert_eq!(fresh(503, &[], &bold).lifetime, 60);
    }

    #[test]
    fn rfc_9111_4_2_3_initial_age() {
        let age = |fields: &[(&str, &str)], delay: u64| {
            let headers = map(fields);
            initial_age(&ResponseHead {
                status: StatusCode::OK,
                headers: &headers,
                request_time: Timestamp::from_secs(NOW.secs() - delay),
                response_time: NOW,
            })
        };
        assert_eq!(age(&[], 0), 0);
        assert_eq!(age(&[("date", &http_date(-30))], 0), 30);
        assert_eq!(
            age(&[("date", &http_date(30))], 0),
            0,
            "a Date in the future never makes an age negative"
        );
        assert_eq!(age(&[("age", "10"), ("date", &http_date(-30))], 0), 30);
        assert_eq!(age(&[("age", "40"), ("date", &http_date(-30))], 2), 42);
        assert_eq!(age(&[("age", "x"), ("date", "x")], 2), 2);
        assert_eq!(age(&[("age", "99999999999")], 2), age::MAX_SECONDS + 2);
    }

    #[test]
    fn rfc_5861_windows_and_what_forbids_them() {
        let said = |value, rules: &Rules| fresh(200, &[("cache-control", value)], rules);
        let rules = Rules { stale_while_revalidate: Some(7), stale_if_error: Some(8), ..Rules::default() };
        let own = said("max-age=1, stale-while-revalidate=5, stale-if-error=6", &rules);
        assert_eq!((own.stale_while_revalidate, own.stale_if_error), (5, Some(6)));
        let ours = said("max-age=1", &rules);
        assert_eq!((ours.stale_while_revalidate, ours.stale_if_error), (7, Some(8)));
        assert_eq!(said("max-age=1", &Rules::default()).stale_if_error, None);
        for value in ["max-age=1, must-revalidate", "max-age=1, proxy-revalidate", "s-maxage=1"] {
            assert!(said(value, &rules).must_revalidate, "{value}");
        }
        let switched = Rules { stale_despite_s_maxage: true, ..Rules::default() };
        assert!(!said("s-maxage=1, stale-if-error=5", &switched).must_revalidate);
        assert!(said("s-maxage=1", &switched).must_revalidate);
        assert!(said("s-maxage=1, stale-if-error=5, must-revalidate", &switched).must_revalidate);
    }
}
