//! A request on its way out on an HTTP/1.1 connection (RFC 9112).

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::io::AsyncWrite;

use crate::http::h1::{write_chunk_size, write_field};
use crate::upstream::body::RequestBody;
use crate::upstream::error::{Failure, RequestBodyError};

/// What is shorter than this is copied together rather than gathered by the kernel.
const COPIED: usize = 4096;

/// The most memory that is kept for the next request.
const KEPT: usize = 16 << 10;

/// How a request's content ends (RFC 9112 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none, or no more.
    None,
    /// After so many more bytes.
    Length(u64),
    /// In chunks, with a last one.
    Chunked,
}

/// What is left to be sent of a request.
pub(super) struct Outgoing {
    /// Written first: the head, or what frames a piece of content.
    before: Vec<u8>,
    /// How much of that is written.
    written: usize,
    /// Then content, and what stands behind it.
    data: Bytes,
    after: &'static [u8],
    body: RequestBody,
    framing: Framing,
    flushed: bool,
    /// It will never be whole.
    failed: bool,
}

/// Why a request was not sent whole.
#[derive(Debug)]
pub(crate) enum Broken {
    /// Its body failed: the client's doing.
    Body(RequestBodyError),
    /// The connection did.
    Socket(io::Error),
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Body(error) => Self::RequestBody(error),
            Broken::Socket(error) => Self::reset(error),
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body(error) => write!(f, "the request's body: {error}"),
            Self::Socket(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Broken {}

impl Default for Outgoing {
    fn default() -> Self {
        Self {
            before: Vec::new(),
            written: 0,
            data: Bytes::new(),
            after: b"",
            body: RequestBody::Empty,
            framing: Framing::None,
            flushed: true,
            failed: false,
        }
    }
}

impl Outgoing {
    /// Takes a request; `write_head` writes its head.
    pub(super) fn begin(
        &mut self,
        write_head: impl FnOnce(&mut Vec<u8>),
        framing: Framing,
        body: RequestBody,
    ) {
        self.before.clear();
        self.written = 0;
        write_head(&mut self.before);
        (self.body, self.framing, self.flushed) = (body, framing, false);
        if framing == Framing::Length(0) {
            self.framing = Framing::None;
        }
    }

    /// Whether all of it is sent.
    pub(super) fn is_over(&self) -> bool {
        self.flushed && self.framing == Framing::None
    }

    /// Sends what there is; ready when all of it is sent.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        transport: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<Result<(), Broken>> {
        if self.failed {
            // A body that has failed is not asked again: it might take itself for whole.
            return Poll::Ready(Err(Broken::Body(RequestBodyError::Aborted)));
        }
        let sent = ready!(self.poll_whole(cx, transport));
        self.failed = sent.is_err();
        Poll::Ready(sent)
    }

    fn poll_whole(
        &mut self,
        cx: &mut Context<'_>,
        transport: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<Result<(), Broken>> {
        loop {
            // Before what is there already is written: a head goes together with the content that has come.
            let awaits_body = self.framing != Framing::None && self.data.is_empty() && self.after.is_empty();
            if awaits_body {
                if self.poll_body(cx)?.is_pending() {
                    ready!(self.poll_write(cx, transport)).map_err(Broken::Socket)?;
                    return Poll::Pending;
                }
                // What has come may be the last, and the socket may take none of it yet.
                self.flushed = false;
            }
            ready!(self.poll_write(cx, transport)).map_err(Broken::Socket)?;
            if self.framing == Framing::None {
                self.rest();
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Nothing is left: only a little memory is kept.
    fn rest(&mut self) {
        self.body = RequestBody::Empty;
        if self.before.capacity() > KEPT {
            self.before = Vec::new();
        }
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => self.take(frame),
            Some(Err(error)) => Err(Broken::Body(error)),
            None => self.end(),
        })
    }

    /// Frames what the body says.
    fn take(&mut self, frame: Frame<Bytes>) -> Result<(), Broken> {
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => {
                if let (Framing::Chunked, Ok(trailers)) = (self.framing, frame.into_trailers()) {
                    self.before.extend_from_slice(b"0\r\n");
                    trailers
                        .iter()
                        .for_each(|(name, value)| write_field(name, value.as_bytes(), &mut self.before));
                    self.before.extend_from_slice(b"\r\n");
                    self.framing = Framing::None;
                    return Ok(());
                }
                return self.end();
            }
        };
        // A chunk without content would be the last one (RFC 9112 7.1).
        if data.is_empty() {
            return if self.body.is_end_stream() { self.end() } else { Ok(()) };
        }
        match self.framing {
            Framing::Chunked => {
                write_chunk_size(data.len(), &mut self.before);
                self.after = b"\r\n";
                if self.body.is_end_stream() {
                    self.after = b"\r\n0\r\n\r\n";
                    self.framing = Framing::None;
                }
            }
            // More than was said would be the beginning of another request.
            Framing::Length(left) => match left.checked_sub(data.len() as u64) {
                None => return Err(Broken::Body(RequestBodyError::Aborted)),
                Some(0) => self.framing = Framing::None,
                Some(left) => self.framing = Framing::Length(left),
            },
            Framing::None => return Ok(()),
        }
        self.data = data;
        Ok(())
    }

    /// The body says that it is over.
    fn end(&mut self) -> Result<(), Broken> {
        match std::mem::replace(&mut self.framing, Framing::None) {
            Framing::Chunked => self.before.extend_from_slice(b"0\r\n\r\n"),
            Framing::Length(_) => return Err(Broken::Body(RequestBodyError::Aborted)),
            Framing::None => {}
        }
        Ok(())
    }

    /// Writes all that is there, and sees to it that it leaves.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        transport: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        if !self.data.is_empty() && self.before.len() + self.data.len() < COPIED {
            self.before.extend_from_slice(&std::mem::take(&mut self.data));
            self.before.extend_from_slice(std::mem::take(&mut self.after));
        }
        loop {
            let before = &self.before[self.written..];
            let written = if self.data.is_empty() && self.after.is_empty() {
                if before.is_empty() {
                    break;
                }
                ready!(Pin::new(&mut *transport).poll_write(cx, before))?
            } else {
                let slices = [IoSlice::new(before), IoSlice::new(&self.data), IoSlice::new(self.after)];
                ready!(Pin::new(&mut *transport).poll_write_vectored(cx, &slices))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.flushed = false;
            self.advance(written);
        }
        self.before.clear();
        self.written = 0;
        if !self.flushed {
            ready!(Pin::new(transport).poll_flush(cx))?;
            self.flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut by: usize) {
        let head = by.min(self.before.len() - self.written);
        self.written += head;
        by -= head;
        let data = by.min(self.data.len());
        self.data = self.data.split_off(data);
        self.after = &self.after[by - data..];
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("framing", &self.framing)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::task::Waker;
    use std::time::Duration;

    use super::*;
    use crate::upstream::body::StreamBody;

    /// Takes as much as it is told to, each time it is asked; 0: nothing now.
    #[derive(Default)]
    struct Socket {
        takes: VecDeque<usize>,
        written: Vec<u8>,
    }

    impl AsyncWrite for Socket {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            match self.takes.pop_front().unwrap_or(usize::MAX).min(bytes.len()) {
                0 => Poll::Pending,
                taken => {
                    self.written.extend_from_slice(&bytes[..taken]);
                    Poll::Ready(Ok(taken))
                }
            }
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// A request of these pieces, as it leaves through a socket that takes so much at a time.
    fn sent(pieces: &[usize], framing: Framing, takes: &[usize]) -> Vec<u8> {
        let frames: Vec<_> = pieces
            .iter()
            .enumerate()
            .map(|(nth, length)| {
                Ok::<_, io::Error>(Frame::data(Bytes::from(vec![b'a' + nth as u8; *length])))
            })
            .collect();
        let body = http_body_util::StreamBody::new(futures_util::stream::iter(frames));
        let body = RequestBody::from(StreamBody::boxed(body, Duration::from_secs(20), None));
        let mut outgoing = Outgoing::default();
        outgoing.begin(|out| out.extend_from_slice(b"HEAD"), framing, body);
        let mut socket = Socket { takes: takes.iter().copied().collect(), written: Vec::new() };
        // As whoever drives it does: it is asked until it says that it is over.
        for _ in 0..100 {
            let polled = outgoing.poll(&mut Context::from_waker(Waker::noop()), &mut socket);
            assert_eq!(outgoing.is_over(), polled.is_ready(), "{takes:?} of {pieces:?}");
            if outgoing.is_over() {
                return socket.written;
            }
        }
        panic!("it never was over: {takes:?} of {pieces:?}");
    }

    /// The socket may be full at any point, between two pieces and before the last one as well.
    #[test]
    fn all_of_it_leaves_however_full_the_socket_is() {
        for pieces in [&[5000, 5000, 5000][..], &[10, 9000], &[9000, 10], &[1], &[8000]] {
            let length = pieces.iter().sum::<usize>() as u64;
            for framing in [Framing::Length(length), Framing::Chunked] {
                let expected = sent(pieces, framing, &[]);
                assert!(expected.len() as u64 >= length + 4);
                for full in 0..8 {
                    for some in [1, 100, 5004, usize::MAX] {
                        let mut takes = vec![some; full];
                        takes.extend([0, 0, some, 0]);
                        assert!(sent(pieces, framing, &takes) == expected, "{takes:?} of {pieces:?}");
                    }
                }
            }
        }
    }
}
