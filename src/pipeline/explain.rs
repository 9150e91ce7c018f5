//! What would happen to a request that nobody sends: the stages of an exchange up to where the origin would be asked,
//! with their grounds. Nothing is fetched, counted or changed.

use std::ops::Range;
use std::sync::Arc;

use http::{HeaderMap, Method, header, request};

use super::ask::Who;
use super::guard::Guard;
use super::key::{Facts, Keyed, User};
use super::lead::nominate;
use super::site::Route;
use super::{Proxy, ask};
use crate::cache::Mode;
use crate::cache::entry::Entry;
use crate::cache::key::{Digest, Secret, StoredKey};
use crate::cache::leak::Standing;
use crate::cache::policy::explain::{self, Reason};
use crate::cache::policy::partial::{self, FromParts};
use crate::cache::policy::request::MethodKind;
use crate::cache::policy::{
    self, Answer, Failure, RequestPolicy, ResponseHead, Reuse, Storable, conditional, vary,
};
use crate::cache::store::EntryId;
use crate::clock::Timestamp;
use crate::http::cache_status::Forward;
use crate::http::target::Target;

/// What would happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A fresh stored response answers.
    Hit,
    /// A stale stored response answers.
    Stale,
    /// What is stored is validated with the origin.
    Validate,
    /// The origin is asked.
    Miss(Forward),
    /// The cache is not asked at all.
    Bypass(Bypass),
    /// 504: the request wants nothing but what is stored, and that does not answer (RFC 9111 5.2.1.7).
    Refused,
}

/// Why the cache is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bypass {
    /// The route's mode is `off`.
    Mode,
    /// The method's replies are never taken from a cache.
    Method,
    /// The request has a body.
    Body,
    /// It has a precondition that only the origin can judge.
    Precondition,
    /// It claims to be a user, and is not to be believed.
    Doubtful,
    /// The leak guard: what is stored has not been seen to be the same for other credentials.
    Unseen,
    /// The leak guard: replies under the key are being compared.
    Suspect,
    /// The leak guard: they differ by credential, and the key is left alone until then.
    Leaking(Timestamp),
}

/// A request as the cache stage sees it.
#[derive(Clone, Debug)]
pub struct Explained {
    /// The time that all of it is seen from.
    pub at: Timestamp,
    /// The route that takes it.
    pub route: Arc<Route>,
    /// What it says about caching.
    pub request: RequestPolicy,
    /// Its key.
    pub key: StoredKey,
    /// The key's digest.
    pub digest: Digest,
    /// What is stored under the key, newest first.
    pub variants: Vec<Arc<Entry>>,
    /// Which of the variants it asks for.
    pub selected: Option<Arc<Entry>>,
    /// The bytes of the representation that are stored of it, where it is not whole.
    pub places: Vec<Range<u64>>,
    /// What would happen.
    pub verdict: Verdict,
    /// Seconds of freshness left of the selected variant; below zero: since it is stale.
    pub reuse: Option<Reuse>,
    /// Why.
    pub reason: Option<Reason>,
    /// How its own conditions and range shape a stored answer.
    pub answer: Option<Answer>,
    /// The conditional fields with which the origin would be asked.
    pub conditions: HeaderMap,
    /// Whether what is stored would answer if the origin could not be reached now.
    pub stands_in: bool,
    /// Until when requests for the key do not wait for each other, since its last reply was not shared (hit-for-miss).
    pub unshared_until: Option<Timestamp>,
    /// Until when no refresh in the background is tried, since the last one failed.
    pub resting_until: Option<Timestamp>,
    /// Fetches under way for the key.
    pub flights: usize,
}

/// What would become of a reply.
#[derive(Clone, Debug)]
pub struct Hypothesis {
    /// Whether it would be stored.
    pub verdict: Storable,
    /// Why.
    pub reasons: Vec<Reason>,
    /// Until when it would be kept.
    pub keep_until: Option<Timestamp>,
}

