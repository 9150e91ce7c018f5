//! A request's body as it comes from the client.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::http::RequestContent;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use parking_lot::Mutex;

use crate::http::connection::TrailerRules;
use crate::http::grpc_web::{Decoder, NotBase64};
use crate::http::h1::Violation;
use crate::upstream::alarm::Alarm;
use crate::upstream::error::RequestBodyError;

/// How long an origin may take to ask for a body (RFC 9110 10.1.1) before it gets it unasked.
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// How long a client may be slower than its least rate in all.
const RATE_GRACE: Duration = Duration::from_secs(5);

/// A body that is read from the client only as fast as the origin takes it: counted, bounded in size and in the
/// length of a pause, and not touched at all before the origin has asked for it where the client waits for that
/// (hyper's server sends the client its 100 at the first touch).
pub struct StreamBody {
    /// What was read and put back: it comes first, and is counted already.
    start: VecDeque<Frame<Bytes>>,
    source: Source,
    idle: Duration,
    max: Option<u64>,
    waiting_since: Option<Instant>,
    /// Bytes a second that must come while the client is waited for.
    min_rate: Option<u64>,
    /// How long it was waited for in all, before the present time.
    waited: Duration,
    alarm: Alarm,
    progress: Arc<BodyProgress>,
    trailers: TrailerRules,
    /// Where it comes in base64, and goes on without.
    decoder: Option<Box<Decoder>>,
}

enum Source {
    Client(RequestContent),
    Boxed(BoxBody<Bytes, RequestBodyError>),
}

impl StreamBody {
    /// The body of a client's request; `idle` is the longest pause within it, `max` its largest size.
    pub fn new(incoming: RequestContent, idle: Duration, max: Option<u64>) -> Self {
        Self::from_source(Source::Client(incoming), idle, max)
    }

    /// Any other body; its errors count as the client's.
    pub fn boxed<B>(body: B, idle: Duration, max: Option<u64>) -> Self
    where
        B: Body<Data = Bytes> + Send + Sync + 'static,
    {
        let body = body.map_err(|_| RequestBodyError::Aborted).boxed();
        Self::from_source(Source::Boxed(body), idle, max)
    }

    fn from_source(source: Source, idle: Duration, max: Option<u64>) -> Self {
        let progress = Arc::new(BodyProgress::new());
        Self {
            start: VecDeque::new(),
            source,
            idle,
            max,
            waiting_since: None,
            min_rate: None,
            waited: Duration::ZERO,
            alarm: Alarm::default(),
            progress,
            trailers: TrailerRules::default(),
            decoder: None,
        }
    }

    /// What of its trailers goes on beside the usual.
    pub fn with_trailers(mut self, rules: TrailerRules) -> Self {
        self.trailers = rules;
        self
    }

    /// Takes it for base64, where it is (gRPC-Web's text), and sends on what that stands for. Bounds are of what comes.
    pub fn in_base64(mut self, is: bool) -> Self {
        self.decoder = is.then(Box::default);
        self
    }

    /// Ends it as too slow once less than so many bytes a second come while the client is waited for.
    pub fn at_least(mut self, min_rate: Option<u64>) -> Self {
        self.min_rate = min_rate.filter(|rate| *rate > 0);
        self
    }

    /// Puts back what was read from it.
    pub fn put_back(&mut self, frames: impl IntoIterator<Item = Frame<Bytes>>) {
        self.start.extend(frames);
    }

    /// What has become of the body, seen from outside; stays valid once the body was handed over.
    pub fn progress(&self) -> Arc<BodyProgress> {
        Arc::clone(&self.progress)
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        match &mut self.source {
            Source::Client(body) => Pin::new(body).poll_frame(cx).map_err(|error| {
                Violation::within(&error).map_or(RequestBodyError::Aborted, RequestBodyError::Malformed)
            }),
            Source::Boxed(body) => Pin::new(body).poll_frame(cx),
        }
    }

