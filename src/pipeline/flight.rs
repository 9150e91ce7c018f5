//! Fetches that are shared: one task per fetch, which judges the reply's head, lands the flight and pumps the body
//! into the store while everyone reads along.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::VARY;
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::oneshot;

use super::exchange::Asked;
use super::fetch::{self, Brought};
use super::forward::ClientNames;
use super::site::Route;
use crate::cache::Cache;
use crate::cache::entry::{Entry, EntryHead, VaryKey};
use crate::cache::flight::{Pilot, Ticket};
use crate::cache::key::StoredKey;
use crate::cache::policy::validate::Upkeep;
use crate::cache::policy::{self, Plan, RequestPolicy, ResponseHead, Storable};
use crate::cache::spool::{Spool, SpoolError, SpoolHandle, SpoolReader, SpooledBody};
use crate::cache::store::{Freshened, NewEntry, Resource};
use crate::telemetry::Telemetry;
use crate::upstream::{FetchError, FetchRequest, UpstreamBody};

/// How a flight came down, for everyone aboard.
#[derive(Clone, Debug)]
pub(super) enum Landing {
    /// A reply that may be shared, and is being stored as it streams.
    Streaming(Arc<Streaming>),
    /// The origin said 304: this entry holds.
    Freshened(Arc<Entry>),
    /// The origin failed: who has a stale entry may use it.
    Failed(policy::Failure),
    /// The reply is for the leader alone: each must fetch its own.
    Own,
}

/// A reply that is being stored while it streams.
#[derive(Debug)]
pub(super) struct Streaming {
    pub(super) head: EntryHead,
    pub(super) vary: VaryKey,
    pub(super) body: SpoolHandle,
    /// The body's length, where the head tells.
    pub(super) length: Option<u64>,
}

/// What the leader alone gets.
#[derive(Debug)]
pub(super) enum Direct {
    /// The reply may be shared and is being stored: its fields as the origin sent them, since some may be kept out
    /// of the store.
    Streaming { headers: HeaderMap, asked: Asked },
    /// The origin said 304.
    Freshened { entry: Arc<Entry>, asked: Asked },
    /// A reply that is not shared, and why it is not stored.
    Reply(Box<Brought>, policy::SkipReason),
    /// No reply.
    Failed(FetchError),
}

/// One reader of a shared reply.
#[derive(Debug)]
pub(super) struct Shared {
    reader: SpoolReader,
    length: Option<u64>,
    trailers_due: bool,
    /// Keeps the fetch alive as long as someone reads.
    _ticket: Ticket<Landing>,
}

impl Shared {
    /// A reader from the start of the body.
    pub(super) fn new(streaming: &Streaming, ticket: Ticket<Landing>) -> Result<Self, SpoolError> {
        let reader = streaming.body.reader(0)?;
        Ok(Self { reader, length: streaming.length, trailers_due: true, _ticket: ticket })
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, SpoolError>>> {
        let next = ready!(self.reader.poll_next(cx));
        if next.is_none() && std::mem::take(&mut self.trailers_due) {
            return Poll::Ready(self.reader.trailers().map(|trailers| Ok(Frame::trailers(trailers))));
        }
        Poll::Ready(next.map(|bytes| bytes.map(Frame::data)))
    }

    /// Nothing more will come.
    pub(super) fn is_end(&self) -> bool {
        !self.trailers_due || self.length.is_some_and(|length| self.reader.position() >= length)
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let left = self.length.map(|length| length.saturating_sub(self.reader.position()));
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// A fetch that is to be shared and stored.
pub(super) struct Fetch {
    pub(super) cache: Arc<Cache>,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) clock: crate::clock::Clock,
    pub(super) route: Arc<Route>,
    pub(super) limits: Limits,
    pub(super) key: StoredKey,
    /// The request's fields as the client sent them: what the reply varies on.
    pub(super) client_headers: HeaderMap,
    pub(super) request: RequestPolicy,
    /// What is asked if the conditional request cannot be used after all.
    pub(super) unconditional: HeaderMap,
    /// What is stored and being validated; `None`: a plain fetch.
    pub(super) validating: Option<Arc<Resource>>,
    /// The purge sequence when the fetch began.
    pub(super) sequence: u64,
    /// What a `Location` is mapped back to.
    pub(super) names: ClientNames,
}

/// Limits of the store that a fetch has to know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The largest body that is stored.
    pub(super) max_body: u64,
    /// How long what can be validated is kept past its freshness.
    pub(super) keep: std::time::Duration,
}

impl Fetch {
    /// Runs the fetch to its end; spawned, so that it belongs to no client's connection.
    pub(super) async fn run(
        self,
        request: FetchRequest,
        pilot: Pilot<Landing>,
        leader: oneshot::Sender<Direct>,
    ) {
        let brought = tokio::select! {
            biased;
            () = pilot.abandoned() => return,
            brought = self.ask(request) => brought,
        };
        match brought {
            Err(error) => {
                pilot.close();
                pilot.land(Landing::Failed(policy::Failure::Disconnected));
                let _ = leader.send(Direct::Failed(error));
            }
            Ok(Outcome::Freshened(entry, asked)) => {
                pilot.close();
                pilot.land(Landing::Freshened(entry.clone()));
                let _ = leader.send(Direct::Freshened { entry, asked });
            }
            Ok(Outcome::Brought(brought)) => self.judge(brought, pilot, leader).await,
        }
    }

