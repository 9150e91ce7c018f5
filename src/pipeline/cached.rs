//! The cache stage: answer from what is stored, else share one fetch, else pass.

use std::sync::Arc;

use http::{HeaderMap, Method, header};
use http_body::Body as _;
use tokio::sync::oneshot;

use super::error::Failure;
use super::exchange::{Asked, Exchange};
use super::flight::{Direct, Fetch, Landing, Shared, Streaming};
use super::inbound::Inbound;
use super::key::key_target;
use super::reply::Source;
use super::respond::Reply;
use super::site::{Route, Site};
use super::stored::StoredAnswer;
use super::{HIT_FOR_MISS, Proxy, fetch, forward, pass};
use crate::cache::entry::Entry;
use crate::cache::flight::{Boarding, FlightKey, Pilot, Ticket};
use crate::cache::key::{Digest, FieldHash, KeyParts, StoredKey};
use crate::cache::policy::request::MethodKind;
use crate::cache::policy::{self, Answer, RequestPolicy, Reuse, StaleWhy, ValidateWhy, vary};
use crate::cache::store::{EntryId, Resource};
use crate::http::cache_status::{CacheStatus, Forward};
use crate::http::target::Target;
use crate::telemetry::event::CacheOutcome;
use crate::upstream::{FetchError, FetchRequest};

/// A request in the cache stage.
struct Asking<'a> {
    site: &'a Site,
    route: &'a Arc<Route>,
    target: &'a Target,
    inbound: Inbound,
    policy: RequestPolicy,
    digest: Digest,
    key: StoredKey,
    /// All that is stored for the key.
    resource: Option<Arc<Resource>>,
    /// The variant that the request asks for; it is there only where it may not be sent as it is.
    stale: Option<Arc<Entry>>,
    /// The last reply for this key was for one client alone.
    unshared: bool,
}

impl Proxy {
    /// Answers through the cache.
    pub(super) async fn cached(
        self: &Arc<Self>,
        site: &Site,
        route: &Arc<Route>,
        exchange: &mut Exchange,
        mut inbound: Inbound,
        target: &Target,
    ) -> Result<Reply, Failure> {
        let mut policy = RequestPolicy::of(&inbound.head.method, &inbound.head.headers, &route.cache.rules);
        if !policy.may_reuse() || !inbound.body.is_end_stream() {
            exchange.cache = CacheOutcome::Bypass;
            return Box::pin(self.pass_as(site, route, exchange, inbound, target, Forward::Method)).await;
        }
        let key_target =
            key_target(target.path_and_query().as_str(), target.query(), &route.cache.ignore_query);
        let parts = KeyParts {
            upstream: &route.upstream_name,
            scheme: target.scheme().as_str(),
            authority: target.authority(),
            target: &key_target,
            fields: &route.key_fields,
            headers: &inbound.head.headers,
        };
        let digest = parts.digest(self.cache.secret());
        let resource = self.cache.lookup(&parts, digest);
        let (stale, why) = match self.look(route, exchange, &inbound, &policy, resource.as_ref()).await {
            Look::Answer(reply) => {
                if reply.refresh {
                    let key = parts.to_stored(self.cache.secret());
                    let entry = reply.entry;
                    // What is stored is a GET's reply, also where a HEAD found it stale.
                    inbound.head.method = Method::GET;
                    policy.method = MethodKind::Get;
                    let asking = Asking {
                        site,
                        route,
                        target,
                        inbound,
                        policy,
                        digest,
                        key,
                        resource,
                        stale: Some(entry),
                        unshared: false,
                    };
                    self.refresh(exchange, &asking);
                }
                return Ok(reply.reply);
            }
            Look::Forward => {
                exchange.cache = CacheOutcome::Bypass;
                return Box::pin(self.pass_as(site, route, exchange, inbound, target, Forward::Request))
                    .await;
            }
            Look::Ask(stale, why) => (stale, why),
        };
        if policy.only_if_cached {
            exchange.cache = CacheOutcome::Miss;
            return Err(Failure::OnlyIfCached);
        }
        exchange.cache = CacheOutcome::Miss;
        let alone = policy.no_store
            || inbound.head.method == Method::HEAD
            || (policy.range && stale.is_none())
            || only_origin_can_say(&inbound.head.headers);
        if alone {
            return Box::pin(self.pass_as(site, route, exchange, inbound, target, why)).await;
        }
        exchange.forward = Some(why);
        let key = parts.to_stored(self.cache.secret());
        let now = exchange.at;
        let unshared = self.unshared.get(&(digest, Who::of(&policy))).is_some_and(|until| until > now);
        let asking = Asking { site, route, target, inbound, policy, digest, key, resource, stale, unshared };
        // Boxed, as all that a hit does not need: its future is moved about for every request.
        Box::pin(self.ask(exchange, asking)).await
    }

