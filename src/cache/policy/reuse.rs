//! Whether a stored response may answer a request (RFC 9111 4, 4.2.4, 5.2.1).

use http::StatusCode;

use super::{RequestPolicy, Rules};
use crate::cache::entry::EntryHead;
use crate::clock::Timestamp;

/// Whether a stored response may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// It is fresh: send it.
    Fresh {
        /// For the `Age` field, in seconds.
        age: u64,
        /// Seconds of freshness left.
        ttl: i64,
    },
    /// It is stale and may be sent.
    StaleAllowed {
        /// For the `Age` field, in seconds.
        age: u64,
        /// Seconds of freshness left: zero or less.
        ttl: i64,
        /// Who allowed it.
        why: StaleWhy,
    },
    /// The origin must be asked first.
    Validate {
        /// Its age, in seconds.
        age: u64,
        /// Seconds of freshness left.
        ttl: i64,
        /// Why it may not be sent as it is.
        why: ValidateWhy,
    },
    /// It is nothing to this request, not even to be validated for it: its lifetime is a policy's or a guess, and the
    /// request has `Cookie`. To be treated as if nothing were stored.
    Unusable,
}

/// Who allowed a stale reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StaleWhy {
    /// The request's `max-stale`.
    MaxStale,
    /// `stale-while-revalidate`: it must also be refreshed in the background.
    WhileRevalidate,
}

/// Why a stored response must be validated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValidateWhy {
    /// It is stale.
    Stale,
    /// A soft purge marked it stale.
    Purged,
    /// The response's `no-cache`.
    NoCache,
    /// The request's `no-cache`.
    RequestNoCache,
    /// It is older than the request's `max-age`, or too short of freshness for its `min-fresh`.
    RequestAge,
}

/// How the origin failed to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// No reply: refused, timed out, broken off.
    Disconnected,
    /// A reply with a 5xx status.
    Status(StatusCode),
}

/// Decides whether a stored response may answer a request at `now`.
///
/// A request without directives costs a few comparisons; methods are [`RequestPolicy::may_reuse`]'s matter, and the
/// client's own conditions [`super::conditional`]'s.
pub fn reuse(
    request: &RequestPolicy,
    entry: &EntryHead,
    soft_purged: bool,
    rules: &Rules,
    now: Timestamp,
) -> Reuse {
    let freshness = &entry.freshness;
    if request.cookie && !rules.cookies && !freshness.source.is_explicit() {
        return Reuse::Unusable;
    }
    let age = entry.age(now);
    let ttl = ttl(freshness.lifetime, age);
    if freshness.no_cache {
        return Reuse::Validate { age, ttl, why: ValidateWhy::NoCache };
    }
    if request.directed
        && let Some(why) = unwanted(request, age, ttl)
    {
        return Reuse::Validate { age, ttl, why };
    }
    if ttl > 0 && !soft_purged {
        return Reuse::Fresh { age, ttl };
    }
    // A soft purge ends freshness, and staleness begins where the lifetime would have ended.
    let staleness = age.saturating_sub(freshness.lifetime);
    let ttl = ttl.min(0);
    match stale_allowed(request, entry, staleness) {
        Some(why) => Reuse::StaleAllowed { age, ttl, why },
        None if soft_purged => Reuse::Validate { age, ttl, why: ValidateWhy::Purged },
        None => Reuse::Validate { age, ttl, why: ValidateWhy::Stale },
    }
}

/// Why the request itself does not want the response (RFC 9111 5.2.1.1, 5.2.1.3, 5.2.1.4).
fn unwanted(request: &RequestPolicy, age: u64, ttl: i64) -> Option<ValidateWhy> {
    if request.no_cache {
        return Some(ValidateWhy::RequestNoCache);
    }
    // Who says max-age=0 wants to hear from the origin, even within the second in which the age still reads 0.
    let too_old = request.max_age.is_some_and(|max_age| age > max_age || max_age == 0);
    let too_short =
        request.min_fresh.is_some_and(|min_fresh| ttl < i64::try_from(min_fresh).unwrap_or(i64::MAX));
    (too_old || too_short).then_some(ValidateWhy::RequestAge)
}

