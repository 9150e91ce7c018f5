//! The short way of a hit: a plain GET of which a fresh reply is in RAM, or in a file that is open, is answered in one go.
//!
//! It asks the same rooms the same questions as the stages of [`Proxy::handle`] do, and has the same said in reply, log and
//! metrics. What it leaves out is what such a request does not need: a future, a map of the reply's fields, and a body that is
//! polled. Routes that look closer at requests, or change replies, go the long way, as do requests with conditions and
//! ranges; nothing has been counted then. Of a request that came before, to the byte, what it is for is known ([`alike`]).

pub(super) mod alike;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Instant;
use std::{fmt, io};

use bytes::Bytes;
use http::header::{AGE, CONTENT_LENGTH, DATE, STRICT_TRANSPORT_SECURITY, TRAILER};
use http::request::Parts;
use http::{HeaderValue, Method};

use alike::{Alike, Known, Telling, Told};

use super::exchange::asks;
use super::inbound::{given_id, joined};
use super::key::{Facts, Keyed};
use super::reply::ReplyError;
use super::respond::{CACHE_STATUS, is_bodiless};
use super::settings::RouteSettings;
use super::site::{Route, Site};
use super::{Proxy, doubt};
use crate::cache::Mode;
use crate::cache::entry::{BodyRef, Entry};
use crate::cache::key::{Digest, Secret};
use crate::cache::policy::{self, RequestPolicy, Reuse, vary};
use crate::cache::store::{BodyReader, Near, Resource};
use crate::clock::Timestamp;
use crate::http::content::{COPIED, Content, FileContent, Span};
use crate::http::decimal::Decimal;
use crate::http::head::{Form, HeadWriter};
use crate::http::target::Target;
use crate::http::{ClientConn, Scheme, cache_status, date, forwarded, request_id, via};
use crate::telemetry::Telemetry;
use crate::telemetry::account::{Account, Id};
use crate::telemetry::caching::{Caching, Found};
use crate::telemetry::event::{CacheOutcome, End, Finished, RequestId, Series};

/// Whether a route with these settings has hits answered at once: they are sent as they are stored, to whoever asks.
pub(super) fn is_open(settings: &RouteSettings, mode: Mode) -> bool {
    let cache = &settings.cache;
    let told_apart = cache.key.user.is_some() || cache.leak_guard;
    let said_more = cache.show_key || cache.rules.lifetimes.prefetch.is_some();
    mode == Mode::Cache && settings.is_plain() && !told_apart && !said_more
}

/// From this size on the kernel is faster with a file than with bytes of ours.
const LONG: usize = 32 << 10;

/// Where a request leads, and what it asks of the cache. By the site and the head alone, unless its client is told apart.
struct Leads {
    target: Target,
    /// Path and query as they came.
    sent: Arc<str>,
    /// The route's place among the site's.
    route: usize,
    /// The route's name, by a count of references of its own where it is kept.
    name: Arc<str>,
    digest: Digest,
    policy: RequestPolicy,
}

/// A reply that is at hand.
struct Hit<'a> {
    leads: &'a Leads,
    route: &'a Arc<Route>,
    resource: Near,
    /// Which of its variants.
    variant: usize,
    /// Reads the content, where RAM does not hold it.
    reader: Option<Box<BodyReader>>,
    age: u64,
    ttl: i64,
}

/// What content may be sent at once.
#[derive(Clone, Copy)]
struct Means {
    /// Where a file has what RAM holds, the kernel may send that.
    by_file: bool,
    /// Bytes of ours.
    room: usize,
}

/// Who sent a request, and when.
struct Asked<'a> {
    client: &'a ClientConn,
    address: IpAddr,
    id: RequestId,
    at: Timestamp,
    started: Instant,
    /// What replies have over TLS.
    hsts: Option<&'a HeaderValue>,
}