    /// Looks at what is stored.
    async fn look(
        self: &Arc<Self>,
        route: &Route,
        exchange: &mut Exchange,
        inbound: &Inbound,
        request: &RequestPolicy,
        resource: Option<&Arc<Resource>>,
    ) -> Look {
        let Some(resource) = resource else { return Look::Ask(None, Forward::UriMiss) };
        let headers = &inbound.head.headers;
        let Some(entry) = vary::select(&resource.variants, headers, self.cache.secret()) else {
            return Look::Ask(None, Forward::VaryMiss);
        };
        let reuse = policy::reuse(request, &entry.head, entry.soft_purged, &route.cache.rules, exchange.at);
        let (age, ttl, outcome, refresh) = match reuse {
            Reuse::Fresh { age, ttl } => (age, ttl, CacheOutcome::Hit, false),
            Reuse::StaleAllowed { age, ttl, why } => {
                (age, ttl, CacheOutcome::Stale, why == StaleWhy::WhileRevalidate)
            }
            Reuse::Validate { why, .. } => {
                let forward = match why {
                    ValidateWhy::RequestNoCache | ValidateWhy::RequestAge => Forward::Request,
                    _ => Forward::Stale,
                };
                return Look::Ask(Some(entry.clone()), forward);
            }
            Reuse::Unusable => return Look::Ask(None, Forward::Request),
        };
        let status = CacheStatus {
            hit: true,
            ttl: Some(ttl),
            detail: refresh.then_some("stale-while-revalidate"),
            ..CacheStatus::default()
        };
        match self.stored_reply(&inbound.head, entry, age, status).await {
            StoredAnswer::Reply(reply) => {
                exchange.cache = outcome;
                Look::Answer(Box::new(Answered { reply, refresh, entry: entry.clone() }))
            }
            // Its body is gone or damaged: as if it had never been stored.
            StoredAnswer::Gone => Look::Ask(None, Forward::UriMiss),
            StoredAnswer::Forward => Look::Forward,
        }
    }

    /// Fetches, sharing the fetch where that is allowed.
    async fn ask(self: &Arc<Self>, exchange: &mut Exchange, asking: Asking<'_>) -> Result<Reply, Failure> {
        let sequence = self.cache.sequence();
        let key = self.flight_key(&asking);
        // A request that wants its own answer from the origin does not take one that was asked for before.
        let own = asking.unshared || asking.policy.no_cache || asking.policy.max_age == Some(0);
        if !own {
            match self.flights.board(key, sequence) {
                Boarding::Leader(ticket, pilot) => {
                    return self.lead(exchange, asking, ticket, pilot, sequence).await;
                }
                Boarding::Follower(ticket) => {
                    if let Some(reply) = self.follow(exchange, &asking, ticket).await {
                        return Ok(reply);
                    }
                }
            }
        }
        let sequence = self.cache.sequence();
        let (ticket, pilot) = self.flights.alone(key, sequence);
        self.lead(exchange, asking, ticket, pilot, sequence).await
    }

