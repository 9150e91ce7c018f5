//! What holds of the policy whatever requests and responses say.

use std::time::Duration;

use http::{Method, StatusCode};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::tests::{NOW, http_date, map};
use super::*;
use crate::cache::entry::{EntryHead, Source};
use crate::clock::Timestamp;
use crate::http::cache_control::ResponseDirectives;

const RESPONSE: [&str; 18] = [
    "max-age=10",
    "max-age=0",
    "max-age=x",
    "s-maxage=20",
    "no-store",
    "no-cache",
    "no-cache=\"x-a\"",
    "private",
    "private=\"x-b\"",
    "public",
    "must-revalidate",
    "proxy-revalidate",
    "must-understand",
    "stale-while-revalidate=15",
    "stale-if-error=25",
    "stale-if-error=0",
    "foo=\"no-store, public\"",
    "bar baz",
];
const REQUEST: [&str; 9] = [
    "no-cache",
    "no-store",
    "max-age=5",
    "max-age=0",
    "max-stale",
    "max-stale=7",
    "min-fresh=3",
    "only-if-cached",
    "stale-if-error=30",
];

/// An exchange: the request's fields, the response's status and fields, the route's rules.
#[derive(Clone, Debug)]
struct Case {
    request: Vec<(&'static str, String)>,
    status: u16,
    response: Vec<(&'static str, String)>,
    rules: Rules,
}

fn fields(pairs: &[(&'static str, String)]) -> http::HeaderMap {
    map(&pairs.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>())
}

fn request() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let others =
        [("cookie", "a=b"), ("authorization", "x"), ("range", "bytes=0-"), ("if-none-match", "\"t\"")];
    (subsequence(REQUEST.to_vec(), 0..3), subsequence(others.to_vec(), 0..3)).prop_map(
        |(directives, others)| {
            let mut fields: Vec<_> =
                others.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
            if !directives.is_empty() {
                fields.push(("cache-control", directives.join(", ")));
            }
            fields
        },
    )
}

fn response() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let others = vec![
        ("etag", "\"t\"".to_owned()),
        ("last-modified", http_date(-100)),
        ("expires", http_date(12)),
        ("expires", "0".to_owned()),
        ("date", http_date(-3)),
        ("date", http_date(3)),
        ("age", "4".to_owned()),
        ("vary", "x-a".to_owned()),
        ("vary", "*".to_owned()),
        ("set-cookie", "c=d".to_owned()),
        ("x-b", "1".to_owned()),
        ("connection", "x-c".to_owned()),
        ("x-c", "1".to_owned()),
        ("cdn-cache-control", "max-age=30".to_owned()),
        ("cdn-cache-control", "no-store".to_owned()),
    ];
    (subsequence(RESPONSE.to_vec(), 0..5), subsequence(others, 0..6)).prop_map(|(directives, mut fields)| {
        fields.extend(directives.into_iter().map(|directive| ("cache-control", directive.to_owned())));
        fields
    })
}

fn rules() -> impl Strategy<Value = Rules> {
    (any::<[bool; 6]>(), proptest::option::of(0u64..40), lifetimes()).prop_map(|(flags, ttl, lifetimes)| {
        Rules {
            ttl,
            stale_while_revalidate: flags[0].then_some(8),
            stale_if_error: flags[1].then_some(9),
            heuristics: flags[2],
            cookies: flags[3],
            cache_errors: flags[4],
            stale_despite_s_maxage: flags[5],
            lifetimes,
            ..Rules::default()
        }
    })
}

/// Mostly none.
fn lifetimes() -> impl Strategy<Value = Lifetimes> {
    let table = || {
        let ranges = select(vec![200..=299u16, 404..=404, 500..=599, 302..=302]);
        proptest::option::of((proptest::option::of(0u64..40), ranges, 0u64..40)).prop_map(|table| {
            table.map_or_else(ByStatus::default, |(default, range, seconds)| {
                ByStatus::new(default, vec![(range, seconds)])
            })
        })
    };
    let given =
        (table(), table(), table(), table(), 0u8..=50).prop_map(|(ttl, override_ttl, min, max, jitter)| {
            Lifetimes {
                ttl: ByStatus::new(None, ttl.into_ranges()),
                override_ttl,
                min,
                max,
                jitter,
                prefetch: None,
            }
        });
    prop_oneof![2 => Just(Lifetimes::default()), 1 => given]
}

fn case() -> impl Strategy<Value = Case> {
    let status = select(vec![200u16, 200, 200, 204, 206, 299, 302, 304, 404, 416, 499, 500, 503, 599]);
    (request(), status, response(), rules()).prop_map(|(request, status, response, rules)| Case {
        request,
        status,
        response,
        rules,
    })
}

impl Case {
    fn asks(&self) -> RequestPolicy {
        RequestPolicy::of(&Method::GET, &fields(&self.request), &self.rules)
    }

    /// The stored head, if it may be stored.
    fn stored(&self) -> Option<EntryHead> {
        let headers = fields(&self.response);
        let status = StatusCode::from_u16(self.status).unwrap();
        let response = ResponseHead { status, headers: &headers, request_time: NOW, response_time: NOW };
        match storable(&self.asks(), &response, &self.rules) {
            Storable::Store(plan) => Some(plan.entry_head(&response)),
            Storable::Skip(_) => None,
        }
    }

    fn directives(&self) -> ResponseDirectives {
        Directed::of(&fields(&self.response), &self.rules).directives
    }
}

fn after(secs: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(secs))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn nothing_forbidden_is_stored(case in case()) {
        if let Some(head) = case.stored() {
            let (asks, directives) = (case.asks(), case.directives());
            prop_assert!(!asks.no_store && !directives.private);
            prop_assert!(!directives.no_store || directives.must_understand);
            let shareable = directives.public || directives.s_maxage.is_some() || directives.must_revalidate;
            prop_assert!(!asks.authorization || shareable);
            prop_assert!(head.freshness.source.is_explicit() || case.rules.cookies || !asks.cookie);
            prop_assert!(vary::vary_key(&fields(&case.request), &head.headers, &crate::cache::key::Secret::new([1; 32])).is_some());
            let named = case.response.iter().any(|(name, _)| *name == "connection");
            prop_assert!(!head.headers.contains_key("connection"));
            prop_assert!(!named || !head.headers.contains_key("x-c"));
            prop_assert!(head.headers.contains_key("date"));
            prop_assert!(directives.withheld.iter().all(|name| !head.headers.contains_key(name)));
        }
    }

    #[test]
    fn what_answers_is_fresh_or_allowed_to_be_stale(case in case(), other in request(), secs in 0u64..60, purged: bool) {
        let Some(head) = case.stored() else { return Ok(()) };
        let asks = RequestPolicy::of(&Method::GET, &fields(&other), &case.rules);
        let freshness = head.freshness;
        let answer = reuse(&asks, &head, purged, &case.rules, after(secs));
        if answer.answers() {
            prop_assert!(!freshness.no_cache && !asks.no_cache);
            prop_assert!(freshness.source.is_explicit() || case.rules.cookies || !asks.cookie);
        }
        match answer {
            Reuse::Fresh { age, ttl } => {
                prop_assert!(!purged && ttl > 0 && age < freshness.lifetime && age >= secs);
                prop_assert!(asks.max_age.is_none_or(|max_age| age <= max_age));
                prop_assert!(asks.min_fresh.is_none_or(|min_fresh| ttl as u64 >= min_fresh));
            }
            Reuse::StaleAllowed { age, ttl, why } => {
                prop_assert!(!freshness.must_revalidate && ttl <= 0);
                let window = match why {
                    StaleWhy::MaxStale => asks.max_stale.unwrap(),
                    StaleWhy::WhileRevalidate => freshness.stale_while_revalidate,
                };
                prop_assert!(age.saturating_sub(freshness.lifetime) <= window);
            }
            Reuse::Validate { .. } | Reuse::Unusable => {}
        }
    }

    #[test]
    fn what_is_sent_past_the_origin_s_word_says_so(case in case(), secs in 0u64..60) {
        let Some(head) = case.stored() else { return Ok(()) };
        let anyone = RequestPolicy::plain(request::MethodKind::Get);
        if let Reuse::Fresh { age, .. } = reuse(&anyone, &head, false, &case.rules, after(secs)) {
            let rules = Rules { lifetimes: Lifetimes::default(), ..case.rules.clone() };
            let own = Case { rules, ..case.clone() }.stored().map_or(0, |own| own.freshness.lifetime);
            let source = head.freshness.source;
            prop_assert!(age < own || source == Source::Policy || source.detail().is_some(), "{source:?} {own}");
        }
    }

    #[test]
    fn what_goes_stale_stays_stale(case in case(), other in request(), secs in 0u64..60) {
        let Some(head) = case.stored() else { return Ok(()) };
        let asks = RequestPolicy::of(&Method::GET, &fields(&other), &case.rules);
        let at = |secs| reuse(&asks, &head, false, &case.rules, after(secs));
        prop_assert!(at(secs).answers() || !at(secs + 1).answers());
        let failed = |secs| on_error(&asks, &head, &case.rules, Failure::Disconnected, after(secs));
        prop_assert!(failed(secs) || !failed(secs + 1));
    }

    #[test]
    fn a_failing_origin_never_brings_back_what_must_be_validated(case in case(), secs in 0u64..60) {
        let Some(head) = case.stored() else { return Ok(()) };
        let asks = RequestPolicy::plain(request::MethodKind::Get);
        let stale = head.age(after(secs)) >= head.freshness.lifetime;
        let forbidden = head.freshness.no_cache || (head.freshness.must_revalidate && stale);
        let served = on_error(&asks, &head, &case.rules, Failure::Disconnected, after(secs));
        prop_assert!(!(forbidden && served));
    }

    #[test]
    fn an_entry_is_kept_for_as_long_as_it_answers(case in case(), secs in 0u64..120) {
        let Some(head) = case.stored() else { return Ok(()) };
        let asks = RequestPolicy::plain(request::MethodKind::Get);
        if reuse(&asks, &head, false, &case.rules, after(secs)).answers() {
            prop_assert!(store::keep_until(&head, Duration::ZERO) >= after(secs));
        }
    }

    #[test]
    fn a_merged_304_is_as_good_as_the_full_reply(case in case(), secs in 0u64..60) {
        // A 304 that repeats every field gives what the 200 itself would have given.
        let Some(head) = case.stored() else { return Ok(()) };
        let headers = fields(&case.response);
        let at = after(secs);
        let full = ResponseHead { status: head.status, headers: &headers, request_time: at, response_time: at };
        let update = ResponseHead { status: StatusCode::NOT_MODIFIED, ..full };
        let merged = validate::freshen(&head, &case.asks(), &update, &case.rules);
        match storable(&case.asks(), &full, &case.rules) {
            Storable::Store(plan) => {
                prop_assert_eq!(merged.upkeep, Upkeep::Replace);
                prop_assert_eq!(merged.head.freshness, plan.freshness);
                let expected = plan.entry_head(&full).headers;
                for name in expected.keys() {
                    let values = |headers: &http::HeaderMap| headers.get_all(name).iter().cloned().collect::<Vec<_>>();
                    prop_assert_eq!(values(&merged.head.headers), values(&expected));
                }
            }
            Storable::Skip(_) => prop_assert_ne!(merged.upkeep, Upkeep::Replace),
        }
    }
}

/// The fields without a line that was quoted; `None` where the reply had none, as with what only the policy says.
fn without(fields: &http::HeaderMap, quote: &explain::Quote) -> http::HeaderMap {
    let mut fields = fields.clone();
    fields.remove(&quote.name);
    fields
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn an_explanation_of_storing_is_the_decision_and_its_quotations_count(case in case()) {
        let (asked, headers) = (fields(&case.request), fields(&case.response));
        let status = StatusCode::from_u16(case.status).unwrap();
        let verdict = |asked: &http::HeaderMap, headers: &http::HeaderMap| {
            let policy = RequestPolicy::of(&Method::GET, asked, &case.rules);
            let response = ResponseHead { status, headers, request_time: NOW, response_time: NOW };
            (storable(&policy, &response, &case.rules), explain::storing(&policy, asked, &response, &case.rules))
        };
        let (decided, (explained, reasons)) = verdict(&asked, &headers);
        prop_assert_eq!(&decided, &explained);
        prop_assert!(!reasons.is_empty());
        for reason in reasons {
            let Some(quote) = &reason.quote else { continue };
            let (_, (other, grounds)) = match quote.of {
                explain::Side::Request => verdict(&without(&asked, quote), &headers),
                explain::Side::Response => verdict(&asked, &without(&headers, quote)),
            };
            // A part is one whether or not it says which.
            let counts = other != explained || !grounds.contains(&reason) || reason.rule == "RFC 9111 3.3";
            prop_assert!(counts, "{reason:?} is no ground of {explained:?}");
        }
    }

    #[test]
    fn an_explanation_of_reuse_is_the_decision_and_its_quotation_counts(
        case in case(),
        other in request(),
        secs in 0u64..60,
        purged: bool,
    ) {
        let Some(head) = case.stored() else { return Ok(()) };
        let verdict = |asked: &http::HeaderMap| {
            let policy = RequestPolicy::of(&Method::GET, asked, &case.rules);
            let decided = reuse(&policy, &head, purged, &case.rules, after(secs));
            (decided, explain::reusing(&policy, asked, &head, purged, &case.rules, after(secs)))
        };
        let asked = fields(&other);
        let (decided, (explained, reason)) = verdict(&asked);
        prop_assert_eq!(decided, explained);
        if let Some(quote) = reason.quote.as_ref().filter(|quote| quote.of == explain::Side::Request) {
            let (without, (_, grounds)) = verdict(&without(&asked, quote));
            prop_assert!(without != decided || grounds != reason, "{reason:?} is no ground of {decided:?}");
        }
    }
}
