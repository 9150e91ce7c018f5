//! Requests whose own fetch brings the reply: those that lead a flight, HEAD, and refreshes in the background; and what
//! stands in for a reply that did not come.

use std::ops::Range;
use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode, header};
use tokio::sync::oneshot;

use super::ask::{Asking, in_time};
use super::error::Failure;
use super::exchange::{Asked, Exchange};
use super::fetch::{self, Began, Brought};
use super::flight::{Direct, Fetch, Landing, Shared, Streaming};
use super::inbound::InboundBody;
use super::reply::Source;
use super::respond::{self, Reply};
use super::site::Routed;
use super::stored::{self, NoReply, Part};
use super::upkeep::{Keeper, Validated};
use super::{HIT_FOR_MISS, Proxy, REFRESH_PAUSE, forward, guard, pass};
use crate::cache::entry::Entry;
use crate::cache::flight::{Boarding, Pilot, Ticket};
use crate::cache::key::Secret;
use crate::cache::policy::request::MethodKind;
use crate::cache::policy::validate::{Other, validation_fields};
use crate::cache::policy::{self, RequestPolicy, partial, vary};
use crate::cache::spool::SpoolReader;
use crate::clock::Timestamp;
use crate::http::cache_status::{CacheStatus, Forward};
use crate::telemetry::event::{CacheOutcome, Protocol};
use crate::upstream::{FetchError, FetchRequest, RequestBody};

impl Proxy {
    /// Runs a fetch that others may share, and answers from what it brings.
    pub(super) async fn lead(
        self: &Arc<Self>,
        exchange: &mut Exchange,
        mut asking: Asking<'_>,
        ticket: Ticket<Landing>,
        pilot: Pilot<Landing>,
    ) -> Result<Reply, Failure> {
        let (tell, told) = oneshot::channel();
        let (fetch, request) = self.fetch(exchange, &asking, pilot.sequence());
        if asking.keeps_conditions() {
            // The origin judges them: what it says is not to be judged again (RFC 9111 4.3.2).
            pass::remove_conditions(&mut asking.inbound.head.headers);
        }
        let request =
            FetchRequest { on_interim: asking.inbound.interim.as_ref().map(fetch::pass_interim), ..request };
        tokio::spawn(fetch.run(request, pilot, tell));
        let direct = match in_time(pass::deadline(asking.to.route, exchange), told).await {
            Ok(Ok(direct)) => direct,
            // The fetch ended without a word: its task panicked, or the instance is shutting down.
            Ok(Err(_)) => return Err(Failure::Internal),
            Err(late) => Direct::Failed(Arc::new(late)),
        };
        match direct {
            Direct::Streaming { streaming, reader, headers, asked } => {
                exchange.asked = Some(asked);
                let compares = asking.compares();
                let status = CacheStatus {
                    forward: exchange.forward,
                    stored: !compares,
                    detail: compares.then_some(guard::DETAIL),
                    ..CacheStatus::default()
                };
                exchange.is_of_streaming(&streaming);
                let with = (&headers, None);
                let reply =
                    self.streaming_reply(exchange, &asking, &streaming, ticket, reader, with, status).await;
                match reply {
                    Some(reply) => Ok(reply),
                    // What it was to be joined with is gone, or is not what it was.
                    None => {
                        let Asking { to, inbound, .. } = asking;
                        self.pass_as(&to, exchange, inbound, Forward::Partial).await
                    }
                }
            }
            Direct::Freshened { validated, asked } => {
                exchange.asked = Some(asked);
                self.freshened(exchange, asking, validated).await
            }
            Direct::Reply(brought, reason) => {
                self.learn(&asking, brought.status(), exchange.at);
                self.brought(exchange, &asking, *brought, Some(reason.as_str())).await
            }
            Direct::Failed(error) => self.failed(exchange, &asking, error).await,
        }
    }