impl Proxy {
    /// Answers a request if that can be done at once: writes the head, and returns what of the content does not stand
    /// behind that: at most `room` bytes, or what a file has. `hsts` is told in place of what the origin says of it.
    pub fn at_once(
        &self,
        head: &Parts,
        client: &ClientConn,
        hsts: Option<&HeaderValue>,
        reply: HeadWriter<'_>,
        room: usize,
    ) -> Option<Content> {
        // In frames, as over TLS, it is us who read.
        if reply.form() == Form::Http1 {
            let means = Means { by_file: !client.tls, room };
            return self
                .answer_anew(&self.site.load(), head, (client, hsts), reply, means)
                .map(|(content, _)| content);
        }
        if head.method != Method::GET {
            return None;
        }
        let means = Means { by_file: false, room };
        alike::with_text(head, |text| self.answer_alike(text, Some(head), (client, hsts), reply, means))
    }

    /// The same for a request of HTTP/1.1 whose head a [`Reader`](crate::http::h1::Reader) has let pass as a whole.
    pub fn at_once_by_text(
        &self,
        text: &[u8],
        client: &ClientConn,
        hsts: Option<&HeaderValue>,
        reply: HeadWriter<'_>,
    ) -> Option<Content> {
        let means = Means { by_file: !client.tls, room: usize::MAX };
        self.answer_alike(text, None, (client, hsts), reply, means)
    }

    /// Answers by what is known of requests with this text. Those of which nothing is known are read: the text itself, or
    /// what came `in_frames`, for which it stands.
    fn answer_alike(
        &self,
        text: &[u8],
        in_frames: Option<&Parts>,
        (client, hsts): (&ClientConn, Option<&HeaderValue>),
        reply: HeadWriter<'_>,
        means: Means,
    ) -> Option<Content> {
        let site = self.site.load();
        // Who is told apart by more than what the head says is looked at each time.
        let like_others = site.takes_for_anybody(client);
        alike::with(|Alike { heads, plain }| {
            if like_others
                && let Some(known) = heads.find(text).filter(|known| known.holds(&site, client.tls))
            {
                return self.answer_known(&site, known, (client, hsts), reply, means);
            }
            let head = match in_frames {
                Some(head) => doubt::check(head).is_ok().then(|| joined(head))?,
                None => Cow::Borrowed(plain.read(text)?),
            };
            let (content, leads) = self.answer_anew(&site, &head, (client, hsts), reply, means)?;
            if like_others {
                heads.learn(text, || Some(Known::new(&site, client.tls, head.into_owned(), leads)));
            }
            Some(content)
        })
    }

    fn answer_anew(
        &self,
        site: &Site,
        head: &Parts,
        (client, hsts): (&ClientConn, Option<&HeaderValue>),
        mut reply: HeadWriter<'_>,
        means: Means,
    ) -> Option<(Content, Leads)> {
        let (started, at) = (Instant::now(), self.clock.now());
        let head = &*site.identified(client, head);
        let trusted = site.believes(client);
        let leads = self.leads(site, head, client, trusted)?;
        let mut hit = self.hit(site, &leads, head, means, at, &mut Weak::new())?;
        let id = given_id(&head.headers, trusted).unwrap_or_else(|| RequestId::Own(request_id::new_id(at)));
        let address = match trusted {
            true => forwarded::client_address(client.peer.ip(), &head.headers, &site.trusted),
            false => client.peer.ip(),
        };
        let asked = Asked { client, address, id, at, started, hsts };
        hit.write_common(site, &asked, &mut reply);
        let content = self.send(&mut hit, asked, reply);
        Some((content, leads))
    }

