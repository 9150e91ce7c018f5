//! One exchange from request head to finished reply, in the order one screen shows.
//!
//! [`Proxy::handle`] is that screen: open the exchange, understand the target, find the route, then either ask the
//! cache stage (which may ask the upstream) or pass the request straight on. What goes wrong on the way is a
//! `Failure`, and `error` alone says what the client gets for it. This room composes the decision
//! rooms; it opens no sockets and keeps nothing that outlives an exchange but the table of flights.
//!
//! [`Proxy::handle`]: crate::pipeline::Proxy::handle

pub mod access;
mod ask;
mod at_once;
pub mod authenticate;
mod bounds;
mod cached;
pub mod coding;
mod complaint;
mod content;
mod doubt;
pub mod edit;
mod error;
mod exchange;
pub mod explain;
mod fetch;
mod final_hop;
mod flight;
mod forward;
mod guard;
mod heat;
mod in_flight;
mod inbound;
pub mod internal;
pub mod key;
mod lead;
pub mod limiting;
pub mod local;
mod parts;
mod pass;
mod pieces;
mod posted;
mod preflight;
mod purging;
mod relay;
mod reply;
mod respond;
mod secured;
pub mod settings;
pub mod simulate;
pub mod site;
mod slices;
mod stored;
mod tags;
mod upgrade;
mod upkeep;
mod web_call;

pub use relay::{Long, LongWay, Own, Relay, Relayed, To};
pub use reply::{ReplyBody, ReplyError};
pub use settings::{CacheSettings, RouteSettings, Settings};
use site::Routed;
pub use site::{Route, Site, SiteError};
pub use slices::DETAIL as SLICED;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderMap, Method, Request, Response};

use crate::auth::basic::Passwords;
use crate::cache::flight::Flights;
use crate::cache::key::Digest;
use crate::cache::{Cache, Mode};
use crate::clock::{Clock, Timestamp};
use crate::http::Scheme;
use crate::http::target::Target;
use crate::http::{ClientConn, Interim, RequestContent, forwarded, via};
use crate::route::Facts;
use crate::telemetry::Telemetry;
use crate::tls::Identity;
use crate::tunnel::Tunnels;

use coding::{Coders, Negotiated};
use error::Failure;
use exchange::Exchange;
use flight::Landing;
use heat::Heat;
use in_flight::InFlight;
use inbound::{Inbound, InboundBody};
use limiting::Stage;
use respond::Reply;

/// How long a reply that could not be shared keeps requests for its key from waiting for each other.
const HIT_FOR_MISS: Duration = Duration::from_secs(10);

/// How long a key is left alone whose refresh in the background failed.
const REFRESH_PAUSE: Duration = Duration::from_secs(1);

/// Keys of which such things are remembered.
const REMEMBERED_KEYS: usize = 65_536;

/// The proxy itself: the site in force, and what outlives it.
pub struct Proxy {
    site: ArcSwap<Site>,
    cache: Arc<Cache>,
    flights: Arc<Flights<Landing>>,
    /// Keys whose last reply was for one client alone, for whom, and until when that is remembered.
    unshared: quick_cache::sync::Cache<(Digest, ask::Who), Timestamp>,
    /// Keys whose representation does not come in slices, and until when that is remembered.
    plain: quick_cache::sync::Cache<Digest, Timestamp>,
    /// Keys of which a conditional request got a 304 while nothing was stored, and until when that is remembered.
    unfilled: quick_cache::sync::Cache<Digest, Timestamp>,
    /// Keys whose refresh failed, and until when they are left alone.
    resting: quick_cache::sync::Cache<Digest, Timestamp>,
    telemetry: Arc<Telemetry>,
    clock: Clock,
    in_flight: InFlight,
    /// How often replies were hit that are to be fetched anew before they are stale.
    heat: Heat,
    tunnels: Arc<Tunnels>,
    coders: Coders,
    passwords: Passwords,
}

