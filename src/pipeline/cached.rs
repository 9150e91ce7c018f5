//! The cache stage: answer from what is stored, else have the origin asked.

use std::sync::Arc;

use http::HeaderMap;

use super::Proxy;
use super::ask::{Asking, Who};
use super::error::Failure;
use super::exchange::Exchange;
use super::flight::Landing;
use super::guard::{self, Guard};
use super::inbound::Inbound;
use super::key::{Doubt, Keyed, User};
use super::limiting::Stage;
use super::respond::Reply;
use super::site::{Route, Routed};
use super::slices::takes_slices;
use super::stored::NoReply;
use crate::cache::entry::Entry;
use crate::cache::flight::Pilot;
use crate::cache::key::Digest;
use crate::cache::leak::{Sight, Standing};
use crate::cache::policy::request::{MethodKind, REROUTING};
use crate::cache::policy::{self, Prefetch, RequestPolicy, Reuse, StaleWhy, ValidateWhy, vary};
use crate::cache::store::{EntryId, Resource};
use crate::http::cache_status::{CacheStatus, Forward};
use crate::http::target::Target;
use crate::telemetry::event::CacheOutcome;

/// What a look at the store came to.
enum Look {
    /// It answers; an entry that is to be refreshed behind.
    Answer(Box<Reply>, Option<Arc<Entry>>),
    /// The origin must be asked; the entry may be validated or served stale.
    Ask(Option<Arc<Entry>>, Forward),
    /// Only the origin can say: the request has a precondition that what is stored does not meet.
    Forward,
    /// Others' credentials brought it: it is to be compared first with what this one gets.
    Compare(Option<(EntryId, Sight)>),
}

/// A look-up that did not answer, or that leaves something to be refreshed behind.
pub(super) struct Unanswered<'a> {
    look: Look,
    key: Keyed<'a>,
    policy: RequestPolicy,
    digest: Digest,
    sequence: u64,
    resource: Option<Arc<Resource>>,
    guard: Option<Box<Guard>>,
    standing: Option<Standing>,
}

/// What a look-up came to. A reply is all that most requests need: the rest is boxed, so that their future stays small.
pub(super) enum Looked<'a> {
    Answer(Box<Reply>),
    Unanswered(Box<Unanswered<'a>>),
    /// Who asks is not known well enough for anything stored.
    Doubtful(Doubt),
}

impl Proxy {
    /// Answers through the cache.
    pub(super) async fn cached(
        self: &Arc<Self>,
        to: &Routed<'_>,
        exchange: &mut Exchange,
        inbound: Box<Inbound>,
    ) -> Result<Reply, Failure> {
        let Routed { route, target, .. } = *to;
        let mut policy = RequestPolicy::of(&inbound.head.method, &inbound.head.headers, &route.cache.rules);
        // Cookies that are in the key leave nothing that could be another's.
        policy.cookie = policy.cookie && !route.cache.key.covers_cookies(&inbound.head.headers);
        policy.reroutes = policy.reroutes && !reroutes_by_key(route, &inbound.head.headers);
        let policy = if inbound.refresh { policy.refreshing() } else { policy };
        exchange.asks(policy);
        if !policy.may_reuse() || !inbound.body.is_end_stream() {
            return Box::pin(self.unlooked(to, exchange, inbound, policy)).await;
        }
        match self.look_up(route, exchange, &inbound, target, policy).await {
            Looked::Answer(reply) => Ok(*reply),
            looked => Box::pin(self.unanswered(to, exchange, inbound, looked)).await,
        }
    }

