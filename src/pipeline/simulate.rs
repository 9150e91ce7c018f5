//! A log replayed through a site: its routes, keys and policy are the real ones, the store is simulated, the clock is the
//! log's own. Nothing is sent to anybody.
//!
//! A line says what one request asked for and, where it went to the origin, what caching goes by in the reply. From
//! that it is told what the site would have done; what the log does not say is supposed, and each supposition counted.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, DATE, ETAG, EXPIRES};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, request};

use super::key::{Facts, Keyed};
use super::site::{Route, Site};
use super::slices::takes_slices;
use crate::cache::entry::{Entry, EntryHead};
use crate::cache::key::{Digest, KeyParts, Secret};
use crate::cache::policy::request::MethodKind;
use crate::cache::policy::{
    self, RequestPolicy, ResponseHead, Reuse, StaleWhy, Storable, invalidate, store, vary,
};
use crate::cache::store::{Held, Simulated};
use crate::cache::{self, Mode};
use crate::clock::Timestamp;
use crate::http::date;
use crate::http::target::Target;
use crate::telemetry::LogRecord;

/// URLs whose replies are remembered; of more, the later ones are known by their own lines only.
const MAX_KNOWN: usize = 4_000_000;

/// A replay.
#[derive(Debug)]
pub struct Simulation {
    site: Site,
    store: Simulated,
    secret: Secret,
    known: HashMap<u64, Arc<Known>>,
    hasher: RandomState,
    now: Timestamp,
    began: Option<Timestamp>,
    routes: BTreeMap<Arc<str>, Tally>,
    supposed: Supposed,
}

/// What is known of an origin's replies for a URL.
#[derive(Debug)]
struct Known {
    at: Timestamp,
    status: StatusCode,
    headers: HeaderMap,
    length: u64,
}

/// What happened, or would have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests answered without an origin's reply of their own: from what is stored, or sharing a fetch.
    pub hits: u64,
    /// Body bytes of these.
    pub hit_bytes: u64,
    /// Requests to the origin, validations and background refreshes among them.
    pub origin_requests: u64,
    /// Body bytes that the origin sent.
    pub origin_bytes: u64,
}

/// A route's requests, as they were answered and as they would have been.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests.
    pub requests: u64,
    /// Body bytes that clients got.
    pub bytes: u64,
    /// By the log.
    pub today: Counts,
    /// By the site.
    pub then: Counts,
}

/// What had to be supposed, counted in requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Supposed {
    /// Lines of exchanges that never came to the cache (refused, or taken by no route then): left out.
    pub without_cache: u64,
    /// Lines whose request no route of the site takes: left out.
    pub without_route: u64,
    /// Lines whose target or method can't be read: left out.
    pub unreadable: u64,
    /// Requests on routes with slices, for ranges or for bodies of more than one slice: not simulated, and left out.
    pub sliced: u64,
    /// Ranges of what is not stored whole: taken for fetched each, though parts that are stored might answer.
    pub ranges: u64,
    /// Replies of which only the lifetime was known, from a hit.
    pub by_lifetime: u64,
    /// Replies of which the log says nothing that caching goes by.
    pub bare: u64,
    /// Requests whose key has fields that the log does not hold: taken for equal.
    pub hidden_key: u64,
    /// Replies that vary on fields that the log does not hold: taken for one variant.
    pub vary: u64,
    /// Validations: taken for answered 304.
    pub validated: u64,
}

/// What came of a replay.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// By the site's routes, in the order of their names.
    pub routes: Vec<(Arc<str>, Tally)>,
    /// All of them.
    pub total: Tally,
    /// What had to be supposed.
    pub supposed: Supposed,
    /// The first and the last time in the log.
    pub span: Option<(Timestamp, Timestamp)>,
    /// What the store held at the end.
    pub held: Held,
}

/// One request of the log as the site sees it.
struct Asked<'l> {
    record: &'l LogRecord,
    head: request::Parts,
    target: Target,
    url: u64,
}

impl Simulation {
    /// A replay through `site` with a store of these limits.
    pub fn new(site: Site, settings: cache::Settings) -> Self {
        Self {
            site,
            store: Simulated::new(settings),
            // Nothing is kept, so that nothing can be learned from the hashes.
            secret: Secret::new([0; 32]),
            known: HashMap::new(),
            hasher: RandomState::new(),
            now: Timestamp::default(),
            began: None,
            routes: BTreeMap::new(),
            supposed: Supposed::default(),
        }
    }

