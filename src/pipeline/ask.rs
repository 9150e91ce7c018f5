//! What happens when the store cannot answer: join a fetch that is under way, lead one, or ask for this request alone.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, Method, header};

use super::error::Failure;
use super::exchange::Exchange;
use super::flight::Landing;
use super::guard::Guard;
use super::inbound::Inbound;
use super::key::Keyed;
use super::parts::has_conditions;
use super::respond::Reply;
use super::site::Routed;
use super::{HIT_FOR_MISS, Proxy, pass};
use crate::cache::entry::{Entry, EntryHead};
use crate::cache::flight::{Boarding, FlightKey, Ticket};
use crate::cache::key::{Digest, FieldHash, KeyParts};
use crate::cache::policy::partial::Missing;
use crate::cache::policy::request::MethodKind;
use crate::cache::policy::{self, RequestPolicy, Reuse, SkipReason, vary};
use crate::cache::store::{EntryId, Resource};
use crate::clock::Timestamp;
use crate::http::cache_status::{CacheStatus, Forward};
use crate::telemetry::event::CacheOutcome;
use crate::upstream::{self, FetchError};

/// A request that the store could not answer.
pub(super) struct Asking<'a> {
    pub(super) to: Routed<'a>,
    pub(super) inbound: Box<Inbound>,
    pub(super) policy: RequestPolicy,
    pub(super) digest: Digest,
    /// What the key is made of, beside the request's fields.
    pub(super) key: Keyed<'a>,
    /// The purge sequence when the store was looked at.
    pub(super) sequence: u64,
    /// All that was stored for the key.
    pub(super) resource: Option<Arc<Resource>>,
    /// The variant that the request asks for; it is there only where it may not be sent as it is.
    pub(super) stale: Option<Arc<Entry>>,
    /// What is missing of a stored part, where that is all that the origin is asked for.
    pub(super) gap: Option<Box<Missing>>,
    /// The last reply for this key was for one client alone.
    pub(super) unshared: bool,
    /// The last conditional request for this key, of which nothing was stored, got a 304: it is time to fetch the whole.
    pub(super) unfilled: bool,
    /// What the leak guard knows of it, on a guarded route.
    pub(super) guard: Option<Box<Guard>>,
}

/// For whom a reply turned out not to be shared: that credentials forbid it says nothing of requests without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Who {
    authorization: bool,
    cookie: bool,
}

/// How it ends to wait for another's fetch.
enum Followed {
    /// With a reply.
    Reply(Box<Reply>),
    /// Its reply is another variant; those who want the same one as this request meet there.
    OtherVariant(FlightKey),
    /// Its reply is not for this request.
    Alone,
    /// No reply came, and nothing stored stands in for it.
    Failed(Arc<FetchError>),
    /// The origin said that it fails, and nothing stored stands in for it.
    Erred,
}

impl Who {
    pub(super) fn of(request: &RequestPolicy) -> Self {
        Self { authorization: request.authorization, cookie: request.cookie }
    }
}

