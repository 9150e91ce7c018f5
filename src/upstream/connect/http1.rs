//! An HTTP/1.1 connection (RFC 9112): one exchange at a time, made by whoever has it. It has no task of its own; what
//! happens on it while it is idle is seen by the pool.

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::Conn;
use super::outgoing::{Broken, Framing, Outgoing};
use super::transport::{Stream, Transport};
use super::violations::Violations;
use crate::http::h1::{Fields, Limits, Outline, Replies, ReplyHead, Violation};
use crate::piped::Piped;
use crate::upstream::alarm::Alarm;
use crate::upstream::body::RequestBody;
use crate::upstream::error::{Cause, Failure};
use crate::upstream::pool::{Permit, Worker};

/// The largest head of a reply, and the most that is read in one go.
pub(super) const READ_BUFFER: usize = 128 * 1024;

/// What is read in one go until the origin has shown that it says more.
const LEAST_READ: usize = 8 * 1024;

/// Content of which so much is to come goes in [pipes](crate::piped), where that can be done.
const PIPED: u64 = 32 * 1024;

/// What is read of a reply whose content is to go in pipes: its head mostly.
const HEAD_READ: usize = 4 * 1024;

/// What is read in one go where content is as long.
const LONG: usize = 2 * PIPED as usize;

/// What a reply's head may hold.
const LIMITS: Limits = Limits { bytes: READ_BUFFER - 1, fields: 100 };

/// The origin has closed in the middle of a reply, or before it.
const CLOSED: &str = "the origin closed the connection";

/// A connection. Dropping it closes it, which cancels what is under way on it.
#[derive(Debug)]
pub(crate) struct Http1 {
    line: Box<Line>,
    pub(super) home: Worker,
    pub(super) peer: SocketAddr,
    /// State of the endpoint's addresses when this was made, or last found still right.
    pub(crate) generation: u64,
    /// What the exchanges on it wait by, one after the other: an armed timer is left as it is, since the next one hardly
    /// ever needs it to ring earlier.
    pub(super) alarm: Alarm,
}

/// Both directions.
#[derive(Debug)]
struct Line {
    transport: Transport,
    outgoing: Outgoing,
    replies: Replies,
    /// Read, and not understood yet.
    read: BytesMut,
    /// How much the next read is for.
    reads: usize,
    /// The last read had far more room than it needed.
    had_room: bool,
    /// The present reply may go in pipes.
    pipes: bool,
    /// Nothing more can be asked on it.
    over: bool,
    violations: Arc<Violations>,
}

impl Http1 {
    /// Begins a request; the body comes back if the connection turns out to be closed. Its head is written by `write_head`.
    pub(crate) fn begin(
        &mut self,
        to_head: bool,
        framing: Framing,
        body: RequestBody,
        write_head: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), RequestBody> {
        if !self.is_usable() {
            return Err(body);
        }
        self.begin_usable(to_head, framing, body, write_head);
        Ok(())
    }

    /// The same, where it was just found usable.
    pub(crate) fn begin_usable(
        &mut self,
        to_head: bool,
        framing: Framing,
        body: RequestBody,
        write_head: impl FnOnce(&mut Vec<u8>),
    ) {
        let line = &mut *self.line;
        line.pipes = false;
        line.replies.expect(to_head);
        line.outgoing.begin(write_head, framing, body);
    }

    /// Reads the present reply so that its content can be taken by [`Self::pipe`] if it is long.
    pub(crate) fn expect_pipes(&mut self) {
        self.line.pipes = self.line.transport.has_pipes();
    }

    /// Whether the request is sent whole.
    pub(crate) fn is_sent(&self) -> bool {
        self.line.outgoing.is_over()
    }

