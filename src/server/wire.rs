//! What hyper reads and writes through: the socket, with what hyper's server cannot do for itself.
//!
//! It replays what was read while sniffing the protocol, writes interim replies, notices what passes for
//! time-outs and counters, and lingers at the end so that a last reply is not eaten by a reset.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::Activity;
use crate::http::InterimQueue;

/// Unread request bytes that are taken and thrown away while lingering; who still has more to say is reset.
const LINGER_BYTES: usize = 256 << 10;

/// What a client's connection runs over.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Has the end of the connection look like a fault: the client sees a reset rather than an orderly close.
    fn reset_on_close(&self);
}

/// A client's socket.
#[derive(Debug)]
pub(super) struct Wire<IO> {
    io: IO,
    activity: Arc<Activity>,
    /// Read already, not yet taken by hyper.
    replay: Bytes,
    interim: Option<Arc<InterimQueue>>,
    ending: Ending,
}

/// How far the end of a connection has come.
#[derive(Clone, Copy, Debug)]
enum Ending {
    /// Not yet.
    Open,
    /// Our side is closed; so many bytes of the client's have been thrown away.
    Lingering(usize),
    /// Over.
    Done,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Wire<IO> {
    pub(super) fn new(io: IO, activity: Arc<Activity>) -> Self {
        Self { io, activity, replay: Bytes::new(), interim: None, ending: Ending::Open }
    }

    /// See [`Socket::reset_on_close`].
    pub(super) fn reset_on_close(&self)
    where
        IO: Socket,
    {
        self.io.reset_on_close();
    }

    /// Gives back bytes that were read from this wire, to be read again.
    pub(super) fn replay(&mut self, bytes: Bytes) {
        self.replay = bytes;
    }

    /// Writes what is queued here between replies.
    pub(super) fn set_interim(&mut self, queue: Arc<InterimQueue>) {
        self.interim = Some(queue);
    }

    /// Interim replies go out when hyper flushes, which it does only when everything of its own has left: so
    /// they come behind every earlier reply, and the final one is not begun while its exchange may queue them.
    /// Once begun, one is finished before anything else is written (`only_begun`).
    fn poll_interim(&mut self, cx: &mut Context<'_>, only_begun: bool) -> Poll<io::Result<()>> {
        let Some(queue) = &self.interim else { return Poll::Ready(Ok(())) };
        let (io, activity) = (&mut self.io, &self.activity);
        queue.poll_drain(only_begun, |bytes| noted(activity, Pin::new(&mut *io).poll_write(cx, bytes)))
    }

    /// Reads until the client closes, so that the system does not answer its unread bytes with a reset, which
    /// would discard what we sent last. Where nothing more is expected it does not wait.
    fn poll_linger(&mut self, cx: &mut Context<'_>, mut dropped: usize) -> Poll<io::Result<()>> {
        let mut scratch = [0_u8; 4096];
        while dropped < LINGER_BYTES && !self.activity.abandoned() {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.io).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => dropped += buffer.filled().len(),
                Poll::Ready(_) => break,
                Poll::Pending if dropped > 0 || self.expects_more() => {
                    self.ending = Ending::Lingering(dropped);
                    return Poll::Pending;
                }
                Poll::Pending => break,
            }
        }
        self.ending = Ending::Done;
        Poll::Ready(Ok(()))
    }

    fn expects_more(&self) -> bool {
        self.activity.had_body() || self.activity.head_begun()
    }
}

/// Notes for the driving task what became of a write.
fn noted(activity: &Activity, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
    match &written {
        Poll::Ready(Ok(bytes)) => activity.count_sent(*bytes),
        Poll::Ready(Err(_)) => {}
        Poll::Pending => activity.set_write_blocked(true),
    }
    written
}

/// The status, where `bytes` begin an HTTP/1 reply.
fn status_of(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(b"HTTP/1.")?.get(2..5)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.replay.has_remaining() {
            let take = self.replay.len().min(buffer.remaining());
            buffer.put_slice(&self.replay.split_to(take));
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        self.activity.count_received(buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_interim(cx, true))?;
        if let Some(status) = status_of(bytes) {
            self.activity.set_last_status(status);
        }
        let Self { io, activity, .. } = &mut *self;
        noted(activity, Pin::new(io).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_interim(cx, true))?;
        if let Some(status) = slices.first().and_then(|first| status_of(first)) {
            self.activity.set_last_status(status);
        }
        let Self { io, activity, .. } = &mut *self;
        noted(activity, Pin::new(io).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_interim(cx, false))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.ending {
            Ending::Open => {
                self.activity.set_closing();
                ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
                self.poll_linger(cx, 0)
            }
            Ending::Lingering(dropped) => self.poll_linger(cx, dropped),
            Ending::Done => Poll::Ready(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_line_is_told_from_other_bytes() {
        let cases: &[(&[u8], Option<u16>)] = &[
            (b"HTTP/1.1 431 Request Header Fields Too Large\r\n", Some(431)),
            (b"HTTP/1.0 200 OK\r\n", Some(200)),
            (b"HTTP/1.1 4", None),
            (b"HTTP/2", None),
            (b"", None),
            (b"hello", None),
        ];
        for (bytes, expected) in cases {
            assert_eq!(status_of(bytes), *expected, "{bytes:?}");
        }
    }
}