    /// Waits for the origin's 100, or long enough.
    fn poll_gate(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), RequestBodyError>> {
        if !self.progress.gated.load(Ordering::Acquire) {
            return Poll::Ready(Ok(()));
        }
        match self.progress.poll_gate(cx) {
            Poll::Ready(Ok(())) => self.waiting_since = None,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => {
                let since = *self.waiting_since.get_or_insert_with(Instant::now);
                if !self.progress.is_shut() {
                    std::task::ready!(self.alarm.poll(cx, since + CONTINUE_WAIT));
                    self.progress.open_gate();
                    self.waiting_since = None;
                } else {
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<RequestBodyError> {
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        let longest = self.patience().map_or(self.idle, |left| left.min(self.idle));
        self.alarm.poll(cx, since + longest).map(|()| RequestBodyError::IdleTimeout)
    }

    /// How much longer the client may be waited for by its rate: every byte that came has earned some time.
    fn patience(&self) -> Option<Duration> {
        let rate = self.min_rate?;
        let bytes = self.progress.bytes.load(Ordering::Relaxed);
        let earned = Duration::from_micros(bytes.saturating_mul(1_000_000) / rate);
        Some((RATE_GRACE.min(self.idle) + earned).saturating_sub(self.waited))
    }

    fn took(&mut self, frame: &Frame<Bytes>) -> Result<(), RequestBodyError> {
        let len = frame.data_ref().map_or(0, |data| data.len() as u64);
        let total = self.progress.bytes.fetch_add(len, Ordering::Relaxed) + len;
        if self.max.is_some_and(|max| total > max) {
            return Err(RequestBodyError::TooLarge);
        }
        self.waited += self.waiting_since.take().map_or(Duration::ZERO, |since| since.elapsed());
        self.progress.moved();
        Ok(())
    }

    /// What content in base64 stands for; its end is no end in the middle of four characters.
    fn decode(&mut self, frame: Option<Frame<Bytes>>) -> Result<Option<Frame<Bytes>>, RequestBodyError> {
        let ends = frame.as_ref().is_none_or(Frame::is_trailers) || self.is_end_stream();
        let Some(decoder) = &mut self.decoder else { return Ok(frame) };
        let decoded = match frame.map(Frame::into_data) {
            Some(Ok(text)) => {
                Some(Frame::data(decoder.decode(&text).map_err(|NotBase64| RequestBodyError::Coding)?))
            }
            Some(Err(trailers)) => Some(trailers),
            None => None,
        };
        if ends && !decoder.is_whole() { Err(RequestBodyError::Coding) } else { Ok(decoded) }
    }

    /// A declared length beyond the bound is refused before the first byte is read.
    fn declared_too_large(&self) -> bool {
        self.max.is_some_and(|max| self.expected().lower() > max)
    }

    /// What is to come, as it comes.
    fn expected(&self) -> SizeHint {
        let left = match &self.source {
            Source::Client(body) => body.size_hint(),
            Source::Boxed(body) => body.size_hint(),
        };
        let start: u64 = self.start.iter().filter_map(|frame| Some(frame.data_ref()?.len() as u64)).sum();
        let mut hint = SizeHint::new();
        if let Some(upper) = left.upper() {
            hint.set_upper(upper.saturating_add(start));
        }
        hint.set_lower(left.lower().saturating_add(start));
        hint
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        if self.declared_too_large() {
            return Poll::Ready(Some(Err(RequestBodyError::TooLarge)));
        }
        if let Err(error) = std::task::ready!(self.poll_gate(cx)) {
            return Poll::Ready(Some(Err(error)));
        }
        if let Some(frame) = self.start.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        match self.poll_source(cx) {
            Poll::Ready(Some(Ok(mut frame))) => {
                if let Some(trailers) = frame.trailers_mut() {
                    self.trailers.clean(trailers);
                }
                let taken = self.took(&frame).map(|()| frame);
                Poll::Ready(taken.and_then(|frame| self.decode(Some(frame))).transpose())
            }
            Poll::Ready(None) => Poll::Ready(self.decode(None).transpose()),
            Poll::Ready(other) => Poll::Ready(other),
            Poll::Pending => self.poll_idle(cx).map(|error| Some(Err(error))),
        }
    }
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let polled = self.poll_next(cx);
        let progress = &self.progress;
        match &polled {
            Poll::Pending => progress.phase.store(WAITING, Ordering::Release),
            Poll::Ready(Some(Ok(_))) if self.is_end_stream() => progress.end(),
            Poll::Ready(Some(Ok(_))) => progress.phase.store(MOVING, Ordering::Release),
            Poll::Ready(Some(Err(error))) => progress.failed(*error),
            Poll::Ready(None) => progress.end(),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.start.is_empty()
            && match &self.source {
                Source::Client(body) => body.is_end_stream(),
                Source::Boxed(body) => body.is_end_stream(),
            }
    }

    fn size_hint(&self) -> SizeHint {
        if self.decoder.is_some() { SizeHint::default() } else { self.expected() }
    }
}

/// What has become of a request's body, seen from outside.
#[derive(Debug)]
pub struct BodyProgress {
    bytes: AtomicU64,
    phase: AtomicU8,
    failure: Mutex<Option<RequestBodyError>>,
    started: Instant,
    moved_at: AtomicU64,
    gated: AtomicBool,
    gate: Mutex<Gate>,
}

const MOVING: u8 = 0;
const WAITING: u8 = 1;
const ENDED: u8 = 2;

#[derive(Debug)]
enum Gate {
    Open,
    Closed(Option<Waker>),
    /// The final reply came first: the body is not read any more.
    Shut(Option<Waker>),
    /// The connection is done with: the body fails, which closes it.
    Abandoned,
}

impl BodyProgress {
    fn new() -> Self {
        Self {
            bytes: AtomicU64::new(0),
            phase: AtomicU8::new(MOVING),
            failure: Mutex::default(),
            started: Instant::now(),
            moved_at: AtomicU64::new(0),
            gated: AtomicBool::new(false),
            gate: Mutex::new(Gate::Open),
        }
    }

    /// Body bytes taken from the client so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether the body was read to its end.
    pub fn ended(&self) -> bool {
        self.phase.load(Ordering::Acquire) == ENDED
    }

    /// Why the body failed, if it did.
    pub fn failure(&self) -> Option<RequestBodyError> {
        *self.failure.lock()
    }

    /// Whether it is the client that is waited for at the moment.
    pub(crate) fn awaits_client(&self) -> bool {
        self.phase.load(Ordering::Acquire) == WAITING && !self.gated.load(Ordering::Acquire)
    }

    /// When a byte moved last.
    pub(crate) fn last_moved(&self) -> Instant {
        self.started + Duration::from_millis(self.moved_at.load(Ordering::Relaxed))
    }

    fn moved(&self) {
        let at = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved_at.store(at, Ordering::Relaxed);
    }

    /// The end counts as a move: a client may take its time to say it.
    fn end(&self) {
        self.moved();
        self.phase.store(ENDED, Ordering::Release);
    }

    fn failed(&self, error: RequestBodyError) {
        *self.failure.lock() = Some(error);
    }

    /// Keeps the body back until [`Self::open_gate`].
    pub(crate) fn close_gate(&self) {
        *self.gate.lock() = Gate::Closed(None);
        self.gated.store(true, Ordering::Release);
    }

    /// The origin asked for the body.
    pub(crate) fn open_gate(&self) {
        let mut gate = self.gate.lock();
        if let Gate::Closed(waker) = &mut *gate {
            let waker = waker.take();
            *gate = Gate::Open;
            self.gated.store(false, Ordering::Release);
            drop(gate);
            waker.into_iter().for_each(Waker::wake);
        }
    }

    /// The final reply came before the origin asked: the body stays unread.
    pub(crate) fn shut_gate(&self) {
        let mut gate = self.gate.lock();
        if let Gate::Closed(waker) = &mut *gate {
            *gate = Gate::Shut(waker.take());
        }
    }

    /// The reply was read: a body that was never asked for fails now, so that its connection closes.
    pub(crate) fn abandon(&self) {
        let mut gate = self.gate.lock();
        if let Gate::Shut(waker) | Gate::Closed(waker) = &mut *gate {
            let waker = waker.take();
            *gate = Gate::Abandoned;
            drop(gate);
            waker.into_iter().for_each(Waker::wake);
        }
    }

    fn is_shut(&self) -> bool {
        matches!(*self.gate.lock(), Gate::Shut(_))
    }

    fn poll_gate(&self, cx: &mut Context<'_>) -> Poll<Result<(), RequestBodyError>> {
        match &mut *self.gate.lock() {
            Gate::Open => Poll::Ready(Ok(())),
            Gate::Abandoned => Poll::Ready(Err(RequestBodyError::NotWanted)),
            Gate::Closed(waker) | Gate::Shut(waker) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::poll_fn;

    use http_body_util::{Full, StreamBody as Frames};

    use super::*;

    const IDLE: Duration = Duration::from_secs(30);

    fn full(text: &'static str, max: Option<u64>) -> StreamBody {
        StreamBody::boxed(Full::new(Bytes::from_static(text.as_bytes())), IDLE, max)
    }

    async fn collect(body: StreamBody) -> Result<Bytes, RequestBodyError> {
        body.collect().await.map(http_body_util::Collected::to_bytes)
    }

    #[tokio::test]
    async fn counts_what_passes() {
        let body = full("12345", None);
        let progress = body.progress();
        assert_eq!(collect(body).await.unwrap(), "12345");
        assert_eq!((progress.bytes(), progress.ended(), progress.failure()), (5, true, None));
    }

    #[tokio::test]
    async fn refuses_what_is_too_large_declared_or_not() {
        let body = full("12345", Some(4));
        let progress = body.progress();
        assert_eq!(collect(body).await, Err(RequestBodyError::TooLarge));
        assert_eq!((progress.bytes(), progress.failure()), (0, Some(RequestBodyError::TooLarge)));

        let frames =
            ["123", "45"].map(|part| Ok::<_, Infallible>(Frame::data(Bytes::from_static(part.as_bytes()))));
        let body = StreamBody::boxed(Frames::new(futures_util::stream::iter(frames)), IDLE, Some(4));
        assert_eq!(collect(body).await, Err(RequestBodyError::TooLarge));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_bounded() {
        let never = futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>();
        let body = StreamBody::boxed(Frames::new(never), IDLE, None);
        assert_eq!(collect(body).await, Err(RequestBodyError::IdleTimeout));
    }

    #[tokio::test(start_paused = true)]
    async fn a_gated_body_is_untouched_until_asked_for_or_a_second_passed() {
        let mut body = full("x", None);
        let progress = body.progress();
        progress.close_gate();
        assert!(poll_fn(|cx| Poll::Ready(Pin::new(&mut body).poll_frame(cx))).await.is_pending());
        assert!(!progress.awaits_client());
        progress.open_gate();
        assert_eq!(collect(body).await.unwrap(), "x");

        let body = full("y", None);
        body.progress().close_gate();
        let start = tokio::time::Instant::now();
        assert_eq!(collect(body).await.unwrap(), "y");
        assert!(start.elapsed() >= CONTINUE_WAIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_not_asked_for_fails_when_abandoned() {
        let body = full("x", None);
        let progress = body.progress();
        progress.close_gate();
        progress.shut_gate();
        let reading = tokio::spawn(collect(body));
        tokio::time::advance(CONTINUE_WAIT * 3).await;
        tokio::task::yield_now().await;
        assert!(!reading.is_finished());
        progress.abandon();
        assert_eq!(reading.await.unwrap(), Err(RequestBodyError::NotWanted));
    }
}