    /// Sends the request; ready when that is done.
    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let line = &mut *self.line;
        if line.outgoing.is_over() {
            return Poll::Ready(Ok(()));
        }
        let sent = ready!(line.outgoing.poll(cx, &mut line.transport));
        line.over |= sent.is_err();
        Poll::Ready(sent)
    }

    /// Ready once the next head has come, interim ones included: it is there by its lines, or to be taken.
    pub(crate) fn poll_outline(&mut self, cx: &mut Context<'_>) -> Poll<Result<Outline, Failure>> {
        let line = &mut *self.line;
        loop {
            match line.replies.outline(&line.read) {
                Ok(Some(outline)) => {
                    line.over |= !(outline.is_interim() || line.replies.goes_on());
                    return Poll::Ready(Ok(outline));
                }
                Ok(None) => {}
                Err(violation) => return Poll::Ready(Err(line.refuse_head(violation))),
            }
            if !ready!(line.poll_read(cx)).map_err(Failure::reset)? {
                return Poll::Ready(Err(Failure::reset(CLOSED)));
            }
        }
    }

    /// Takes the head that has come.
    pub(crate) fn take_head(&mut self) -> Result<ReplyHead, Failure> {
        let line = &mut *self.line;
        match line.replies.head(&mut line.read) {
            Ok(head) => head.ok_or_else(|| Failure::reset("no head has come")),
            Err(violation) => Err(line.refuse_head(violation)),
        }
    }

    /// The fields of the head that has come and was not taken.
    pub(crate) fn fields(&self) -> Fields<'_> {
        self.line.replies.fields(&self.line.read)
    }

    /// All the content behind it, where that is there and the request is sent whole.
    pub(crate) fn whole(&self) -> Option<&[u8]> {
        if self.is_sent() { self.line.replies.whole(&self.line.read) } else { None }
    }

    /// Takes it, which ends the reply.
    pub(crate) fn take_whole(&mut self) -> Option<Bytes> {
        if self.is_sent() { self.line.replies.take_whole(&mut self.line.read) } else { None }
    }

    /// Goes on with the content of the reply whose head has come, which nobody takes; `false`: no final head has.
    pub(crate) fn skip_head(&mut self) -> bool {
        let line = &mut *self.line;
        line.replies.skip_head(&mut line.read)
    }

    /// Ends the reply without; `false`: there is more to come.
    pub(crate) fn finish_whole(&mut self) -> bool {
        self.is_sent() && self.line.replies.finish(&mut self.line.read)
    }

    /// What the exchange that is on it waits by.
    pub(crate) fn alarm(&mut self) -> &mut Alarm {
        &mut self.alarm
    }

    /// The next piece of the reply's content, or its trailers; what is left of the request is sent meanwhile.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        if let Poll::Ready(Err(broken)) = self.poll_send(cx) {
            return Poll::Ready(Some(Err(broken.into())));
        }
        let line = &mut *self.line;
        loop {
            match line.replies.content(&mut line.read) {
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(None) if line.replies.is_over() => return Poll::Ready(None),
                Ok(None) => {}
                Err(violation) => {
                    line.refuse(violation);
                    return Poll::Ready(Some(Err(violation.into())));
                }
            }
            match ready!(line.poll_read(cx)) {
                Ok(true) => {}
                Ok(false) if line.replies.close() => return Poll::Ready(None),
                Ok(false) => return Poll::Ready(Some(Err(CLOSED.into()))),
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
    }

    /// Moves what has come of long content into a pipe. `None`: it is to be taken by [frames](Self::poll_frame) for now.
    pub(crate) fn pipe(&mut self) -> Option<Piped> {
        let line = &mut *self.line;
        let left = line.replies.left().filter(|left| *left >= PIPED)?;
        if !line.read.is_empty() || !line.outgoing.is_over() {
            return None;
        }
        let piped = line.transport.pipe(usize::try_from(left).unwrap_or(usize::MAX))?;
        line.replies.passed(piped.len() as u64);
        // The next one is likely to be long as well.
        line.reads = line.reads.max(LONG);
        Some(piped)
    }

    /// Whether the reply was read to its end.
    pub(crate) fn is_read(&self) -> bool {
        self.line.replies.is_over()
    }

    /// How much of the reply's content is to come, where that is known.
    pub(crate) fn left(&self) -> SizeHint {
        self.line.replies.left().map_or_else(SizeHint::default, SizeHint::with_exact)
    }

    /// Whether the connection is gone, or will be after this exchange.
    pub(crate) fn is_over(&self) -> bool {
        self.line.over
    }

    /// Whether a request can be sent right now.
    pub(super) fn is_usable(&mut self) -> bool {
        let line = &mut *self.line;
        line.is_at_rest()
            && (!line.transport.has_news()
                || line.poll_end(&mut Context::from_waker(Waker::noop())).is_pending())
    }

    /// Ready when a connection that is not in use is over: the origin has closed it, or says something unasked.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.line.poll_end(cx)
    }

    /// What the connection is once its protocol was changed.
    pub(crate) fn into_switched(self) -> Switched {
        Switched { read: self.line.read, transport: self.line.transport }
    }
}

