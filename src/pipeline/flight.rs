//! Fetches that are shared: one task per fetch, which judges the reply's head, lands the flight and pumps the body
//! into the store while everyone reads along.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::oneshot;

use super::exchange::Asked;
use super::fetch::{self, Brought};
use super::forward::ClientNames;
use super::site::Route;
use super::upkeep::Keeper;
use crate::cache::Cache;
use crate::cache::entry::{Entry, EntryHead, VaryKey};
use crate::cache::flight::{Pilot, Ticket};
use crate::cache::key::StoredKey;
use crate::cache::policy::{self, Plan, RequestPolicy, ResponseHead, Storable};
use crate::cache::spool::{Spool, SpoolError, SpoolHandle, SpoolReader, SpooledBody};
use crate::cache::store::{NewEntry, Resource};
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
    /// of the store, and a reader that sits at its beginning, so that nothing is let go of before it was read.
    Streaming { streaming: Arc<Streaming>, reader: Option<SpoolReader>, headers: HeaderMap, asked: Asked },
    /// The origin said 304.
    Freshened { entry: Arc<Entry>, asked: Asked },
    /// A reply that is not shared, and why it is not stored.
    Reply(Box<Brought>, policy::SkipReason),
    /// No reply.
    Failed(FetchError),
}

/// One reader of a shared reply, or of a part of it.
#[derive(Debug)]
pub(super) struct Shared {
    reader: SpoolReader,
    /// Bytes still to come, where that is known.
    left: Option<u64>,
    ended: bool,
    /// Keeps the fetch alive as long as someone reads.
    _ticket: Ticket<Landing>,
}

impl Shared {
    /// Reads on with `reader`: `length` bytes, or to the end.
    pub(super) fn new(reader: SpoolReader, length: Option<u64>, ticket: Ticket<Landing>) -> Self {
        Self { reader, left: length, ended: false, _ticket: ticket }
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, SpoolError>>> {
        if self.is_end() {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(self.reader.poll_next(cx)) {
            Some(Ok(bytes)) => Some(Ok(Frame::data(self.take(bytes)))),
            Some(Err(error)) => Some(Err(error)),
            // Fewer than were promised: it must not look whole.
            None if self.left.is_some() => Some(Err(SpoolError::Aborted)),
            None => {
                self.ended = true;
                self.reader.trailers().map(|trailers| Ok(Frame::trailers(trailers)))
            }
        })
    }

    fn take(&mut self, mut bytes: Bytes) -> Bytes {
        if let Some(left) = &mut self.left {
            // What does not fit a usize is more than any chunk has.
            bytes.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= bytes.len() as u64;
        }
        bytes
    }

    /// Nothing more will come.
    pub(super) fn is_end(&self) -> bool {
        self.ended || self.left == Some(0)
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
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
        let keeper = Keeper {
            cache: &self.cache,
            telemetry: &self.telemetry,
            rules: &self.route.cache.rules,
            request: &self.request,
            keep: self.limits.keep,
            sequence: self.sequence,
        };
        match (keeper.freshen(resource, &brought), again) {
            (Some(entry), _) => Ok(Outcome::Freshened(entry, brought.asked)),
            (None, Some(again)) => self.fetch(again).await.map(Outcome::Brought),
            (None, None) => Ok(Outcome::Brought(brought)),
        }
    }

    async fn fetch(&self, request: FetchRequest) -> Result<Box<Brought>, FetchError> {
        fetch::bring(&self.route, request, &self.clock, &self.telemetry, &self.names).await.map(Box::new)
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
        self.stream(brought, entry, length, pilot, leader).await;
    }

    /// Lands the flight with a reply that is stored as it streams, and pumps its body.
    pub(super) async fn stream(
        &self,
        brought: Box<Brought>,
        entry: NewEntry,
        length: Option<u64>,
        pilot: Pilot<Landing>,
        leader: oneshot::Sender<Direct>,
    ) {
        let spool = self.cache.spool(length);
        let streaming = Arc::new(Streaming {
            head: entry.head.clone(),
            vary: entry.vary.clone(),
            body: spool.handle(),
            length,
        });
        let reader = streaming.body.reader(0).ok();
        pilot.land(Landing::Streaming(streaming.clone()));
        let Brought { head, body, asked, .. } = *brought;
        let _ = leader.send(Direct::Streaming { streaming, reader, headers: head.headers, asked });
        if let Some(body) = self.pump(Box::into_pin(body), spool, &pilot).await {
            self.cache.insert(entry, body);
        }
    }

    /// The entry to be, with its body's length where that is known; or why there will be none.
    pub(super) fn plan(
        &self,
        brought: &Brought,
        plan: Plan,
    ) -> Result<(NewEntry, Option<u64>), policy::SkipReason> {
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
            part: None,
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
                            // Nobody joins a reply that will not be stored, and it ends with its last reader.
                            pilot.close();
                            pilot.attach();
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