    /// What becomes of a request that its method and fields alone would not let be answered from the cache.
    async fn unlooked(
        self: &Arc<Self>,
        to: &Routed<'_>,
        exchange: &mut Exchange,
        inbound: Box<Inbound>,
        policy: RequestPolicy,
    ) -> Result<Reply, Failure> {
        let Routed { route, target, .. } = *to;
        if policy.reroutes {
            exchange.cache = CacheOutcome::Bypass;
            return self.pass_as(to, exchange, inbound, Forward::Request).await;
        }
        if route.cache.key.takes_content(&inbound.head.method) {
            return self.with_content(to, exchange, inbound, policy).await;
        }
        self.limit(route, exchange, &inbound, target, Stage::Origin)?;
        exchange.cache = CacheOutcome::Bypass;
        // Of replies that are told apart by who asks, none is stored that was not asked for by GET.
        let apart = route.cache.key.user.is_some() || route.cache.leak_guard;
        if policy.method == MethodKind::Post && !apart {
            return self.posted(to, exchange, inbound, policy).await;
        }
        self.pass_as(to, exchange, inbound, Forward::Method).await
    }

    /// Looks a request up, and has the origin asked where that does not answer.
    pub(super) async fn looked_up(
        self: &Arc<Self>,
        to: &Routed<'_>,
        exchange: &mut Exchange,
        inbound: Box<Inbound>,
        policy: RequestPolicy,
    ) -> Result<Reply, Failure> {
        match self.look_up(to.route, exchange, &inbound, to.target, policy).await {
            Looked::Answer(reply) => Ok(*reply),
            looked => self.unanswered(to, exchange, inbound, looked).await,
        }
    }