    /// Answers a request of whose like it is known where they lead.
    fn answer_known(
        &self,
        site: &Site,
        known: &mut Known,
        (client, hsts): (&ClientConn, Option<&HeaderValue>),
        mut reply: HeadWriter<'_>,
        means: Means,
    ) -> Option<Content> {
        let (started, at) = (Instant::now(), self.clock.now());
        let Known { head, leads, found, told, .. } = known;
        if Site::is_misdirected(client, &leads.target) {
            return None;
        }
        let mut hit = self.hit(site, leads, head, means, at, found)?;
        let (id, address) = (RequestId::Own(request_id::new_id(at)), client.peer.ip());
        let asked = Asked { client, address, id, at, started, hsts };
        let telling = Telling { at: at.secs(), age: hit.age, ttl: hit.ttl, secured: hsts.is_some() };
        match told.as_ref().and_then(|told| told.again(hit.entry(), telling)) {
            Some(text) => reply.again(text),
            None => {
                hit.write_common(site, &asked, &mut reply);
                *told = Some(Told::new(hit.entry(), telling, reply.written()));
            }
        }
        Some(self.send(&mut hit, asked, reply))
    }

    /// Ends the head, has the exchange told, and returns what is left to send of it.
    fn send(&self, hit: &mut Hit<'_>, asked: Asked<'_>, mut reply: HeadWriter<'_>) -> Content {
        hit.write_own(&asked, &mut reply);
        if let Some(reader) = hit.reader.take() {
            reply.end();
            let (telemetry, started) = (self.telemetry.clone(), asked.started);
            let finished = Some(hit.account(&asked).to_finished());
            let in_ram = match &hit.entry().body {
                BodyRef::Bytes(bytes) => Some(bytes.clone()),
                BodyRef::File(_) => None,
            };
            let sending = Sending { reader: *reader, in_ram, telemetry, started, finished };
            return Content::File(Box::new(sending));
        }
        let rest = hit.write_content(reply);
        self.telemetry.finished(hit.account(&asked));
        Content::Bytes(rest)
    }

    /// Where a request without content leads, if it is to be answered from what is stored.
    fn leads(&self, site: &Site, head: &Parts, client: &ClientConn, trusted: bool) -> Option<Leads> {
        site.bounds(head).ok()?;
        let target = site.target_at_once(head, client, trusted)?;
        let position = site.position_by(&target, &head.method, &head.headers, client.identity())?;
        let route = &site.routes[position];
        if !route.at_once || via::loops(&head.headers, &site.name) {
            return None;
        }
        let mut policy = RequestPolicy::of(&head.method, &head.headers, &route.cache.rules);
        if policy.conditional || policy.range || policy.reroutes {
            return None;
        }
        policy.cookie = policy.cookie && !route.cache.key.covers_cookies(&head.headers);
        let secret = self.cache.secret();
        let digest = keyed(route, &target, head, secret).parts(&head.headers).digest(secret);
        policy.spread = digest.spread();
        let sent = target.sent().as_str().into();
        Some(Leads { target, sent, route: position, name: route.name.clone(), digest, policy })
    }

    /// Looks at what is stored. `found` is what was found there last, if it has the key.
    fn hit<'s>(
        &self,
        site: &'s Site,
        leads: &'s Leads,
        head: &Parts,
        means: Means,
        at: Timestamp,
        found: &mut Weak<Resource>,
    ) -> Option<Hit<'s>> {
        let (route, secret) = (&site.routes[leads.route], self.cache.secret());
        let at_hand = self.cache.at_hand(leads.digest, |resource| {
            if std::ptr::eq(found.as_ptr(), Arc::as_ptr(resource)) {
                return true;
            }
            let key = keyed(route, &leads.target, head, secret);
            let has_key = key.parts(&head.headers).matches(&resource.variants[0].key, secret);
            if has_key {
                *found = Arc::downgrade(resource);
            }
            has_key
        })?;
        let entry = vary::select(&at_hand.resource.variants, &head.headers, secret, at)?;
        let reuse = policy::reuse(&leads.policy, &entry.head, entry.soft_purged, &route.cache.rules, at);
        let Reuse::Fresh { age, ttl } = reuse else { return None };
        if entry.part.is_some() || entry.trailers.is_some() || is_bodiless(entry.head.status) {
            return None;
        }
        let reader = match &entry.body {
            BodyRef::Bytes(body) if body.len() > means.room => return None,
            BodyRef::Bytes(body) if means.by_file && body.len() >= LONG => {
                self.cache.body_in_file(entry).map(Box::new)
            }
            BodyRef::Bytes(_) => None,
            BodyRef::File(_) => Some(self.reader(entry)?),
        };
        let variant = at_hand.resource.variants.iter().position(|variant| Arc::ptr_eq(variant, entry))?;
        self.cache.count_hit(&at_hand);
        Some(Hit { leads, route, resource: at_hand.resource, variant, reader, age, ttl })
    }

    /// Reads content that is in a file, if that can be done at once.
    #[inline(never)]
    fn reader(&self, entry: &Arc<Entry>) -> Option<Box<BodyReader>> {
        let mut reader = self.cache.body_at_hand(entry, 0..entry.body.len())?;
        reader.has_begun().then(|| Box::new(reader))
    }
}