    /// Takes the next line of the log.
    pub fn replay(&mut self, record: &LogRecord) {
        if record.cache == "none" {
            self.supposed.without_cache += 1;
            return;
        }
        let Some((head, target)) = request_of(record) else {
            self.supposed.unreadable += 1;
            return;
        };
        let Some(route) = self.site.route(&target, &head, None) else {
            self.supposed.without_route += 1;
            return;
        };
        let Ok(target) = route.forwarded(&target).map(Cow::into_owned) else {
            self.supposed.without_route += 1;
            return;
        };
        // Lines are written when exchanges end, and say when they began.
        self.now = self.now.max(record.time);
        self.began.get_or_insert(record.time);
        let url = self.hasher.hash_one((target.authority(), target.path_and_query().as_str()));
        let asked = Asked { record, head, target, url };
        self.learn(&asked);
        if self.is_beyond_one_slice(&route, &asked) {
            self.supposed.sliced += 1;
            return;
        }
        let before = self.routes.get(&route.name).copied().unwrap_or_default();
        let today = today(record, self.known.get(&asked.url).map(|known| known.length));
        let then = self.answer(&route, &asked);
        let after = Tally {
            requests: before.requests + 1,
            bytes: before.bytes + record.bytes,
            today: before.today.plus(today),
            then: before.then.plus(then),
        };
        self.routes.insert(route.name.clone(), after);
    }

    /// What has come of it so far.
    pub fn outcome(&self) -> Outcome {
        let mut total = Tally::default();
        for tally in self.routes.values() {
            total.requests += tally.requests;
            total.bytes += tally.bytes;
            total.today = total.today.plus(tally.today);
            total.then = total.then.plus(tally.then);
        }
        Outcome {
            routes: self.routes.iter().map(|(name, tally)| (name.clone(), *tally)).collect(),
            total,
            supposed: self.supposed,
            span: self.began.map(|began| (began, self.now)),
            held: self.store.held(),
        }
    }