impl Proxy {
    /// What would happen to a request now; `None`: no route takes it.
    pub async fn explain(&self, head: &request::Parts, target: &Target) -> Option<Explained> {
        let site = self.site();
        let route = site.route(target, head)?;
        let at = self.clock.now();
        let mut request = RequestPolicy::of(&head.method, &head.headers, &route.cache.rules);
        request.cookie = request.cookie && !route.cache.key.covers_cookies(&head.headers);
        let known = route.cache.key.user.as_ref().map(|rule| {
            // The operator asks: a field that names a user is taken for a trusted peer's.
            let user = rule.user(&head.headers, true, at, self.cache.secret());
            if matches!(user, User::Known(_)) {
                rule.lift(&mut request);
            }
            user
        });
        let user = match known {
            Some(User::Known(user)) => Some(user),
            _ => None,
        };
        let facts = Facts { method: &head.method, headers: &head.headers, body: None, user, slice: None };
        let key = Keyed::of(&route, target, facts, self.cache.secret());
        let parts = key.parts(&head.headers);
        let secret = self.cache.secret();
        let digest = parts.digest(secret);
        let request = RequestPolicy { spread: digest.spread(), ..request };
        let standing = self.cache.show(digest).await.into_iter().map(|summary| summary.entry);
        let variants: Vec<Arc<Entry>> = standing.filter(|entry| parts.matches(&entry.key, secret)).collect();
        let selected = vary::select(&variants, &head.headers, secret, at).cloned();
        let places = selected.as_ref().filter(|entry| entry.part.is_some()).map(|of| {
            let parts = variants.iter().filter(|entry| partial::are_parts_of_one(of, entry));
            let mut places: Vec<Range<u64>> = parts.map(|entry| entry.bytes()).collect();
            places.sort_by_key(|bytes| bytes.start);
            places
        });
        let until = |until: Option<Timestamp>| until.filter(|until| *until > at);
        let mut explained = Explained {
            at,
            request,
            key: parts.to_stored(secret),
            digest,
            verdict: Verdict::Miss(Forward::UriMiss),
            reuse: None,
            reason: None,
            answer: None,
            conditions: HeaderMap::new(),
            stands_in: false,
            unshared_until: until(self.unshared.get(&(digest, Who::of(&request)))),
            resting_until: until(self.resting.get(&digest)),
            flights: self.flights.under_way(digest),
            variants,
            selected,
            places: places.unwrap_or_default(),
            route,
        };
        explained.verdict = match bypass(&explained.route, &explained.request, head) {
            Some(why) => Verdict::Bypass(why),
            None if known == Some(User::Doubtful) => Verdict::Bypass(Bypass::Doubtful),
            None => {
                let verdict = explained.look(head, secret);
                self.guarded(&mut explained, head, verdict)
            }
        };
        Some(explained)
    }

    /// What the leak guard makes of it, as in `Proxy::look_up`.
    fn guarded(&self, explained: &mut Explained, head: &request::Parts, verdict: Verdict) -> Verdict {
        if !explained.route.cache.leak_guard {
            return verdict;
        }
        let leaks = self.cache.leaks();
        let selected = explained.selected.as_ref();
        let is_cleared = |entry: &Arc<Entry>| {
            let who = Guard::of(&head.headers, self.cache.secret()).who;
            leaks.is_cleared(EntryId::of(explained.digest, entry), who)
        };
        let guarded = match leaks.standing(explained.digest, explained.at) {
            Standing::Leaking(until) => Verdict::Bypass(Bypass::Leaking(until)),
            Standing::Suspect => Verdict::Bypass(Bypass::Suspect),
            Standing::Free if selected.is_none_or(is_cleared) => return verdict,
            Standing::Free if explained.reuse.is_some_and(|reuse| reuse.answers()) => {
                Verdict::Bypass(Bypass::Unseen)
            }
            Standing::Free => Verdict::Miss(Forward::Stale),
        };
        // What is stored neither answers, nor is validated, nor stands in.
        explained.answer = None;
        explained.conditions.clear();
        explained.stands_in = false;
        if explained.request.only_if_cached { Verdict::Refused } else { guarded }
    }