/// The key of a request without content.
fn keyed<'a>(route: &'a Route, target: &'a Target, head: &'a Parts, secret: &Secret) -> Keyed<'a> {
    let facts = Facts { method: &head.method, headers: &head.headers, body: None, user: None, slice: None };
    Keyed::of(route, target, facts, secret)
}

impl Site {
    /// Whether what a client says of others is believed.
    pub(super) fn believes(&self, client: &ClientConn) -> bool {
        !self.trusted.is_empty() && self.trusts(client.peer.ip())
    }

    /// Whether this is not what the client's connection was opened for.
    pub(super) fn is_misdirected(client: &ClientConn, target: &Target) -> bool {
        client.session.as_ref().is_some_and(|session| !session.serves(target.host()))
    }

    /// Whether it makes no difference who asks, as long as the host is one that they may ask for.
    pub(super) fn takes_for_anybody(&self, client: &ClientConn) -> bool {
        let is_unknown = self.identity.is_empty() && client.identity().is_none();
        is_unknown && client.redirect.is_none() && !self.believes(client)
    }

    /// What a plain request is for, if it is to be answered here.
    pub(super) fn target_at_once(&self, head: &Parts, client: &ClientConn, trusted: bool) -> Option<Target> {
        let secure = forwarded::is_secure(client.tls, &head.headers, trusted);
        let target = Target::of(head, secure).ok()?;
        let redirected = client.redirect.is_some() && target.scheme() == Scheme::Http;
        let purges = self.purging.as_ref().is_some_and(|purging| purging.takes(&head.method));
        (!redirected && !Self::is_misdirected(client, &target) && !purges).then_some(target)
    }
}

