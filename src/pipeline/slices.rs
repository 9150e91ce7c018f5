//! Large bodies in slices: aligned ranges that are fetched and stored one by one, each an entry of its own under the key
//! with its number, and joined as they are sent.
//!
//! ```text
//!  client ─▶ sliced ─▶ first slice that is wanted ─▶ length, validator ─▶ the client's conditions and range
//!                        │ each by way of the cache stage          └─▶ Slices: one after the other, one ahead
//! ```
//!
//! All slices must have the strong validator and the length of the first; where one has not, the reply is cut and what is
//! stored for the URL is purged. An origin that does not serve ranges is left to the plain way.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, RANGE, TRAILER};
use http::{HeaderMap, HeaderValue, Method, StatusCode, request};

use super::Proxy;
use super::error::Failure;
use super::exchange::Exchange;
use super::inbound::{Inbound, InboundBody};
use super::parts::ranged;
use super::pass;
use super::pieces::{Piece, Pieces};
use super::reply::{ReplyError, Source};
use super::respond::Reply;
use super::site::{Route, Routed};
use super::stored::unsatisfiable;
use crate::cache::entry::{EntryHead, Freshness, Source as LifetimeSource};
use crate::cache::key::Digest;
use crate::cache::policy::{Answer, RequestPolicy, conditional, partial};
use crate::cache::purge::Criterion;
use crate::clock::Timestamp;
use crate::http::cache_status::CacheStatus;
use crate::http::range::{self, ContentRange, RangeSpec};
use crate::http::target::Target;
use crate::http::{ClientConn, age};
use crate::telemetry::event::RequestId;

/// What `Cache-Status` says of replies that are joined from slices, where nothing else is to be said.
pub const DETAIL: &str = "slice";

/// How long it is remembered that a URL does not come in slices.
const PLAIN_FOR: Duration = Duration::from_secs(60);

/// A request on its way to being answered in slices.
pub(super) type Sliced = Result<Box<Reply>, Box<Inbound>>;

type Slicing = Pin<Box<dyn Future<Output = Result<(Reply, Box<Exchange>), Failure>> + Send>>;

/// How slices of one URL are fetched.
struct Slicer {
    proxy: Arc<Proxy>,
    route: Arc<Route>,
    target: Target,
    /// The client's request without its conditions and range.
    head: request::Parts,
    client: Arc<ClientConn>,
    id: RequestId,
    refresh: bool,
    size: u64,
}

/// What all slices must be parts of.
struct Whole {
    headers: HeaderMap,
    length: u64,
}

/// The bytes of a range, slice by slice.
pub(super) struct Slices {
    slicer: Arc<Slicer>,
    whole: Arc<Whole>,
    /// What is still to be sent.
    want: Range<u64>,
    /// The slice that is being sent, and where its next byte stands.
    now: Option<(Source, u64)>,
    /// The next one.
    ahead: Option<Ahead>,
}

enum Ahead {
    Coming(Slicing),
    There(Box<Result<(Reply, Box<Exchange>), Failure>>),
}

impl Proxy {
    /// Answers from slices, fetched where they are not stored. Gives the request back where its reply does not come in
    /// slices.
    pub(super) async fn sliced(
        self: &Arc<Self>,
        to: &Routed<'_>,
        size: u64,
        digest: Digest,
        exchange: &mut Exchange,
        inbound: Box<Inbound>,
    ) -> Result<Sliced, Failure> {
        let slicer = Arc::new(Slicer::new(self, to, &inbound, exchange, size));
        let first = first_slice(&inbound.head.headers, size);
        let (reply, sub) = slicer.clone().fetch(first).await?;
        exchange.take_over(*sub);
        let status = reply.status;
        if status != StatusCode::PARTIAL_CONTENT && status != StatusCode::OK && status != unsatisfied() {
            return Ok(Ok(Box::new(reply)));
        }
        let Some(whole) = whole_of(&reply, first, size) else {
            // That a slice lies beyond the end says nothing of the others.
            if status != unsatisfied() {
                self.plain.insert(digest, self.clock.now().plus(PLAIN_FOR));
            }
            return Ok(Err(inbound));
        };
        let Some(made) = self.joined(&slicer, Arc::new(whole), &inbound.head, (first, reply)).await else {
            return Ok(Err(inbound));
        };
        Ok(Ok(Box::new(Reply { deadline: pass::deadline(to.route, exchange), ..made })))
    }

