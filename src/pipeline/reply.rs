//! The reply's body: one enum for every place it may come from, and the exchange's last witness.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use thiserror::Error;
use tokio::time::Sleep;

use super::coding::Recoded;
use super::exchange::Exchange;
use super::flight::Shared;
use super::pieces::Pieces;
use super::upgrade::Switched;
use crate::cache::store::BodyReader;
use crate::coding::CodingError;
use crate::http::grpc;
use crate::http::grpc_web::Encoder;
use crate::piped::Piped;
use crate::telemetry::event::{End, Protocol};
use crate::upstream::{BodyError, UpstreamBody};

/// Where a reply's body comes from.
pub(super) enum Source {
    /// There is none (also for HEAD, 204 and 304).
    Empty,
    /// In RAM.
    Full(Bytes),
    /// A file of the store.
    File(Box<BodyReader>),
    /// The upstream's own, for this exchange alone.
    Upstream(Box<UpstreamBody>),
    /// A fetch that others may share.
    Shared(Box<Shared>),
    /// Put together from several places.
    Pieces(Box<Pieces>),
    /// One of these, and then trailer fields.
    Trailed(Box<Trailed>),
    /// One of these in another content coding.
    Recoded(Box<Recoded>),
    /// None: the connection goes over to another protocol.
    Switched(Box<Switched>),
}

/// A stored body with the trailer fields that came with it (RFC 9110 6.5).
pub(super) struct Trailed {
    pub(super) body: Source,
    /// Until they have been taken.
    pub(super) trailers: Option<HeaderMap>,
}

/// A reply's body on its way to the client. When it ends or is dropped, so does the exchange.
pub struct ReplyBody {
    source: Source,
    exchange: Option<Box<Exchange>>,
    deadline: Option<Pin<Box<Sleep>>>,
    /// Writes it as gRPC-Web.
    encoder: Option<Box<Encoder>>,
    /// Why it broke off, until that has been told.
    broken: Option<Box<ReplyError>>,
}

/// Why a reply broke off; the client sees a cut connection or a reset stream, never a body that looks whole.
#[derive(Debug, Error)]
pub enum ReplyError {
    /// The upstream's body broke off.
    #[error(transparent)]
    Upstream(#[from] BodyError),
    /// The fetch that this reply shared broke off.
    #[error("the shared fetch broke off")]
    Shared,
    /// What is stored could not be read, or is damaged.
    #[error("the stored body cannot be read: {0}")]
    Store(#[from] crate::cache::store::BodyError),
    /// The route's time for a whole exchange has passed.
    #[error("the exchange took too long")]
    Deadline,
    /// The body cannot be put into the coding that the client takes.
    #[error(transparent)]
    Coding(#[from] CodingError),
}

impl ReplyError {
    /// How an exchange ends that ends so, and its RFC 9209 error type.
    pub(super) fn verdict(&self) -> (End, &'static str) {
        match self {
            Self::Upstream(error @ (BodyError::Incomplete(_) | BodyError::Malformed(_))) => {
                (End::UpstreamAborted, error.as_str())
            }
            Self::Upstream(error) => (End::TimedOut, error.as_str()),
            Self::Shared => (End::UpstreamAborted, "http_response_incomplete"),
            Self::Store(_) => (End::UpstreamAborted, "proxy_internal_error"),
            Self::Deadline => (End::TimedOut, "http_response_timeout"),
            Self::Coding(_) => (End::UpstreamAborted, "http_response_content_coding"),
        }
    }
}

impl ReplyBody {
    pub(super) fn new(source: Source, exchange: Box<Exchange>, deadline: Option<Instant>) -> Self {
        // What is in hand already is not timed: no timer on the hit path.
        let timed = matches!(
            source,
            Source::Upstream(_)
                | Source::Shared(_)
                | Source::File(_)
                | Source::Pieces(_)
                | Source::Recoded(_)
        );
        let deadline = deadline.filter(|_| timed).map(|at| Box::pin(tokio::time::sleep_until(at.into())));
        Self { source, exchange: Some(exchange), deadline, encoder: None, broken: None }
    }

    /// Has it written as gRPC-Web.
    pub(super) fn written_by(mut self, encoder: Option<Box<Encoder>>) -> Self {
        // What has ended with its head needs no content (`Trailers-Only`).
        self.encoder = encoder.filter(|encoder| !(encoder.is_told() && self.source.is_end()));
        self
    }

    /// None, for an exchange that does not end with its reply.
    pub(super) fn none() -> Self {
        Self { source: Source::Empty, exchange: None, deadline: None, encoder: None, broken: None }
    }

    /// Moves what has come of long content into a pipe. `None`: it is to be taken by frames for now.
    pub(crate) fn pipe(&mut self, cx: &mut Context<'_>) -> Option<Piped> {
        let Source::Upstream(body) = &mut self.source else { return None };
        if self.encoder.is_some() || self.broken.is_some() {
            return None;
        }
        // What is late the frames will say.
        if self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready()) {
            return None;
        }
        let piped = body.pipe()?;
        if let Some(exchange) = &mut self.exchange {
            exchange.sent += piped.len() as u64;
        }
        if self.source.is_end() {
            self.finish(End::Complete);
        }
        Some(piped)
    }

    fn finish(&mut self, end: End) {
        if let Some(mut exchange) = self.exchange.take() {
            exchange.end = end;
        }
    }

    /// The deadline has passed: a call is told so, anything else breaks off.
    fn ended_late(&mut self, error: ReplyError) -> Result<Frame<Bytes>, ReplyError> {
        let called = |exchange: &Exchange| exchange.grpc.is_some() && exchange.protocol == Protocol::Http2;
        // In content a trailer section is one only between two messages.
        let call = match &self.encoder {
            Some(encoder) => encoder.is_between(),
            None => self.exchange.as_deref().is_some_and(called),
        };
        self.fail(&error);
        if !call {
            return Err(error);
        }
        Ok(Frame::trailers(grpc::end(grpc::DEADLINE_EXCEEDED, "The call took too long")))
    }

    fn fail(&mut self, error: &ReplyError) {
        let (end, kind) = error.verdict();
        if let Some(exchange) = &mut self.exchange {
            exchange.error = Some(kind);
            tracing::debug!(%error, id = %exchange.id, "reply broke off");
        }
        self.finish(end);
    }
}

impl Source {
    /// The next frame; `None` at the end.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReplyError>>> {
        match self {
            Self::Empty | Self::Switched(_) => Poll::Ready(None),
            Self::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::File(reader) => {
                let next = ready!(reader.poll_next(cx));
                Poll::Ready(next.map(|read| read.map(Frame::data).map_err(ReplyError::from)))
            }
            Self::Upstream(body) => {
                let next = ready!(Pin::new(&mut **body).poll_frame(cx));
                Poll::Ready(next.map(|frame| frame.map_err(ReplyError::from)))
            }
            Self::Shared(shared) => shared.poll_frame(cx).map_err(|_| ReplyError::Shared),
            Self::Pieces(pieces) => {
                let next = ready!(pieces.poll_next(cx));
                Poll::Ready(next.map(|read| read.map(Frame::data)))
            }
            Self::Trailed(trailed) => match ready!(trailed.body.poll_frame(cx)) {
                None => Poll::Ready(trailed.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))),
                next => Poll::Ready(next),
            },
            Self::Recoded(recoded) => recoded.poll_frame(cx),
        }
    }

    /// How many bytes will come, where that is known.
    pub(super) fn length(&self) -> Option<u64> {
        self.size_hint().exact()
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Switched(_) => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::File(reader) => SizeHint::with_exact(reader.remaining()),
            Self::Upstream(body) => body.size_hint(),
            Self::Shared(shared) => shared.size_hint(),
            Self::Pieces(pieces) => SizeHint::with_exact(pieces.left()),
            // A length that is known would be told, and trailers do not follow a body of known length (RFC 9112 7.1.2).
            Self::Trailed(_) | Self::Recoded(_) => SizeHint::default(),
        }
    }

    /// Nothing more will come. A server does not look for the end of a body whose length it was told, so this must
    /// hold as soon as the last byte was taken.
    pub(super) fn is_end(&self) -> bool {
        match self {
            Self::Empty | Self::Switched(_) => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Upstream(body) => body.is_end_stream(),
            Self::File(reader) => reader.remaining() == 0,
            Self::Shared(shared) => shared.is_end(),
            Self::Pieces(pieces) => pieces.left() == 0,
            Self::Trailed(trailed) => trailed.trailers.is_none(),
            Self::Recoded(recoded) => recoded.is_end(),
        }
    }
}