impl Hit<'_> {
    fn entry(&self) -> &Arc<Entry> {
        &self.resource.variants[self.variant]
    }

    /// The head as [`Reply::into_response`](super::respond::Reply::into_response) makes it, as far as it is the same for
    /// all who ask in one second.
    fn write_common(&self, site: &Site, asked: &Asked<'_>, out: &mut HeadWriter<'_>) {
        let head = &self.entry().head;
        out.status(head.status);
        let mut dated = false;
        for (name, value) in &head.headers {
            match name {
                &AGE | &CONTENT_LENGTH | &TRAILER => continue,
                &STRICT_TRANSPORT_SECURITY if asked.hsts.is_some() => continue,
                name if *name == request_id::NAME => continue,
                name => dated |= *name == DATE,
            }
            out.field(name, value.as_bytes());
        }
        if !dated {
            out.field(&DATE, date::header_value(asked.at).as_bytes());
        }
        out.field(&CONTENT_LENGTH, Decimal::of(self.entry().body.len()).as_bytes());
        // Larger ages are told as the largest that every recipient understands (RFC 9111 1.2.2).
        out.field(&AGE, Decimal::of(self.age.min(1 << 31)).as_bytes());
        let detail = head.freshness.source.detail();
        out.value(&CACHE_STATUS, |out| cache_status::write_hit(&site.name, self.ttl, detail, out));
    }

    /// The rest of it.
    fn write_own(&self, asked: &Asked<'_>, out: &mut HeadWriter<'_>) {
        let mut id = [0; request_id::LENGTH];
        out.field(&request_id::NAME, request_id::text(&asked.id, &mut id).as_bytes());
        if let Some(hsts) = asked.hsts {
            out.field(&STRICT_TRANSPORT_SECURITY, hsts.as_bytes());
        }
    }

    /// Ends the head; what of the content is not copied behind it, which HTTP/2 has in frames of their own.
    fn write_content(&self, reply: HeadWriter<'_>) -> Bytes {
        let copies = reply.form() == Form::Http1;
        let out = reply.end();
        match &self.entry().body {
            BodyRef::Bytes(body) if copies && body.len() <= COPIED => {
                out.extend_from_slice(body);
                Bytes::new()
            }
            BodyRef::Bytes(body) => body.clone(),
            // None such is at hand.
            BodyRef::File(_) => Bytes::new(),
        }
    }

    /// What is told of it afterwards.
    fn account<'b>(&'b self, asked: &'b Asked<'_>) -> Account<'b> {
        let Leads { target, sent, digest, policy, name, .. } = self.leads;
        let took = asked.started.elapsed();
        let freshness = &self.entry().head.freshness;
        Account {
            id: Id::from(&asked.id),
            at: asked.at,
            duration: took,
            first_byte: took,
            client: asked.address,
            session: asked.client.session.as_ref(),
            user: None,
            protocol: asked.client.protocol,
            method: Method::GET.as_str(),
            host: target.authority(),
            target: sent,
            status: self.entry().head.status.as_u16(),
            route: Some(name),
            series: Series { route: self.route.series.route, upstream: 0 },
            upstream: None,
            endpoint: None,
            attempts: 0,
            upstream_first_byte: None,
            cache: CacheOutcome::Hit,
            received: 0,
            sent: self.entry().body.len(),
            end: End::Complete,
            lasting: false,
            error: None,
            limit: None,
            limit_dry_run: None,
            caching: Caching {
                key: Some(digest.0),
                detail: freshness.source.detail(),
                found: Some(Found::new(self.age, freshness.lifetime, freshness.source.as_str())),
                asks: asks(policy, target.scheme() == Scheme::Https),
                ..Caching::default()
            },
            reply: None,
        }
    }
}

/// Content on its way from a file. When that ends, or the client has left, so does the exchange.
struct Sending {
    reader: BodyReader,
    /// The same, where RAM has it too.
    in_ram: Option<Bytes>,
    telemetry: Arc<Telemetry>,
    started: Instant,
    /// Until it has been told.
    finished: Option<Finished>,
}

impl fmt::Debug for Sending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").field("reader", &self.reader).finish_non_exhaustive()
    }
}

impl FileContent for Sending {
    fn remaining(&self) -> u64 {
        self.reader.remaining()
    }

    fn span(&self) -> Option<Span<'_>> {
        self.reader.in_file()
    }

    fn sent(&mut self, bytes: usize) {
        self.reader.sent(bytes);
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if let Some(bytes) = self.in_ram.take() {
            // The file may not be sent as it is any more: then all the rest comes from RAM.
            let left = usize::try_from(self.reader.remaining()).unwrap_or(usize::MAX).min(bytes.len());
            self.reader.sent(left);
            return Poll::Ready(Some(Ok(bytes.slice(bytes.len() - left..))));
        }
        let next = ready!(self.reader.poll_next(cx));
        Poll::Ready(next.map(|read| read.map_err(|error| self.broken(error.into()))))
    }
}

impl Sending {
    fn broken(&mut self, error: ReplyError) -> io::Error {
        if let Some(finished) = &mut self.finished {
            let (end, kind) = error.verdict();
            (finished.end, finished.error) = (end, Some(kind));
            tracing::debug!(%error, id = %finished.id, "reply broke off");
        }
        io::Error::other(error)
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        let Some(mut finished) = self.finished.take() else { return };
        finished.duration = self.started.elapsed();
        finished.sent = finished.sent.saturating_sub(self.reader.remaining());
        if self.reader.remaining() > 0 && finished.end == End::Complete {
            finished.end = End::ClientAborted;
        }
        self.telemetry.finished(&finished);
    }
}
