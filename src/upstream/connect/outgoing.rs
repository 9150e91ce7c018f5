//! A request on its way out on an HTTP/1.1 connection (RFC 9112).

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::io::AsyncWrite;

use super::transport::Transport;
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
        transport: &mut Transport,
    ) -> Poll<Result<(), Broken>> {
        if self.failed {
            // A body that has failed is not asked again: it might take itself for whole.
            return Poll::Ready(Err(Broken::Body(RequestBodyError::Aborted)));
        }
        let sent = ready!(self.poll_whole(cx, transport));
        self.failed = sent.is_err();
        Poll::Ready(sent)
    }

    fn poll_whole(&mut self, cx: &mut Context<'_>, transport: &mut Transport) -> Poll<Result<(), Broken>> {
        loop {
            // Before what is there already is written: a head goes together with the content that has come.
            let awaits_body = self.framing != Framing::None && self.data.is_empty() && self.after.is_empty();
            if awaits_body && self.poll_body(cx)?.is_pending() {
                ready!(self.poll_write(cx, transport)).map_err(Broken::Socket)?;
                return Poll::Pending;
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
    fn poll_write(&mut self, cx: &mut Context<'_>, transport: &mut Transport) -> Poll<io::Result<()>> {
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