impl Asking<'_> {
    /// Whether its reply is compared with what others got, and for itself alone.
    pub(super) fn compares(&self) -> bool {
        self.guard.as_ref().is_some_and(|guard| guard.compares)
    }

    /// The key.
    pub(super) fn parts(&self) -> KeyParts<'_> {
        self.key.parts(&self.inbound.head.headers)
    }

    /// Whether the client's own conditions and range go to the origin: where nothing is stored they are meant for
    /// it (RFC 9111 4.3.2), and where its reply is likely for this client alone, they may save the body.
    pub(super) fn keeps_conditions(&self) -> bool {
        let judged = !self.unfilled && has_conditions(&self.inbound.head.headers);
        let own = self.unshared || self.policy.range || judged;
        (self.stale.is_none() && own) || self.only_origin_can_say()
    }

    /// Whether what is stored of it is but a part.
    pub(super) fn has_part(&self) -> bool {
        self.stale.as_ref().is_some_and(|entry| entry.part.is_some())
    }

    /// Whether the origin is asked for the client's own range.
    fn is_ranged(&self) -> bool {
        self.policy.range && self.gap.is_none() && (self.stale.is_none() || self.has_part())
    }

    /// A request that wants its own answer from the origin does not take one that was asked for before.
    fn wants_its_own(&self) -> bool {
        self.unshared
            || self.policy.no_cache
            || self.policy.max_age == Some(0)
            || (self.is_ranged() && has_conditions(&self.inbound.head.headers))
            || self.only_origin_can_say()
    }

    /// Whether its own conditions go to the origin, which then speaks to it alone.
    fn asks_with_conditions(&self) -> bool {
        self.keeps_conditions() && has_conditions(&self.inbound.head.headers)
    }

    /// What stands for the reply among flights: that of a range is not that of another, nor of the whole.
    fn flight_digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.digest.0);
        if let Some(Missing { gap, .. }) = self.gap.as_deref() {
            hasher.update(b"gap");
            hasher.update(&gap.start.to_le_bytes());
            hasher.update(&gap.end.to_le_bytes());
        } else if self.is_ranged() {
            for name in [header::RANGE, header::IF_RANGE] {
                for value in self.inbound.head.headers.get_all(&name) {
                    hasher.update(&[u8::from(name == header::RANGE)]);
                    hasher.update(&(value.len() as u64).to_le_bytes());
                    hasher.update(value.as_bytes());
                }
            }
        } else {
            return self.digest;
        }
        let mut digest = [0; 16];
        digest.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Digest(digest)
    }

    /// Whether nothing that is fetched for several can answer it.
    fn only_origin_can_say(&self) -> bool {
        self.policy.conditional && only_origin_can_say(&self.inbound.head.headers)
    }

    /// What it means that no reply came. What must be validated and cannot be is a 504 (RFC 9111 5.2.2.2).
    pub(super) fn unanswered(&self, error: Arc<FetchError>) -> Failure {
        match &self.stale {
            Some(stale) if stale.head.freshness.must_revalidate => Failure::Unvalidated(error),
            _ => Failure::Fetch(error),
        }
    }
}

impl Proxy {
    /// Joins a fetch under way for the key, unless it was purged since that began, or opens one.
    pub(super) fn board(&self, key: FlightKey, asking: &Asking<'_>) -> Boarding<Landing> {
        self.flights.board(key, self.cache.sequence(), |since| self.is_spared(asking, since))
    }

    /// Whether no purge since then has taken the key.
    fn is_spared(&self, asking: &Asking<'_>, since: u64) -> bool {
        since >= self.cache.sequence() || {
            let key = asking.parts().to_stored(self.cache.secret());
            self.cache.spared(asking.digest, &key, since)
        }
    }

