//! Content of requests on its way from frames to whoever reads it, and the windows that bound it (RFC 9113 5.2).

use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;

use super::{Data, Gone, Session, wait};
use crate::server::frames::{Code, END_STREAM, Head, PADDED, WINDOW_UPDATE};
use crate::server::http2::stream::Stream;

impl Session {
    /// RFC 9113 6.1; `payload` is what of it has come with its head.
    pub(super) fn data(&mut self, head: Head, payload: &[u8]) {
        let length = head.length as usize;
        let padding = payload.first().filter(|_| head.has(PADDED)).map_or(0, |padding| usize::from(*padding));
        let pad_field = usize::from(head.has(PADDED));
        let Some(left) = length.checked_sub(pad_field + padding) else { return self.offend(Code::PROTOCOL) };
        self.receiving -= length as i64;
        if self.receiving < 0 {
            return self.offend(Code::FLOW_CONTROL);
        }
        let wasted = pad_field + padding;
        self.release(wasted);
        self.data = Some(Data { stream: head.stream, left, padding, ends: head.has(END_STREAM) });
        match self.streams.get(head.stream) {
            Some(open) if !open.is_open() => self.fail(head.stream, Code::STREAM_CLOSED),
            Some(Stream { content: Some(content), .. }) => {
                content.window -= length as i64;
                content.unreleased += wasted as u32;
                if content.window < 0 {
                    self.fail(head.stream, Code::FLOW_CONTROL);
                }
            }
            _ => {}
        }
        if left + padding == 0 {
            self.more_data(&mut &[][..]);
        }
    }

    /// Content, of which `self.data` tells.
    pub(super) fn more_data(&mut self, bytes: &mut &[u8]) {
        let Some(mut data) = self.data.take() else { return };
        let come = data.left.min(bytes.len());
        let (content, rest) = bytes.split_at(come);
        let padding = data.padding.min(rest.len());
        *bytes = &rest[padding..];
        (data.left, data.padding) = (data.left - come, data.padding - padding);
        self.content(data.stream, content);
        if data.left + data.padding > 0 {
            self.data = Some(data);
        } else if data.ends && self.streams.get(data.stream).is_some_and(|open| open.is_open()) {
            self.content_ended(data.stream);
        }
    }

    pub(super) fn content(&mut self, stream: u32, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let content = self.streams.get(stream).and_then(|open| open.content.as_mut());
        let Some(content) = content.filter(|content| content.reading) else {
            return self.release(bytes.len());
        };
        if let Some(left) = &mut content.left {
            match left.checked_sub(bytes.len() as u64) {
                Some(rest) => *left = rest,
                // RFC 9113 8.1.1.
                None => {
                    self.release(bytes.len());
                    return self.fail(stream, Code::PROTOCOL);
                }
            }
        }
        content.bytes.extend_from_slice(bytes);
        if let Some(waker) = content.waker.take() {
            waker.wake();
        }
    }

    pub(super) fn content_ended(&mut self, stream: u32) {
        let Some(content) = self.streams.get(stream).and_then(|open| open.content.as_mut()) else { return };
        // RFC 9113 8.1.1; nobody counts what nobody reads.
        if content.reading && content.left.is_some_and(|left| left > 0) {
            return self.fail(stream, Code::PROTOCOL);
        }
        content.ended = true;
        if let Some(waker) = content.waker.take() {
            waker.wake();
        }
    }

    /// So much content is of no more interest: the client may send as much again.
    pub(super) fn release(&mut self, bytes: usize) {
        self.unreleased += bytes as u32;
        if self.unreleased > 0 && i64::from(self.unreleased) >= i64::from(self.bounds.windows) / 2 {
            self.out.frame(WINDOW_UPDATE, 0, 0, &self.unreleased.to_be_bytes());
            self.receiving += i64::from(self.unreleased);
            self.unreleased = 0;
            self.wake();
        }
    }

    /// The next of a request's content.
    pub(in crate::server::http2) fn poll_content(
        &mut self,
        stream: u32,
        cx: &Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Gone>>> {
        let Some(content) = self.streams.get(stream).and_then(|open| open.content.as_mut()) else {
            return Poll::Ready(Some(Err(Gone)));
        };
        if !content.bytes.is_empty() {
            let bytes = content.bytes.split().freeze();
            self.taken(stream, bytes.len());
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if content.ended {
            return Poll::Ready(content.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
        }
        wait(&mut content.waker, cx);
        Poll::Pending
    }

    /// So much content was read.
    pub(super) fn taken(&mut self, stream: u32, bytes: usize) {
        self.release(bytes);
        let (granted, bound) = (self.granted, i64::from(self.bounds.window) / 2);
        let Some(content) = self.streams.get(stream).and_then(|open| open.content.as_mut()) else { return };
        content.unreleased += bytes as u32;
        if content.ended || i64::from(content.unreleased) < bound.min(granted / 2) {
            return;
        }
        let more = std::mem::take(&mut content.unreleased);
        content.window += i64::from(more);
        self.out.frame(WINDOW_UPDATE, 0, stream, &more.to_be_bytes());
        self.wake();
    }

    /// What is known of a request's content: whether it has ended and was read, and what is there or still to come at least.
    pub(in crate::server::http2) fn content_left(&mut self, stream: u32) -> (bool, u64, Option<u64>) {
        match self.streams.get(stream).and_then(|open| open.content.as_mut()) {
            None => (false, 0, None),
            Some(content) => {
                let here = content.bytes.len() as u64;
                let over = content.ended && here == 0 && content.trailers.is_none();
                let left = if content.ended { Some(0) } else { content.left };
                (over, here, left.map(|left| left + here))
            }
        }
    }

    /// Nobody reads a request's content any more.
    pub(in crate::server::http2) fn unread(&mut self, stream: u32) {
        let Some(content) = self.streams.get(stream).and_then(|open| open.content.as_mut()) else { return };
        content.reading = false;
        let unread = std::mem::take(&mut content.bytes).len();
        self.release(unread);
        self.settle(stream);
    }
}
