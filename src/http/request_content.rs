//! The content of a client's request, as its connection delivers it.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use thiserror::Error;

/// What comes behind the head of a request.
pub enum RequestContent {
    /// Nothing.
    None,
    /// What hyper reads of HTTP/1.
    Http1(Incoming),
    /// What comes on a stream of HTTP/2. Boxed: few requests have any.
    Http2(Pin<Box<dyn Body<Data = Bytes, Error = ContentError> + Send + Sync>>),
}

/// Why it did not come to its end.
#[derive(Debug, Error)]
pub enum ContentError {
    /// As hyper found it.
    #[error(transparent)]
    Http1(#[from] hyper::Error),
    /// The client has reset its stream, or left.
    #[error("the stream was reset")]
    Reset,
}

impl fmt::Debug for RequestContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Http1(body) => body.fmt(f),
            Self::Http2(_) => f.write_str("Http2"),
        }
    }
}

impl From<Incoming> for RequestContent {
    fn from(body: Incoming) -> Self {
        Self::Http1(body)
    }
}

impl Body for RequestContent {
    type Data = Bytes;
    type Error = ContentError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ContentError>>> {
        match self.get_mut() {
            Self::None => Poll::Ready(None),
            Self::Http1(body) => Pin::new(body).poll_frame(cx).map_err(ContentError::from),
            Self::Http2(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::None => true,
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::None => SizeHint::with_exact(0),
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
        }
    }
}
