//! What would happen to a request that nobody sends: the stages of an exchange up to where the origin would be asked,
//! with their grounds. Nothing is fetched, counted or changed.

mod slices;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use http::{HeaderMap, Method, header, request};

pub use slices::{Slice, Slicing, Wanted};

use super::ask::Who;
use super::coding::Negotiated;
use super::edit::fields::RequestFacts;
use super::guard::Guard;
use super::key::{Doubt, Facts, Keyed, User};
use super::lead::{ask_for_gap, nominate};
use super::parts::{OfPart, of_part};
use super::settings::RouteSettings;
use super::site::Route;
use super::{Proxy, ask};
use crate::auth::jwt::Verified;
use crate::cache::Mode;
use crate::cache::entry::Entry;
use crate::cache::key::{Digest, KeyParts, Secret, StoredKey};
use crate::cache::leak::Standing;
use crate::cache::policy::explain::{self, Reason};
use crate::cache::policy::partial::{self, FromParts, Missing};
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
    /// The route answers by itself.
    Local,
    /// The route's mode is `off`.
    Mode,
    /// The method's replies are never taken from a cache.
    Method,
    /// The request has a body.
    Body,
    /// It has a precondition that only the origin can judge.
    Precondition,
    /// It claims to be a user, and is not to be believed.
    Doubtful(Doubt),
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
    /// How its token was verified, where its user is known by one.
    pub verified: Option<Verified>,
    /// What is stored under the key, newest first.
    pub variants: Vec<Arc<Entry>>,
    /// Which of the variants it asks for.
    pub selected: Option<Arc<Entry>>,
    /// The bytes of the representation that are stored of it, where it is not whole.
    pub places: Vec<Range<u64>>,
    /// What would be fetched of it where parts are stored, the rest of the reply being taken from them.
    pub missing: Option<Missing>,
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
    /// How the leak guard stands to the key and to what is stored, on a guarded route.
    pub guarded: Option<Guarded>,
    /// What is stored slice by slice, where the request is answered so; what else is said is said of the slice that it
    /// begins with then.
    pub slices: Option<Box<Slicing>>,
    /// Until when it is remembered that the URL does not come in slices, though the route would have it so.
    pub plain_until: Option<Timestamp>,
}

/// What the leak guard knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guarded {
    /// How the key stands.
    pub standing: Standing,
    /// Whether the selected variant may answer these credentials: it is their own, or others got the same; `None`: none
    /// is selected.
    pub cleared: Option<bool>,
}

