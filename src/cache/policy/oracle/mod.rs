//! The policy against an independent one: `http-cache-semantics`, as a shared cache.
//!
//! Heads are put together from a grammar, in every odd spelling; both say whether the reply may be stored, how old it is,
//! how long it stays fresh, and whether it answers another request without being validated. They must agree, once what
//! the other one hears has been put into the words that it understands: each [`Class`] of difference is one such
//! rewording, with the reason and its section. A difference that no class explains fails the test, and so does a class
//! that explains nothing.

mod classes;
mod grammar;
mod words;

use std::time::{Duration, SystemTime};

use http::{Method, Request, Response, StatusCode};
use http_cache_semantics::{BeforeRequest, CacheOptions, CachePolicy};
use proptest::prelude::*;

use super::freshness::{Directed, freshness};
use super::tests::{NOW, map};
use super::*;
use crate::cache::entry::EntryHead;
use crate::cache::key::Secret;
use crate::clock::Timestamp;
use classes::{CLASSES, Class, example};
use grammar::heads;
use words::Words;

/// An exchange, and a request after it.
#[derive(Clone, Debug, Default)]
struct Heads {
    /// The first request's fields.
    asked: Vec<(&'static str, String)>,
    status: u16,
    /// Members of Cache-Control; each on its own line, or all on one.
    members: Vec<&'static str>,
    lines: bool,
    /// The reply's other fields.
    said: Vec<(&'static str, String)>,
    /// Seconds that the reply took.
    delay: u64,
    /// The second request's fields.
    asks: Vec<(&'static str, String)>,
    /// Seconds after the reply.
    after: u64,
}

/// What a policy says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Verdict {
    /// It may be stored; if not, the rest says nothing.
    storable: bool,
    age: u64,
    ttl: u64,
    answers: bool,
}

impl Heads {
    fn has(&self, name: &str) -> bool {
        self.said.iter().any(|(known, _)| *known == name)
    }

    fn response(&self) -> Vec<(&'static str, String)> {
        let mut fields = self.said.clone();
        match self.lines {
            true => fields.extend(self.members.iter().map(|member| ("cache-control", (*member).to_owned()))),
            false if !self.members.is_empty() => fields.push(("cache-control", self.members.join(", "))),
            false => {}
        }
        fields
    }

    fn ours(&self) -> Verdict {
        let (rules, headers) = (Rules::default(), fields(&self.response()));
        let asked = RequestPolicy::of(&Method::GET, &fields(&self.asked), &rules);
        let response = ResponseHead {
            status: StatusCode::from_u16(self.status).unwrap(),
            headers: &headers,
            request_time: Timestamp::from_secs(NOW.secs() - self.delay),
            response_time: NOW,
        };
        let head = match storable(&asked, &response, &rules) {
            Storable::Store(plan) => plan.entry_head(&response),
            // It may be stored, but would be of no use.
            Storable::Skip(SkipReason::NoCache | SkipReason::NoFreshness | SkipReason::Stale) => {
                let freshness = freshness(&asked, &response, &Directed::of(&headers, &rules), &rules);
                Plan { freshness, withheld: Vec::new(), validator: false }.entry_head(&response)
            }
            Storable::Skip(_) => return Verdict::default(),
        };
        self.ours_of(&head, &rules)
    }

    fn ours_of(&self, head: &EntryHead, rules: &Rules) -> Verdict {
        let (now, secret) = (NOW.plus(Duration::from_secs(self.after)), Secret::new([1; 32]));
        let asks = RequestPolicy::of(&Method::GET, &fields(&self.asks), rules);
        let vary = vary::vary_key(&fields(&self.asked), &head.headers, &secret).unwrap();
        let lifetime = if head.freshness.no_cache { 0 } else { head.freshness.lifetime };
        Verdict {
            storable: true,
            age: head.age(now),
            ttl: lifetime.saturating_sub(head.age(now)),
            answers: vary::matches(&vary, &fields(&self.asks), &secret)
                && reuse(&asks, head, false, rules, now).answers(),
        }
    }

    /// What the other one says, as it hears it.
    fn theirs(&self) -> Verdict {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW.secs());
        let request = |given: &[(&'static str, String)]| {
            let mut request = Request::get("http://example.com/").body(()).unwrap();
            *request.headers_mut() = fields(given);
            request
        };
        let mut response = Response::builder().status(self.status).body(()).unwrap();
        *response.headers_mut() = fields(&self.response());
        let options = CacheOptions { shared: true, ..CacheOptions::default() };
        let policy = CachePolicy::new_options(&request(&self.asked), &response, at, options);
        if !policy.is_storable() {
            return Verdict::default();
        }
        let now = at + Duration::from_secs(self.after);
        Verdict {
            storable: true,
            age: policy.age(now).as_secs(),
            ttl: policy.time_to_live(now).as_secs(),
            answers: matches!(policy.before_request(&request(&self.asks), now), BeforeRequest::Fresh(_)),
        }
    }

    /// In the words that the other one understands, but for those of `kept`.
    fn reworded(&self, kept: Option<Class>) -> Self {
        let mut words = Words::of(self, kept);
        words.reword();
        let mut heads = words.heads;
        heads.members = Vec::new();
        let control: Vec<String> = words
            .control
            .iter()
            .map(|(name, value)| match value {
                Some(value) => format!("{name}={value}"),
                None => name.clone(),
            })
            .collect();
        if !control.is_empty() {
            heads.said.push(("cache-control", control.join(", ")));
        }
        heads
    }
}

fn fields(pairs: &[(&'static str, String)]) -> http::HeaderMap {
    map(&pairs.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn both_policies_agree_but_for_what_is_explained(heads in heads()) {
        let reworded = heads.reworded(None);
        prop_assert_eq!(heads.ours(), reworded.theirs(), "heard as {:?}", reworded);
    }
}

#[test]
fn every_class_of_difference_explains_one() {
    for &(class, section, reason) in CLASSES {
        let heads = example(class);
        let ours = heads.ours();
        assert_ne!(
            ours,
            heads.reworded(Some(class)).theirs(),
            "{class:?} ({section}) explains nothing: {reason}"
        );
        assert_eq!(
            ours,
            heads.reworded(None).theirs(),
            "{class:?} ({section}) does not explain it: {reason}"
        );
    }
}