    /// What would become of a reply with this status and these fields, had it just come for the request.
    pub fn suppose(
        &self,
        explained: &Explained,
        fields: &HeaderMap,
        status: http::StatusCode,
        headers: &HeaderMap,
    ) -> Hypothesis {
        let Explained { at, route, request, .. } = explained;
        let response = ResponseHead { status, headers, request_time: *at, response_time: *at };
        let rules = &route.cache.rules;
        let (mut verdict, mut reasons) = explain::storing(request, fields, &response, rules);
        if request.method == MethodKind::Post {
            let key = &explained.key;
            let uri = (&*key.scheme, &*key.authority, &*key.target);
            verdict = policy::storable_post(request, uri, &response, rules);
            if let Storable::Store(plan) = &verdict {
                reasons = explain::stored(headers, &plan.freshness, rules);
            }
        }
        let keep = self.site().limits_of(route).keep;
        let keep_until = match &verdict {
            Storable::Store(plan) => Some(policy::store::keep_until(&plan.entry_head(&response), keep)),
            Storable::Skip(_) => None,
        };
        Hypothesis { verdict, reasons, keep_until }
    }
}

/// The same questions as `Proxy::cached` asks before it looks.
fn bypass(route: &Route, request: &RequestPolicy, head: &request::Parts) -> Option<Bypass> {
    if route.cache.mode == Mode::Off {
        return Some(Bypass::Mode);
    }
    if !request.may_reuse() {
        return Some(Bypass::Method);
    }
    let length = head.headers.get(header::CONTENT_LENGTH);
    let body =
        length.is_some_and(|length| length != "0") || head.headers.contains_key(header::TRANSFER_ENCODING);
    body.then_some(Bypass::Body)
}

impl Explained {
    /// The same look as `Proxy::look` takes at what is stored.
    fn look(&mut self, head: &request::Parts, secret: &Secret) -> Verdict {
        let Some(entry) = self.selected.clone() else {
            let why = if self.variants.is_empty() { Forward::UriMiss } else { Forward::VaryMiss };
            if !self.request.conditional && !self.request.range {
                self.conditions = self.conditions(None, &head.headers, secret);
            }
            return self.forward(head, Verdict::Miss(why));
        };
        let rules = self.route.cache.rules.clone();
        let (reuse, reason) =
            explain::reusing(&self.request, &head.headers, &entry.head, entry.soft_purged, &rules, self.at);
        self.reuse = Some(reuse);
        self.reason = Some(reason);
        self.stands_in = reuse != Reuse::Unusable
            && !(entry.soft_purged && entry.head.freshness.must_revalidate)
            && policy::on_error(&self.request, &entry.head, &rules, Failure::Disconnected, self.at);
        let verdict = match reuse {
            Reuse::Fresh { .. } => Verdict::Hit,
            Reuse::StaleAllowed { .. } => Verdict::Stale,
            Reuse::Validate { .. } => {
                self.conditions = self.conditions(Some(&entry), &head.headers, secret);
                let has_conditions = !self.conditions.is_empty();
                let verdict = if has_conditions { Verdict::Validate } else { Verdict::Miss(Forward::Stale) };
                return self.forward(head, verdict);
            }
            Reuse::Unusable => return self.forward(head, Verdict::Miss(Forward::Request)),
        };
        let answer = if entry.part.is_some() {
            let complete = entry.complete();
            match partial::from_parts(&head.method, &head.headers, &entry.head, complete, &self.places) {
                FromParts::Answer(answer, _) => answer,
                FromParts::Missing(_) => return self.forward(head, Verdict::Miss(Forward::Partial)),
            }
        } else {
            conditional::answer(&head.method, &head.headers, &entry.head, entry.body.len())
        };
        self.answer = Some(answer.clone());
        match answer {
            Answer::Forward if self.request.only_if_cached => Verdict::Refused,
            Answer::Forward => Verdict::Bypass(Bypass::Precondition),
            _ => verdict,
        }
    }

    /// What becomes of a request that goes forward, if it may.
    fn forward(&self, head: &request::Parts, verdict: Verdict) -> Verdict {
        match verdict {
            _ if self.request.only_if_cached => Verdict::Refused,
            Verdict::Validate if head.method == Method::HEAD || self.asks_alone(head) => {
                Verdict::Miss(Forward::Stale)
            }
            verdict => verdict,
        }
    }

    /// Whether its reply is asked for as it is and for it alone.
    fn asks_alone(&self, head: &request::Parts) -> bool {
        self.request.no_store || ask::only_origin_can_say(&head.headers)
    }

    fn conditions(&self, stale: Option<&Arc<Entry>>, client: &HeaderMap, secret: &Secret) -> HeaderMap {
        let mut fields = HeaderMap::new();
        nominate(stale, &self.variants, client, secret, &mut fields);
        fields
    }
}