/// A request, or one for a slice of what it asks for.
#[derive(Clone, Copy)]
struct Asked<'a> {
    route: &'a Arc<Route>,
    head: &'a request::Parts,
    target: &'a Target,
    slice: Option<u64>,
    at: Timestamp,
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
        let route = site.route(target, head, None)?;
        // What is refused for its rewrite has no key; what the client sent stands for it.
        let forwarded = route.forwarded(target).unwrap_or(Cow::Borrowed(target));
        let edited = edited(&route, head, &forwarded);
        let head = &*edited;
        let asked = Asked { route: &route, head, target: &forwarded, slice: None, at: self.clock.now() };
        let mut explained = self.explained(asked, self.standing(asked).await);
        self.explain_slices(asked, &mut explained).await;
        Some(explained)
    }

    /// What stands under the key of a request, newest first.
    async fn standing(&self, asked: Asked<'_>) -> Vec<Arc<Entry>> {
        let digest = self.keyed(asked, |_, digest| digest);
        self.cache.show(digest).await.into_iter().map(|summary| summary.entry).collect()
    }

    /// The key of a request.
    fn keyed<T>(&self, asked: Asked<'_>, take: impl FnOnce(&KeyParts<'_>, Digest) -> T) -> T {
        let Asked { route, head, target, slice, .. } = asked;
        let secret = self.cache.secret();
        let user = match self.user(asked) {
            Some(User::Known(user)) => Some(user),
            _ => None,
        };
        let facts = Facts { method: &head.method, headers: &head.headers, body: None, user, slice };
        let key = Keyed::of(route, target, facts, secret);
        let parts = key.parts(&head.headers);
        take(&parts, parts.digest(secret))
    }

    /// Who asks, where users are told apart.
    fn user(&self, asked: Asked<'_>) -> Option<User> {
        let rule = asked.route.users.as_ref()?;
        // The operator asks: a field that names a user is taken for a trusted peer's.
        Some(rule.user(&asked.head.headers, true, asked.at, self.cache.secret()))
    }

    /// What would happen to a request if this stands under its digest, newest first.
    fn explained(&self, asked: Asked<'_>, standing: Vec<Arc<Entry>>) -> Explained {
        let Asked { route, head, at, .. } = asked;
        let secret = self.cache.secret();
        let mut request = RequestPolicy::of(&head.method, &head.headers, &route.cache.rules);
        request.cookie = request.cookie && !route.cache.key.covers_cookies(&head.headers);
        let user = self.user(asked);
        if let (Some(rule), Some(User::Known(_))) = (&route.users, &user) {
            rule.lift(&mut request);
        }
        let (digest, key, variants) = self.keyed(asked, |parts, digest| {
            let mut standing = standing;
            standing.retain(|entry| parts.matches(&entry.key, secret));
            (digest, parts.to_stored(secret), standing)
        });
        let request = RequestPolicy { spread: digest.spread(), ..request };
        let selected = vary::select(&variants, &head.headers, secret, at).cloned();
        let places = selected.as_ref().filter(|entry| entry.part.is_some()).map(|of| places(of, &variants));
        let until = |until: Option<Timestamp>| until.filter(|until| *until > at);
        let mut explained = Explained {
            at,
            request,
            key,
            digest,
            verified: route.users.as_ref().and_then(|rule| rule.verified(&head.headers, at)),
            verdict: Verdict::Miss(Forward::UriMiss),
            missing: None,
            reuse: None,
            reason: None,
            answer: None,
            conditions: HeaderMap::new(),
            stands_in: false,
            unshared_until: until(self.unshared.get(&(digest, Who::of(&request)))),
            resting_until: until(self.resting.get(&digest)),
            flights: self.flights.under_way(digest),
            guarded: None,
            slices: None,
            plain_until: None,
            variants,
            selected,
            places: places.unwrap_or_default(),
            route: route.clone(),
        };
        explained.verdict = match (bypass(&explained.route, &explained.request, head), user) {
            (Some(why), _) => Verdict::Bypass(why),
            (None, Some(User::Doubtful(doubt))) => Verdict::Bypass(Bypass::Doubtful(doubt)),
            (None, _) => {
                let verdict = explained.look(head, secret);
                self.guarded(&mut explained, head, verdict)
            }
        };
        explained
    }

    /// What the leak guard makes of it, as in `Proxy::look_up`.
    fn guarded(&self, explained: &mut Explained, head: &request::Parts, verdict: Verdict) -> Verdict {
        if !explained.route.cache.leak_guard {
            return verdict;
        }
        let leaks = self.cache.leaks();
        let cleared = explained.selected.as_ref().map(|entry| {
            let who = Guard::of(&head.headers, self.cache.secret()).who;
            leaks.is_cleared(EntryId::new(explained.digest, &entry.vary), who)
        });
        let standing = leaks.standing(explained.digest, explained.at);
        explained.guarded = Some(Guarded { standing, cleared });
        let guarded = match standing {
            Standing::Leaking(until) => Verdict::Bypass(Bypass::Leaking(until)),
            Standing::Suspect => Verdict::Bypass(Bypass::Suspect),
            Standing::Free if cleared.unwrap_or(true) => return verdict,
            Standing::Free if explained.reuse.is_some_and(|reuse| reuse.answers()) => {
                Verdict::Bypass(Bypass::Unseen)
            }
            Standing::Free => Verdict::Miss(Forward::Stale),
        };
        // What is stored neither answers, nor is validated, nor stands in.
        explained.answer = None;
        explained.missing = None;
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

/// A request that nobody sends, with its fields as the cache sees them.
pub(super) fn edited<'a>(
    route: &Route,
    head: &'a request::Parts,
    target: &Target,
) -> Cow<'a, request::Parts> {
    let RouteSettings { edits, compress, basic, .. } = &route.settings;
    if edits.is_none() && compress.is_none() && basic.is_none() {
        return Cow::Borrowed(head);
    }
    let mut edited = head.clone();
    if let Some(basic) = basic {
        basic.consume(&mut edited.headers);
    }
    if let Some(rules) = compress {
        Negotiated::of(rules, &mut edited, target.authority(), basic.is_some());
    }
    let Some(edits) = edits else { return Cow::Owned(edited) };
    let (client, user, id) = (None, None, None);
    let (route, upstream) = (&*route.name, &*route.upstream_name);
    let facts = RequestFacts { client, user, id, method: &head.method, target, route, upstream };
    edits.request(&mut edited.headers, &facts);
    Cow::Owned(edited)
}

/// The bytes that stored parts of one representation have, in their order.
fn places(of: &Entry, variants: &[Arc<Entry>]) -> Vec<Range<u64>> {
    // As in `Proxy::places`: without a strong validator a part is alone.
    if partial::if_range(&of.head.headers).is_none() {
        return vec![of.bytes()];
    }
    let parts = variants.iter().filter(|entry| partial::are_parts_of_one(of, entry));
    let mut places: Vec<Range<u64>> = parts.map(|entry| entry.bytes()).collect();
    places.sort_by_key(|bytes| bytes.start);
    places
}

/// The same questions as `Proxy::cached` asks before it looks.
fn bypass(route: &Route, request: &RequestPolicy, head: &request::Parts) -> Option<Bypass> {
    if route.settings.local.is_some() {
        return Some(Bypass::Local);
    }
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
            Reuse::Validate { .. } if entry.part.is_some() => {
                return self.ask_of_part(head, &entry, secret, Forward::Stale);
            }
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
                FromParts::Missing(_) => return self.ask_of_part(head, &entry, secret, Forward::Partial),
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

    /// The same as `Proxy::consider_parts` settles.
    fn ask_of_part(
        &mut self,
        head: &request::Parts,
        entry: &Arc<Entry>,
        secret: &Secret,
        why: Forward,
    ) -> Verdict {
        // Neither is made of parts: a HEAD, and what is fetched for one client alone.
        let alone = head.method == Method::HEAD || self.request.no_store || self.request.only_if_cached;
        let verdict = match of_part(head, entry, &self.places) {
            _ if alone => Verdict::Miss(why),
            OfPart::Validate => {
                self.conditions = self.conditions(Some(entry), &head.headers, secret);
                if self.conditions.is_empty() { Verdict::Miss(why) } else { Verdict::Validate }
            }
            OfPart::Gap(missing) => {
                ask_for_gap(&missing.gap, entry, &mut self.conditions);
                self.missing = Some(missing);
                Verdict::Miss(why)
            }
            OfPart::Anew => Verdict::Miss(why),
        };
        self.forward(head, verdict)
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