    /// Waits for another's fetch; `None` when its reply is not for this request.
    async fn follow(
        self: &Arc<Self>,
        exchange: &mut Exchange,
        asking: &Asking<'_>,
        ticket: Ticket<Landing>,
    ) -> Option<Reply> {
        let landing = ticket.landed().await?;
        let rules = &asking.route.cache.rules;
        let headers = &asking.inbound.head.headers;
        let now = self.clock.now();
        let usable = |head, key| {
            vary::matches(key, headers, self.cache.secret())
                && matches!(
                    policy::reuse(&asking.policy, head, false, rules, now),
                    Reuse::Fresh { .. } | Reuse::StaleAllowed { .. }
                )
        };
        let status = CacheStatus { forward: exchange.forward, collapsed: true, ..CacheStatus::default() };
        match landing {
            Landing::Streaming(streaming) if usable(&streaming.head, &streaming.vary) => {
                exchange.cache = CacheOutcome::Collapsed;
                let mut headers = streaming.head.headers.clone();
                super::stored::set_age(&mut headers, streaming.head.age(now));
                let status = CacheStatus { stored: true, ..status };
                self.streaming_reply(exchange, asking, &streaming, ticket, headers, status)
            }
            Landing::Freshened(entry) if usable(&entry.head, &entry.vary) => {
                exchange.cache = CacheOutcome::Collapsed;
                let status = CacheStatus { stored: true, ..status };
                let age = entry.head.age(now);
                self.stored_reply(&asking.inbound.head, &entry, age, status).await.reply()
            }
            Landing::Failed(failure) => self.stale_reply(exchange, asking, failure).await,
            _ => None,
        }
    }

    /// Runs a fetch of its own and answers from what it brings.
    async fn lead(
        self: &Arc<Self>,
        exchange: &mut Exchange,
        asking: Asking<'_>,
        ticket: Ticket<Landing>,
        pilot: Pilot<Landing>,
        sequence: u64,
    ) -> Result<Reply, Failure> {
        let (tell, told) = oneshot::channel();
        let (fetch, request) = self.fetch(exchange, &asking, sequence);
        tokio::spawn(fetch.run(request, pilot, tell));
        match told.await {
            Ok(Direct::Streaming { headers, asked }) => {
                exchange.asked = Some(asked);
                let status =
                    CacheStatus { forward: exchange.forward, stored: true, ..CacheStatus::default() };
                match ticket.landed().await {
                    Some(Landing::Streaming(streaming)) => self
                        .streaming_reply(exchange, &asking, &streaming, ticket, headers, status)
                        .ok_or(Failure::Internal),
                    _ => Err(Failure::Internal),
                }
            }
            Ok(Direct::Freshened { entry, asked }) => {
                exchange.asked = Some(asked);
                exchange.cache = CacheOutcome::Revalidated;
                let status = CacheStatus {
                    forward: exchange.forward,
                    forward_status: Some(304),
                    stored: true,
                    ..CacheStatus::default()
                };
                let age = entry.head.age(self.clock.now());
                match self.stored_reply(&asking.inbound.head, &entry, age, status).await.reply() {
                    Some(reply) => Ok(reply),
                    None => self.plain(exchange, asking).await,
                }
            }
            Ok(Direct::Reply(brought, reason)) => {
                if brought.status().is_server_error() {
                    let failure = policy::Failure::Status(brought.status());
                    if let Some(reply) = self.stale_reply(exchange, &asking, failure).await {
                        exchange.asked = Some(brought.asked);
                        return Ok(reply);
                    }
                } else {
                    let who = Who::of(&asking.policy);
                    self.unshared.insert((asking.digest, who), exchange.at.plus(HIT_FOR_MISS));
                }
                let status = CacheStatus { detail: Some(reason.as_str()), ..CacheStatus::default() };
                Ok(self.direct_reply(asking.route, exchange, *brought, status))
            }
            Ok(Direct::Failed(error)) => self.failed(exchange, &asking, error).await,
            // The fetch ended without a word: its task panicked, or the instance is shutting down.
            Err(_) => Err(Failure::Internal),
        }
    }

