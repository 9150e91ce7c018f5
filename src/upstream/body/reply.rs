//! A reply's body as it comes from the origin.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::incoming::Incoming;
use super::lease::Lease;
use crate::http::connection::TrailerRules;
use crate::http::h1::Violation;
use crate::piped::Piped;
use crate::upstream::alarm::Alarm;
use crate::upstream::error::{BodyError, Cause};

/// A reply's body: read to its end, its connection serves the next request; dropped before, it is closed, which
/// cancels the request. What the origin cuts short is an error, never a silent end.
#[derive(Debug)]
pub struct UpstreamBody {
    incoming: Incoming,
    trailers: TrailerRules,
    /// `None` once the body has ended, well or not.
    lease: Option<Lease>,
    idle: Duration,
    deadline: Option<Instant>,
    waiting_since: Option<Instant>,
    alarm: Alarm,
}

impl UpstreamBody {
    pub(crate) fn new(
        incoming: Incoming,
        trailers: TrailerRules,
        lease: Lease,
        alarm: Alarm,
        idle: Duration,
        deadline: Option<Instant>,
    ) -> Self {
        let mut body =
            Self { incoming, trailers, lease: Some(lease), idle, deadline, waiting_since: None, alarm };
        body.finish_at_end();
        body
    }

    /// None, on a connection that has gone over to another protocol.
    pub(crate) fn switched() -> Self {
        Self {
            incoming: Incoming::Http1,
            trailers: TrailerRules::default(),
            lease: None,
            idle: Duration::ZERO,
            deadline: None,
            waiting_since: None,
            alarm: Alarm::default(),
        }
    }

    /// A known length that was reached, or no body at all, needs no further look.
    fn finish_at_end(&mut self) {
        let is_end = match &self.incoming {
            Incoming::Http1 => self.lease.as_mut().and_then(Lease::http1).is_none_or(|conn| conn.is_read()),
            Incoming::Driven(body) => body.is_end_stream(),
            Incoming::Http2(body) => body.is_end_stream(),
        };
        if is_end {
            self.finish();
        }
    }

    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        match &mut self.incoming {
            Incoming::Http1 => match self.lease.as_mut().and_then(Lease::http1) {
                Some(conn) => conn.poll_frame(cx),
                None => Poll::Ready(None),
            },
            Incoming::Driven(body) => body.poll_frame(cx),
            Incoming::Http2(body) => body.poll_frame(cx),
        }
    }

    /// Moves what has come of long content into a pipe. `None`: it is to be taken by frames for now.
    pub fn pipe(&mut self) -> Option<Piped> {
        let Incoming::Http1 = self.incoming else { return None };
        let piped = self.lease.as_mut()?.http1()?.pipe()?;
        self.waiting_since = None;
        self.finish_at_end();
        Some(piped)
    }

    fn finish(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.finish(std::mem::take(&mut self.alarm));
        }
    }

    fn fail(&mut self, error: BodyError) -> BodyError {
        if let Some(lease) = self.lease.take() {
            lease.failed(&error);
        }
        error
    }

    fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        let idle_since = *self.waiting_since.get_or_insert_with(Instant::now);
        let paused = idle_since + self.idle;
        let due = self.deadline.map_or(paused, |deadline| deadline.min(paused));
        self.alarm.poll(cx, due).map(|()| match self.deadline {
            Some(deadline) if deadline <= paused => BodyError::Deadline,
            _ => BodyError::IdleTimeout,
        })
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.lease.is_none() {
            return Poll::Ready(None);
        }
        match self.poll_incoming(cx) {
            Poll::Ready(Some(Ok(mut frame))) => {
                self.waiting_since = None;
                if let Some(trailers) = frame.trailers_mut() {
                    self.trailers.clean(trailers);
                    self.finish();
                } else {
                    self.finish_at_end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                let error = match Violation::within(&*error) {
                    Some(violation) => BodyError::Malformed(violation),
                    None => BodyError::Incomplete(error),
                };
                Poll::Ready(Some(Err(self.fail(error))))
            }
            Poll::Ready(None) => {
                self.finish();
                Poll::Ready(None)
            }
            Poll::Pending => self.poll_overdue(cx).map(|error| Some(Err(self.fail(error)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.lease.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.incoming {
            Incoming::Http1 => self.lease.as_ref().map_or(SizeHint::with_exact(0), Lease::left),
            Incoming::Driven(body) => body.left(),
            Incoming::Http2(body) => body.left(),
        }
    }
}
