//! A request's body on its way into an HTTP/2 stream.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::{Body, Frame};
use tokio::task::AbortHandle;

use super::RequestBody;
use crate::http::connection::remove_hop_by_hop;
use crate::upstream::error::RequestBodyError;

/// Moves a body as fast as the peer's windows allow: of what was read from it only one piece waits at a time.
#[derive(Debug)]
pub(crate) struct Pump {
    stream: SendStream<Bytes>,
    body: RequestBody,
    /// Read already, and waiting for room.
    piece: Bytes,
    touched: bool,
}

/// How it ended to send a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pumped {
    /// All was sent.
    Whole,
    /// The peer wants no more of it; the reply tells why, or its absence does.
    Stopped,
    /// The client's side of it failed.
    Failed(RequestBodyError),
}

impl Pump {
    pub(crate) fn new(stream: SendStream<Bytes>, body: RequestBody) -> Self {
        Self { stream, body, piece: Bytes::new(), touched: false }
    }

    /// The body, if nothing was taken from it yet.
    pub(crate) fn untouched(self) -> Option<RequestBody> {
        (!self.touched).then_some(self.body)
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Pumped>> {
        while self.stream.capacity() == 0 {
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(Some(Pumped::Stopped)),
            }
        }
        let room = self.stream.capacity().min(self.piece.len());
        let part = self.piece.split_to(room);
        let last = self.piece.is_empty() && self.body.is_end_stream();
        if self.stream.send_data(part, last).is_err() {
            return Poll::Ready(Some(Pumped::Stopped));
        }
        if !self.piece.is_empty() {
            self.stream.reserve_capacity(self.piece.len());
        }
        Poll::Ready(last.then_some(Pumped::Whole))
    }

    /// Takes over what the body has to say; the end, if that was it.
    fn take(&mut self, frame: Frame<Bytes>) -> Option<Pumped> {
        self.touched = true;
        let frame = match frame.into_data() {
            Ok(data) if !data.is_empty() => {
                self.stream.reserve_capacity(data.len());
                self.piece = data;
                return None;
            }
            // Nothing to say, unless it is the end.
            Ok(_) => return self.body.is_end_stream().then(|| self.end()),
            Err(frame) => frame,
        };
        let mut trailers = frame.into_trailers().ok()?;
        remove_hop_by_hop(&mut trailers);
        self.stream.reserve_capacity(0);
        Some(if self.stream.send_trailers(trailers).is_ok() { Pumped::Whole } else { Pumped::Stopped })
    }

    fn end(&mut self) -> Pumped {
        if self.stream.send_data(Bytes::new(), true).is_ok() { Pumped::Whole } else { Pumped::Stopped }
    }
}

impl Future for Pump {
    type Output = Pumped;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Pumped> {
        loop {
            if self.stream.poll_reset(cx).is_ready() {
                return Poll::Ready(Pumped::Stopped);
            }
            if !self.piece.is_empty() {
                if let Some(end) = ready!(self.poll_piece(cx)) {
                    return Poll::Ready(end);
                }
                continue;
            }
            let end = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => Some(self.end()),
                Some(Ok(frame)) => self.take(frame),
                Some(Err(error)) => {
                    // Never an orderly end: the origin must not take half a body for a whole one.
                    self.stream.send_reset(Reason::CANCEL);
                    Some(Pumped::Failed(error))
                }
            };
            if let Some(end) = end {
                return Poll::Ready(end);
            }
        }
    }
}

/// A body that is still being sent while its reply is read; dropped, it ends, and with it its stream.
#[derive(Debug)]
pub(crate) struct Sending(AbortHandle);

impl Sending {
    pub(crate) fn on(pump: Pump) -> Self {
        Self(tokio::spawn(pump).abort_handle())
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.abort();
    }
}