    /// Asks the origin; a 304 that freshens nothing (its entry is gone) is followed by a plain request.
    async fn ask(&self, request: FetchRequest) -> Result<Outcome, FetchError> {
        let again = self.validating.is_some().then(|| FetchRequest {
            headers: self.unconditional.clone(),
            client_host: request.client_host.clone(),
            deadline: request.deadline,
            ..FetchRequest::new(request.method.clone(), request.target.clone())
        });
        let brought = self.fetch(request).await?;
        let Some(resource) =
            self.validating.as_ref().filter(|_| brought.status() == StatusCode::NOT_MODIFIED)
        else {
            return Ok(Outcome::Brought(brought));
        };
        match (self.freshen(resource, &brought), again) {
            (Some(entry), _) => Ok(Outcome::Freshened(entry, brought.asked)),
            (None, Some(again)) => self.fetch(again).await.map(Outcome::Brought),
            (None, None) => Ok(Outcome::Brought(brought)),
        }
    }

    async fn fetch(&self, request: FetchRequest) -> Result<Box<Brought>, FetchError> {
        fetch::bring(&self.route, request, &self.clock, &self.telemetry, &self.names).await.map(Box::new)
    }

    /// Merges a 304 into what is stored (RFC 9111 4.3.4); the first entry freshened is the one to send.
    fn freshen(&self, resource: &Resource, brought: &Brought) -> Option<Arc<Entry>> {
        let update = brought.response_head();
        let heads: Vec<&EntryHead> = resource.variants.iter().map(|entry| &entry.head).collect();
        let mut answer = None;
        for position in policy::validate::select_freshened(&heads, update.headers) {
            let stored = &resource.variants[position];
            let update =
                policy::validate::freshen(&stored.head, &self.request, &update, &self.route.cache.rules);
            answer = answer.or(self.keep_up(resource, stored, update));
        }
        answer
    }

    /// Does with a validated entry what the policy says; the entry to answer from, if it is still there.
    fn keep_up(
        &self,
        resource: &Resource,
        stored: &Arc<Entry>,
        update: policy::validate::Freshened,
    ) -> Option<Arc<Entry>> {
        let head = update.head;
        let varies = |headers: &HeaderMap| headers.get_all(VARY).iter().cloned().collect::<Vec<_>>();
        match update.upkeep {
            // It is now selected by other fields, which the request that stored it may have had differently.
            Upkeep::Replace if varies(&head.headers) != varies(&stored.head.headers) => {
                self.cache.remove(resource.digest, &stored.vary);
            }
            Upkeep::Replace => {
                let keep_until = policy::store::keep_until(&head, self.limits.keep);
                let with = Freshened { head, keep_until, sequence: self.sequence };
                return self.cache.freshen(resource.digest, &stored.vary, with);
            }
            Upkeep::Leave(reason) => self.telemetry.cache_skip(reason.as_str()),
            Upkeep::Remove(reason) => {
                self.telemetry.cache_skip(reason.as_str());
                self.cache.remove(resource.digest, &stored.vary);
            }
        }
        Some(Arc::new(Entry { head, ..(**stored).clone() }))
    }

