//! One exchange: what is known of it while it lasts, and the event that it leaves behind.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};

use super::authenticate::keep_private;
use super::coding::{Negotiated, Whole};
use super::edit::cors::Grant;
use super::edit::fields::{ReplyFacts, RequestFacts};
use super::fetch::Began;
use super::flight::Streaming;
use super::limiting::{Fate, Ruling, limited};
use super::site::Route;
use crate::cache::entry::{Entry, EntryHead};
use crate::cache::key::Digest;
use crate::cache::policy::RequestPolicy;
use crate::clock::Timestamp;
use crate::http::cache_status::{CacheStatus, Forward};
use crate::http::grpc_web::WebCall;
use crate::http::target::Target;
use crate::http::{ClientConn, grpc, request_id};
use crate::telemetry::Telemetry;
use crate::telemetry::account::{Account, Id};
use crate::telemetry::caching::{Asks, Caching, Found, Gathering, ReplyFields};
use crate::telemetry::event::{CacheOutcome, End, Protocol, RequestId, Series};
use crate::tls::Session;
use crate::upstream::BodyProgress;

/// A request under way. Dropping it makes the one [`Finished`](crate::telemetry::Finished) event, so that no path can forget to.
pub struct Exchange {
    telemetry: Arc<Telemetry>,
    started: Instant,
    pub(super) at: Timestamp,
    pub(super) id: RequestId,
    /// The same as a field value, once it was asked for.
    id_value: OnceLock<HeaderValue>,
    /// The request's own, which within HTTP/1 may change from one to the next.
    pub(super) protocol: Protocol,
    pub(super) client_address: IpAddr,
    session: Option<Arc<Session>>,
    pub(super) method: Method,
    pub(super) host: Arc<str>,
    pub(super) target: Arc<str>,
    pub(super) route: Option<Arc<Route>>,
    pub(super) asked: Option<Asked>,
    pub(super) cache: CacheOutcome,
    /// Why the request went forward, once it has.
    pub(super) forward: Option<Forward>,
    /// The key, where the route says that clients are told.
    pub(super) shown_key: Option<Digest>,
    pub(super) error: Option<&'static str>,
    /// Who sent it, as a password has shown.
    pub(super) user: Option<Arc<str>>,
    /// What its origin is told.
    pub(super) cors: Grant,
    /// What rate limits said of it.
    pub(super) limits: Vec<Ruling>,
    /// What the cache found and did.
    pub(super) caching: Caching,
    /// What caching goes by of the origin's reply.
    pub(super) reply: Option<ReplyFields>,
    /// The same, where it is told at once.
    pub(super) gathered: Option<Gathering>,
    pub(super) status: u16,
    /// When the reply's head came, where its client gets it at once.
    pub(super) arrived: Option<Instant>,
    pub(super) first_byte: Duration,
    /// It took so long, where that is known before it is dropped.
    pub(super) took: Option<Duration>,
    /// Which codings its client takes, on a route that compresses.
    pub(super) coding: Option<Box<Negotiated>>,
    /// Its request is a call of gRPC.
    pub(super) grpc: Option<grpc::Call>,
    /// And came as one of gRPC-Web.
    pub(super) web: Option<Box<WebCall>>,
    /// What has become of the request's body, where it has one.
    pub(super) request_body: Option<Arc<BodyProgress>>,
    pub(super) sent: u64,
    /// Bytes that came from the client once its connection spoke another protocol.
    pub(super) tunnelled: u64,
    pub(super) end: End,
    /// Its reply is to a target that the route rewrote: it may name others so.
    pub(super) rewritten: bool,
    /// Its duration says nothing of speed.
    pub(super) lasting: bool,
    /// It is a part of another exchange, which speaks for it.
    silent: bool,
}

/// What the upstream did for an exchange.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) endpoint: Option<Arc<str>>,
    pub(super) attempts: u32,
    pub(super) first_byte: Option<Duration>,
}