    /// Remembers what a reply that is not shared says of the next requests for its key.
    fn learn(&self, asking: &Asking<'_>, status: StatusCode, now: Timestamp) {
        match status {
            // What a range or a condition got says nothing of the whole, but that it should be fetched.
            StatusCode::NOT_MODIFIED if asking.policy.conditional => {
                self.unfilled.insert(asking.digest, now.plus(HIT_FOR_MISS));
            }
            StatusCode::PRECONDITION_FAILED if asking.policy.conditional => {}
            status if status.is_server_error() => {}
            _ => self.remember_unshared(asking, now),
        }
    }

    /// Asks the origin for the head alone (RFC 9111 4.3.5); what is stored is held against its answer.
    pub(super) async fn ask_head(
        self: &Arc<Self>,
        exchange: &mut Exchange,
        asking: Asking<'_>,
    ) -> Result<Reply, Failure> {
        let mut headers = asking.inbound.head.headers.clone();
        self.make_ours(exchange, &asking, &mut headers);
        let deadline = pass::deadline(asking.to.route, exchange);
        let request = FetchRequest { deadline, ..outgoing(&asking, Method::HEAD, headers) };
        let sequence = self.cache.sequence();
        let (route, names) = (asking.to.route, pass::names(asking.to.site, asking.to.target));
        let began = Began::now(&self.clock);
        let brought = match fetch::bring(route, request, began, &self.clock, &self.telemetry, &names).await {
            Ok(brought) => brought,
            Err(error) => return self.failed(exchange, &asking, Arc::new(error)).await,
        };
        if let Some(resource) = asking.resource.as_ref().filter(|_| brought.status() == StatusCode::OK) {
            let keeper = Keeper {
                cache: &self.cache,
                telemetry: &self.telemetry,
                settings: &route.cache,
                names: &names,
                request: &asking.policy,
                client: &asking.inbound.head.headers,
                keep: asking.to.site.limits_of(route).keep,
                sequence,
            };
            keeper.compare(resource, &brought);
        }
        self.brought(exchange, &asking, brought, None).await
    }

    /// Refreshes an entry in the background, unless that is being done or has just failed.
    pub(super) fn refresh(self: &Arc<Self>, exchange: &Exchange, asking: &Asking<'_>) {
        let rests = self.resting.get(&asking.digest).is_some_and(|until| until > exchange.at);
        if rests || asking.policy.no_store {
            return;
        }
        let key = self.flight_key(asking);
        let Boarding::Leader(ticket, pilot) = self.board(key, asking) else { return };
        if self.is_refreshed(asking, &pilot) {
            return;
        }
        ticket.detach();
        let (fetch, request) = self.fetch(exchange, asking, pilot.sequence());
        // Nobody else sees to it that it ends.
        let request = FetchRequest { deadline: pass::deadline(asking.to.route, exchange), ..request };
        let (tell, told) = oneshot::channel();
        let (proxy, route, digest) = (self.clone(), asking.to.route.clone(), asking.digest);
        tokio::spawn(async move {
            let rest = async {
                let failed = match told.await {
                    Ok(Direct::Failed(error)) => {
                        respond::complain(&error, &route, proxy.clock.now(), "no refresh from the upstream");
                        true
                    }
                    Ok(Direct::Reply(brought, _)) => brought.status().is_server_error(),
                    _ => false,
                };
                if failed {
                    proxy.resting.insert(digest, proxy.clock.now().plus(REFRESH_PAUSE));
                }
            };
            tokio::join!(fetch.run(request, pilot, tell), rest);
        });
    }

    /// Whether another refresh has ended between the look at the store and the one at the flights.
    fn is_refreshed(&self, asking: &Asking<'_>, pilot: &Pilot<Landing>) -> bool {
        let found = asking.resource.as_ref();
        let newer = || {
            let resource = self.cache.lookup_again(&asking.parts(), asking.digest, found)?;
            let (headers, now) = (&asking.inbound.head.headers, self.clock.now());
            let entry = vary::select(&resource.variants, headers, self.cache.secret(), now)?;
            let was = asking.stale.as_ref()?.head.response_time;
            (entry.head.response_time > was && !entry.soft_purged).then(|| entry.clone())
        };
        let Some(entry) = newer() else { return false };
        // For those who have joined since.
        pilot.close();
        pilot.land(Landing::Freshened(entry));
        true
    }