    /// Decides whether a reply is stored and shared, lands the flight, and pumps the body.
    async fn judge(&self, brought: Box<Brought>, pilot: Pilot<Landing>, leader: oneshot::Sender<Direct>) {
        let status = brought.status();
        let stored = match policy::storable(&self.request, &brought.response_head(), &self.route.cache.rules)
        {
            Storable::Store(plan) => self.plan(&brought, plan),
            Storable::Skip(reason) => Err(reason),
        };
        let (entry, length) = match stored {
            Ok(entry) => entry,
            Err(reason) => {
                self.telemetry.cache_skip(reason.as_str());
                pilot.close();
                pilot.land(if status.is_server_error() {
                    Landing::Failed(policy::Failure::Status(status))
                } else {
                    Landing::Own
                });
                let _ = leader.send(Direct::Reply(brought, reason));
                return;
            }
        };
        let spool = self.cache.spool(length);
        pilot.land(Landing::Streaming(Arc::new(Streaming {
            head: entry.head.clone(),
            vary: entry.vary.clone(),
            body: spool.handle(),
            length,
        })));
        let Brought { head, body, asked, .. } = *brought;
        let _ = leader.send(Direct::Streaming { headers: head.headers, asked });
        if let Some(body) = self.pump(Box::into_pin(body), spool, &pilot).await {
            self.cache.insert(entry, body);
        }
    }

    /// The entry to be, with its body's length where that is known; or why there will be none.
    fn plan(&self, brought: &Brought, plan: Plan) -> Result<(NewEntry, Option<u64>), policy::SkipReason> {
        let response = brought.response_head();
        let length = brought.length();
        if length.is_some_and(|length| length > self.limits.max_body) {
            return Err(policy::SkipReason::TooLarge);
        }
        let vary = policy::vary::vary_key(&self.client_headers, response.headers, self.cache.secret())
            .ok_or(policy::SkipReason::VaryStar)?;
        let head = plan.entry_head(&response);
        let entry = NewEntry {
            key: self.key.clone(),
            vary,
            keep_until: policy::store::keep_until(&head, self.limits.keep),
            tags: super::tags::tags(response.headers, &self.route.cache),
            route: self.route.name.as_ref().into(),
            sequence: self.sequence,
            head,
        };
        Ok((entry, length))
    }

    /// Moves the body into the spool at its fastest reader's pace; `None` when it broke off, grew too large to be
    /// stored, or nobody wants it any more.
    async fn pump(
        &self,
        mut body: Pin<Box<UpstreamBody>>,
        mut spool: Spool,
        pilot: &Pilot<Landing>,
    ) -> Option<SpooledBody> {
        let mut trailers = None;
        loop {
            tokio::select! {
                biased;
                () = spool.demand() => {}
                () = pilot.abandoned() => return None,
            }
            let frame = tokio::select! {
                biased;
                frame = body.frame() => frame,
                () = pilot.abandoned() => return None,
            };
            match frame {
                None => break,
                Some(Err(error)) => {
                    tracing::debug!(%error, route = %self.route.name, "a shared fetch broke off");
                    return None;
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        if spool.is_storable() && spool.len() + data.len() as u64 > self.limits.max_body {
                            self.telemetry.cache_skip(policy::SkipReason::TooLarge.as_str());
                            // Nobody joins a reply that will not be stored.
                            pilot.close();
                            spool.discard();
                        }
                        spool.append(data).await;
                        // The last bytes and the entry appear together, so that who has read them finds it.
                        if body.is_end_stream() {
                            break;
                        }
                    }
                    Err(frame) => trailers = frame.into_trailers().ok(),
                },
            }
        }
        let storable = spool.is_storable();
        let body = spool.finish(trailers).await;
        storable.then_some(body)
    }
}

/// What asking the origin came to.
enum Outcome {
    Freshened(Arc<Entry>, Asked),
    Brought(Box<Brought>),
}

impl Brought {
    /// The head as the policy reads it.
    pub(super) fn response_head(&self) -> ResponseHead<'_> {
        ResponseHead {
            status: self.status(),
            headers: &self.head.headers,
            request_time: self.request_time,
            response_time: self.response_time,
        }
    }

    /// The body's length, where the head or the framing tells.
    fn length(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }
}
