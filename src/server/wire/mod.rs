//! What hyper reads and writes through: the socket, with what hyper's server cannot do for itself.
//!
//! It replays what was read while sniffing the protocol, lets no request pass that is not beyond doubt (`http::h1`) and
//! answers it instead, writes interim replies, notices what passes for time-outs and counters, and lingers at the end
//! so that a last reply is not eaten by a reset. Plain requests it answers itself (`past_hyper`).

mod past_hyper;

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::Activity;
use super::prompt::{Answer, Looks, Prompt};
use super::refusal::Refusal;
use super::underway::Underway;
use crate::http::InterimQueue;
use crate::http::content::Span;
use crate::http::h1::{self, Filled, Inlet, Reader, Stop};
use crate::piped::Piped;

/// Unread request bytes that are taken and thrown away at the end; who still has more to say is reset.
const LINGER_BYTES: u32 = 8 << 20;

/// What is read at a time of a connection that rests.
const READ_BYTES: usize = 8 << 10;

/// What a worker's connections that rest use in turn.
struct Scratch {
    bytes: Box<[u8]>,
    inlet: Option<Box<Inlet>>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch { bytes: vec![0; READ_BYTES].into(), inlet: None });
}

/// What a client's connection runs over.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Has the end of the connection look like a fault: the client sees a reset rather than an orderly close.
    fn reset_on_close(&self);

    /// Whether the kernel can send files over it, and what lies in pipes.
    fn sends_files(&self) -> bool;

    /// Writes what more follows at once.
    fn poll_write_more(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// Has the kernel send a part of a file.
    fn poll_send_file(&self, cx: &mut Context<'_>, span: Span<'_>) -> Poll<io::Result<usize>>;

    /// Has the kernel send what lies in a pipe.
    fn poll_send_piped(&self, cx: &mut Context<'_>, piped: &mut Piped) -> Poll<io::Result<usize>>;
}

/// A client's socket.
#[derive(Debug)]
pub(super) struct Wire<IO> {
    io: IO,
    activity: Arc<Activity>,
    /// Read already, not yet taken by hyper.
    replay: Bytes,
    /// Looks at what is read; `None` where it is not HTTP/1, and while a connection rests.
    inlet: Option<Box<Inlet>>,
    interim: Option<Arc<InterimQueue>>,
    /// Answers what hyper need not hear of.
    prompt: Option<Arc<dyn Prompt>>,
    /// What is left to send of such an answer.
    unsent: Option<Box<Answer>>,
    /// A request that hyper does not hear of, until its reply has been taken whole.
    underway: Option<Box<dyn Underway>>,
    /// Behind its reply the connection ends.
    ends: bool,
    /// For what is at hand, and for a short way to what is not.
    looks: (Looks, Looks),
    /// Requests whose replies have left hyper for the socket.
    flushed: u64,
    /// What is left to send of a refusal.
    refusal: Option<Box<Bytes>>,
    ending: Ending,
    /// Bytes of the client's that were thrown away.
    dropped: u32,
}

/// How far the end of a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Not yet.
    Open,
    /// Our side is closed.
    Lingering,
    /// Over.
    Done,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Wire<IO> {
    pub(super) fn new(io: IO, activity: Arc<Activity>) -> Self {
        Self {
            io,
            activity,
            replay: Bytes::new(),
            inlet: None,
            interim: None,
            prompt: None,
            unsent: None,
            underway: None,
            ends: false,
            looks: Default::default(),
            flushed: 0,
            refusal: None,
            ending: Ending::Open,
            dropped: 0,
        }
    }

    /// See [`Socket::reset_on_close`].
    pub(super) fn reset_on_close(&self)
    where
        IO: Socket,
    {
        self.io.reset_on_close();
    }

    /// Gives back bytes that were read from this wire, to be read again: those of a message's beginning.
    pub(super) fn replay(&mut self, bytes: Bytes) {
        match &mut self.inlet {
            Some(inlet) => inlet.put_back(&bytes),
            None => self.replay = bytes,
        }
    }

    /// Closes our side only.
    pub(super) fn poll_close_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    /// From here on requests are read, which pass only if they are beyond doubt.
    pub(super) fn read_requests(&mut self, limits: h1::Limits) {
        let mut inlet = Box::new(Inlet::new(Reader::new(limits)));
        inlet.put_back(&std::mem::take(&mut self.replay));
        self.inlet = Some(inlet);
    }

    /// Whether something was read that hyper has not been given.
    pub(super) fn holds(&self) -> bool {
        self.inlet.as_ref().is_some_and(|inlet| inlet.holds())
    }

    /// Reads past all checks; what comes must be replayed.
    pub(super) fn poll_sniff(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        poll_socket(&mut self.io, &self.activity, cx, buffer)
    }

    /// What it runs over, for a last word that is no reply.
    pub(super) fn io(&mut self) -> &mut IO {
        &mut self.io
    }

    /// Writes what is queued here between replies.
    pub(super) fn set_interim(&mut self, queue: Option<Arc<InterimQueue>>) {
        self.interim = queue;
    }

    /// Has plain requests answered past hyper.
    pub(super) fn set_prompt(&mut self, prompt: Arc<dyn Prompt>) {
        self.prompt = Some(prompt);
    }

    /// Whether hyper has nothing to do with this connection: it has been given `heads` requests, and the last reply to
    /// them has left.
    fn is_at_rest(&self, heads: u64) -> bool {
        let activity = &self.activity;
        activity.requests() == heads
            && self.flushed == heads
            && activity.in_flight() == 0
            && !activity.had_body()
            && !activity.write_blocked()
    }

    /// Ready once there is something that hyper is to hear of, which is kept to be read then: `false` is the end. While
    /// nothing is there, nothing is kept to read it with.
    pub(super) fn poll_asked(&mut self, cx: &mut Context<'_>, limits: h1::Limits) -> Poll<io::Result<bool>>
    where
        IO: Socket,
    {
        // Over TLS what was written may still wait for the socket.
        if self.unsent.is_none() && self.activity.write_blocked() {
            ready!(Pin::new(&mut *self).poll_flush(cx))?;
        }
        SCRATCH.with_borrow_mut(|Scratch { bytes, inlet: spare }| {
            if self.inlet.is_none() {
                let mut inlet = spare.take().unwrap_or_else(|| Box::new(Inlet::new(Reader::new(limits))));
                inlet.turn_to(limits, self.activity.requests());
                self.inlet = Some(inlet);
            }
            let mut buffer = ReadBuf::new(bytes);
            let polled = Pin::new(&mut *self).poll_read(cx, &mut buffer)?;
            if polled.is_pending() {
                if self.inlet.as_ref().is_some_and(|inlet| inlet.is_clean()) {
                    *spare = self.inlet.take();
                }
                return Poll::Pending;
            }
            self.replay = Bytes::copy_from_slice(buffer.filled());
            Poll::Ready(Ok(!buffer.filled().is_empty()))
        })
    }

    /// Answers what cannot be read. The reply leaves as the connection is shut down, which must follow.
    pub(super) fn refuse(&mut self, refusal: Refusal) {
        let (reply, id) = refusal.reply(self.activity.name());
        self.refusal = Some(Box::new(reply));
        self.activity.refuse(refusal, id);
    }

    /// Nothing more may be read, or not now.
    fn poll_stopped(&mut self, cx: &mut Context<'_>, stop: Stop) -> Poll<io::Result<()>> {
        match stop {
            // The exchanges before it go on to their end first.
            Stop::Head(_) if self.activity.in_flight() > 0 => {
                self.activity.keep_back();
                self.poll_drop(cx)
            }
            // To hyper it is the end: it closes, and then the refusal leaves.
            Stop::Head(violation) => {
                if !self.activity.refuses() {
                    self.refuse(Refusal::of(violation));
                }
                Poll::Ready(Ok(()))
            }
            Stop::Content(violation) => {
                self.activity.refuse_content(violation);
                Poll::Ready(Err(violation.into()))
            }
            Stop::Undecided => {
                self.activity.keep_back();
                let Self { io, activity, inlet, .. } = self;
                let Some(inlet) = inlet else { return Poll::Ready(Ok(())) };
                inlet.poll_ahead(|buffer| poll_socket(io, activity, cx, buffer))
            }
        }
    }

    /// Interim replies go out when hyper flushes, which it does only when everything of its own has left: so
    /// they come behind every earlier reply, and the final one is not begun while its exchange may queue them.
    /// Once begun, one is finished before anything else is written (`only_begun`).
    fn poll_interim(&mut self, cx: &mut Context<'_>, only_begun: bool) -> Poll<io::Result<()>> {
        let Self { io, activity, underway, interim, .. } = self;
        let own = underway.as_ref().and_then(|underway| underway.interim());
        let Some(queue) = own.or(interim.as_ref()) else { return Poll::Ready(Ok(())) };
        queue.poll_drain(only_begun, |bytes| noted(activity, Pin::new(&mut *io).poll_write(cx, bytes)))
    }

    fn poll_refusal(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { io, activity, refusal, .. } = self;
        let Some(refusal) = refusal else { return Poll::Ready(Ok(())) };
        while refusal.has_remaining() {
            let written = ready!(noted(activity, Pin::new(&mut *io).poll_write(cx, refusal)))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            refusal.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads until the client closes, so that the system does not answer its unread bytes with a reset, which
    /// would discard what we sent last. Where nothing more is expected it does not wait.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.activity.abandoned() {
            let dropped = self.poll_drop(cx);
            if dropped.is_pending() && (self.dropped > 0 || self.expects_more()) {
                return Poll::Pending;
            }
        }
        self.ending = Ending::Done;
        Poll::Ready(Ok(()))
    }

    /// Reads and throws away; ready when the client has closed, or said too much.
    fn poll_drop(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut scratch = [0_u8; 4096];
        while self.dropped < LINGER_BYTES {
            let mut buffer = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
            match buffer.filled().len() {
                0 => break,
                bytes => self.dropped += bytes as u32,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn expects_more(&self) -> bool {
        self.activity.had_body() || self.activity.head_begun() || self.activity.refuses()
    }
}

fn poll_socket<IO: AsyncRead + Unpin>(
    io: &mut IO,
    activity: &Activity,
    cx: &mut Context<'_>,
    buffer: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    let before = buffer.filled().len();
    ready!(Pin::new(io).poll_read(cx, buffer))?;
    activity.count_received(buffer.filled().len() - before);
    Poll::Ready(Ok(()))
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

impl<IO: Socket> AsyncRead for Wire<IO> {
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
        loop {
            ready!(self.poll_underway(cx))?;
            if self.ends {
                return Poll::Ready(Ok(()));
            }
            let Self { io, activity, inlet, .. } = &mut *self;
            let Some(inlet) = inlet else { return poll_socket(io, activity, cx, buffer) };
            if inlet.reader().is_undecided() && activity.answered() >= inlet.reader().heads() {
                inlet.resume(activity.switched());
            }
            let (before, heads) = (buffer.filled().len(), inlet.reader().heads());
            let begins = inlet.reader().is_between();
            match ready!(inlet.poll_fill(buffer, |buffer| poll_socket(io, activity, cx, buffer)))? {
                Filled::Some => {
                    let reader = inlet.reader();
                    let is_one = begins && reader.is_between() && reader.heads() == heads + 1;
                    // What is refused behind it is refused when it is answered, by way of hyper.
                    let is_alone = is_one && inlet.is_clean() && self.is_at_rest(heads);
                    if !is_alone || !self.take(cx, &buffer.filled()[before..])? {
                        return Poll::Ready(Ok(()));
                    }
                    buffer.set_filled(before);
                }
                Filled::End => {
                    if inlet.holds_head() {
                        activity.set_cut_short();
                    }
                    return Poll::Ready(Ok(()));
                }
                Filled::Stopped(stop) => return self.poll_stopped(cx, stop),
            }
        }
    }
}

impl<IO: Socket> AsyncWrite for Wire<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_unsent(cx))?;
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
        ready!(self.poll_unsent(cx))?;
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
        ready!(self.poll_unsent(cx))?;
        ready!(self.poll_interim(cx, false))?;
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        // Over TLS what was written may still wait for the socket.
        self.activity.set_write_blocked(flushed.is_pending());
        if matches!(flushed, Poll::Ready(Ok(()))) && self.activity.in_flight() == 0 {
            self.flushed = self.activity.requests();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.ending {
            Ending::Open => {
                // hyper was told to come to an end, and has not heard of this.
                ready!(self.poll_underway(cx))?;
                self.activity.set_closing();
                ready!(self.poll_unsent(cx))?;
                ready!(self.poll_refusal(cx))?;
                ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
                self.ending = Ending::Lingering;
                self.poll_linger(cx)
            }
            Ending::Lingering => self.poll_linger(cx),
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
