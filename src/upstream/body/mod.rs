//! Bodies on their way to an origin, and back.

mod driven;
mod incoming;
mod lease;
mod pump;
mod reply;
mod stream;

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

pub(crate) use driven::Driven;
pub(crate) use incoming::{Http2Body, Incoming};
pub(crate) use lease::Lease;
pub(crate) use pump::{Pump, Pumped, Sending};
pub use reply::UpstreamBody;
pub use stream::{BodyProgress, StreamBody};

use super::error::RequestBodyError;

/// A request's body.
#[derive(Default)]
pub enum RequestBody {
    /// None at all.
    #[default]
    Empty,
    /// In memory: may be sent again.
    Full(Bytes),
    /// Comes as it is sent: can be sent once. Boxed: it is large, and most requests have none.
    Stream(Box<StreamBody>),
}

impl RequestBody {
    /// Whether it can be sent a second time.
    pub(crate) fn is_replayable(&self) -> bool {
        !matches!(self, Self::Stream(_))
    }

    /// A copy, where it can be sent a second time.
    pub(crate) fn replay(&self) -> Option<Self> {
        match self {
            Self::Empty => Some(Self::Empty),
            Self::Full(bytes) => Some(Self::Full(bytes.clone())),
            Self::Stream(_) => None,
        }
    }
}

impl From<StreamBody> for RequestBody {
    fn from(stream: StreamBody) -> Self {
        Self::Stream(Box::new(stream))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream(stream) => Pin::new(&mut **stream).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(stream) => stream.size_hint(),
        }
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Full(bytes) => write!(f, "Full({} bytes)", bytes.len()),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}