    /// The fetch and its first request: conditional where something stored can be validated. It is a GET, also
    /// where a HEAD is what makes a refresh due, unless the request's body belongs to the key.
    fn fetch(&self, exchange: &Exchange, asking: &Asking<'_>, sequence: u64) -> (Fetch, FetchRequest) {
        let Asking { to: Routed { site, route, target }, inbound, .. } = asking;
        let client_headers = inbound.head.headers.clone();
        let mut headers = match asking.keeps_conditions() {
            true => client_headers.clone(),
            false => pass::without_conditions(&client_headers),
        };
        if asking.has_part() {
            keep_range(&client_headers, &mut headers);
        }
        self.make_ours(exchange, asking, &mut headers);
        let unconditional = headers.clone();
        let gap = asking.gap.as_ref().zip(asking.stale.as_ref()).map(|(missing, entry)| {
            ask_for_gap(&missing.gap, entry, &mut headers);
            (missing.gap.clone(), entry.clone())
        });
        // A POST with If-None-Match asks for something else (RFC 9110 13.1.2).
        let keyed_post = asking.policy.method == MethodKind::KeyedPost;
        let validating = match asking.keeps_conditions() || gap.is_some() || keyed_post {
            true => None,
            false => asking.resource.as_ref().filter(|resource| {
                let (chosen, secret) = (asking.stale.as_ref(), self.cache.secret());
                nominate(chosen, &resource.variants, &client_headers, secret, &mut headers)
            }),
        };
        let validating = validating.cloned();
        if validating.is_some() && asking.has_part() {
            keep_range(&client_headers, &mut headers);
        }
        let fetch = Fetch {
            cache: self.cache.clone(),
            telemetry: self.telemetry.clone(),
            clock: self.clock.clone(),
            route: (*route).clone(),
            limits: site.limits_of(route),
            key: asking.parts().to_stored(self.cache.secret()),
            client_headers,
            request: RequestPolicy {
                method: if keyed_post { MethodKind::KeyedPost } else { MethodKind::Get },
                ..asking.policy
            },
            unconditional,
            validating,
            resource: asking.resource.clone(),
            gap,
            stale: asking.stale.clone(),
            sequence,
            names: pass::names(site, target),
            wanted: inbound.client.protocol == Protocol::Internal,
            again: asking.guard.as_deref().map(|guard| Box::new(again(asking, *guard))),
        };
        let InboundBody::Whole(body) = &inbound.body else {
            return (fetch, outgoing(asking, Method::GET, headers));
        };
        let method = inbound.head.method.clone();
        let body = RequestBody::Full(body.clone());
        (fetch, FetchRequest { body, repeatable: true, ..outgoing(asking, method, headers) })
    }

    /// Makes a client's fields those of a request of ours.
    fn make_ours(&self, exchange: &Exchange, asking: &Asking<'_>, headers: &mut HeaderMap) {
        let Asking { to: Routed { site, target, .. }, inbound, .. } = asking;
        let facts = pass::forward_facts(site, exchange, &inbound.client, target, inbound.trusted);
        forward::upstream_request_headers(headers, &facts);
    }

    /// The reply after a 304.
    async fn freshened(
        self: &Arc<Self>,
        exchange: &mut Exchange,
        asking: Asking<'_>,
        Validated { entry, kept }: Validated,
    ) -> Result<Reply, Failure> {
        let status = CacheStatus {
            forward: exchange.forward,
            forward_status: Some(304),
            stored: kept,
            ..CacheStatus::default()
        };
        let age = entry.head.age(self.clock.now());
        match self.stored_reply(&asking.inbound.head, &entry, age, status).await {
            Ok(reply) => {
                exchange.cache = CacheOutcome::Revalidated;
                exchange.is_of(&entry);
                Ok(reply)
            }
            // Its body was lost meanwhile.
            Err(NoReply::Gone | NoReply::Forward | NoReply::Partial) => {
                let Asking { to, inbound, .. } = asking;
                self.pass_as(&to, exchange, inbound, Forward::Stale).await
            }
        }
    }

