//! Where a reply's content comes from in either version of HTTP.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::{HeaderMap, header};
use http_body::{Frame, SizeHint};

use super::driven::Driven;
use crate::http::connection::remove_hop_by_hop;
use crate::upstream::error::Cause;

/// What comes after a reply's head.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// It comes on the connection that the exchange has for itself.
    Http1,
    /// The same, while the request is still being sent.
    Driven(Driven),
    Http2(Http2Body),
}

/// The rest of a stream. What has been taken from it is what the peer may send anew.
#[derive(Debug)]
pub(crate) struct Http2Body {
    stream: RecvStream,
    /// What is still to come, where the peer has said so; h2 sees to it that it keeps its word.
    left: Option<u64>,
    data_done: bool,
}

impl Http2Body {
    pub(crate) fn new(stream: RecvStream, headers: &HeaderMap) -> Self {
        let declared =
            headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let left = if stream.is_end_stream() { declared.or(Some(0)) } else { declared };
        Self { stream, left, data_done: false }
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        if !self.data_done {
            if let Some(data) = ready!(self.stream.poll_data(cx)) {
                return Poll::Ready(Some(data.map(|data| self.took(data)).map_err(|error| broken(&error))));
            }
            self.data_done = true;
        }
        let trailers = ready!(self.stream.poll_trailers(cx));
        Poll::Ready(match trailers {
            Ok(None) => None,
            Ok(Some(mut trailers)) => {
                remove_hop_by_hop(&mut trailers);
                Some(Ok(Frame::trailers(trailers)))
            }
            Err(error) => Some(Err(broken(&error))),
        })
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    pub(super) fn left(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }

    fn took(&mut self, data: Bytes) -> Frame<Bytes> {
        // It fails only for more than was received.
        let _ = self.stream.flow_control().release_capacity(data.len());
        self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
        Frame::data(data)
    }
}

/// What an error says, and no more: hyper's server would pass its code on to the client, for whom NO_ERROR is an orderly
/// end and REFUSED_STREAM leave to ask again.
fn broken(error: &h2::Error) -> Cause {
    error.to_string().into()
}