impl Exchange {
    /// Opens an exchange for a request head that has just been read.
    pub(super) fn open(
        telemetry: Arc<Telemetry>,
        client: &ClientConn,
        version: Version,
        at: Timestamp,
        id: RequestId,
        method: Method,
        target: &str,
    ) -> Box<Self> {
        Self::open_at(telemetry, client, (version, method, target.into()), (at, Instant::now()), id)
    }

    /// The same for one that began `at` that time, by both clocks.
    pub(super) fn open_at(
        telemetry: Arc<Telemetry>,
        client: &ClientConn,
        (version, method, target): (Version, Method, Arc<str>),
        (at, started): (Timestamp, Instant),
        id: RequestId,
    ) -> Box<Self> {
        Box::new(Self {
            telemetry,
            started,
            at,
            id,
            id_value: OnceLock::new(),
            client_address: client.peer.ip(),
            session: client.session.clone(),
            protocol: protocol(version, client),
            method,
            host: Arc::default(),
            target,
            route: None,
            asked: None,
            cache: CacheOutcome::None,
            forward: None,
            shown_key: None,
            error: None,
            user: None,
            cors: Grant::None,
            limits: Vec::new(),
            caching: Caching::default(),
            reply: None,
            gathered: None,
            status: 0,
            arrived: None,
            first_byte: Duration::ZERO,
            took: None,
            coding: None,
            grpc: None,
            web: None,
            request_body: None,
            sent: 0,
            tunnelled: 0,
            // What stands if nobody says better: the reply never left whole.
            end: End::ClientAborted,
            rewritten: false,
            lasting: false,
            silent: false,
        })
    }

    /// Makes it a part of the exchange with this id: it leaves no event.
    pub(super) fn silence(&mut self, id: RequestId) {
        self.silent = true;
        (self.id, self.id_value) = (id, OnceLock::new());
    }

    /// The request id as origin and client are told it.
    pub(super) fn id_value(&self) -> &HeaderValue {
        self.id_value.get_or_init(|| request_id::to_value(&self.id))
    }

    /// Takes over what became of a part of it.
    pub(super) fn take_over(&mut self, mut part: Self) {
        self.asked = part.asked.take();
        (self.cache, self.forward) = (part.cache, part.forward);
        self.caching.found = part.caching.found;
    }

    /// The same by both clocks.
    pub(super) fn began(&self) -> Began {
        Began { at: self.at, started: self.started }
    }

    /// When the request head had been read.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// Notes what the reply is made from: on a route that compresses that may be stored in other codings too.
    pub(super) fn is_of(&mut self, entry: &Arc<Entry>) {
        if let Some(coding) = &mut self.coding {
            coding.whole = entry.part.is_none().then(|| Whole::Stored(entry.clone()));
        }
    }

    /// The same of what is being stored.
    pub(super) fn is_of_streaming(&mut self, streaming: &Arc<Streaming>) {
        if let Some(coding) = &mut self.coding {
            coding.whole = streaming.new.is_some().then(|| Whole::Streaming(streaming.clone()));
        }
    }

    /// Notes what the request says that caching goes by.
    pub(super) fn asks(&mut self, request: RequestPolicy) {
        self.caching.asks = asks(&request, self.caching.asks.secure);
    }

    /// Notes the stored response that the request asks for.
    pub(super) fn found(&mut self, head: &EntryHead) {
        let (age, freshness) = (head.age(self.at), &head.freshness);
        self.caching.found = Some(Found::new(age, freshness.lifetime, freshness.source.as_str()));
    }

    /// Notes what the reply says of the cache, and where it came from the origin what caching goes by in it.
    pub(super) fn cached(&mut self, status: &CacheStatus<'static>, headers: &HeaderMap) {
        self.caching.replied(status);
        if status.forward.is_some() {
            let targets = self.route.as_ref().map_or(&[][..], |route| &route.cache.rules.targets);
            self.reply = Some(ReplyFields::of(headers, targets));
        }
    }