    /// What the origin said to this request alone, or what is stored where it said that it fails.
    async fn brought(
        self: &Arc<Self>,
        exchange: &mut Exchange,
        asking: &Asking<'_>,
        brought: Brought,
        detail: Option<&'static str>,
    ) -> Result<Reply, Failure> {
        if brought.status().is_server_error() {
            let failure = policy::Failure::Status(brought.status());
            if let Some(reply) = self.stale_reply(exchange, asking, failure).await {
                exchange.asked = Some(brought.asked);
                return Ok(reply);
            }
        }
        let status = CacheStatus { detail, ..CacheStatus::default() };
        Ok(self.direct_reply(asking.to.route, exchange, brought, status))
    }

    async fn failed(
        self: &Arc<Self>,
        exchange: &mut Exchange,
        asking: &Asking<'_>,
        error: Arc<FetchError>,
    ) -> Result<Reply, Failure> {
        exchange.asked = Some(Asked::of_error(&error));
        let reply = self.stale_reply(exchange, asking, policy::Failure::Disconnected).await;
        let Some(reply) = reply else { return Err(asking.unanswered(error)) };
        exchange.error = Some(error.failure.as_str());
        respond::complain(&error, asking.to.route, exchange.at, "answered stale: no reply from the upstream");
        Ok(reply)
    }

    /// The stale entry, where a failing origin allows it (RFC 9111 4.2.4, RFC 5861 4).
    pub(super) async fn stale_reply(
        self: &Arc<Self>,
        exchange: &mut Exchange,
        asking: &Asking<'_>,
        failure: policy::Failure,
    ) -> Option<Reply> {
        let entry = self.still_stored(asking)?;
        // What was purged and must be validated is not served without that, whatever its age says.
        if entry.soft_purged && entry.head.freshness.must_revalidate {
            return None;
        }
        let now = self.clock.now();
        if !policy::on_error(&asking.policy, &entry.head, &asking.to.route.cache.rules, failure, now) {
            return None;
        }
        let age = entry.head.age(now);
        let clamp = |secs: u64| i64::try_from(secs).unwrap_or(i64::MAX);
        let status = CacheStatus {
            forward: exchange.forward,
            forward_status: match failure {
                policy::Failure::Status(status) => Some(status.as_u16()),
                policy::Failure::Disconnected => None,
            },
            ttl: Some(clamp(entry.head.freshness.lifetime) - clamp(age)),
            detail: Some("stale-if-error"),
            ..CacheStatus::default()
        };
        let reply = self.stored_reply(&asking.inbound.head, &entry, age, status).await.ok()?;
        exchange.is_of(&entry);
        exchange.cache = CacheOutcome::Stale;
        Some(reply)
    }

    /// The stale entry, unless a purge has taken it since it was found.
    fn still_stored(&self, asking: &Asking<'_>) -> Option<Arc<Entry>> {
        let found = asking.stale.as_ref()?;
        if self.cache.sequence() == asking.sequence {
            return Some(found.clone());
        }
        let resource = self.cache.lookup(&asking.parts(), asking.digest)?;
        let (client, secret) = (&asking.inbound.head.headers, self.cache.secret());
        vary::select(&resource.variants, client, secret, self.clock.now()).cloned()
    }

