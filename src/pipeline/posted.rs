//! Replies to POST: written through, and stored for later GETs where the origin says that they are what a GET would
//! bring (RFC 9110 9.3.3). No POST is answered from them.

use std::sync::Arc;

use http::{HeaderMap, Method};
use tokio::sync::oneshot;

use super::error::Failure;
use super::exchange::Exchange;
use super::fetch::Brought;
use super::flight::{Direct, Fetch, Landing, Shared, Streaming};
use super::inbound::Inbound;
use super::key::{Facts, Keyed};
use super::reply::Source;
use super::respond::Reply;
use super::site::{Route, Routed};
use super::{Proxy, pass};
use crate::cache::flight::{FlightKey, Ticket};
use crate::cache::policy::{self, RequestPolicy, Storable};
use crate::cache::spool::SpoolReader;
use crate::cache::store::NewEntry;
use crate::http::cache_status::{CacheStatus, Forward};

impl Proxy {
    /// Passes a POST on; its reply is stored as it streams, where it may be.
    pub(super) async fn posted(
        self: &Arc<Self>,
        to: &Routed<'_>,
        exchange: &mut Exchange,
        inbound: Box<Inbound>,
        request: RequestPolicy,
    ) -> Result<Reply, Failure> {
        let Routed { route, target, .. } = *to;
        let client_headers = inbound.head.headers.clone();
        let brought = self.write_through(to, exchange, inbound, Forward::Method).await?;
        let uri = (target.scheme().as_str(), target.authority(), target.path_and_query().as_str());
        let verdict = policy::storable_post(&request, uri, &brought.response_head(), &route.cache.rules);
        let Storable::Store(plan) = verdict else {
            return Ok(self.direct_reply(route, exchange, brought, CacheStatus::default()));
        };
        let fetch = self.as_fetch(to, client_headers, request);
        match fetch.plan(&brought, &plan) {
            Ok(entry) => self.store_posted(route, exchange, brought, fetch, entry).await,
            Err(reason) => {
                self.telemetry.cache_skip(reason.as_str());
                let status = CacheStatus { detail: Some(reason.as_str()), ..CacheStatus::default() };
                Ok(self.direct_reply(route, exchange, brought, status))
            }
        }
    }

    /// What the fetch of a GET would be, for the reply that has come.
    fn as_fetch(&self, to: &Routed<'_>, client_headers: HeaderMap, request: RequestPolicy) -> Fetch {
        let Routed { site, route, target } = *to;
        let as_get =
            Facts { method: &Method::GET, headers: &client_headers, body: None, user: None, slice: None };
        Fetch {
            cache: self.cache.clone(),
            telemetry: self.telemetry.clone(),
            clock: self.clock.clone(),
            route: route.clone(),
            limits: site.limits_of(route),
            key: Keyed::of(route, target, as_get, self.cache.secret())
                .parts(&client_headers)
                .to_stored(self.cache.secret()),
            client_headers,
            request,
            unconditional: HeaderMap::new(),
            validating: None,
            resource: None,
            gap: None,
            stale: None,
            // The POST has ended what was stored for its URI (RFC 9111 4.4) before its own reply is: only what is purged
            // from here on ends that.
            sequence: self.cache.sequence(),
            names: pass::names(site, target),
            wanted: false,
            again: None,
        }
    }

    /// Has the reply stored while it streams to its one client.
    async fn store_posted(
        &self,
        route: &Route,
        exchange: &mut Exchange,
        brought: Brought,
        fetch: Fetch,
        (entry, length): (NewEntry, Option<u64>),
    ) -> Result<Reply, Failure> {
        let status = brought.status();
        let flight = FlightKey { digest: entry.key.digest(), variant: None };
        let (ticket, pilot) = self.flights.alone(flight, fetch.sequence);
        let (tell, told) = oneshot::channel();
        tokio::spawn(
            async move { fetch.stream(Box::new(brought), (entry, length), false, pilot, tell).await },
        );
        // It ends without a word only if the instance is shutting down.
        let Ok(Direct::Streaming { streaming, reader, headers, asked }) = told.await else {
            return Err(Failure::Internal);
        };
        exchange.asked = Some(asked);
        exchange.is_of_streaming(&streaming);
        let source = shared(&streaming, reader, ticket).ok_or(Failure::Internal)?;
        Ok(Reply {
            status,
            headers,
            source,
            cache_status: CacheStatus { forward: exchange.forward, stored: true, ..CacheStatus::default() },
            deadline: pass::deadline(route, exchange),
        })
    }
}

fn shared(streaming: &Streaming, reader: Option<SpoolReader>, ticket: Ticket<Landing>) -> Option<Source> {
    let reader = reader.or_else(|| streaming.body.reader(0).ok())?;
    Some(Source::Shared(Box::new(Shared::new(reader, streaming.length, ticket))))
}