    /// Whether a URL is known not to come in slices.
    pub(super) fn is_plain(&self, digest: Digest) -> bool {
        self.plain_until(digest).is_some()
    }

    /// Until when a URL is known not to come in slices.
    pub(super) fn plain_until(&self, digest: Digest) -> Option<Timestamp> {
        self.plain.get(&digest).filter(|until| *until > self.clock.now())
    }

    /// The reply to a request whose representation is known by one slice; `None`: only the origin can say.
    async fn joined(
        &self,
        slicer: &Arc<Slicer>,
        whole: Arc<Whole>,
        client: &request::Parts,
        (number, slice): (u64, Reply),
    ) -> Option<Reply> {
        let length = whole.length;
        let head = head_of(&whole.headers, self.clock.now());
        let mut first = Some((number, slice.source));
        let mut slices = |want: Range<u64>| {
            let now = first.take_if(|(number, _)| *number == want.start / slicer.size);
            let now = now.map(|(number, source)| (source, number * slicer.size));
            let (slicer, whole) = (slicer.clone(), whole.clone());
            vec![Piece::Slices(Box::new(Slices { slicer, whole, want, now, ahead: None }))]
        };
        let (status, mut headers, pieces) =
            match conditional::answer(&client.method, &client.headers, &head, length) {
                Answer::Forward => return None,
                Answer::NotModified => {
                    (StatusCode::NOT_MODIFIED, conditional::not_modified_headers(&head), Vec::new())
                }
                Answer::Unsatisfiable => (unsatisfied(), unsatisfiable(length), Vec::new()),
                Answer::Full => {
                    let mut headers = head.headers.clone();
                    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
                    (StatusCode::OK, headers, slices(0..length))
                }
                Answer::Partial(ranges) => {
                    let pieces = ranges.iter().map(|range| slices(range.first..range.last + 1)).collect();
                    ranged(&head.headers, &ranges, Some(length), pieces)
                }
            };
        headers.remove(TRAILER);
        let pieces = if client.method == Method::HEAD { Vec::new() } else { pieces };
        let source = match pieces.is_empty() {
            true => Source::Empty,
            false => Source::Pieces(Box::new(Pieces::open(&self.cache, pieces).await.ok()?)),
        };
        let told = slice.cache_status;
        let forwarded = told.forward.filter(|_| status != StatusCode::PARTIAL_CONTENT);
        let forward_status = told.forward_status.or(forwarded.map(|_| StatusCode::PARTIAL_CONTENT.as_u16()));
        let cache_status = CacheStatus { forward_status, detail: told.detail.or(Some(DETAIL)), ..told };
        Some(Reply { status, headers, source, cache_status, deadline: None })
    }
}

/// Whether a request is one that slices may answer; its body and what is known of the URL apart.
pub(super) fn takes_slices(method: &Method, request: &RequestPolicy) -> bool {
    matches!(*method, Method::GET | Method::HEAD) && !request.no_store && !request.only_if_cached
}

/// The head that the client's conditions and range are held against: of a 200 with these fields.
pub(super) fn head_of(headers: &HeaderMap, now: Timestamp) -> EntryHead {
    let freshness = Freshness {
        initial_age: age::of(headers).unwrap_or(0),
        lifetime: 0,
        source: LifetimeSource::None,
        stale_while_revalidate: 0,
        stale_if_error: None,
        must_revalidate: false,
        no_cache: false,
    };
    let headers = headers.clone();
    EntryHead { status: StatusCode::OK, headers, request_time: now, response_time: now, freshness }
}