impl ReplyBody {
    /// The next frame as the client takes it that speaks gRPC-Web.
    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ReplyError>>> {
        loop {
            let next = ready!(self.poll_read(cx));
            let Some(encoder) = &mut self.encoder else { return Poll::Ready(next) };
            let last = match next {
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        let data = encoder.data(data);
                        if data.is_empty() {
                            continue;
                        }
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                    Err(frame) => encoder.end(frame.trailers_ref()),
                },
                None => encoder.end(None),
            };
            self.encoder = None;
            self.source = Source::Empty;
            return Poll::Ready(last.map(|last| Ok(Frame::data(last))));
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ReplyError>>> {
        let this = self;
        // Before the source: one that always has something ready must not outrun its time.
        if let Some(deadline) = &mut this.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            this.deadline = None;
            let end = this.ended_late(ReplyError::Deadline);
            this.source = Source::Empty;
            return Poll::Ready(Some(end));
        }
        let next = this.source.poll_frame(cx);
        match &next {
            Poll::Ready(Some(Err(ReplyError::Upstream(BodyError::Deadline)))) => {
                this.source = Source::Empty;
                return Poll::Ready(Some(this.ended_late(ReplyError::Upstream(BodyError::Deadline))));
            }
            Poll::Ready(Some(Ok(frame))) => {
                if let (Some(exchange), Some(data)) = (&mut this.exchange, frame.data_ref()) {
                    exchange.sent += data.len() as u64;
                }
                // Nobody asks again after the trailer section.
                if frame.is_trailers() || this.source.is_end() {
                    this.finish(End::Complete);
                }
            }
            Poll::Ready(None) => this.finish(End::Complete),
            Poll::Ready(Some(Err(error))) => this.fail(error),
            Poll::Pending => {}
        }
        next
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = ReplyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReplyError>>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(*error)));
        }
        match if self.encoder.is_some() { self.poll_written(cx) } else { self.poll_read(cx) } {
            Poll::Ready(Some(Err(error))) => {
                // hyper throws away what it has not written yet when a body fails, its head too: the writing comes first.
                self.broken = Some(Box::new(error));
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            next => next,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.broken.is_none() && self.encoder.is_none() && self.source.is_end()
    }

    fn size_hint(&self) -> SizeHint {
        if self.encoder.is_some() { SizeHint::default() } else { self.source.size_hint() }
    }
}

impl Drop for ReplyBody {
    fn drop(&mut self) {
        // hyper does not poll a body that says it is at its end, or whose declared length it has had.
        if self.source.is_end() {
            self.finish(End::Complete);
        }
    }
}