    /// The reply that is being stored, as it streams: its fields and, where it is not this request's own, its age. The
    /// client's own conditions and range are applied to it.
    pub(super) async fn streaming_reply(
        &self,
        exchange: &Exchange,
        asking: &Asking<'_>,
        streaming: &Streaming,
        ticket: Ticket<Landing>,
        reader: Option<SpoolReader>,
        (headers, age): (&HeaderMap, Option<u64>),
        cache_status: CacheStatus<'static>,
    ) -> Option<Reply> {
        if streaming.part.is_some() {
            let reply =
                self.part_reply(exchange, asking, streaming, ticket, reader, (headers, age), cache_status);
            return Box::pin(reply).await;
        }
        let (client, whole) = (&asking.inbound.head, streaming.head.status);
        let (status, mut headers, part) = stored::shape(client, &streaming.head, headers, streaming.length)?;
        if let Some(age) = age {
            stored::set_age(&mut headers, age);
        }
        let shared = match part {
            Part::Nothing => {
                // The head is all that this client needs; the store wants the rest.
                ticket.detach();
                None
            }
            // Several ranges may be answered by the whole (RFC 9110 14.2).
            Part::Whole | Part::Several => {
                let reader = reader.or_else(|| streaming.body.reader(0).ok())?;
                Some(Shared::new(reader, streaming.length, ticket))
            }
            Part::Range(range) => {
                let reader = streaming.body.reader(range.start).ok()?;
                Some(Shared::new(reader, Some(range.end - range.start), ticket))
            }
        };
        Some(Reply {
            status,
            headers,
            source: shared.map_or(Source::Empty, |shared| Source::Shared(Box::new(shared))),
            cache_status: CacheStatus {
                forward_status: (status != whole).then_some(whole.as_u16()),
                ..cache_status
            },
            deadline: pass::deadline(asking.to.route, exchange),
        })
    }
}

/// Puts the client's own range into a request of ours.
fn keep_range(client: &HeaderMap, headers: &mut HeaderMap) {
    for name in [header::RANGE, header::IF_RANGE] {
        if let Some(value) = client.get(&name) {
            headers.insert(name, value.clone());
        }
    }
}

/// Asks for what is missing of a stored part, if it is still a part of the same (RFC 9110 13.1.5).
pub(super) fn ask_for_gap(gap: &Range<u64>, entry: &Entry, headers: &mut HeaderMap) {
    headers.insert(header::RANGE, partial::gap_range(gap, entry.complete()));
    if let Some(validator) = partial::if_range(&entry.head.headers) {
        headers.insert(header::IF_RANGE, validator.clone());
    }
}

/// How to ask for the same once more.
fn again(asking: &Asking<'_>, guard: guard::Guard) -> guard::Again {
    let (method, body) = match &asking.inbound.body {
        InboundBody::Whole(body) => (asking.inbound.head.method.clone(), Some(body.clone())),
        _ => (Method::GET, None),
    };
    let target = asking.to.target;
    let (client_host, target) = (target.authority_value(), target.path_and_query().clone());
    guard::Again { guard, method, target, client_host, body }
}

/// Makes a request conditional on what is stored (RFC 9111 4.3.1): the entry that it would be answered with, and what
/// other requests stored, which the origin may choose for this one as well. Whether there is anything to name.
pub(super) fn nominate(
    chosen: Option<&Arc<Entry>>,
    variants: &[Arc<Entry>],
    client: &HeaderMap,
    secret: &Secret,
    headers: &mut HeaderMap,
) -> bool {
    let others: Vec<Other<'_>> = variants
        .iter()
        .filter(|entry| chosen.is_none_or(|chosen| !Arc::ptr_eq(entry, chosen)))
        // A part cannot stand in for the whole (RFC 9111 4.3.2).
        .filter(|entry| entry.part.is_none())
        .map(|entry| Other { head: &entry.head, suits: vary::matches(&entry.vary, client, secret) })
        .collect();
    // One that suits and was not chosen is nothing to this request: personal, or without its body.
    if chosen.is_none() && others.iter().any(|other| other.suits) {
        return false;
    }
    validation_fields(chosen.map(|entry| &entry.head), others, headers)
}

/// A request for what is asked, without body or deadline.
fn outgoing(asking: &Asking<'_>, method: Method, headers: HeaderMap) -> FetchRequest {
    let target = asking.to.target;
    FetchRequest {
        headers,
        client_host: target.authority_value(),
        ..FetchRequest::new(method, target.path_and_query().clone())
    }
}