    /// A stored reply turned out to have lost its body after it was validated: the origin is asked plainly.
    async fn plain(self: &Arc<Self>, exchange: &mut Exchange, asking: Asking<'_>) -> Result<Reply, Failure> {
        let Asking { site, route, target, mut inbound, .. } = asking;
        inbound.head.headers = pass::without_conditions(&inbound.head.headers);
        exchange.cache = CacheOutcome::Miss;
        self.pass_as(site, route, exchange, inbound, target, Forward::Stale).await
    }

    async fn failed(
        self: &Arc<Self>,
        exchange: &mut Exchange,
        asking: &Asking<'_>,
        error: FetchError,
    ) -> Result<Reply, Failure> {
        exchange.asked = Some(Asked::of_error(&error));
        match self.stale_reply(exchange, asking, policy::Failure::Disconnected).await {
            Some(reply) => {
                exchange.error = Some(error.failure.as_str());
                tracing::warn!(%error, route = &*asking.route.name, "answered stale: no reply from the upstream");
                Ok(reply)
            }
            None => Err(error.into()),
        }
    }

    /// The stale entry, where a failing origin allows it (RFC 9111 4.2.4, RFC 5861 4).
    async fn stale_reply(
        self: &Arc<Self>,
        exchange: &mut Exchange,
        asking: &Asking<'_>,
        failure: policy::Failure,
    ) -> Option<Reply> {
        // What was purged and must be validated is not served without that, whatever its age says.
        let entry = asking
            .stale
            .as_ref()
            .filter(|entry| !(entry.soft_purged && entry.head.freshness.must_revalidate))?;
        let now = self.clock.now();
        if !policy::on_error(&asking.policy, &entry.head, &asking.route.cache.rules, failure, now) {
            return None;
        }
        let status = CacheStatus {
            forward: exchange.forward,
            forward_status: match failure {
                policy::Failure::Status(status) => Some(status.as_u16()),
                policy::Failure::Disconnected => None,
            },
            detail: Some("stale-if-error"),
            ..CacheStatus::default()
        };
        let age = entry.head.age(now);
        let reply = self.stored_reply(&asking.inbound.head, entry, age, status).await.reply()?;
        exchange.cache = CacheOutcome::Stale;
        Some(reply)
    }

    /// The reply that is being stored, as it streams; the client's own conditions are applied to its head.
    fn streaming_reply(
        &self,
        exchange: &Exchange,
        asking: &Asking<'_>,
        streaming: &Streaming,
        ticket: Ticket<Landing>,
        headers: HeaderMap,
        cache_status: CacheStatus<'static>,
    ) -> Option<Reply> {
        let client = &asking.inbound.head;
        let length = streaming.length.unwrap_or(u64::MAX);
        if policy::conditional::answer(&client.method, &client.headers, &streaming.head, length)
            == Answer::NotModified
        {
            // The head is all that this client needs; the store wants the rest.
            ticket.detach();
            let headers = policy::conditional::not_modified_headers(&streaming.head);
            return Some(Reply {
                status: http::StatusCode::NOT_MODIFIED,
                headers,
                source: Source::Empty,
                cache_status,
                deadline: None,
            });
        }
        let shared = Shared::new(streaming, ticket).ok()?;
        Some(Reply {
            status: streaming.head.status,
            headers,
            source: Source::Shared(Box::new(shared)),
            cache_status,
            deadline: pass::deadline(asking.route, exchange),
        })
    }