impl Proxy {
    /// A proxy that serves `site`.
    pub fn new(site: Site, cache: Arc<Cache>, telemetry: Arc<Telemetry>, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            site: ArcSwap::from_pointee(site),
            cache,
            flights: Arc::default(),
            unshared: quick_cache::sync::Cache::new(REMEMBERED_KEYS),
            unfilled: quick_cache::sync::Cache::new(REMEMBERED_KEYS),
            resting: quick_cache::sync::Cache::new(REMEMBERED_KEYS),
            plain: quick_cache::sync::Cache::new(REMEMBERED_KEYS),
            telemetry,
            clock,
            in_flight: InFlight::default(),
            heat: Heat::default(),
            tunnels: Arc::default(),
            coders: Coders::default(),
            // What is left of the machine is for those who are known already.
            passwords: Passwords::new(
                std::thread::available_parallelism().map_or(1, |cores| cores.get() / 2),
            ),
        })
    }

    /// The site in force.
    pub fn site(&self) -> Arc<Site> {
        self.site.load_full()
    }

    /// Puts another site in force; exchanges under way finish with the one they began with.
    pub fn replace(&self, site: Site) {
        self.site.store(Arc::new(site));
    }

    /// Exchanges whose reply's head has not been sent yet.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.total()
    }

    /// Shared fetches under way.
    pub fn flights(&self) -> usize {
        self.flights.len()
    }

    /// Exchanges that share those.
    pub fn sharing(&self) -> usize {
        self.flights.tickets()
    }

    /// Connections that speak another protocol.
    pub fn tunnels(&self) -> &Tunnels {
        &self.tunnels
    }

    /// Answers one request. Dropping the future ends the exchange: the client has left. It is boxed, since it goes through
    /// several hands before it is polled.
    pub fn handle(
        self: Arc<Self>,
        request: Request<RequestContent>,
        client: Arc<ClientConn>,
        interim: Option<Interim>,
    ) -> Pin<Box<impl Future<Output = Response<ReplyBody>> + Send + use<>>> {
        Box::pin(self.exchange(request, client, interim))
    }

    async fn exchange(
        self: Arc<Self>,
        request: Request<RequestContent>,
        client: Arc<ClientConn>,
        interim: Option<Interim>,
    ) -> Response<ReplyBody> {
        let _counted = self.in_flight.count();
        let site = self.site.load_full();
        let (head, body) = request.into_parts();
        let body = InboundBody::Client(body);
        let (inbound, mut exchange) = self.open(&site, head, body, client, interim.clone());
        let answered = self.answer(&site, &mut exchange, inbound).await;
        let reply = self.respond(&site, exchange, answered);
        if let Some(interim) = interim {
            // The final reply must not overtake an interim one.
            interim.drained().await;
        }
        reply
    }

    /// The reply, or what is said of a failure.
    fn respond(
        &self,
        site: &Site,
        exchange: Box<Exchange>,
        answered: Result<Reply, Failure>,
    ) -> Response<ReplyBody> {
        let failure = match answered {
            Ok(reply) if exchange.method == Method::CONNECT && reply.promises_a_tunnel() => Failure::Connect,
            Ok(reply) => return reply.into_response(site, exchange),
            Err(failure) => failure,
        };
        if let Some(reason) = failure.refusal() {
            self.telemetry.refused(reason);
        }
        respond::failed(&failure, site, exchange)
    }

    /// The stages, in their order.
    async fn answer(
        self: &Arc<Self>,
        site: &Site,
        exchange: &mut Box<Exchange>,
        mut inbound: Box<Inbound>,
    ) -> Result<Reply, Failure> {
        doubt::check(&inbound.head)?;
        if inbound.head.method == Method::CONNECT && !upgrade::bridge(&mut inbound.head) {
            return Err(Failure::Connect);
        }
        site.bounds(&inbound.head)?;
        let secure = forwarded::is_secure(inbound.client.tls, &inbound.head.headers, inbound.trusted);
        let mut target = Target::of(&inbound.head, secure)?;
        exchange.host = target.shared_authority();
        exchange.caching.asks.secure = target.scheme() == Scheme::Https;
        if inbound.client.session.as_ref().is_some_and(|session| !session.serves(target.host())) {
            return Err(Failure::Misdirected);
        }
        if let Some(redirect) = inbound.client.redirect.filter(|_| target.scheme() == Scheme::Http) {
            return secured::redirect(redirect, &target);
        }
        if let Some(purging) = site.purging.as_ref().filter(|purging| purging.takes(&inbound.head.method)) {
            return Box::pin(self.purge(site, purging, exchange, inbound, target)).await;
        }
        let route = match self.admit(site, exchange, &mut inbound, &target)? {
            Admitted::To(route) => route,
            Admitted::Answered(reply) => return Ok(*reply),
        };
        if let Some(basic) = &route.settings.basic {
            if let Some(given) = self.recall(basic, exchange, &inbound)? {
                Box::pin(self.check_password(basic, exchange, given)).await?;
            }
            basic.consume(&mut inbound.head.headers);
            self.limit(&route, exchange, &inbound, &target, Stage::Known)?;
        }
        if let Some(rewrite) = &route.settings.rewrite {
            target = rewrite.apply(&target)?;
        }
        if let Some(rules) = route.settings.compress.as_deref().filter(|_| exchange.grpc.is_none()) {
            let known = exchange.user.is_some() || inbound.client.identity().is_some();
            let negotiated = Negotiated::of(rules, &mut inbound.head, target.authority(), known);
            exchange.coding = Some(Box::new(negotiated));
        }
        if let Some(reply) = route.settings.local.as_ref().and_then(|local| local.answer(exchange, &target)) {
            return match reply {
                Ok(reply) if exchange.coding.is_some() => Ok(Box::pin(self.recoded(exchange, reply)).await),
                reply => reply,
            };
        }
        if via::loops(&inbound.head.headers, &site.name) {
            return Err(Failure::Loop);
        }
        if let Some(edits) = &route.settings.edits {
            edits.request(&mut inbound.head.headers, &exchange.request_facts(&route, &target));
        }
        exchange.rewritten = route.settings.rewrite.is_some();
        let to = &Routed { site, route: &route, target: &target };
        if let Some(wanted) = upgrade::wanted(&inbound, &route)? {
            self.limit(&route, exchange, &inbound, &target, Stage::Origin)?;
            return Box::pin(self.upgrade(to, exchange, inbound, wanted)).await;
        }
        if exchange.coding.is_some() {
            return Box::pin(self.coded(to, exchange, inbound)).await;
        }
        match route.cache.mode {
            // Boxed, so that others do not take memory for it. The answer to a call is for its caller.
            Mode::Cache if exchange.grpc.is_none() => Box::pin(self.cached(to, exchange, inbound)).await,
            Mode::Off | Mode::Cache => {
                self.limit(&route, exchange, &inbound, &target, Stage::Origin)?;
                self.pass(to, exchange, inbound).await
            }
        }
    }
}