impl Line {
    fn is_at_rest(&self) -> bool {
        !self.over && self.outgoing.is_over() && self.replies.is_over()
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.over {
            return Poll::Ready(());
        }
        let mut more = [0];
        let mut more = ReadBuf::new(&mut more);
        let surplus = if self.read.is_empty() {
            let read = ready!(Pin::new(&mut self.transport).poll_read(cx, &mut more));
            read.is_ok() && !more.filled().is_empty()
        } else {
            true
        };
        self.over = true;
        if surplus {
            self.count("surplus");
        }
        Poll::Ready(())
    }

    /// Reads what has come; `false` at the end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        // A little more than is to come: a read that is not filled is known to have been the last.
        let needed = match self.replies.left() {
            Some(left) => usize::try_from(left).unwrap_or(READ_BUFFER).min(READ_BUFFER) + 64,
            None => self.reads / 2,
        };
        // What goes in pipes must not be read.
        let most = if self.is_head_of_long() { HEAD_READ } else { usize::MAX };
        if self.read.capacity() - self.read.len() < needed.min(most) {
            // While nothing is there, no room is needed for it.
            ready!(self.transport.poll_news(cx))?;
            self.read.reserve(needed.max(self.reads).min(most));
        }
        let room = (self.read.capacity() - self.read.len()).min(most);
        let read = ready!(pin!(self.transport.read_buf(&mut (&mut self.read).limit(room))).poll(cx));
        self.over |= !matches!(read, Ok(1..));
        let read = read?;
        // It was filled on purpose.
        if room != most || read < room {
            self.adapt(read, room);
        }
        Poll::Ready(Ok(read > 0))
    }

    /// Whether a head is to be read that is likely to be one of long content, which goes in pipes.
    fn is_head_of_long(&self) -> bool {
        self.pipes && self.reads >= LONG && self.replies.left().is_none()
    }

    /// Reads that were filled grow, those that had room twice in a row shrink.
    fn adapt(&mut self, read: usize, room: usize) {
        let has_room = read < self.reads / 4;
        if read == room {
            self.reads = (self.reads * 2).min(READ_BUFFER);
        } else if has_room && self.had_room {
            self.reads = (self.reads / 2).max(LEAST_READ);
        }
        self.had_room = has_room;
    }

    /// Nothing more of what the origin says goes on.
    fn refuse(&mut self, violation: Violation) {
        self.over = true;
        self.count(violation.as_str());
    }

    fn refuse_head(&mut self, violation: Violation) -> Failure {
        self.refuse(violation);
        Failure::InvalidResponse(violation.into())
    }

    fn count(&self, reason: &'static str) {
        tracing::debug!(reason, "an endpoint's connection is closed");
        self.violations.count(reason);
    }
}

/// Speaks HTTP/1.1 on a transport that was just opened.
pub(super) fn open(
    stream: Stream,
    peer: SocketAddr,
    mut permit: Permit<Conn>,
    generation: u64,
    violations: Arc<Violations>,
) -> Http1 {
    permit.alone();
    let line = Box::new(Line {
        transport: Transport::http1(stream, permit),
        outgoing: Outgoing::default(),
        replies: Replies::new(LIMITS),
        read: BytesMut::new(),
        reads: LEAST_READ,
        had_room: false,
        pipes: false,
        over: false,
        violations,
    });
    Http1 { line, home: Worker::current(), peer, generation, alarm: Alarm::default() }
}

/// A connection that speaks another protocol now.
#[derive(Debug)]
pub struct Switched {
    /// Read already.
    read: BytesMut,
    transport: Transport,
}

impl AsyncRead for Switched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.transport).poll_read(cx, buf);
        }
        let taken = self.read.len().min(buf.remaining());
        buf.put_slice(&self.read[..taken]);
        self.read.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Switched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}