    /// Remembers what the origin said.
    fn learn(&mut self, asked: &Asked<'_>) {
        let record = asked.record;
        if record.reply.is_empty() || record.method != "GET" {
            return;
        }
        let revalidated = record.cache == "revalidated";
        let status = if revalidated { record.status } else { record.forward_status.unwrap_or(record.status) };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
        // What answers a condition or a range says nothing of the whole.
        if matches!(status, StatusCode::NOT_MODIFIED | StatusCode::PARTIAL_CONTENT) {
            return;
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &record.reply {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                headers.insert(name, value);
            }
        }
        if let Some(tag) = headers.get_mut(ETAG) {
            // Only that it has one is known.
            *tag = HeaderValue::from_static("\"\"");
        }
        let told = headers.remove(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let before = self.known.get(&asked.url).map(|known| known.length);
        let whole = record.status == status.as_u16();
        // A 304 and the like have a length of their own.
        let length =
            told.filter(|_| whole).or(whole.then_some(record.bytes)).or(before).unwrap_or(record.bytes);
        if self.known.len() < MAX_KNOWN || before.is_some() {
            self.known.insert(asked.url, Arc::new(Known { at: record.time, status, headers, length }));
        }
    }

    /// Whether a request would be answered by slices of which the log does not tell enough: where its range begins and
    /// ends, and whether the origin serves more than one slice of a body.
    fn is_beyond_one_slice(&self, route: &Route, asked: &Asked<'_>) -> bool {
        let Some(size) = route.cache.slice.filter(|_| route.cache.mode != Mode::Off) else { return false };
        let request = RequestPolicy::of(&asked.head.method, &asked.head.headers, &route.cache.rules);
        let known = self.known.get(&asked.url).map_or(asked.record.bytes, |known| known.length);
        takes_slices(&asked.head.method, &request) && (request.range || known > size)
    }

    /// What the site would have done.
    fn answer(&mut self, route: &Arc<Route>, asked: &Asked<'_>) -> Counts {
        let (record, head) = (asked.record, &asked.head);
        let rules = &route.cache.rules;
        let mut request = RequestPolicy::of(&head.method, &head.headers, rules);
        request.cookie = request.cookie && !route.cache.key.covers_cookies(&head.headers);
        if route.cache.mode == Mode::Off {
            return fetched(record.bytes);
        }
        if !request.may_reuse() || record.received > 0 {
            let status = StatusCode::from_u16(record.status).unwrap_or(StatusCode::OK);
            if invalidate::invalidates(MethodKind::of(&head.method), status) {
                let digest = self.key(route, asked, &Method::GET, |_, digest| digest);
                self.store.remove(digest);
            }
            return fetched(record.bytes);
        }
        let secret = self.secret.clone();
        if route.cache.slice.is_some() && !takes_slices(&head.method, &request) {
            // What is stored, is under the keys of slices: these requests are never answered from it.
            return if request.only_if_cached { Counts::default() } else { fetched(record.bytes) };
        }
        let (digest, key, parts) = self.key(route, asked, &head.method, |parts, digest| {
            (digest, parts.to_stored(&secret), parts.fields.len() + parts.extra.len())
        });
        if parts > 0 {
            self.supposed.hidden_key += 1;
        }
        let request = RequestPolicy { spread: digest.spread(), ..request };
        let variants = self.store.lookup(digest);
        let found = vary::select(&variants, &head.headers, &self.secret, self.now).cloned();
        let hit = Counts { hits: 1, hit_bytes: record.bytes, ..Counts::default() };
        if let Some(entry) = &found {
            match policy::reuse(&request, &entry.head, false, rules, self.now) {
                Reuse::Fresh { .. } => return hit,
                Reuse::StaleAllowed { why: StaleWhy::WhileRevalidate, .. } => {
                    let refreshed = self.validate(route, &request, asked, entry);
                    return hit.plus(refreshed);
                }
                Reuse::StaleAllowed { .. } => return hit,
                Reuse::Validate { .. } if !request.only_if_cached => {
                    return self.validate(route, &request, asked, entry);
                }
                _ => {}
            }
        }
        if request.only_if_cached {
            return Counts::default();
        }
        self.fetch(route, &request, asked, key)
    }

    /// Asks the key of a request.
    fn key<T>(
        &self,
        route: &Arc<Route>,
        asked: &Asked<'_>,
        method: &Method,
        take: impl FnOnce(&KeyParts<'_>, Digest) -> T,
    ) -> T {
        let facts = Facts { method, headers: &asked.head.headers, body: None, user: None, slice: None };
        let key = Keyed::of(route, &asked.target, facts, &self.secret);
        let parts = key.parts(&asked.head.headers);
        let digest = parts.digest(&self.secret);
        take(&parts, digest)
    }

    /// Asks the origin whether a stored response holds; where it has nothing to be asked by, for a new one.
    fn validate(
        &mut self,
        route: &Arc<Route>,
        request: &RequestPolicy,
        asked: &Asked<'_>,
        entry: &Arc<Entry>,
    ) -> Counts {
        let mut fields = HeaderMap::new();
        if !policy::validate::validation_fields(Some(&entry.head), [], &mut fields) {
            return self.fetch(route, request, asked, entry.key.clone());
        }
        self.supposed.validated += 1;
        self.keep(route, request, asked, entry.key.clone());
        Counts { origin_requests: 1, ..Counts::default() }
    }

    /// Asks the origin, and stores what it says.
    fn fetch(
        &mut self,
        route: &Arc<Route>,
        request: &RequestPolicy,
        asked: &Asked<'_>,
        key: crate::cache::key::StoredKey,
    ) -> Counts {
        // A HEAD has the slice fetched by which its reply is known.
        let by_slice = RequestPolicy { method: MethodKind::Get, ..*request };
        let request = if route.cache.slice.is_some() { &by_slice } else { request };
        if request.method == MethodKind::Head {
            return fetched(0);
        }
        self.supposed.ranges += u64::from(request.range);
        let whole = self.keep(route, request, asked, key);
        fetched(if request.range { asked.record.bytes } else { whole })
    }

    /// Stores the origin's reply as the policy says; its length.
    fn keep(
        &mut self,
        route: &Arc<Route>,
        request: &RequestPolicy,
        asked: &Asked<'_>,
        key: crate::cache::key::StoredKey,
    ) -> u64 {
        let (status, headers, length) = self.reply(asked);
        let (now, rules) = (self.now, &route.cache.rules);
        let response = ResponseHead { status, headers: &headers, request_time: now, response_time: now };
        // A range of what is not stored is fetched for its client alone.
        let whole = RequestPolicy { conditional: false, ..*request };
        let limits = self.site.limits_of(route);
        if request.range || request.no_store || length > limits.max_body {
            return length;
        }
        let Storable::Store(plan) = policy::storable(&whole, &response, rules) else { return length };
        let Some(vary) = vary::vary_key(&asked.head.headers, &headers, &self.secret) else { return length };
        if !vary.fields.is_empty() {
            self.supposed.vary += 1;
        }
        let head: EntryHead = plan.entry_head(&response);
        let entry = Entry {
            keep_until: store::keep_until(&head, limits.keep),
            key,
            vary,
            head,
            body: self.store.body(length),
            on_disk: None,
            part: None,
            trailers: None,
            tags: Vec::new(),
            route: route.name.as_ref().into(),
            sequence: 0,
            soft_purged: false,
        };
        self.store.insert(entry, now);
        length
    }

    /// What the origin would say now, as far as the log tells.
    fn reply(&mut self, asked: &Asked<'_>) -> (StatusCode, HeaderMap, u64) {
        let record = asked.record;
        if let Some(known) = self.known.get(&asked.url) {
            return (known.status, shifted(known, self.now), known.length);
        }
        let status = match record.status {
            0 | 206 | 304 => 200,
            status => status,
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
        let mut headers = HeaderMap::new();
        // A lifetime that was not the origin's own is the site's to give.
        let own = record.lifetime_from.as_deref();
        let own = own.is_some_and(|source| {
            matches!(source, "targeted" | "s-maxage" | "max-age" | "expires" | "max-ttl")
        });
        match record.lifetime_s.filter(|_| own) {
            Some(lifetime) => {
                self.supposed.by_lifetime += 1;
                if let Ok(value) = HeaderValue::try_from(format!("max-age={lifetime}")) {
                    headers.insert(http::header::CACHE_CONTROL, value);
                }
            }
            None => self.supposed.bare += 1,
        }
        (status, headers, record.bytes)
    }
}

impl Counts {
    fn plus(self, other: Self) -> Self {
        Self {
            hits: self.hits + other.hits,
            hit_bytes: self.hit_bytes + other.hit_bytes,
            origin_requests: self.origin_requests + other.origin_requests,
            origin_bytes: self.origin_bytes + other.origin_bytes,
        }
    }
}

const fn fetched(bytes: u64) -> Counts {
    Counts { hits: 0, hit_bytes: 0, origin_requests: 1, origin_bytes: bytes }
}

/// What the log says happened.
fn today(record: &LogRecord, known: Option<u64>) -> Counts {
    let hit = matches!(record.cache.as_str(), "hit" | "stale" | "collapsed");
    let hit =
        Counts { hits: u64::from(hit), hit_bytes: if hit { record.bytes } else { 0 }, ..Counts::default() };
    let went = record.attempts > 0 || matches!(record.cache.as_str(), "miss" | "revalidated" | "bypass");
    // A validation, and a failure that something stored stood in for, brought no body.
    let whole =
        record.forward_status.is_some_and(|status| status != record.status).then_some(known).flatten();
    let bytes = match record.cache.as_str() {
        "miss" | "bypass" => whole.unwrap_or(record.bytes),
        _ => 0,
    };
    if went { hit.plus(fetched(bytes)) } else { hit }
}

/// The request of a line.
fn request_of(record: &LogRecord) -> Option<(request::Parts, Target)> {
    let secure = record.scheme.as_deref() == Some("https");
    let request =
        Request::builder().method(record.method.as_str()).uri(record.target.as_str()).body(()).ok()?;
    let (mut head, ()) = request.into_parts();
    head.headers.insert(http::header::HOST, HeaderValue::try_from(&record.host).ok()?);
    let mut put = |name: &'static str, value: &'static str| {
        head.headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    };
    for word in &record.asks {
        match word.as_str() {
            "cookie" => put("cookie", ""),
            "authorization" => put("authorization", ""),
            "range" => put("range", "bytes=0-"),
            "conditional" => put("if-none-match", "\"-\""),
            "no-cache" => put("cache-control", "no-cache"),
            "no-store" => put("cache-control", "no-store"),
            "only-if-cached" => put("cache-control", "only-if-cached"),
            _ => {}
        }
    }
    let target = Target::of(&head, secure).ok()?;
    Some((head, target))
}

/// The fields of a reply had it been given now: its dates go along.
fn shifted(known: &Known, now: Timestamp) -> HeaderMap {
    let mut headers = known.headers.clone();
    let by: Duration = now.since(known.at);
    for name in [DATE, EXPIRES] {
        let Some(value) = headers.get_mut(&name) else { continue };
        if let Some(at) = date::parse(value.as_bytes(), known.at) {
            *value = date::header_value(at.plus(by));
        }
    }
    headers
}
