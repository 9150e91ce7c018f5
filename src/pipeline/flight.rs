//! Fetches that are shared: one task per fetch, which judges the reply's head, lands the flight and pumps the body
//! into the store while everyone reads along.

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::RANGE;
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::oneshot;

use super::exchange::Asked;
use super::fetch::{self, Began, Brought};
use super::forward::ClientNames;
use super::guard::Again;
use super::site::Route;
use super::upkeep::{Keeper, Validated};
use crate::cache::Cache;
use crate::cache::entry::{Entry, EntryHead, Part, VaryKey};
use crate::cache::flight::{Pilot, Ticket};
use crate::cache::key::{self, StoredKey};
use crate::cache::leak::Sight;
use crate::cache::policy::{self, Plan, RequestPolicy, ResponseHead, Storable, partial};
use crate::cache::spool::{Spool, SpoolError, SpoolHandle, SpoolReader, SpooledBody};
use crate::cache::store::{EntryId, NewEntry, Resource};
use crate::telemetry::Telemetry;
use crate::upstream::{FetchError, FetchRequest, UpstreamBody};

/// How a flight came down, for everyone aboard.
#[derive(Clone, Debug)]
pub(super) enum Landing {
    /// A reply that may be shared, and is being stored as it streams.
    Streaming(Arc<Streaming>),
    /// The origin said 304: this entry holds.
    Freshened(Arc<Entry>),
    /// No reply came: who has a stale entry may use it.
    Failed(Arc<FetchError>),
    /// The origin said that it fails, and not for all: who has a stale entry may use it.
    Erred(StatusCode),
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
    /// Which part of the representation it is; `None`: all of it.
    pub(super) part: Option<Part>,
    /// It is what was missing of stored parts, and nobody's own range.
    pub(super) completes: bool,
    /// What is stored of it, on a route that may store it in other codings too.
    pub(super) new: Option<Box<NewEntry>>,
}

impl Streaming {
    /// Which bytes of the representation a part has.
    pub(super) fn bytes(&self) -> Option<Range<u64>> {
        let first = self.part?.first;
        Some(first..first.checked_add(self.length?)?)
    }
}

/// What the leader alone gets.
#[derive(Debug)]
pub(super) enum Direct {
    /// The reply may be shared and is being stored: its fields as the origin sent them, since some may be kept out
    /// of the store, and a reader that sits at its beginning, so that nothing is let go of before it was read.
    Streaming { streaming: Arc<Streaming>, reader: Option<SpoolReader>, headers: HeaderMap, asked: Asked },
    /// The origin said 304.
    Freshened { validated: Validated, asked: Asked },
    /// A reply that is not shared, and why it is not stored.
    Reply(Box<Brought>, policy::SkipReason),
    /// No reply.
    Failed(Arc<FetchError>),
}

/// One reader of a shared reply, or of a part of it.
#[derive(Debug)]
pub(super) struct Shared {
    reader: SpoolReader,
    /// Bytes still to come, where that is known.
    left: Option<u64>,
    ended: bool,
    /// Keeps the fetch alive as long as someone reads.
    ticket: Ticket<Landing>,
}