    /// Has the origin asked; `why` is what `Cache-Status` says.
    pub(super) async fn miss(
        self: &Arc<Self>,
        exchange: &mut Exchange,
        mut asking: Asking<'_>,
        why: Forward,
    ) -> Result<Reply, Failure> {
        exchange.cache = CacheOutcome::Miss;
        if asking.policy.no_store {
            return self.unstored(exchange, asking, why).await;
        }
        exchange.forward = Some(why);
        if asking.inbound.head.method == Method::HEAD {
            return self.ask_head(exchange, asking).await;
        }
        self.consider_parts(&mut asking);
        if asking.is_ranged() || asking.gap.is_some() {
            asking.unshared |= self.is_unshared(asking.flight_digest(), Who::of(&asking.policy), exchange.at);
        }
        let mut key = self.flight_key(&asking);
        if asking.wants_its_own() {
            // Nobody else's.
        } else if asking.asks_with_conditions() {
            // What its own condition brings is no answer for others, but theirs may be one for it.
            let ticket = self.flights.join(&key, |since| self.is_spared(&asking, since));
            if let Some(ticket) = ticket
                && let Followed::Reply(reply) = self.follow(exchange, &asking, ticket).await?
            {
                return Ok(*reply);
            }
        } else {
            let mut failed = false;
            // With those who want the same variant in the second place, and once more where a fetch failed: all who
            // waited for it meet again, so that a dying origin does not hear from each of them.
            for _ in 0..3 {
                let ticket = match self.board(key, &asking) {
                    Boarding::Leader(ticket, pilot) => {
                        return match self.stored_meanwhile(exchange, &asking, &pilot).await {
                            Some(reply) => Ok(reply),
                            None => self.lead(exchange, asking, ticket, pilot).await,
                        };
                    }
                    Boarding::Follower(ticket) => ticket,
                };
                match self.follow(exchange, &asking, ticket).await? {
                    Followed::Reply(reply) => return Ok(*reply),
                    Followed::OtherVariant(other) if other != key => key = other,
                    Followed::Failed(error) if failed => {
                        exchange.cache = CacheOutcome::Collapsed;
                        return Err(asking.unanswered(error));
                    }
                    Followed::Failed(_) => failed = true,
                    Followed::Erred if !failed => failed = true,
                    Followed::OtherVariant(_) | Followed::Alone | Followed::Erred => break,
                }
            }
        }
        let (ticket, pilot) = self.flights.alone(self.flight_key(&asking), self.cache.sequence());
        self.lead(exchange, asking, ticket, pilot).await
    }

    /// Asks for a client that wants nothing stored of it (RFC 9111 5.2.1.5).
    async fn unstored(
        self: &Arc<Self>,
        exchange: &mut Exchange,
        asking: Asking<'_>,
        why: Forward,
    ) -> Result<Reply, Failure> {
        let Asking { to, inbound, .. } = asking;
        let mut reply = self.pass_as(&to, exchange, inbound, why).await?;
        reply.cache_status.detail = Some(SkipReason::RequestNoStore.as_str());
        Ok(reply)
    }

    /// Waits for another's fetch.
    async fn follow(
        self: &Arc<Self>,
        exchange: &mut Exchange,
        asking: &Asking<'_>,
        ticket: Ticket<Landing>,
    ) -> Result<Followed, Failure> {
        let deadline = pass::deadline(asking.to.route, exchange);
        let Some(landing) = in_time(deadline, ticket.landed()).await? else { return Ok(Followed::Alone) };
        let (head, vary) = match &landing {
            Landing::Streaming(streaming) => (&streaming.head, &streaming.vary),
            Landing::Freshened(entry) => (&entry.head, &entry.vary),
            Landing::Failed(error) => {
                let reply = self.stale_reply(exchange, asking, policy::Failure::Disconnected).await;
                let failed = || Followed::Failed(error.clone());
                return Ok(reply.map_or_else(failed, |reply| Followed::Reply(Box::new(reply))));
            }
            Landing::Erred(status) => {
                let reply = self.stale_reply(exchange, asking, policy::Failure::Status(*status)).await;
                return Ok(reply.map_or(Followed::Erred, |reply| Followed::Reply(Box::new(reply))));
            }
            Landing::Own => return Ok(Followed::Alone),
        };
        if !vary::matches(vary, &asking.inbound.head.headers, self.cache.secret()) {
            let other = self.variant_of(asking, head);
            return Ok(Followed::OtherVariant(FlightKey { digest: asking.flight_digest(), variant: other }));
        }
        let (rules, now) = (&asking.to.route.cache.rules, self.clock.now());
        if !policy::reuse(&asking.policy, head, false, rules, now).answers() {
            let anyone = RequestPolicy::plain(MethodKind::Get);
            if matches!(policy::reuse(&anyone, head, false, rules, now), Reuse::Validate { .. }) {
                // It must be validated for each: waiting for another's validation only costs time.
                self.remember_unshared(asking, exchange.at);
            }
            return Ok(Followed::Alone);
        }
        let status = CacheStatus {
            forward: exchange.forward,
            collapsed: true,
            stored: true,
            // What another fetched just now may be stale already, on the origin's word.
            detail: head.freshness.source.detail(),
            ..CacheStatus::default()
        };
        let age = head.age(now);
        let reply = match &landing {
            Landing::Streaming(streaming) => {
                exchange.is_of_streaming(streaming);
                let headers = &streaming.head.headers;
                let with = (headers, Some(age));
                self.streaming_reply(exchange, asking, streaming, ticket, None, with, status).await
            }
            Landing::Freshened(entry) => {
                exchange.is_of(entry);
                self.stored_reply(&asking.inbound.head, entry, age, status).await.ok()
            }
            Landing::Failed(_) | Landing::Erred(_) | Landing::Own => None,
        };
        let Some(reply) = reply else { return Ok(Followed::Alone) };
        exchange.cache = CacheOutcome::Collapsed;
        Ok(Followed::Reply(Box::new(reply)))
    }