/// The request that asks for one slice.
pub(super) fn slice_request(client: &request::Parts, number: u64, size: u64) -> request::Parts {
    let mut head = client.clone();
    head.method = Method::GET;
    head.headers = pass::without_conditions(&head.headers);
    add_range(&mut head, number, size);
    head
}

fn add_range(head: &mut request::Parts, number: u64, size: u64) {
    let first = number.saturating_mul(size);
    head.headers.insert(RANGE, range::field(first, Some(first.saturating_add(size - 1))));
}

const fn unsatisfied() -> StatusCode {
    StatusCode::RANGE_NOT_SATISFIABLE
}

/// The slice with which to begin: where the first range does, if that is known without the length.
pub(super) fn first_slice(client: &HeaderMap, size: u64) -> u64 {
    let specs = client.get(RANGE).and_then(|value| range::parse(value.as_bytes()));
    match specs.as_deref() {
        Some([RangeSpec::From { first, .. }, ..]) => first / size,
        _ => 0,
    }
}

/// What a slice is a part of; `None` where it is none, or can't be joined with others.
fn whole_of(reply: &Reply, number: u64, size: u64) -> Option<Whole> {
    let ContentRange { range, complete } = partial::content_range(reply.status, &reply.headers)?;
    let length = complete?;
    if !fits(&(range.first..range.last + 1), &reply.headers, number, size, length) {
        return None;
    }
    let mut headers = reply.headers.clone();
    headers.remove(CONTENT_RANGE);
    headers.remove(CONTENT_LENGTH);
    Some(Whole { headers, length })
}

/// Whether bytes are just those of a slice, and can be joined with others.
pub(super) fn fits(bytes: &Range<u64>, headers: &HeaderMap, number: u64, size: u64, length: u64) -> bool {
    let first = number.saturating_mul(size);
    let alone = length <= size;
    bytes.start == first
        && bytes.end == length.min(first.saturating_add(size))
        && (alone || partial::if_range(headers).is_some())
}

/// Whether a slice belongs to the same whole as the one that came first.
pub(super) fn is_of_one_whole(first: (&HeaderMap, u64), other: (&HeaderMap, u64)) -> bool {
    first.1 == other.1 && partial::is_same(other.0, first.0)
}

impl Slicer {
    fn new(proxy: &Arc<Proxy>, to: &Routed<'_>, inbound: &Inbound, exchange: &Exchange, size: u64) -> Self {
        let mut head = inbound.head.clone();
        head.method = Method::GET;
        head.headers = pass::without_conditions(&head.headers);
        Self {
            proxy: proxy.clone(),
            route: to.route.clone(),
            target: to.target.clone(),
            head,
            client: inbound.client.clone(),
            id: exchange.id.clone(),
            refresh: inbound.refresh,
            size,
        }
    }

    /// One slice, by way of the cache stage. Not an `async fn`: the stage comes here itself.
    fn fetch(self: Arc<Self>, number: u64) -> Slicing {
        Box::pin(async move {
            let (proxy, site) = (&self.proxy, self.proxy.site());
            let mut head = self.head.clone();
            add_range(&mut head, number, self.size);
            let (mut inbound, mut exchange) =
                proxy.open(&site, head, InboundBody::None, self.client.clone(), None);
            exchange.silence(self.id.clone());
            (inbound.slice, inbound.refresh) = (Some(number), self.refresh);
            let to = Routed { site: &site, route: &self.route, target: &self.target };
            let reply = proxy.cached(&to, &mut exchange, inbound).await?;
            if let Source::Shared(shared) = &reply.source {
                // It is stored to its end, whatever the client wants of it.
                shared.detach();
            }
            Ok((reply, exchange))
        })
    }

