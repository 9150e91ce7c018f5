//! What a route makes of a lifetime: its own by status, an override, a floor, a cap, jitter, and when a hot reply is
//! fetched anew before it has gone stale.
//!
//! RFC 9111 lets a cache find a response stale earlier than its origin says (a cap, jitter), and lets whoever runs one
//! configure more (4.2.1 is about what the origin says). What goes beyond the origin's own word is told apart from it
//! ([`Source::Override`], [`Source::Floor`]), announced in `Cache-Status`, and as careful as a lifetime of ours always is:
//! it covers neither requests with `Cookie` nor replies with `Set-Cookie`, and of 5xx only what the route names. No
//! lifetime here makes storable what `no-store`, `private`, `Authorization` or `Vary: *` forbid, nor reusable what
//! `no-cache` wants validated.
//!
//! All of them count from the reply's arrival, so that they mean the same behind another cache.

use std::ops::RangeInclusive;

use http::StatusCode;

use crate::cache::entry::{Freshness, Source};

/// Seconds by status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ByStatus {
    /// The narrowest first, so that the first that holds is the most specific.
    ranges: Vec<(RangeInclusive<u16>, u64)>,
    default: Option<u64>,
}

/// What a table says of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    /// Seconds.
    pub seconds: u64,
    /// The status itself (or its class) is named: the route knows what it asks for.
    pub named: bool,
}

/// What a route makes of lifetimes, beside its plain `ttl`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lifetimes {
    /// For replies whose origin says nothing, by status.
    pub ttl: ByStatus,
    /// In place of whatever lifetime there is.
    pub override_ttl: ByStatus,
    /// At least so long, where anybody gave a lifetime.
    pub min: ByStatus,
    /// At most so long.
    pub max: ByStatus,
    /// The largest part of a lifetime that is taken off so that replies stored together do not expire together, in
    /// percent.
    pub jitter: u8,
    /// When a hot reply is fetched anew before it is stale.
    pub prefetch: Option<Prefetch>,
}

/// When a reply is fetched anew before it is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefetch {
    /// How long before.
    pub lead: Lead,
    /// How many hits within its present life make it hot.
    pub hits: u32,
}

/// A time before the end of a lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lead {
    /// So many seconds.
    Seconds(u64),
    /// A part of the lifetime, in percent.
    Share(u8),
}

/// What bounds a route's hand in a lifetime.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope {
    /// The reply's status.
    pub(super) status: StatusCode,
    /// Its age when it arrived.
    pub(super) initial_age: u64,
    /// A lifetime beyond the origin's may be given to it at all: neither cookies nor `no-cache` speak against it.
    pub(super) ours: bool,
    /// A lifetime of ours covers its status even where it is not named.
    pub(super) covered: bool,
    /// Where in the jitter its key falls.
    pub(super) spread: u32,
}

impl ByStatus {
    /// A table, and what holds for the statuses that it does not name.
    pub fn new(default: Option<u64>, mut ranges: Vec<(RangeInclusive<u16>, u64)>) -> Self {
        ranges.sort_by_key(|(range, _)| range.end() - range.start());
        Self { ranges, default }
    }

    /// What holds for a status.
    pub fn of(&self, status: StatusCode) -> Option<Given> {
        let status = status.as_u16();
        let named = self.ranges.iter().find(|(range, _)| range.contains(&status));
        let named = named.map(|(_, seconds)| Given { seconds: *seconds, named: true });
        named.or(self.default.map(|seconds| Given { seconds, named: false }))
    }

    /// What it says of the statuses that it names, the narrowest ranges first.
    pub fn into_ranges(self) -> Vec<(RangeInclusive<u16>, u64)> {
        self.ranges
    }

    /// Whether it says nothing at all.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty() && self.default.is_none()
    }
}

impl Lifetimes {
    /// What the route makes of a lifetime that somebody gave, and on whose word it then is.
    pub(super) fn apply(&self, given: (u64, Source), scope: &Scope) -> (u64, Source) {
        let (lifetime, source) = given;
        let left = lifetime.saturating_sub(scope.initial_age);
        let (after, source) = self.jittered(self.capped(self.lifted((left, source), scope), scope), scope);
        match after == left {
            true => (lifetime, source),
            false => (scope.initial_age.saturating_add(after), source),
        }
    }

    /// The override, and the floor.
    fn lifted(&self, (mut left, mut source): (u64, Source), scope: &Scope) -> (u64, Source) {
        if let Some(seconds) = scope.ours(&self.override_ttl) {
            source = match seconds <= left && source.is_explicit() {
                true if seconds == left => source,
                // Less than the origin allows is still on its word.
                true => Source::Cap,
                false => Source::Override,
            };
            left = seconds;
        }
        match scope.ours(&self.min) {
            Some(floor) if left < floor && source != Source::None => (floor, Source::Floor),
            _ => (left, source),
        }
    }