    /// Whether the last reply for this key was for one client alone.
    pub(super) fn is_unshared(&self, digest: Digest, who: Who, now: Timestamp) -> bool {
        self.unshared.get(&(digest, who)).is_some_and(|until| until > now)
    }

    /// Remembers for a while that requests for this key need not wait for each other (hit-for-miss).
    pub(super) fn remember_unshared(&self, asking: &Asking<'_>, now: Timestamp) {
        let who = Who::of(&asking.policy);
        self.unshared.insert((asking.flight_digest(), who), now.plus(HIT_FOR_MISS));
    }

    /// Which flight a request may join: of its key, and of its variant as far as stored replies tell what varies.
    pub(super) fn flight_key(&self, asking: &Asking<'_>) -> FlightKey {
        let newest = asking.resource.as_ref().and_then(|resource| resource.variants.first());
        let newest = newest.filter(|entry| !entry.vary.fields.is_empty());
        let variant = match newest {
            Some(entry) => self.variant_of(asking, &entry.head),
            None => self.apart(asking, None),
        };
        FlightKey { digest: asking.flight_digest(), variant }
    }

    /// The variant that a request asks for, going by a reply's `Vary`.
    fn variant_of(&self, asking: &Asking<'_>, head: &EntryHead) -> Option<FieldHash> {
        let vary = vary::vary_key(&asking.inbound.head.headers, &head.headers, self.cache.secret())?;
        self.apart(asking, Some(FieldHash(EntryId::new(asking.digest, &vary).variant)))
    }

    /// On a guarded route those with other credentials do not wait for the same reply.
    fn apart(&self, asking: &Asking<'_>, variant: Option<FieldHash>) -> Option<FieldHash> {
        let Some(guard) = &asking.guard else { return variant };
        let variant = variant.unwrap_or(FieldHash([0; 16]));
        Some(self.cache.secret().hash([&variant.0[..], &guard.who.0[..]]))
    }
}

/// Whether a request's precondition is about the state at the origin (RFC 9110 13.1.1, 13.1.4): nothing that is
/// fetched for several can answer it.
pub(super) fn only_origin_can_say(headers: &HeaderMap) -> bool {
    headers.contains_key(header::IF_MATCH) || headers.contains_key(header::IF_UNMODIFIED_SINCE)
}

/// Waits no longer than the exchange may take. A fetch that is shared has no deadline of its own: it goes on for as long as
/// one of its readers has time.
pub(super) async fn in_time<F: Future>(
    deadline: Option<Instant>,
    future: F,
) -> Result<F::Output, FetchError> {
    let Some(deadline) = deadline else { return Ok(future.await) };
    let late = |_| FetchError { failure: upstream::Failure::Deadline, endpoint: None, attempts: 1 };
    tokio::time::timeout_at(deadline.into(), future).await.map_err(late)
}