    /// The body of a slice that has come, if it is one of the same whole.
    fn accept(&self, reply: Reply, number: u64, whole: &Whole) -> Result<Source, ReplyError> {
        let same = whole_of(&reply, number, self.size).is_some_and(|other| {
            is_of_one_whole((&whole.headers, whole.length), (&other.headers, other.length))
        });
        if same {
            return Ok(reply.source);
        }
        if reply.status == StatusCode::PARTIAL_CONTENT || reply.status == StatusCode::OK {
            let key = &self.route.cache.key;
            let target = self.target.path_and_query().as_str();
            self.proxy.cache.invalidate(Criterion::Url {
                authority: key.authority(self.target.authority()).into(),
                target: key.target(target).into_owned().into_boxed_str(),
            });
        }
        tracing::debug!(number, status = %reply.status, "a slice is not of the same whole");
        Err(ReplyError::Shared)
    }
}

impl Slices {
    /// Bytes that are still to be sent.
    pub(super) const fn len(&self) -> u64 {
        self.want.end - self.want.start
    }

    /// The next bytes; `None` at the end.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ReplyError>>> {
        while !self.want.is_empty() {
            let Some((source, at)) = &mut self.now else {
                let source = match ready!(self.poll_slice(cx)) {
                    Ok(source) => source,
                    Err(error) => return Poll::Ready(Some(Err(error))),
                };
                self.now = Some((source, self.number() * self.slicer.size));
                continue;
            };
            let bytes = match source.poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                // Shorter than its own head said.
                Poll::Ready(None) => return Poll::Ready(Some(Err(ReplyError::Shared))),
                Poll::Pending => {
                    self.look_ahead(cx);
                    return Poll::Pending;
                }
            };
            let from = *at;
            *at += bytes.len() as u64;
            let ended = *at % self.slicer.size == 0;
            let bytes = self.wanted(bytes, from);
            if ended {
                self.now = None;
            }
            self.look_ahead(cx);
            if !bytes.is_empty() {
                return Poll::Ready(Some(Ok(bytes)));
            }
        }
        Poll::Ready(None)
    }

    /// What of these bytes, which stand at `from`, is wanted now.
    fn wanted(&mut self, mut bytes: Bytes, from: u64) -> Bytes {
        let before = self.want.start.saturating_sub(from).min(bytes.len() as u64);
        bytes.advance(before as usize);
        bytes.truncate(usize::try_from(self.len()).unwrap_or(usize::MAX));
        self.want.start += bytes.len() as u64;
        bytes
    }

    /// The slice that has the next byte.
    fn number(&self) -> u64 {
        self.want.start / self.slicer.size
    }

    /// Waits for the slice that has the next byte.
    fn poll_slice(&mut self, cx: &mut Context<'_>) -> Poll<Result<Source, ReplyError>> {
        let number = self.number();
        let ahead = self.ahead.take().unwrap_or_else(|| Ahead::Coming(self.slicer.clone().fetch(number)));
        let came = match ahead {
            Ahead::There(came) => *came,
            Ahead::Coming(mut coming) => match coming.as_mut().poll(cx) {
                Poll::Ready(came) => came,
                Poll::Pending => {
                    self.ahead = Some(Ahead::Coming(coming));
                    return Poll::Pending;
                }
            },
        };
        Poll::Ready(match came {
            Ok((reply, _)) => self.slicer.accept(reply, number, &self.whole),
            Err(failure) => {
                tracing::debug!(%failure, number, "a slice could not be fetched");
                Err(ReplyError::Shared)
            }
        })
    }

    /// Has the slice after the present one fetched, if there is more wanted than that.
    fn look_ahead(&mut self, cx: &mut Context<'_>) {
        let Some((_, at)) = &self.now else { return };
        let next = *at / self.slicer.size + 1;
        if self.ahead.is_none() && next.saturating_mul(self.slicer.size) < self.want.end {
            self.ahead = Some(Ahead::Coming(self.slicer.clone().fetch(next)));
        }
        if let Some(Ahead::Coming(coming)) = &mut self.ahead
            && let Poll::Ready(came) = coming.as_mut().poll(cx)
        {
            self.ahead = Some(Ahead::There(Box::new(came)));
        }
    }
}