/// Whether the origin and the request allow a response that has been stale for `staleness` seconds (RFC 9111 4.2.4).
fn stale_allowed(request: &RequestPolicy, entry: &EntryHead, staleness: u64) -> Option<StaleWhy> {
    let freshness = &entry.freshness;
    if freshness.must_revalidate {
        return None;
    }
    // max-age without max-stale says that a stale response is not wanted (RFC 9111 5.2.1.1).
    let accepts_stale = request.max_age.is_none() || request.max_stale.is_some();
    let window = freshness.stale_while_revalidate;
    if window > 0 && staleness <= window && accepts_stale {
        return Some(StaleWhy::WhileRevalidate);
    }
    request.max_stale.is_some_and(|max_stale| staleness <= max_stale).then_some(StaleWhy::MaxStale)
}

/// Whether a stored response that had to be validated may answer although the origin failed: where nothing forbids it, within
/// the windows of RFC 5861 4, or (where nobody gave one) to the disconnected (RFC 9111 4.2.4, 4.3.3).
pub fn on_error(
    request: &RequestPolicy,
    entry: &EntryHead,
    rules: &Rules,
    failure: Failure,
    now: Timestamp,
) -> bool {
    let freshness = &entry.freshness;
    let personal = request.cookie && !rules.cookies && !freshness.source.is_explicit();
    if request.no_cache || freshness.no_cache || personal || !failure.is_outage() {
        return false;
    }
    let staleness = entry.age(now).saturating_sub(freshness.lifetime);
    if staleness == 0 && ttl(freshness.lifetime, entry.age(now)) > 0 {
        return true;
    }
    if freshness.must_revalidate {
        return false;
    }
    match freshness.stale_if_error.max(request.stale_if_error) {
        Some(window) => staleness <= window,
        // A 500 is the application's answer; the others say that nobody is there to answer.
        None => failure != Failure::Status(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// Whether a stored response may still answer somebody while the origin says nothing better than this 5xx, which must
/// then not take its place (RFC 9111 4.3.3).
pub fn outlives(
    entry: &EntryHead,
    soft_purged: bool,
    rules: &Rules,
    status: StatusCode,
    now: Timestamp,
) -> bool {
    let anyone = RequestPolicy::plain(super::request::MethodKind::Get);
    if soft_purged && entry.freshness.must_revalidate {
        return false;
    }
    reuse(&anyone, entry, soft_purged, rules, now).answers()
        || on_error(&anyone, entry, rules, Failure::Status(status), now)
}

impl Failure {
    /// The failures of RFC 5861 4: none, 500, 502, 503 and 504.
    fn is_outage(self) -> bool {
        match self {
            Self::Disconnected => true,
            Self::Status(status) => matches!(status.as_u16(), 500 | 502..=504),
        }
    }
}

/// Seconds of freshness left, negative when stale.
fn ttl(lifetime: u64, age: u64) -> i64 {
    let clamp = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    clamp(lifetime) - clamp(age)
}

impl Reuse {
    /// Whether the stored response may be sent now.
    pub const fn answers(&self) -> bool {
        matches!(self, Self::Fresh { .. } | Self::StaleAllowed { .. })
    }
}

impl StaleWhy {
    /// The word for logs and `Cache-Status`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MaxStale => "max-stale",
            Self::WhileRevalidate => "stale-while-revalidate",
        }
    }
}

impl ValidateWhy {
    /// The word for logs and `Cache-Status`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Purged => "purged",
            Self::NoCache => "no-cache",
            Self::RequestNoCache => "request-no-cache",
            Self::RequestAge => "request-age",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::request::MethodKind;
    use super::super::tests::{NOW, entry, entry_of, http_date};
    use super::*;

    const GET: RequestPolicy = RequestPolicy::plain(MethodKind::Get);
    const ASKED: RequestPolicy = RequestPolicy { directed: true, ..GET };

    fn after(secs: u64) -> Timestamp {
        NOW.plus(Duration::from_secs(secs))
    }

    /// What is said of a response with this `Cache-Control` after so many seconds.
    fn said(request: RequestPolicy, value: &str, secs: u64) -> Reuse {
        reuse(&request, &entry(&[("cache-control", value)]), false, &Rules::default(), after(secs))
    }

    fn word(request: RequestPolicy, value: &str, secs: u64) -> &'static str {
        match said(request, value, secs) {
            Reuse::Fresh { .. } => "fresh",
            Reuse::StaleAllowed { why, .. } => why.as_str(),
            Reuse::Validate { why, .. } => why.as_str(),
            Reuse::Unusable => "unusable",
        }
    }

    #[test]
    fn rfc_9111_4_2_fresh_until_the_lifetime_is_reached() {
        assert_eq!(said(GET, "max-age=60", 0), Reuse::Fresh { age: 0, ttl: 60 });
        assert_eq!(said(GET, "max-age=60", 59), Reuse::Fresh { age: 59, ttl: 1 });
        assert_eq!(said(GET, "max-age=60", 60), Reuse::Validate { age: 60, ttl: 0, why: ValidateWhy::Stale });
        assert_eq!(said(GET, "max-age=0", 0), Reuse::Validate { age: 0, ttl: 0, why: ValidateWhy::Stale });
    }

    #[test]
    fn rfc_9111_5_2_1_request_directives() {
        let cases = [
            (RequestPolicy { no_cache: true, ..ASKED }, "max-age=60", 0, "request-no-cache"),
            (RequestPolicy { max_age: Some(10), ..ASKED }, "max-age=60", 10, "fresh"),
            (RequestPolicy { max_age: Some(10), ..ASKED }, "max-age=60", 11, "request-age"),
            (RequestPolicy { max_age: Some(0), ..ASKED }, "max-age=60", 0, "request-age"),
            (RequestPolicy { min_fresh: Some(50), ..ASKED }, "max-age=60", 10, "fresh"),
            (RequestPolicy { min_fresh: Some(50), ..ASKED }, "max-age=60", 11, "request-age"),
            (RequestPolicy { max_stale: Some(10), ..ASKED }, "max-age=60", 70, "max-stale"),
            (RequestPolicy { max_stale: Some(10), ..ASKED }, "max-age=60", 71, "stale"),
            (RequestPolicy { max_stale: Some(u64::MAX), ..ASKED }, "max-age=60", 9999, "max-stale"),
            (RequestPolicy { no_store: true, ..ASKED }, "max-age=60", 0, "fresh"),
        ];
        for (request, value, secs, expected) in cases {
            assert_eq!(word(request, value, secs), expected, "{value} after {secs} for {request:?}");
        }
    }

    #[test]
    fn rfc_9111_4_2_4_what_forbids_stale_replies() {
        let request = RequestPolicy { max_stale: Some(u64::MAX), ..ASKED };
        for value in ["max-age=1, must-revalidate", "max-age=1, proxy-revalidate", "s-maxage=1"] {
            let value = format!("{value}, stale-while-revalidate=60, stale-if-error=60");
            assert_eq!(word(request, &value, 9), "stale", "{value}");
            let entry = entry(&[("cache-control", value.as_str())]);
            assert!(
                !on_error(&request, &entry, &Rules::default(), Failure::Disconnected, after(9)),
                "{value}"
            );
        }
        assert_eq!(word(request, "max-age=1, no-cache", 0), "no-cache");
    }

    #[test]
    fn rfc_5861_3_stale_while_revalidate() {
        let value = "max-age=60, stale-while-revalidate=30";
        assert_eq!(word(GET, value, 59), "fresh");
        assert_eq!(word(GET, value, 60), "stale-while-revalidate");
        assert_eq!(word(GET, value, 90), "stale-while-revalidate");
        assert_eq!(word(GET, value, 91), "stale");
        assert_eq!(word(RequestPolicy { max_age: Some(100), ..ASKED }, value, 70), "stale");
        assert_eq!(word(RequestPolicy { min_fresh: Some(1), ..ASKED }, value, 70), "request-age");
    }

    #[test]
    fn rfc_5861_4_stale_if_error() {
        use Failure::{Disconnected, Status};
        let allowed = |value: &str, failure, secs| {
            on_error(&GET, &entry(&[("cache-control", value)]), &Rules::default(), failure, after(secs))
        };
        let status = |code| Status(StatusCode::from_u16(code).unwrap());
        for code in [500, 502, 503, 504] {
            assert!(allowed("max-age=60, stale-if-error=30", status(code), 90), "{code}");
            assert!(!allowed("max-age=60, stale-if-error=30", status(code), 91), "{code}");
            assert_eq!(allowed("max-age=60", status(code), 90), code != 500, "{code}");
        }
        assert!(!allowed("max-age=60, stale-if-error=30", status(501), 70));
        assert!(allowed("max-age=60", Disconnected, 90));
        assert!(!allowed("max-age=60, stale-if-error=0", Disconnected, 90));
        assert!(!allowed("max-age=60, no-cache", Disconnected, 0));
        assert!(allowed("max-age=60, must-revalidate", Disconnected, 59), "it is still fresh");
        let asked = RequestPolicy { stale_if_error: Some(100), ..ASKED };
        let stale = entry(&[("cache-control", "max-age=60")]);
        assert!(on_error(&asked, &stale, &Rules::default(), status(500), after(160)));
        let refused = RequestPolicy { no_cache: true, ..ASKED };
        assert!(!on_error(&refused, &stale, &Rules::default(), Disconnected, after(90)));
    }

    #[test]
    fn rfc_9111_4_3_3_a_5xx_takes_the_place_of_what_nobody_can_be_given_any_more() {
        let outlives = |value: &str, code: u16, secs| {
            let status = StatusCode::from_u16(code).unwrap();
            super::outlives(
                &entry(&[("cache-control", value)]),
                false,
                &Rules::default(),
                status,
                after(secs),
            )
        };
        assert!(outlives("max-age=60, stale-if-error=30", 500, 80));
        assert!(!outlives("max-age=60, stale-if-error=30", 500, 100));
        assert!(outlives("max-age=60", 503, 80), "nobody is there to answer");
        assert!(!outlives("max-age=60", 500, 80));
        assert!(outlives("max-age=60, stale-while-revalidate=30", 500, 80));
        assert!(!outlives("max-age=60, must-revalidate", 503, 80));
        assert!(outlives("max-age=60, must-revalidate", 503, 50), "it is fresh");
        assert!(!outlives("no-cache, stale-if-error=60", 503, 0));
    }

    #[test]
    fn a_cookie_gets_only_what_the_origin_called_fresh() {
        let cookie = RequestPolicy { cookie: true, ..GET };
        let rules = Rules { ttl: Some(60), ..Rules::default() };
        assert_eq!(word(cookie, "max-age=60", 0), "fresh");
        let ours = entry_of(200, &[], &rules);
        assert!(matches!(reuse(&GET, &ours, false, &rules, NOW), Reuse::Fresh { .. }));
        assert_eq!(reuse(&cookie, &ours, false, &rules, NOW), Reuse::Unusable);
        assert!(!on_error(&cookie, &ours, &rules, Failure::Disconnected, NOW));
        let bold = Rules { cookies: true, ..rules };
        assert!(matches!(reuse(&cookie, &ours, false, &bold, NOW), Reuse::Fresh { .. }));
    }

    #[test]
    fn a_soft_purge_ends_freshness_only() {
        let purged = |value: &str| {
            reuse(&GET, &entry(&[("cache-control", value)]), true, &Rules::default(), after(10))
        };
        assert_eq!(purged("max-age=60"), Reuse::Validate { age: 10, ttl: 0, why: ValidateWhy::Purged });
        let why = StaleWhy::WhileRevalidate;
        assert_eq!(
            purged("max-age=60, stale-while-revalidate=9"),
            Reuse::StaleAllowed { age: 10, ttl: 0, why }
        );
    }

    #[test]
    fn ages_of_several_caches_add_up() {
        let date = http_date(-100);
        let entry = entry(&[("age", "30"), ("date", &date), ("cache-control", "max-age=120")]);
        let fresh = reuse(&GET, &entry, false, &Rules::default(), after(5));
        assert_eq!(fresh, Reuse::Fresh { age: 105, ttl: 15 });
    }
}
