//! The content of a request, for whoever reads it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;

use super::session::Session;
use crate::http::ContentError;

/// What comes on a stream. Where it is dropped, the client is told that the rest is not wanted.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) session: Arc<Mutex<Session>>,
    pub(super) stream: u32,
}

impl Body for Received {
    type Data = Bytes;
    type Error = ContentError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ContentError>>> {
        let next = self.session.lock().poll_content(self.stream, cx);
        next.map(|next| next.map(|frame| frame.map_err(|_| ContentError::Reset)))
    }

    fn is_end_stream(&self) -> bool {
        self.session.lock().content_left(self.stream).0
    }

    fn size_hint(&self) -> SizeHint {
        let (_, here, all) = self.session.lock().content_left(self.stream);
        match all {
            Some(all) => SizeHint::with_exact(all),
            None => {
                let mut hint = SizeHint::new();
                hint.set_lower(here);
                hint
            }
        }
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        self.session.lock().unread(self.stream);
    }
}