    fn capped(&self, (left, source): (u64, Source), scope: &Scope) -> (u64, Source) {
        match self.max.of(scope.status) {
            Some(cap) if left > cap.seconds => {
                (cap.seconds, if source.is_explicit() { Source::Cap } else { source })
            }
            _ => (left, source),
        }
    }

    /// The same for one key every time, so that it can be explained; different keys fall evenly over the range.
    fn jittered(&self, (left, source): (u64, Source), scope: &Scope) -> (u64, Source) {
        let most = u128::from(left) * u128::from(self.jitter) / 100;
        let cut = (u128::from(left) * u128::from(self.jitter) * u128::from(scope.spread))
            / (100 * (u128::from(u32::MAX) + 1));
        (left - u64::try_from(cut.min(most)).unwrap_or(left), source)
    }
}

impl Scope {
    /// What a table gives to this reply beyond its origin's word, if anything.
    fn ours(&self, table: &ByStatus) -> Option<u64> {
        let given = table.of(self.status)?;
        (self.ours && (given.named || self.covered)).then_some(given.seconds)
    }
}

impl Prefetch {
    /// Whether a reply with `ttl` seconds of freshness left is in the part of its life in which it is fetched anew.
    pub fn is_due(&self, freshness: &Freshness, ttl: i64) -> bool {
        let lead = match self.lead {
            Lead::Seconds(seconds) => seconds,
            Lead::Share(percent) => {
                let life = freshness.lifetime.saturating_sub(freshness.initial_age);
                u64::try_from(u128::from(life) * u128::from(percent) / 100).unwrap_or(life)
            }
        };
        u64::try_from(ttl).is_ok_and(|ttl| ttl <= lead)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::request::MethodKind;
    use super::super::tests::{NOW, entry, map};
    use super::super::{Directed, RequestPolicy, ResponseHead, Rules, Storable, freshness, reuse, storable};
    use super::*;
    use crate::cache::policy::Reuse;

    const ALL: u32 = u32::MAX;

    fn every(seconds: u64) -> ByStatus {
        ByStatus::new(Some(seconds), Vec::new())
    }

    fn only(first: u16, last: u16, seconds: u64) -> ByStatus {
        ByStatus::new(None, vec![(first..=last, seconds)])
    }

    fn given(
        request: RequestPolicy,
        status: u16,
        fields: &[(&str, &str)],
        lifetimes: Lifetimes,
    ) -> (u64, Source) {
        let rules = Rules { lifetimes, ..Rules::default() };
        under(request, status, fields, &rules)
    }

    fn under(request: RequestPolicy, status: u16, fields: &[(&str, &str)], rules: &Rules) -> (u64, Source) {
        let headers = map(fields);
        let status = StatusCode::from_u16(status).unwrap();
        let response = ResponseHead { status, headers: &headers, request_time: NOW, response_time: NOW };
        let freshness = freshness::freshness(&request, &response, &Directed::of(&headers, rules), rules);
        (freshness.lifetime, freshness.source)
    }

    fn plain() -> RequestPolicy {
        RequestPolicy::plain(MethodKind::Get)
    }

    fn cc(value: &str) -> [(&str, &str); 1] {
        [("cache-control", value)]
    }

    #[test]
    fn the_most_specific_status_decides() {
        let table = ByStatus::new(Some(1), vec![(400..=499, 2), (404..=404, 3), (200..=299, 4)]);
        let of = |status| table.of(StatusCode::from_u16(status).unwrap()).unwrap();
        for (status, seconds, named) in [(200, 4, true), (404, 3, true), (410, 2, true), (301, 1, false)] {
            assert_eq!(of(status), Given { seconds, named }, "{status}");
        }
        assert!(only(404, 404, 1).of(StatusCode::OK).is_none() && ByStatus::default().is_empty());
    }

    #[test]
    fn a_ttl_by_status_covers_what_it_names_and_only_where_the_origin_says_nothing() {
        let table = |default| Rules {
            ttl: default,
            lifetimes: Lifetimes {
                ttl: ByStatus::new(None, vec![(404..=404, 10), (500..=599, 1), (302..=302, 5)]),
                ..Lifetimes::default()
            },
            ..Rules::default()
        };
        for (status, fields, default, expected) in [
            (404, &[][..], Some(60), (10, Source::Policy)),
            (410, &[], Some(60), (60, Source::Policy)),
            (410, &[], None, (0, Source::None)),
            (302, &[], None, (5, Source::Policy)),
            (303, &[], Some(60), (0, Source::None)),
            // Naming a 5xx is asking for it.
            (503, &[], Some(60), (1, Source::Policy)),
            (404, &cc("max-age=7"), Some(60), (7, Source::MaxAge)),
            (404, &cc("no-cache"), Some(60), (0, Source::None)),
            (404, &[("set-cookie", "a=b")], Some(60), (0, Source::None)),
        ] {
            assert_eq!(under(plain(), status, fields, &table(default)), expected, "{status} {fields:?}");
        }
        // A plain ttl does not cover errors; `cache_errors` makes it.
        let errors = Rules { ttl: Some(60), cache_errors: true, ..Rules::default() };
        assert_eq!(
            under(plain(), 503, &[], &Rules { cache_errors: false, ..errors.clone() }).1,
            Source::None
        );
        assert_eq!(under(plain(), 503, &[], &errors), (60, Source::Policy));
    }

    #[test]
    fn an_override_beats_the_origin_s_lifetime_and_says_so() {
        let over = || Lifetimes { override_ttl: every(60), ..Lifetimes::default() };
        for (status, fields, expected) in [
            (200, &cc("max-age=5")[..], (60, Source::Override)),
            (200, &cc("s-maxage=0"), (60, Source::Override)),
            (200, &[("expires", "0")], (60, Source::Override)),
            (200, &[], (60, Source::Override)),
            // Less than the origin's is on the origin's word.
            (200, &cc("max-age=600"), (60, Source::Cap)),
            (200, &cc("max-age=60"), (60, Source::MaxAge)),
            // As careful as any lifetime of ours.
            (200, &cc("max-age=5, no-cache"), (5, Source::MaxAge)),
            (200, &[("cache-control", "max-age=5"), ("set-cookie", "a=b")], (5, Source::MaxAge)),
            (503, &cc("max-age=5"), (5, Source::MaxAge)),
            (302, &cc("max-age=5"), (5, Source::MaxAge)),
            // From its arrival, whatever age it brings along.
            (200, &[("cache-control", "max-age=5"), ("age", "30")], (90, Source::Override)),
        ] {
            assert_eq!(given(plain(), status, fields, over()), expected, "{status} {fields:?}");
        }
        let cookie = RequestPolicy { cookie: true, ..plain() };
        assert_eq!(given(cookie, 200, &cc("max-age=5"), over()), (5, Source::MaxAge));
        let named = || Lifetimes { override_ttl: only(500, 599, 2), ..Lifetimes::default() };
        assert_eq!(given(plain(), 503, &cc("max-age=0"), named()), (2, Source::Override));
        assert_eq!(given(plain(), 200, &cc("max-age=5"), named()), (5, Source::MaxAge));
    }

    #[test]
    fn no_lifetime_of_ours_makes_storable_what_is_not() {
        let rules = Rules {
            lifetimes: Lifetimes { override_ttl: every(60), min: every(60), ..Lifetimes::default() },
            cookies: true,
            ..Rules::default()
        };
        for fields in [&cc("no-store, max-age=5"), &cc("private, max-age=5"), &[("vary", "*")]] {
            let headers = map(fields);
            let response = ResponseHead {
                status: StatusCode::OK,
                headers: &headers,
                request_time: NOW,
                response_time: NOW,
            };
            assert!(matches!(storable(&plain(), &response, &rules), Storable::Skip(_)), "{fields:?}");
        }
        let headers = map(&cc("max-age=5"));
        let response =
            ResponseHead { status: StatusCode::OK, headers: &headers, request_time: NOW, response_time: NOW };
        let authorised = RequestPolicy { authorization: true, ..plain() };
        assert!(matches!(storable(&authorised, &response, &rules), Storable::Skip(_)));
        assert!(matches!(storable(&plain(), &response, &rules), Storable::Store(_)));
    }

    #[test]
    fn a_floor_lifts_what_somebody_gave_and_a_cap_cuts_everything() {
        let bounds = || Lifetimes { min: every(10), max: every(100), ..Lifetimes::default() };
        for (fields, expected) in [
            (&cc("max-age=5")[..], (10, Source::Floor)),
            (&cc("max-age=0"), (10, Source::Floor)),
            (&cc("max-age=50"), (50, Source::MaxAge)),
            (&cc("max-age=500"), (100, Source::Cap)),
            (&[], (0, Source::None)),
            (&cc("no-cache"), (0, Source::None)),
            (&[("cache-control", "max-age=5"), ("set-cookie", "a=b")], (5, Source::MaxAge)),
            (&[("cache-control", "max-age=500"), ("set-cookie", "a=b")], (100, Source::Cap)),
            // What is left at arrival counts: 20 s of 520.
            (&[("cache-control", "max-age=520"), ("age", "500")], (520, Source::MaxAge)),
            (&[("cache-control", "max-age=400"), ("age", "500")], (510, Source::Floor)),
            (&[("cache-control", "max-age=900"), ("age", "500")], (600, Source::Cap)),
        ] {
            assert_eq!(given(plain(), 200, fields, bounds()), expected, "{fields:?}");
        }
        let rules = Rules { ttl: Some(500), lifetimes: bounds(), ..Rules::default() };
        assert_eq!(under(plain(), 200, &[], &rules), (100, Source::Policy));
        // A cap needs no leave: it also holds for statuses that no lifetime of ours covers.
        assert_eq!(given(plain(), 503, &cc("max-age=500"), bounds()), (100, Source::Cap));
        assert_eq!(given(plain(), 503, &cc("max-age=5"), bounds()), (5, Source::MaxAge));
    }

    #[test]
    fn jitter_only_shortens_and_is_the_same_for_a_key() {
        let with = |spread, left: &str| {
            let request = RequestPolicy { spread, ..plain() };
            given(request, 200, &cc(left), Lifetimes { jitter: 10, ..Lifetimes::default() })
        };
        assert_eq!(with(0, "max-age=1000"), (1000, Source::MaxAge));
        assert_eq!(with(ALL / 2, "max-age=1000"), (951, Source::MaxAge));
        assert_eq!(with(ALL, "max-age=1000"), (901, Source::MaxAge));
        assert_eq!(with(ALL, "max-age=1"), (1, Source::MaxAge));
        assert_eq!(with(ALL, "max-age=0"), (0, Source::MaxAge));
    }

    #[test]
    fn what_is_longer_than_the_origin_said_is_nothing_to_requests_with_cookies() {
        let mut head = entry(&cc("max-age=60"));
        let cookie = RequestPolicy { cookie: true, ..plain() };
        for (source, usable) in
            [(Source::MaxAge, true), (Source::Cap, true), (Source::Override, false), (Source::Floor, false)]
        {
            head.freshness.source = source;
            let answer = reuse(&cookie, &head, false, &Rules::default(), NOW);
            assert_eq!(answer != Reuse::Unusable, usable, "{source:?}");
        }
    }

    #[test]
    fn a_hot_reply_is_due_in_the_last_part_of_its_life() {
        let mut freshness = entry(&cc("max-age=150")).freshness;
        freshness.initial_age = 50;
        for (lead, ttl, due) in [
            (Lead::Share(10), 11, false),
            (Lead::Share(10), 10, true),
            (Lead::Share(10), 1, true),
            (Lead::Seconds(5), 6, false),
            (Lead::Seconds(5), 5, true),
            (Lead::Seconds(5), -1, false),
        ] {
            assert_eq!(Prefetch { lead, hits: 1 }.is_due(&freshness, ttl), due, "{lead:?} {ttl}");
        }
    }

    proptest! {
        #[test]
        fn bounds_hold_whatever_the_origin_says(
            max_age in 0u64..2000, age in 0u64..500, floor in 0u64..100, cap in 100u64..1000, over: Option<u16>,
            jitter in 0u8..=50, spread: u32,
        ) {
            let lifetimes = Lifetimes {
                override_ttl: over.map(|seconds| every(seconds.into())).unwrap_or_default(),
                min: every(floor),
                max: every(cap),
                jitter,
                ..Lifetimes::default()
            };
            let fields = [("cache-control", format!("max-age={max_age}")), ("age", age.to_string())];
            let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let (lifetime, source) = given(RequestPolicy { spread, ..plain() }, 200, &fields, lifetimes);
            let left = lifetime.saturating_sub(age);
            prop_assert!(left <= cap);
            prop_assert!(left >= floor - floor * u64::from(jitter) / 100);
            // Only what goes beyond the origin's word is said to be ours.
            let own = max_age.saturating_sub(age);
            prop_assert!(!source.is_explicit() || left <= own);
        }

        #[test]
        fn jitter_spreads_evenly(spreads in proptest::collection::vec(any::<u32>(), 400)) {
            let lifetimes = Lifetimes { jitter: 50, ..Lifetimes::default() };
            let lives = spreads.into_iter().map(|spread| {
                given(RequestPolicy { spread, ..plain() }, 200, &cc("max-age=1000"), lifetimes.clone()).0
            });
            let mean = lives.sum::<u64>() / 400;
            prop_assert!((680..=820).contains(&mean), "{mean}");
        }
    }
}