    /// Refreshes an entry in the background, unless that is being done.
    fn refresh(self: &Arc<Self>, exchange: &Exchange, asking: &Asking<'_>) {
        let sequence = self.cache.sequence();
        let Boarding::Leader(ticket, pilot) = self.flights.board(self.flight_key(asking), sequence) else {
            return;
        };
        ticket.detach();
        let (fetch, request) = self.fetch(exchange, asking, sequence);
        let (tell, _) = oneshot::channel();
        tokio::spawn(fetch.run(request, pilot, tell));
    }

    /// The fetch and its first request: conditional where something stored can be validated.
    fn fetch(&self, exchange: &Exchange, asking: &Asking<'_>, sequence: u64) -> (Fetch, FetchRequest) {
        let Asking { site, route, target, inbound, .. } = asking;
        let client_headers = inbound.head.headers.clone();
        let mut headers = match asking.unshared && asking.stale.is_none() {
            // Likely for this client alone again: its own conditions may save the body.
            true => client_headers.clone(),
            false => pass::without_conditions(&client_headers),
        };
        let facts = pass::forward_facts(site, exchange, &inbound.client, target, inbound.trusted);
        forward::upstream_request_headers(&mut headers, &facts);
        let unconditional = headers.clone();
        let validating = asking.stale.as_ref().and_then(|stale| {
            let resource = asking.resource.as_ref()?;
            let others = resource.variants.iter().filter(|entry| !Arc::ptr_eq(entry, stale));
            let candidates = std::iter::once(stale).chain(others).map(|entry| &entry.head);
            policy::validate::validation_fields(candidates, &mut headers).then(|| resource.clone())
        });
        let request = FetchRequest {
            headers,
            client_host: target.authority_value(),
            on_interim: inbound.interim.as_ref().map(fetch::pass_interim),
            deadline: pass::deadline(route, exchange),
            ..FetchRequest::new(inbound.head.method.clone(), target.path_and_query().clone())
        };
        let fetch = Fetch {
            cache: self.cache.clone(),
            telemetry: self.telemetry.clone(),
            clock: self.clock.clone(),
            route: (*route).clone(),
            limits: site.limits_of(route),
            key: asking.key.clone(),
            client_headers,
            request: asking.policy,
            unconditional,
            validating,
            sequence,
            names: pass::names(target),
        };
        (fetch, request)
    }

    /// Which flight a request may join: of its key, and of its variant as far as stored replies tell what varies.
    fn flight_key(&self, asking: &Asking<'_>) -> FlightKey {
        let variant = asking.resource.as_ref().and_then(|resource| {
            let newest = resource.variants.first().filter(|entry| !entry.vary.fields.is_empty())?;
            let headers = &asking.inbound.head.headers;
            let vary = vary::vary_key(headers, &newest.head.headers, self.cache.secret())?;
            Some(FieldHash(EntryId::new(asking.digest, &vary).variant))
        });
        FlightKey { digest: asking.digest, variant }
    }
}

/// Whether a request's precondition is about the state at the origin (RFC 9110 13.1.1, 13.1.4): nothing that is
/// fetched for several can answer it.
fn only_origin_can_say(headers: &HeaderMap) -> bool {
    headers.contains_key(header::IF_MATCH) || headers.contains_key(header::IF_UNMODIFIED_SINCE)
}

/// For whom a reply turned out not to be shared: that credentials forbid it says nothing of requests without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Who {
    authorization: bool,
    cookie: bool,
}

impl Who {
    fn of(request: &RequestPolicy) -> Self {
        Self { authorization: request.authorization, cookie: request.cookie }
    }
}

/// What a look at the store came to.
enum Look {
    /// It answers.
    Answer(Box<Answered>),
    /// The origin must be asked; the entry may be validated or served stale.
    Ask(Option<Arc<Entry>>, Forward),
    /// Only the origin can say: the request has a precondition that what is stored does not meet.
    Forward,
}

struct Answered {
    reply: Reply,
    /// It is stale, and must be refreshed behind.
    refresh: bool,
    entry: Arc<Entry>,
}