/// What a request gets before anything is done for it.
enum Admitted {
    /// A route.
    To(Arc<Route>),
    /// A reply, since it is a preflight.
    Answered(Box<Reply>),
}

impl Proxy {
    /// Finds the route, and asks whether it serves such clients and requests.
    fn admit(
        &self,
        site: &Site,
        exchange: &mut Exchange,
        inbound: &mut Inbound,
        target: &Target,
    ) -> Result<Admitted, Failure> {
        let client = inbound.client.identity();
        let (route, preflight) = site.taker(target, &inbound.head, client).ok_or(Failure::NoRoute)?;
        exchange.route = Some(route.clone());
        if route.settings.grpc_web {
            web_call::translate(&mut inbound.head, exchange);
        }
        if let Some(cors) = &route.settings.cors {
            exchange.cors = cors.grant(&inbound.head.headers);
        }
        if let Some(access) = &route.settings.access
            && !access.admits(exchange.client_address)
        {
            return Err(Failure::Denied);
        }
        if let Some(cors) = route.settings.cors.as_ref().filter(|_| preflight) {
            let reply = preflight::answer(cors, exchange, &inbound.head)?;
            return Ok(Admitted::Answered(Box::new(reply)));
        }
        route.serves(inbound, target)?;
        self.limit(route, exchange, inbound, target, Stage::Arrived)?;
        Ok(Admitted::To(route.clone()))
    }
}

impl Site {
    /// The route that takes a request.
    fn route(
        &self,
        target: &Target,
        head: &http::request::Parts,
        client: Option<&Identity>,
    ) -> Option<Arc<Route>> {
        self.route_by(target, &head.method, &head.headers, client).cloned()
    }

    /// The route that takes a request with this method and these fields.
    fn route_by(
        &self,
        target: &Target,
        method: &Method,
        headers: &HeaderMap,
        client: Option<&Identity>,
    ) -> Option<&Arc<Route>> {
        self.position_by(target, method, headers, client).map(|position| &self.routes[position])
    }

    /// The same, by its place among the routes.
    fn position_by(
        &self,
        target: &Target,
        method: &Method,
        headers: &HeaderMap,
        client: Option<&Identity>,
    ) -> Option<usize> {
        let (host, path, query) = (target.host(), target.path(), target.query());
        let facts = Facts { host, path, method, headers, query, client };
        self.router.find(&facts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_answer<F, A: Future>(_: F) -> usize
    where
        F: Fn(Arc<Proxy>, Request<RequestContent>, Arc<ClientConn>, Option<Interim>) -> A,
    {
        size_of::<A>()
    }

    /// It is made for every request, and the allocator is quick with what is no larger.
    #[test]
    fn the_future_of_an_exchange_stays_small() {
        let size = size_of_answer(Proxy::exchange);
        assert!(size <= 1024, "{size} bytes");
    }
}