    /// Looks a request up.
    async fn look_up<'a>(
        self: &Arc<Self>,
        route: &'a Arc<Route>,
        exchange: &mut Exchange,
        inbound: &Inbound,
        target: &'a Target,
        mut policy: RequestPolicy,
    ) -> Looked<'a> {
        let mut user = None;
        if let Some(rule) = &route.users {
            match rule.user(&inbound.head.headers, inbound.trusted, exchange.at, self.cache.secret()) {
                User::Nobody => {}
                User::Known(known) => {
                    user = Some(known);
                    rule.lift(&mut policy);
                }
                User::Doubtful(doubt) => return Looked::Doubtful(doubt),
            }
        }
        let key = Keyed::of(route, target, inbound.key_facts(user), self.cache.secret());
        let parts = key.parts(&inbound.head.headers);
        let digest = parts.digest(self.cache.secret());
        policy.spread = digest.spread();
        exchange.caching.key = Some(digest.0);
        if route.cache.show_key {
            exchange.shown_key = Some(digest);
        }
        // Before the look-up: what is purged from here on must not be served because it was found before.
        let sequence = self.cache.sequence();
        let resource = self.cache.lookup(&parts, digest);
        let guard =
            route.cache.leak_guard.then(|| Box::new(Guard::of(&inbound.head.headers, self.cache.secret())));
        let standing = guard.as_ref().map(|_| self.cache.leaks().standing(digest, exchange.at));
        let look = match standing {
            None | Some(Standing::Free) => {
                self.look(route, exchange, inbound, &policy, resource.as_ref(), guard.as_deref()).await
            }
            Some(Standing::Suspect) => Look::Compare(None),
            Some(Standing::Leaking(_)) => Look::Forward,
        };
        match look {
            Look::Answer(reply, None) => Looked::Answer(reply),
            look => Looked::Unanswered(Box::new(Unanswered {
                look,
                key,
                policy,
                digest,
                sequence,
                resource,
                guard,
                standing,
            })),
        }
    }

    /// Has the origin asked, now or behind the reply.
    async fn unanswered(
        self: &Arc<Self>,
        to: &Routed<'_>,
        exchange: &mut Exchange,
        mut inbound: Box<Inbound>,
        looked: Looked<'_>,
    ) -> Result<Reply, Failure> {
        let Routed { route, target, .. } = *to;
        let unanswered = match looked {
            Looked::Answer(reply) => return Ok(*reply),
            Looked::Doubtful(doubt) => {
                self.limit(route, exchange, &inbound, target, Stage::Origin)?;
                self.telemetry.cache_skip(doubt.as_str());
                let mut reply = self.pass(to, exchange, inbound).await?;
                reply.cache_status.detail = Some(doubt.as_str());
                return Ok(reply);
            }
            Looked::Unanswered(unanswered) => *unanswered,
        };
        let Unanswered { mut look, key, policy, digest, sequence, resource, mut guard, standing } =
            unanswered;
        if !matches!(look, Look::Answer(..)) && !policy.only_if_cached {
            self.limit(route, exchange, &inbound, target, Stage::Origin)?;
        }
        if let Some(size) = route.cache.slice
            && resource.is_none()
            && self.comes_in_slices(&inbound, &policy, digest)
        {
            match Box::pin(self.sliced(to, size, digest, exchange, inbound)).await? {
                Ok(reply) => return Ok(*reply),
                Err(plain) => inbound = plain,
            }
        }
        let barred = matches!(standing, Some(Standing::Leaking(_) | Standing::Suspect));
        if matches!(look, Look::Compare(_)) && !guard::is_comparable(&inbound, &policy) {
            look = Look::Forward;
        }
        let (answer, stale, why) = match look {
            Look::Answer(reply, refresh) => (Some(reply), refresh, Forward::Stale),
            _ if policy.only_if_cached => {
                exchange.cache = CacheOutcome::Miss;
                return Err(Failure::OnlyIfCached);
            }
            Look::Forward => {
                exchange.cache = CacheOutcome::Bypass;
                let passed = self.pass_as(to, exchange, inbound, Forward::Request);
                let mut reply = Box::pin(passed).await?;
                if barred {
                    reply.cache_status.detail = Some(guard::DETAIL);
                }
                return Ok(reply);
            }
            Look::Compare(expected) => {
                if let Some(guard) = &mut guard {
                    **guard = Guard { compares: true, expected, ..**guard };
                }
                (None, None, Forward::Bypass)
            }
            Look::Ask(stale, why) => (None, stale, why),
        };
        let asking = Asking {
            to: *to,
            inbound,
            policy,
            digest,
            key,
            sequence,
            resource,
            stale,
            gap: None,
            unshared: self.is_unshared(digest, Who::of(&policy), exchange.at)
                || guard.as_ref().is_some_and(|guard| guard.compares),
            unfilled: policy.conditional
                && self.unfilled.get(&digest).is_some_and(|until| until > exchange.at),
            guard,
        };
        if let Some(reply) = answer {
            self.refresh(exchange, &asking);
            return Ok(*reply);
        }
        self.miss(exchange, asking, why).await
    }

    /// Whether a request of which nothing is stored may be answered slice by slice.
    fn comes_in_slices(&self, inbound: &Inbound, policy: &RequestPolicy, digest: Digest) -> bool {
        inbound.slice.is_none()
            && inbound.body.is_end_stream()
            && takes_slices(&inbound.head.method, policy)
            && !self.is_plain(digest)
    }

    /// Looks at what is stored.
    async fn look(
        self: &Arc<Self>,
        route: &Route,
        exchange: &mut Exchange,
        inbound: &Inbound,
        request: &RequestPolicy,
        resource: Option<&Arc<Resource>>,
        guard: Option<&Guard>,
    ) -> Look {
        let Some(resource) = resource else { return Look::Ask(None, Forward::UriMiss) };
        let headers = &inbound.head.headers;
        let secret = self.cache.secret();
        let Some(entry) = vary::select(&resource.variants, headers, secret, exchange.at) else {
            return Look::Ask(None, Forward::VaryMiss);
        };
        exchange.found(&entry.head);
        let reuse = policy::reuse(request, &entry.head, entry.soft_purged, &route.cache.rules, exchange.at);
        if let Some(guard) = guard
            && !self.cache.leaks().may_answer(EntryId::new(resource.digest, &entry.vary), guard.who)
        {
            return match reuse.answers() {
                true => Look::Compare(entry.part.is_none().then(|| guard::sight_of(resource.digest, entry))),
                // Nor is it validated for this one, or served when that fails.
                false => Look::Ask(None, Forward::Stale),
            };
        }
        let freshness = &entry.head.freshness;
        let mut ahead = false;
        let (age, ttl, outcome, stale) = match reuse {
            Reuse::Fresh { age, ttl } => {
                // A part is left alone: the whole that a fetch would bring may be large, and was never asked for.
                if let Some(prefetch) = &route.cache.rules.lifetimes.prefetch
                    && entry.part.is_none()
                {
                    ahead = self.is_due(prefetch, resource.digest, entry, ttl);
                }
                (age, ttl, CacheOutcome::Hit, None)
            }
            Reuse::StaleAllowed { age, ttl, why } => (age, ttl, CacheOutcome::Stale, Some(why)),
            Reuse::Validate { why, ttl, .. } => {
                // Only what is fresh is refused by the request (RFC 9211 2.2).
                let forward = match why {
                    ValidateWhy::RequestNoCache | ValidateWhy::RequestAge
                        if ttl > 0 && !entry.soft_purged =>
                    {
                        Forward::Request
                    }
                    _ => Forward::Stale,
                };
                return Look::Ask(Some(entry.clone()), forward);
            }
            Reuse::Unusable => return Look::Ask(None, Forward::Request),
        };
        let status = CacheStatus {
            hit: true,
            ttl: Some(ttl),
            detail: stale.map_or(freshness.source.detail(), |why| Some(why.as_str())),
            ..CacheStatus::default()
        };
        match self.stored_reply(&inbound.head, entry, age, status).await {
            Ok(reply) => {
                exchange.is_of(entry);
                exchange.cache = outcome;
                let refresh = ahead || stale == Some(StaleWhy::WhileRevalidate);
                Look::Answer(Box::new(reply), refresh.then(|| entry.clone()))
            }
            // Its body is gone or damaged: as if it had never been stored.
            Err(NoReply::Gone) => Look::Ask(None, Forward::UriMiss),
            Err(NoReply::Forward) => Look::Forward,
            // Fresh or not, it has not all that is asked for (RFC 9211 2.2).
            Err(NoReply::Partial) => Look::Ask(Some(entry.clone()), Forward::Partial),
        }
    }

    /// Looks once more, now that nobody else fetches it: a fetch may have ended between the look at the store and the
    /// one at the flights, and what it stored must not be asked for again.
    pub(super) async fn stored_meanwhile(
        self: &Arc<Self>,
        exchange: &mut Exchange,
        asking: &Asking<'_>,
        pilot: &Pilot<Landing>,
    ) -> Option<Reply> {
        if asking.guard.is_some() || asking.gap.is_some() {
            return None;
        }
        let resource = self.cache.lookup_again(&asking.parts(), asking.digest, asking.resource.as_ref())?;
        let (head, policy) = (&asking.inbound.head, &asking.policy);
        let entry = vary::select(&resource.variants, &head.headers, self.cache.secret(), exchange.at)?;
        let rules = &asking.to.route.cache.rules;
        // By the clock of now: it is younger than this request.
        let now = self.clock.now();
        let Reuse::Fresh { age, ttl } = policy::reuse(policy, &entry.head, entry.soft_purged, rules, now)
        else {
            return None;
        };
        let detail = entry.head.freshness.source.detail();
        let status = CacheStatus { hit: true, ttl: Some(ttl), detail, ..CacheStatus::default() };
        let reply = self.stored_reply(head, entry, age, status).await.ok()?;
        exchange.is_of(entry);
        // For those who have joined since.
        pilot.close();
        pilot.land(Landing::Freshened(entry.clone()));
        exchange.found(&entry.head);
        exchange.cache = CacheOutcome::Hit;
        exchange.forward = None;
        Some(reply)
    }

    /// Counts a hit; whether the entry is hot and so near the end of its life that it is to be fetched anew.
    fn is_due(&self, prefetch: &Prefetch, digest: Digest, entry: &Entry, ttl: i64) -> bool {
        let born = entry.head.response_time;
        let due = self.heat.hit(digest, born) >= prefetch.hits && prefetch.is_due(&entry.head.freshness, ttl);
        if due {
            self.heat.cool(digest, born);
        }
        due
    }
}

/// Whether what could have the origin take a request for another is in the key.
fn reroutes_by_key(route: &Route, headers: &HeaderMap) -> bool {
    REROUTING.iter().all(|name| {
        !headers.contains_key(*name) || route.key_fields.iter().any(|field| field.as_str() == *name)
    })
}