    /// What the variables of its request stand for.
    pub(super) fn request_facts<'a>(&'a self, route: &'a Route, target: &'a Target) -> RequestFacts<'a> {
        RequestFacts {
            client: Some(self.client_address),
            user: self.user.as_deref(),
            id: Some(&self.id),
            method: &self.method,
            target,
            route: &route.name,
            upstream: &route.upstream_name,
        }
    }

    /// Makes a reply's fields those that its route says.
    pub(super) fn edit_reply(&mut self, status: StatusCode, headers: &mut HeaderMap) {
        let Some(route) = &self.route else { return };
        if let Some(edits) = &route.settings.edits {
            let facts = ReplyFacts {
                client: self.client_address,
                user: self.user.as_deref(),
                id: &self.id,
                method: &self.method,
                secure: self.caching.asks.secure,
                authority: &self.host,
                status,
                route: &route.name,
                upstream: &route.upstream_name,
            };
            edits.reply(headers, &facts);
        }
        if let Some(cors) = &route.settings.cors {
            cors.reply(std::mem::take(&mut self.cors), headers);
        }
        if self.user.is_some() {
            keep_private(headers);
        }
    }

    /// Notes that the reply's head is on its way.
    pub(super) fn replied(&mut self, status: StatusCode) {
        self.status = status.as_u16();
        let replied = self.arrived.take().unwrap_or_else(Instant::now);
        self.first_byte = replied.saturating_duration_since(self.started);
    }
}

/// What a request says that caching goes by.
pub(super) fn asks(request: &RequestPolicy, secure: bool) -> Asks {
    Asks {
        secure,
        cookie: request.cookie,
        authorization: request.authorization,
        range: request.range,
        conditional: request.conditional,
        no_cache: request.no_cache || request.max_age == Some(0),
        no_store: request.no_store,
        only_if_cached: request.only_if_cached,
    }
}

fn protocol(version: Version, client: &ClientConn) -> Protocol {
    match version {
        Version::HTTP_10 => Protocol::Http10,
        _ => client.protocol,
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.silent {
            return;
        }
        let asked = self.asked.take().unwrap_or_default();
        let route = self.route.as_deref();
        let upstream = route.filter(|_| asked.attempts > 0);
        let gathered = self.gathered.as_ref().map(Gathering::as_lines);
        let [limit, limit_dry_run] = match self.limits.is_empty() {
            true => [None, None],
            false => [Fate::Refused, Fate::DryRun].map(|fate| limited(&self.limits, fate)),
        };
        self.telemetry.finished(Account {
            id: Id::from(&self.id),
            at: self.at,
            duration: self.took.unwrap_or_else(|| self.started.elapsed()),
            first_byte: self.first_byte,
            client: self.client_address,
            user: self.user.as_deref(),
            session: self.session.as_ref(),
            protocol: self.protocol,
            method: self.method.as_str(),
            host: &self.host,
            target: &self.target,
            status: self.status,
            route: route.map(|route| &*route.name),
            series: Series {
                route: route.map_or(0, |route| route.series.route),
                upstream: upstream.map_or(0, |route| route.series.upstream),
            },
            upstream: upstream.map(|route| &*route.upstream_name),
            endpoint: asked.endpoint.as_deref(),
            attempts: asked.attempts,
            upstream_first_byte: asked.first_byte,
            cache: self.cache,
            received: self.request_body.as_ref().map_or(self.tunnelled, |body| body.bytes()),
            sent: self.sent,
            end: self.end,
            lasting: self.lasting,
            error: self.error,
            limit: limit.as_deref(),
            limit_dry_run: limit_dry_run.as_deref(),
            caching: self.caching,
            reply: gathered.or(self.reply.as_ref().map(ReplyFields::as_lines)),
        });
    }
}