impl Shared {
    /// Reads on with `reader`: `length` bytes, or to the end.
    pub(super) fn new(reader: SpoolReader, length: Option<u64>, ticket: Ticket<Landing>) -> Self {
        Self { reader, left: length, ended: false, ticket }
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

    /// What is read is stored to its end, however soon this reader goes.
    pub(super) fn detach(&self) {
        self.ticket.detach();
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
    /// All that was stored for the key.
    pub(super) resource: Option<Arc<Resource>>,
    /// What is missing of a stored part, and that part, where only that is asked for.
    pub(super) gap: Option<(Range<u64>, Arc<Entry>)>,
    /// The stored entry that is too old for the request: a failing origin does not end it.
    pub(super) stale: Option<Arc<Entry>>,
    /// The purge sequence when the fetch began.
    pub(super) sequence: u64,
    /// What a `Location` is mapped back to.
    pub(super) names: ClientNames,
    /// It is warmed: stored even where nobody asked for it before.
    pub(super) wanted: bool,
    /// On a guarded route: who asks, and how to ask once more.
    pub(super) again: Option<Box<Again>>,
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
                let error = Arc::new(error);
                pilot.close();
                pilot.land(Landing::Failed(error.clone()));
                let _ = leader.send(Direct::Failed(error));
            }
            Ok(Outcome::Freshened(validated, asked)) => {
                pilot.close();
                pilot.land(match validated.kept {
                    true => Landing::Freshened(validated.entry.clone()),
                    false => Landing::Own,
                });
                let _ = leader.send(Direct::Freshened { validated, asked });
            }
            Ok(Outcome::Brought(brought, completes)) => self.judge(brought, completes, pilot, leader).await,
        }
    }

    /// Asks the origin; a 304 that freshens nothing (its entry is gone), or a part that does not fit into the gap that it was
    /// asked for, is followed by a plain request.
    async fn ask(&self, request: FetchRequest) -> Result<Outcome, FetchError> {
        let again = (self.validating.is_some() || self.gap.is_some()).then(|| FetchRequest {
            headers: self.unconditional.clone(),
            client_host: request.client_host.clone(),
            deadline: request.deadline,
            ..FetchRequest::new(request.method.clone(), request.target.clone())
        });
        let brought = self.fetch(request).await?;
        if let Some((gap, entry)) = &self.gap {
            return self.fill(gap, entry, brought, again).await;
        }
        let Some(resource) =
            self.validating.as_ref().filter(|_| brought.status() == StatusCode::NOT_MODIFIED)
        else {
            return Ok(Outcome::Brought(brought, false));
        };
        let keeper = Keeper {
            cache: &self.cache,
            telemetry: &self.telemetry,
            settings: &self.route.cache,
            names: &self.names,
            request: &self.request,
            client: &self.client_headers,
            keep: self.limits.keep,
            sequence: self.sequence,
        };
        match (keeper.freshen(resource, &brought), again) {
            (Some(validated), _) => Ok(Outcome::Freshened(validated, brought.asked)),
            (None, Some(again)) => self.fetch(again).await.map(|brought| Outcome::Brought(brought, false)),
            (None, None) => Ok(Outcome::Brought(brought, false)),
        }
    }

    /// What came of asking for a gap: what fills it, a whole in its place, or neither.
    async fn fill(
        &self,
        gap: &Range<u64>,
        entry: &Entry,
        brought: Box<Brought>,
        again: Option<FetchRequest>,
    ) -> Result<Outcome, FetchError> {
        let fills =
            || partial::fills(gap, entry, &brought.response_head()) && self.plan_part(&brought, true).is_ok();
        match (brought.status(), again) {
            (StatusCode::PARTIAL_CONTENT, _) if fills() => Ok(Outcome::Brought(brought, true)),
            // Neither is an answer to what the client asked.
            (StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE, Some(again)) => {
                self.fetch(again).await.map(|brought| Outcome::Brought(brought, false))
            }
            _ => Ok(Outcome::Brought(brought, false)),
        }
    }

    pub(super) async fn fetch(&self, request: FetchRequest) -> Result<Box<Brought>, FetchError> {
        let began = Began::now(&self.clock);
        fetch::bring(&self.route, request, began, &self.clock, &self.telemetry, &self.names)
            .await
            .map(Box::new)
    }

    /// Decides whether a reply is stored and shared, lands the flight, and pumps the body.
    async fn judge(
        &self,
        brought: Box<Brought>,
        completes: bool,
        pilot: Pilot<Landing>,
        leader: oneshot::Sender<Direct>,
    ) {
        let status = brought.status();
        let stored = match status {
            StatusCode::PARTIAL_CONTENT => self.plan_part(&brought, completes),
            _ => self.plan_whole(&brought),
        };
        let (entry, length) = match stored {
            Ok(entry) => entry,
            Err(reason) => {
                self.telemetry.cache_skip(reason.as_str());
                pilot.close();
                pilot.land(if status.is_server_error() { Landing::Erred(status) } else { Landing::Own });
                let _ = leader.send(Direct::Reply(brought, reason));
                self.compare_head(status).await;
                return;
            }
        };
        if entry.part.is_some() && !completes && self.gap.is_some() {
            // The leader's own range after all, which others of this flight need not have asked for.
            pilot.close();
            pilot.land(Landing::Own);
        }
        self.stream(brought, (entry, length), completes, pilot, leader).await;
    }

    /// Lands the flight with a reply that is stored as it streams, and pumps its body.
    pub(super) async fn stream(
        &self,
        brought: Box<Brought>,
        (entry, length): (NewEntry, Option<u64>),
        completes: bool,
        pilot: Pilot<Landing>,
        leader: oneshot::Sender<Direct>,
    ) {
        let spool = self.cache.spool(length, Some(&entry).filter(|_| self.resource.is_none()));
        let streaming = Arc::new(Streaming {
            head: entry.head.clone(),
            vary: entry.vary.clone(),
            body: spool.handle(),
            length,
            part: entry.part,
            completes,
            new: self.is_codable(&entry).then(|| Box::new(entry.clone())),
        });
        let reader = streaming.body.reader(0).ok();
        pilot.land(Landing::Streaming(streaming.clone()));
        let Brought { head, body, asked, .. } = *brought;
        let _ = leader.send(Direct::Streaming { streaming, reader, headers: head.headers, asked });
        let whole = |body: &SpooledBody| entry.part.is_none() || Some(body.len()) == length;
        let Some(body) = self.pump(Box::into_pin(body), spool, &pilot).await.filter(whole) else { return };
        let id = EntryId::new(entry.key.digest(), &entry.vary);
        if self.compares() {
            let sight =
                body.hash().map(|hash| Sight::new(id.variant, entry.head.status.as_u16(), Some(hash)));
            if let Some(sight) = sight.filter(|_| entry.part.is_none()) {
                self.compare(sight).await;
            }
        } else {
            self.store(id, entry, body);
        }
    }

    /// Whether what comes may be stored in other codings too.
    fn is_codable(&self, entry: &NewEntry) -> bool {
        self.route.settings.compress.is_some() && entry.part.is_none() && !self.compares()
    }

    /// Whether what is stored may still stand in for a reply that says that the origin fails.
    fn is_outlived(&self, status: StatusCode) -> bool {
        let (rules, now) = (&self.route.cache.rules, self.clock.now());
        status.is_server_error()
            && self
                .stale
                .as_ref()
                .is_some_and(|stale| policy::outlives(&stale.head, stale.soft_purged, rules, status, now))
    }

    /// The entry to be, with its body's length where that is known; or why there will be none.
    pub(super) fn plan_whole(&self, brought: &Brought) -> Planned {
        let response = brought.response_head();
        let slice = self.key.fields.last().is_some_and(|(name, _)| &**name == key::Part::SLICE);
        if slice && response.status == StatusCode::OK {
            // The origin serves no ranges: it is asked for the whole, under the whole's own key.
            return Err(policy::SkipReason::Partial);
        }
        match policy::storable(&self.request, &response, &self.route.cache.rules) {
            Storable::Store(_) if self.is_outlived(brought.status()) => Err(policy::SkipReason::ServerError),
            Storable::Store(plan) => self.plan(brought, &plan),
            Storable::Skip(reason) => Err(reason),
        }
    }

    /// The same for a reply of which it is known how it is to be stored.
    pub(super) fn plan(&self, brought: &Brought, plan: &Plan) -> Planned {
        let response = brought.response_head();
        self.entry(&response, plan.entry_head(&response), None, brought.length())
    }

    /// The same for a 206. Where parts of the same representation are stored, theirs are updated fields (RFC 9111 3.4).
    fn plan_part(&self, brought: &Brought, completes: bool) -> Planned {
        let response = brought.response_head();
        let asked = completes || self.unconditional.contains_key(RANGE);
        let range = partial::content_range(response.status, response.headers).filter(|_| asked);
        let range = range.ok_or(policy::SkipReason::Partial)?;
        if brought.length().is_some_and(|length| length != range.range.len()) {
            return Err(policy::SkipReason::Partial);
        }
        let variants = self.resource.iter().flat_map(|resource| &resource.variants);
        let stored = variants.filter(|entry| entry.part.is_some()).find(|entry| {
            policy::vary::matches(&entry.vary, &self.client_headers, self.cache.secret())
                && partial::is_same(&entry.head.headers, response.headers)
        });
        let stored = stored.map(|entry| &entry.head);
        let head = partial::part_head(&self.request, &response, stored, &self.route.cache.rules)?;
        self.entry(&response, head, Some(range.into()), Some(range.range.len()))
    }

    fn entry(
        &self,
        response: &ResponseHead<'_>,
        head: EntryHead,
        part: Option<Part>,
        length: Option<u64>,
    ) -> Planned {
        if length.is_some_and(|length| length > self.limits.max_body) {
            return Err(policy::SkipReason::TooLarge);
        }
        // A part's own fields may leave out what the others' say.
        let fields = if part.is_some() { &head.headers } else { response.headers };
        let vary = policy::vary::vary_key(&self.client_headers, fields, self.cache.secret())
            .ok_or(policy::SkipReason::VaryStar)?;
        let entry = NewEntry {
            key: self.key.clone(),
            vary,
            part,
            keep_until: policy::store::keep_until(&head, self.limits.keep),
            tags: super::tags::tags(fields, &self.route.cache, &self.names),
            route: self.route.name.as_ref().into(),
            sequence: self.sequence,
            wanted: self.wanted,
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
                        let is_last = body.is_end_stream();
                        if is_last && spool.is_storable() {
                            // Who has read it all goes, and who comes before it is stored still finds it here.
                            pilot.detach();
                        }
                        spool.append(data).await;
                        if is_last {
                            break;
                        }
                    }
                    Err(frame) => trailers = frame.into_trailers().ok(),
                },
            }
        }
        let storable = spool.is_storable();
        if storable {
            pilot.detach();
        }
        let body = spool.finish(trailers).await;
        storable.then_some(body)
    }
}

/// What asking the origin came to.
enum Outcome {
    Freshened(Validated, Asked),
    /// A reply, and whether it is what was missing of a stored part.
    Brought(Box<Brought>, bool),
}

/// An entry to be, with its body's length where that is known; or why there will be none.
type Planned = Result<(NewEntry, Option<u64>), policy::SkipReason>;

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
