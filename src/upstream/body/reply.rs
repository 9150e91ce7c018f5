//! A reply's body as it comes from the origin.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::upstream::alarm::Alarm;
use crate::upstream::error::BodyError;

/// A reply's body: read to its end, its connection serves the next request; dropped before, it is closed, which
/// cancels the request. What the origin cuts short is an error, never a silent end.
#[derive(Debug)]
pub struct UpstreamBody {
    incoming: Incoming,
    idle: Duration,
    deadline: Option<Instant>,
    waiting_since: Option<Instant>,
    alarm: Alarm,
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.incoming).poll_frame(cx).map_err(BodyError::Incomplete)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
